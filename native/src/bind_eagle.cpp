// Bindings of eagle.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "bindings.hpp"
#include "eagle.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace foredraft;

void bind_eagle(nb::module_& module) {
  nb::class_<Join>(module, "Join", "Vectors of each row side by side, normed, and a matrix that makes one of them.")
      .def("__init__",
           [](Join* self, std::optional<Matrix> matrix, std::vector<Vector> norms, float epsilon,
              std::shared_ptr<Pool> pool, const std::string& isa, const std::string& activations) {
             new (self) Join(matrix.value_or(nullptr), std::move(norms), epsilon, std::move(pool), isa_or_best(isa),
                             activations_named(activations));
           },
           "matrix"_a.none(), "norms"_a, "epsilon"_a, "pool"_a, "isa"_a, "activations"_a,
           "norms: of each part, empty for one that is read as it is. Without a matrix the parts stay side by side.")
      .def(
          "rows",
          [](Join& self, const std::vector<Floats>& parts) {
            if (parts.empty() || parts.size() != self.parts()) throw std::invalid_argument("there are not as many parts as norms");
            std::vector<Join::Part> given;
            for (const Floats& part : parts) {
              if (part.shape(0) != parts[0].shape(0)) throw std::invalid_argument("the parts differ in rows");
              given.push_back({part.data(), part.shape(1)});
            }
            const size_t rows = parts[0].shape(0), width = self.width(given);
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, rows) * width * 4);
            if (rows) {
              const Away away;
              self.apply(given, rows, out->as<float>());
            }
            return view(out, {rows, width});
          },
          "parts"_a, "[rows, width] each -> [rows, all widths], or what the matrix makes of that.");
}
