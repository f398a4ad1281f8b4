// Bindings of packed.hpp and weights.hpp: what a model is made of.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>

#include "bindings.hpp"
#include "packed.hpp"
#include "pool.hpp"
#include "views.hpp"
#include "weights.hpp"

namespace nb = nanobind;
using namespace foredraft;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void bind_packed(nb::module_& module) {
  nb::class_<Pool>(module, "Pool", "Threads of the engine's own.")
      .def(nb::init<int>(), nb::arg("threads"))
      .def_prop_ro("threads", &Pool::threads);

  nb::class_<Packed>(module, "Packed", "A matrix as the kernels read it.")
      .def_static(
          "of",
          [](const std::string& kind, size_t outputs, size_t inputs, Bytes stored, Pool& pool) {
            const Kind named = kind_named(kind);
            try {
              const Away away;
              return pack(named, outputs, inputs, stored.data(), stored.size(), pool);
            } catch (const std::domain_error& error) {
              PyErr_SetString(PyExc_ArithmeticError, error.what());
              throw nb::python_error();
            }
          },
          nb::arg("kind"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("stored"), nb::arg("pool"),
          "Packs a tensor as a GGUF file stores it. ValueError for what does not fit, ArithmeticError for a scale that is "
          "not a finite number.")
      .def_prop_ro("nbytes", [](const Packed& p) { return p.nbytes(); })
      .def_prop_ro("kind", [](const Packed& p) { return std::string(layout_of(p.kind).name); })
      .def(
          "expand",
          [](const Packed& p) {
            auto out = std::make_shared<Buffer>(p.outputs * p.inputs * 4);
            for (size_t o = 0; o < p.outputs; ++o) p.row(o, out->as<float>() + o * p.inputs);
            return view(out, {p.outputs, p.inputs});
          },
          "The weights as f32, [outputs, inputs]: exactly what the file's format says they are.")
      .def(
          "rows",
          [](const Packed& p, const std::vector<int>& outputs) {
            auto out = std::make_shared<Buffer>(std::max<size_t>(1, outputs.size()) * p.inputs * 4);
            for (size_t i = 0; i < outputs.size(); ++i) {
              if (outputs[i] < 0 || size_t(outputs[i]) >= p.outputs) throw std::invalid_argument("there is no such row");
              p.row(size_t(outputs[i]), out->as<float>() + i * p.inputs);
            }
            return view(out, {outputs.size(), p.inputs});
          },
          "The same of some outputs.");
}

void bind_model(nb::module_& module) {
  module.def(
      "together",
      [](std::vector<Matrix> matrices, Pool& pool) {
        for (const Matrix& matrix : matrices)
          if (!matrix) throw std::invalid_argument("there is no matrix to lay beside the others");
        const Away away;
        together(matrices, pool);
        return matrices;
      },
      nb::arg("matrices"), nb::arg("pool"), "The same matrices side by side in memory.");
  nb::class_<Layer>(module, "Layer", "The tensors of one layer; parts a model does not have stay empty.")
      .def(nb::init<>())
#define PART(name) .def_rw(#name, &Layer::name)
      PART(query) PART(key) PART(value) PART(out) PART(gate) PART(up) PART(down) PART(attention_norm) PART(hidden_norm)
      PART(query_norm) PART(key_norm) PART(after_attention_norm) PART(after_hidden_norm) PART(query_bias) PART(key_bias)
      PART(value_bias) PART(out_bias) PART(frequencies) PART(window)
#undef PART
      .def(
          "pair",
          [](Layer& layer, Pool& pool) {
            const Away away;
            pair(layer, pool);
          },
          nb::arg("pool"), "Lays gate and up out as a pass reads them; for layers that come one by one.");

  nb::class_<Config>(module, "Config", "Sizes and choices of an architecture.")
      .def(nb::init<>())
#define PART(name) .def_rw(#name, &Config::name)
      PART(width) PART(heads) PART(kv_heads) PART(head_size) PART(hidden) PART(vocabulary) PART(context) PART(epsilon)
      PART(embedding_scale) PART(score_scale) PART(gelu) PART(halves) PART(rotated) PART(entering);
#undef PART

  nb::class_<Weights>(module, "Weights", "A model's packed tensors.")
      .def("__init__",
           [](Weights* self, const Config& config, std::vector<Layer> layers, Vector norm, Matrix embedding, Matrix head,
              Pool& pool, std::vector<int> says) {
             Weights weights{config, std::move(layers), std::move(norm), std::move(embedding), std::move(head), std::move(says)};
             check(weights);  // an object whose __init__ raises is never destroyed: what is refused must not be in it
             {
               const Away away;
               gather(weights, pool);
             }
             new (self) Weights(std::move(weights));
           },
           nb::arg("config"), nb::arg("layers"), nb::arg("norm"), nb::arg("embedding"), nb::arg("head"),
           nb::arg("pool"), nb::arg("says") = std::vector<int>(),
           "says: the token of each row of a head that leaves tokens out, ascending; their logits are -inf.")
      .def_ro("norm", &Weights::final_norm)
      .def_ro("head", &Weights::head)
      .def_prop_ro("nbytes", &Weights::nbytes);
}

}  // namespace

void bind_weights(nb::module_& module) {
  bind_packed(module);
  bind_model(module);
}
