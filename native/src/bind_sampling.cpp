// Bindings of sampling.hpp. Arrays are read where they lie when they are C-contiguous float or double, else copied.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "sampling.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
using Values = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <class T>
const T* filled(const Values<T>& values) {
  if (values.size() == 0) throw nb::value_error("there are no logits: give at least one");
  return values.data();
}

template <class T>
Array<T> array_of(std::unique_ptr<T[]> data, size_t size) {
  nb::capsule owner(data.get(), [](void* held) noexcept { delete[] static_cast<T*>(held); });
  return Array<T>(data.release(), {size}, owner);
}

Array<int64_t> array_of(std::vector<int64_t> ids) {
  auto held = std::make_unique<std::vector<int64_t>>(std::move(ids));
  nb::capsule owner(held.get(), [](void* kept) noexcept { delete static_cast<std::vector<int64_t>*>(kept); });
  auto* vector = held.release();
  return Array<int64_t>(vector->data(), {vector->size()}, owner);
}

template <class T>
nb::object warp(Values<T> logits, double temperature, int64_t top_k, double top_p, double min_p) {
  const T* x = filled(logits);
  if (!(temperature > 0 && std::isfinite(temperature)))
    throw nb::value_error("temperature must be finite and above 0");
  foredraft::Probabilities law;
  {
    const Away away;
    law = foredraft::warp(x, logits.size(), {temperature, top_k, top_p, min_p});
  }
  nb::object ids = law.all ? nb::none() : nb::cast(array_of(std::move(law.ids)));
  return nb::make_tuple(ids, array_of(std::move(law.probs), law.size));
}

template <class T>
void bind_logits(nb::module_& module) {
  module.def(
      "argmax",
      [](Values<T> logits) {
        const T* x = filled(logits);
        const Away away;
        return foredraft::argmax(x, logits.size());
      },
      "logits"_a, "The lowest id among the largest of logits [vocab]; the first that is no number, if any.");
  module.def(
      "top",
      [](Values<T> logits, size_t count) {
        std::vector<int64_t> ids;
        {
          const Away away;
          ids = foredraft::top(logits.data(), logits.size(), count);
        }
        return array_of(std::move(ids));
      },
      "logits"_a, "count"_a, "The ids of the `count` largest of logits [vocab], best first, lower id among equals.");
  module.def(
      "log_softmax",
      [](Values<T> logits) {
        const T* x = filled(logits);
        auto out = std::make_unique_for_overwrite<double[]>(logits.size());
        {
          const Away away;
          foredraft::log_softmax(x, logits.size(), out.get());
        }
        return array_of(std::move(out), logits.size());
      },
      "logits"_a, "log of the softmax of logits [vocab], in float64.");
  module.def("warp", &warp<T>, "logits"_a, "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a,
             "(ids or None for all, probabilities) of the law that logits [vocab] have under these parameters.");
}

}  // namespace

void bind_sampling(nb::module_& module) {
  bind_logits<float>(module);
  bind_logits<double>(module);
  module.def(
      "uniform",
      [](uint64_t seed, uint64_t choice, uint64_t position, uint64_t purpose, uint64_t origin) {
        return foredraft::uniform({seed, choice, position, purpose, origin});
      },
      "seed"_a, "choice"_a, "position"_a, "purpose"_a, "origin"_a, "The uniform of token 0 with this key.");
  module.def(
      "rank",
      [](std::optional<Values<int64_t>> ids, Values<double> probs, size_t count, uint64_t seed, uint64_t choice,
         uint64_t position, uint64_t purpose, uint64_t origin) {
        if (ids && ids->size() != probs.size()) throw nb::value_error("ids and probs differ in length: give as many");
        const int64_t* tokens = ids ? ids->data() : nullptr;
        const Away away;
        return foredraft::rank(tokens, probs.data(), probs.size(), count, {seed, choice, position, purpose, origin});
      },
      "ids"_a.none(), "probs"_a, "count"_a, "seed"_a, "choice"_a, "position"_a, "purpose"_a, "origin"_a,
      "The `count` tokens first by log p + the Gumbel noise of this key, best first.");
}
