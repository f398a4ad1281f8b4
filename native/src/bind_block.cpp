// Bindings of linear.hpp and block.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include "bindings.hpp"
#include "block.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace foredraft;

namespace {

// The binding's own pool: a matrix multiplies nothing without threads.
struct Multiplier {
  Linear linear;
  std::shared_ptr<Pool> pool;
};

}  // namespace

void bind_block(nb::module_& module) {
  nb::class_<Multiplier>(module, "Linear", "A matrix that rows are multiplied with.")
      .def("__init__",
           [](Multiplier* self, Matrix matrix, std::shared_ptr<Pool> pool, const std::string& isa,
              const std::string& activations) {
             new (self) Multiplier{Linear(std::move(matrix), isa_or_best(isa), activations_named(activations)), std::move(pool)};
           },
           "matrix"_a, "pool"_a, "isa"_a, "activations"_a)
      .def(
          "multiply",
          [](Multiplier& self, Floats rows) {
            const Packed& matrix = self.linear.matrix();
            if (rows.shape(1) != matrix.inputs) throw std::invalid_argument("rows are not as long as the matrix is wide");
            const size_t count = rows.shape(0);
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, count) * matrix.outputs * 4);
            if (count) {
              const Away away;
              self.linear.apply(*self.pool, rows.data(), count, out->as<float>());
            }
            return view(out, {count, matrix.outputs});
          },
          "rows"_a, "[rows, inputs] -> [rows, outputs]. ValueError for rows of another length.");

  nb::class_<BlockTree>(module, "BlockTree", "What a token makes likelier after it, and the draft tree of a block.")
      .def("__init__",
           [](BlockTree* self, Matrix previous, Matrix bias, std::shared_ptr<Pool> pool, const std::string& isa,
              const std::string& activations) {
             new (self) BlockTree(std::move(previous), std::move(bias), std::move(pool), isa_or_best(isa),
                                  activations_named(activations));
           },
           "previous"_a, "bias"_a, "pool"_a, "isa"_a, "activations"_a,
           "Two tables [tokens, rank]; after token t, u is likelier by bias[u] . previous[t].")
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
          "base: [levels, tokens] logits before any bias -> places, parents and log path probabilities.");
}
