// Bindings of fusion.hpp, block.hpp and block_head.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "asks.hpp"
#include "bindings.hpp"
#include "block.hpp"
#include "block_head.hpp"
#include "fusion.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace foredraft;

namespace {

using Limits = std::vector<std::tuple<int, int, int, double>>;

nb::list draft(BlockHead& head, const nb::list& caches, Floats taps, Floats embedded, const Limits& limits) {
  const size_t width = head.fusion().width(), texts = limits.size();
  size_t own = 0;
  if (texts != nb::len(caches)) throw std::invalid_argument("every text has a cache and limits");
  for (const auto& [fed, more, rows, least] : limits) {
    if (fed < 1 || more < 0 || size_t(more) >= head.fusion().block()) throw std::invalid_argument("a head has no such rows");
    own += size_t(fed);
  }
  if (taps.shape(0) != own || embedded.shape(0) != own) throw std::invalid_argument("rows lack a token or its taps");
  if (taps.shape(1) != (head.fusion().parts() - 1) * width || embedded.shape(1) != width)
    throw std::invalid_argument("taps or embeddings are not of the head's width");
  std::vector<nb::object> kept;  // for the pass: the list is another's
  std::vector<BlockFeed> feeds;
  std::vector<Ask> asks;
  for (size_t text = 0; text < texts; ++text) {
    const auto [fed, more, rows, least] = limits[text];
    kept.push_back(caches[text]);
    feeds.push_back({nb::cast<Cache*>(kept.back()), fed, more, rows, least});
    asks.push_back(BlockHead::ask(feeds.back()));
    asks.back().inputs = taps.data();  // until they are fused: rows that come as vectors
    check_ask(head.engine(), asks.back());
    for (size_t other = 0; other < text; ++other)
      if (feeds[other].cache == feeds[text].cache) throw std::invalid_argument("one pass scores a cache once: two texts share one");
  }
  std::vector<Drafts> drafts;
  {
    const Taken taken(asks);
    const Away away;
    drafts = head.draft(taps.data(), embedded.data(), feeds, asks);
  }
  nb::list found;
  for (const Drafts& one : drafts) found.append(nb::make_tuple(one.places, one.parents, one.scores));
  return found;
}

}  // namespace

void bind_block(nb::module_& module) {
  nb::class_<Fusion>(module, "Fusion", "What enters a trained head.")
      .def("__init__",
           [](Fusion* self, Matrix matrix, std::vector<float> offsets, float epsilon, std::shared_ptr<Pool> pool,
              const std::string& isa, const std::string& activations) {
             new (self) Fusion(std::move(matrix), std::move(offsets), epsilon, std::move(pool), isa_or_best(isa),
                               activations_named(activations));
           },
           "matrix"_a, "offsets"_a, "epsilon"_a, "pool"_a, "isa"_a, "activations"_a)
      .def(
          "rows",
          [](Fusion& self, Floats taps, Floats embedded, const std::vector<std::pair<int, int>>& feeds) {
            const size_t width = self.width();
            size_t own = 0, all = 0;
            for (const auto& [rows, more] : feeds) {
              if (rows < 1 || more < 0 || size_t(more) >= self.block()) throw std::invalid_argument("a head has no such rows");
              own += size_t(rows), all += size_t(rows + more);
            }
            if (taps.shape(0) != own || embedded.shape(0) != own) throw std::invalid_argument("rows lack a token or its taps");
            if (taps.shape(1) != (self.parts() - 1) * width || embedded.shape(1) != width)
              throw std::invalid_argument("taps or embeddings are not of the head's width");
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, all) * width * 4);
            if (own) {
              const Away away;
              self.apply(taps.data(), embedded.data(), feeds, out->as<float>());
            }
            return view(out, {all, width});
          },
          "taps"_a, "embedded"_a, "feeds"_a,
          "taps [rows, taps * width] and embeddings [rows, width] of texts, each so many rows and so many of a block after "
          "them -> all those rows, [rows, width].");

  nb::class_<BlockHead>(module, "BlockHead", "A block head's draft in one call.")
      .def(nb::init<Engine&, Fusion&, BlockTree&>(), "engine"_a, "fusion"_a, "tree"_a, nb::keep_alive<1, 2>(),
           nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>())
      .def("draft", &draft, "caches"_a, "taps"_a, "embedded"_a, "limits"_a,
           "taps and embeddings: of all rows that are fed, as for Fusion.rows. limits: of each text how many these are, how "
           "many of a block follow them, nodes at most, and the chance of a path below which it is left out -> of each "
           "text places, parents and log path probabilities. The caches keep what was fed.");

  nb::class_<BlockTree>(module, "BlockTree", "What a token makes likelier after it, and the draft tree of a block.")
      .def("__init__",
           [](BlockTree* self, Matrix previous, Matrix bias, std::shared_ptr<Pool> pool, const std::string& isa,
              const std::string& activations) {
             new (self) BlockTree(std::move(previous), std::move(bias), std::move(pool), isa_or_best(isa),
                                  activations_named(activations));
           },
           "previous"_a, "bias"_a, "pool"_a, "isa"_a, "activations"_a,
           "Two tables [tokens, rank]; after token t, u is likelier by bias[u] . previous[t].")
      .def("__init__",
           [](BlockTree* self, size_t tokens, std::shared_ptr<Pool> pool, const std::string& isa) {
             if (!tokens) throw std::invalid_argument("a draft vocabulary has tokens");
             new (self) BlockTree(tokens, std::move(pool), isa_or_best(isa));
           },
           "tokens"_a, "pool"_a, "isa"_a, "No token makes another likelier.")
      .def(
          "bias",
          [](BlockTree& self, const std::vector<int>& places) {
            for (int place : places)
              if (place < 0 || size_t(place) >= self.tokens()) throw std::invalid_argument("a token lies outside the draft vocabulary");
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, places.size()) * self.tokens() * 4);
            if (!places.empty()) {
              const Away away;
              self.bias(places, out->as<float>());
            }
            return view(out, {places.size(), self.tokens()});
          },
          "places"_a, "What each of these tokens adds to the logits after it, [places, tokens].")
      .def(
          "grow",
          [](BlockTree& self, Floats base, int rows, int depth, double least) {
            if (base.shape(1) != self.tokens()) throw std::invalid_argument("logits are not of the draft vocabulary");
            Drafts drafts;
            {
              const Away away;
              drafts = self.grow(base.data(), int(base.shape(0)), rows, depth, least);
            }
            return nb::make_tuple(drafts.places, drafts.parents, drafts.scores);
          },
          "base"_a, "rows"_a, "depth"_a, "least"_a,
          "base: [levels, tokens] logits before any bias -> places, parents and log path probabilities.")
      .def(
          "children",
          [](BlockTree& self, Floats logits, size_t count) {
            if (logits.shape(1) != self.tokens()) throw std::invalid_argument("logits are not of the draft vocabulary");
            Drafts drafts;
            {
              const Away away;
              drafts = self.children(logits.data(), logits.shape(0), count);
            }
            std::vector<std::pair<std::vector<int>, std::vector<double>>> found(logits.shape(0));
            for (size_t node = 0; node < drafts.places.size(); ++node) {
              auto& [places, scores] = found[size_t(drafts.parents[node])];
              places.push_back(drafts.places[node]);
              scores.push_back(drafts.scores[node]);
            }
            return found;
          },
          "logits"_a, "count"_a,
          "logits: [rows, tokens] -> of each row the likeliest places, best first, and their log probabilities.");
}
