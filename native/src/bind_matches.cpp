// Bindings of matches.hpp. Texts are int32 arrays, read where they lie.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "matches.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Found = nb::ndarray<const int32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Pair = std::pair<int64_t, int64_t>;

static_assert(sizeof(foredraft::Place) == 2 * sizeof(int32_t));

foredraft::Text text_of(const Ids& ids) { return {ids.data(), static_cast<int64_t>(ids.size())}; }

nb::ndarray<nb::numpy, int32_t, nb::ndim<2>> array_of(std::vector<foredraft::Place> places) {
  auto held = std::make_unique<std::vector<foredraft::Place>>(std::move(places));
  nb::capsule owner(held.get(), [](void* kept) noexcept { delete static_cast<std::vector<foredraft::Place>*>(kept); });
  auto* vector = held.release();
  return {reinterpret_cast<int32_t*>(vector->data()), {vector->size(), 2}, owner};
}

}  // namespace

void bind_matches(nb::module_& module) {
  module.def(
      "matches",
      [](Ids text, Ids single, Ids triple, Pair newest, Ids context, Pair span, int64_t reach) {
        return array_of(foredraft::matches(text_of(text), {text_of(single), newest.first},
                                           {text_of(triple), newest.second}, text_of(context), span.first,
                                           span.second, reach));
      },
      "text"_a, "single"_a, "triple"_a, "newest"_a, "context"_a, "span"_a, "reach"_a,
      "[places, 2]: where in text[span] the end of `context` was followed by something, and how much of it matched.");
  module.def(
      "bounds", [](Ids text, Ids suffixes, Ids context) {
        return foredraft::bounds(text_of(text), text_of(suffixes), text_of(context));
      },
      "text"_a, "suffixes"_a, "context"_a, "The run of sorted `suffixes` of `text` where `context` stands.");
  module.def(
      "continuations",
      [](const std::vector<std::tuple<Ids, bool, Found, double>>& sources, int64_t rows, int64_t depth, double least) {
        std::vector<foredraft::Source> given;
        for (const auto& [text, wraps, found, doubt] : sources) {
          const auto* places = reinterpret_cast<const foredraft::Place*>(found.data());
          given.push_back({text_of(text), wraps, places, found.shape(0), doubt});
        }
        auto tree = foredraft::continuations(given, rows, depth, least);
        return std::make_tuple(std::move(tree.tokens), std::move(tree.parents), std::move(tree.chances));
      },
      "sources"_a, "rows"_a, "depth"_a, "least"_a,
      "The likeliest tree of what followed: tokens, parents and the chance of each path.");
}
