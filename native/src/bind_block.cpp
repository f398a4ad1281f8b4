// Bindings of fusion.hpp, block.hpp and block_head.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
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

using Counts = std::vector<std::pair<int, int>>;
using Limits = std::vector<std::pair<int, double>>;

// What a head is fed of some texts, looked at before it is believed. counts: rows, and tokens wanted after them.
struct Fed {
  std::vector<nb::object> kept;  // the caches, for the pass: the list is another's
  std::vector<BlockFeed> feeds;
  std::vector<Ask> asks;

  Fed(const BlockHead& head, const nb::list& caches, const Counts& counts, const Floats& taps, const Floats& embedded) {
    const size_t width = head.fusion().width();
    size_t own = 0;
    if (counts.empty() || counts.size() != nb::len(caches)) throw std::invalid_argument("every text has a cache and rows");
    for (const auto& [fed, block] : counts) {
      if (fed < 1 || block < 0 || size_t(block) > head.fusion().block()) throw std::invalid_argument("a head has no such rows");
      own += size_t(fed);
    }
    if (taps.shape(0) != own || embedded.shape(0) != own) throw std::invalid_argument("rows lack a token or its taps");
    if (taps.shape(1) != (head.fusion().parts() - 1) * width || embedded.shape(1) != width)
      throw std::invalid_argument("taps or embeddings are not of the head's width");
    for (size_t text = 0; text < counts.size(); ++text) {
      kept.push_back(caches[text]);
      feeds.push_back({nb::cast<Cache*>(kept.back()), counts[text].first, counts[text].second});
      asks.push_back(BlockHead::ask(feeds.back()));
      asks.back().inputs = taps.data();  // until they are fused: rows that come as vectors
      check_ask(head.engine(), asks.back());
      for (size_t other = 0; other < text; ++other)
        if (feeds[other].cache == feeds[text].cache) throw std::invalid_argument("one pass scores a cache once: two texts share one");
    }
  }
};

auto score(BlockHead& head, const nb::list& caches, const Counts& counts, Floats taps, Floats embedded) {
  Fed fed(head, caches, counts, taps, embedded);
  Result result;
  {
    const Taken taken(fed.asks);
    const Away away;
    result = head.score(taps.data(), embedded.data(), fed.feeds, fed.asks);
  }
  return view(result.logits, {result.logit_rows, size_t(head.engine().config().vocabulary)});
}

nb::list draft(BlockHead& head, const nb::list& caches, const Counts& counts, Floats taps, Floats embedded, const Limits& limits) {
  Fed fed(head, caches, counts, taps, embedded);
  std::vector<BlockLimit> least;
  for (const auto& [rows, chance] : limits) least.push_back({rows, chance});
  if (least.size() != fed.feeds.size()) throw std::invalid_argument("every text has limits");
  std::vector<Drafts> drafts;
  {
    const Taken taken(fed.asks);
    const Away away;
    drafts = head.draft(taps.data(), embedded.data(), fed.feeds, least, fed.asks);
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
           "matrix"_a, "offsets"_a, "epsilon"_a, "pool"_a, "isa"_a, "activations"_a);

  nb::class_<BlockHead>(module, "BlockHead", "A block head's pass, and its draft, each in one call.")
      .def(nb::init<Engine&, Fusion&, BlockTree&>(), "engine"_a, "fusion"_a, "tree"_a, nb::keep_alive<1, 2>(),
           nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>())
      .def("score", &score, "caches"_a, "counts"_a, "taps"_a, "embedded"_a,
           "counts: of each text how many rows are fed and how many tokens are wanted after them; taps [rows, taps * width] "
           "and embeddings [rows, width] of all rows that are fed -> logits [tokens wanted, tokens], a view that the next "
           "pass writes over. The caches keep what was fed.")
      .def("draft", &draft, "caches"_a, "counts"_a, "taps"_a, "embedded"_a, "limits"_a,
           "The same and the trees that grow out of the logits. limits: of each text nodes at most, and the chance of a path "
           "below which it is left out -> of each text places, parents and log path probabilities.");

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
