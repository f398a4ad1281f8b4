// Bindings of residual.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "bindings.hpp"
#include "residual.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace foredraft;

void bind_residual(nb::module_& module) {
  using Stacks = std::vector<std::tuple<Matrix, std::vector<Matrix>, Matrix>>;
  nb::class_<Residual>(module, "Residual", "Heads that are residual blocks on one vector.")
      .def("__init__",
           [](Residual* self, const Stacks& given, Matrix head, std::shared_ptr<Pool> pool, const std::string& isa,
              const std::string& activations) {
             std::vector<Residual::Stack> stacks;
             for (const auto& [residual, blocks, out] : given) stacks.push_back({residual, blocks, out});
             new (self) Residual(std::move(stacks), std::move(head), std::move(pool), isa_or_best(isa),
                                 activations_named(activations));
           },
           "stacks"_a, "head"_a.none(), "pool"_a, "isa"_a, "activations"_a,
           "stacks: (residual or None, blocks, out) each. head: what all of them are multiplied with at last, or None.")
      .def(
          "logits",
          [](Residual& self, Floats inputs, size_t first, size_t last) {
            if (first >= last || last > self.stacks()) throw std::invalid_argument("there is no such head");
            for (size_t stack = first; stack < last; ++stack)
              if (inputs.shape(1) != self.inputs(stack)) throw std::invalid_argument("rows are not of the head's width");
            const size_t rows = inputs.shape(0), count = last - first;
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, rows * count) * self.tokens() * 4);
            if (rows) {
              const Away away;
              self.apply(first, last, inputs.data(), rows, out->as<float>());
            }
            return view(out, {rows, count, self.tokens()});
          },
          "inputs"_a, "first"_a, "last"_a,
          "What the heads first … last - 1 say of rows [rows, width] that each of them reads, [rows, heads, tokens].");
}
