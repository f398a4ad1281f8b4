#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>

#include "bindings.hpp"
#include "engine.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace foredraft;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A numpy array of what was found.
template <class T>
nb::ndarray<nb::numpy, T> array(std::vector<T> found, std::initializer_list<size_t> shape) {
  auto* kept = new std::vector<T>(std::move(found));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(kept->data(), shape, owner);
}

void check_ask(const Engine& engine, const Ask& ask) {
  const size_t rows = ask.parents.size();
  if (!ask.cache || ask.cache->closed() || !(ask.cache->shape() == engine.shape()))
    throw std::invalid_argument("a model scores its own open caches only");
  if (!rows || (!ask.inputs && rows != ask.tokens.size()))
    throw std::invalid_argument("tokens and parents of a query differ in number");
  std::vector<int> depths(rows);
  for (size_t row = 0; row < rows; ++row) {
    const int parent = ask.parents[row], token = ask.inputs ? 0 : ask.tokens[row];
    if (parent < -1 || parent >= int(row)) throw std::invalid_argument("a row's parent does not come before it");
    if (token < 0 || token >= engine.config().vocabulary) throw std::invalid_argument("a token lies outside the vocabulary");
    depths[row] = parent < 0 ? 0 : depths[size_t(parent)] + 1;
    if (ask.cache->length() + depths[row] >= engine.config().context)
      throw std::invalid_argument("position " + std::to_string(ask.cache->length() + depths[row]) +
                                  " lies outside the context of " + std::to_string(engine.config().context));
  }
  for (int row : ask.wanted)
    if (row < 0 || size_t(row) >= rows) throw std::invalid_argument("there is no such row whose logits could be had");
  if (ask.top < 0) throw std::invalid_argument("fewer than none of the best tokens cannot be had");
}

// A sequence of whole numbers; std::invalid_argument, saying `what`, where one needs more than 32 bits.
std::vector<int> whole(nb::handle numbers, const char* what) {
  try {
    return nb::cast<std::vector<int>>(numbers);
  } catch (const nb::cast_error&) {
    throw std::invalid_argument(what);
  }
}

nb::tuple score(Engine& engine, const nb::list& asked, const std::vector<int>& taps) {
  std::vector<Ask> asks;
  std::vector<Floats> inputs;  // kept for the pass
  for (nb::handle one : asked) {
    const nb::tuple t = nb::cast<nb::tuple>(one);
    constexpr const char* wrong = "tokens, parents and rows are whole numbers of 32 bits";
    asks.push_back({nb::cast<Cache*>(t[0]), whole(t[1], wrong), whole(t[2], wrong), whole(t[3], wrong), nb::cast<bool>(t[4]), nb::cast<int>(t[5])});
    if (nb::len(t) > 6) {
      inputs.push_back(nb::cast<Floats>(t[6]));
      asks.back().inputs = inputs.back().data();
      if (inputs.back().shape(0) != asks.back().parents.size() || inputs.back().shape(1) != size_t(engine.config().width))
        throw std::invalid_argument("there are not as many vectors of the model's width as rows");
    }
    if (const size_t entering = size_t(engine.config().entering)) {
      if (nb::len(t) < 8) throw std::invalid_argument("the attention of this model reads vectors of its own");
      inputs.push_back(nb::cast<Floats>(t[7]));
      asks.back().entering = inputs.back().data();
      if (inputs.back().shape(0) != asks.back().parents.size() || inputs.back().shape(1) != entering)
        throw std::invalid_argument("there are not as many vectors for attention as rows");
    }
    check_ask(engine, asks.back());
    for (size_t i = 0; i + 1 < asks.size(); ++i)
      if (asks[i].cache == asks.back().cache) throw std::invalid_argument("one pass scores a cache once: two queries share one");
  }
  for (int tap : taps)
    if (tap < 0 || size_t(tap) > engine.layers().size()) throw std::invalid_argument("there is no such layer to tap");
  Result result;
  {
    const Away away;
    result = engine.score(asks, taps);
  }
  const size_t wanted = result.best.size(), most = result.most;
  return nb::make_tuple(result.best, array(std::move(result.top), {wanted, most}),
                        array(std::move(result.top_logits), {wanted, most}),
                        view(result.logits, {result.logit_rows, size_t(engine.config().vocabulary)}),
                        view(result.taps, {taps.size(), result.rows, size_t(engine.config().width)}));
}

}  // namespace

void bind_engine(nb::module_& module) {
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
      .def_prop_ro("nbytes", [](const Packed& p) { return p.data.size(); })
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

  nb::class_<Layer>(module, "Layer", "The tensors of one layer; parts a model does not have stay empty.")
      .def(nb::init<>())
#define PART(name) .def_rw(#name, &Layer::name)
      PART(query) PART(key) PART(value) PART(out) PART(gate) PART(up) PART(down) PART(attention_norm) PART(hidden_norm)
      PART(query_norm) PART(key_norm) PART(after_attention_norm) PART(after_hidden_norm) PART(query_bias) PART(key_bias)
      PART(value_bias) PART(out_bias) PART(frequencies) PART(window);
#undef PART

  nb::class_<Config>(module, "Config", "Sizes and choices of an architecture.")
      .def(nb::init<>())
#define PART(name) .def_rw(#name, &Config::name)
      PART(width) PART(heads) PART(kv_heads) PART(head_size) PART(hidden) PART(vocabulary) PART(context) PART(epsilon)
      PART(embedding_scale) PART(score_scale) PART(gelu) PART(halves) PART(rotated) PART(entering);
#undef PART

  nb::class_<Weights>(module, "Weights", "A model's packed tensors.")
      .def("__init__",
           [](Weights* self, const Config& config, std::vector<Layer> layers, Vector norm, Matrix embedding, Matrix head,
              std::vector<int> says) {
             Weights weights{config, std::move(layers), std::move(norm), std::move(embedding), std::move(head), std::move(says)};
             check(weights);  // an object whose __init__ raises is never destroyed: what is refused must not be in it
             gather(weights);
             new (self) Weights(std::move(weights));
           },
           nb::arg("config"), nb::arg("layers"), nb::arg("norm"), nb::arg("embedding"), nb::arg("head"),
           nb::arg("says") = std::vector<int>(),
           "says: the token of each row of a head that leaves tokens out, ascending; their logits are -inf.")
      .def_ro("norm", &Weights::final_norm)
      .def_ro("head", &Weights::head)
      .def_prop_ro("nbytes", &Weights::nbytes);

  nb::class_<Cache>(module, "Cache", "Keys and values of one sequence.")
      .def_prop_ro("length", &Cache::length)
      .def_prop_ro("nbytes", &Cache::nbytes)
      .def("keep", [](Cache& cache, nb::handle rows) { cache.keep(whole(rows, "there is no such row to keep")); })
      .def("trim",
           [](Cache& cache, nb::handle length) {
             cache.trim(whole(nb::make_tuple(length), "a cache cannot be trimmed to a length it has not")[0]);
           })
      .def("fork", &Cache::fork)
      .def("close", &Cache::close)
      .def("at", [](const Cache& cache, int position) {
        const std::vector<uint8_t> raw = cache.at(position);
        return nb::bytes(raw.data(), raw.size());
      });

  nb::class_<Engine>(module, "Engine", "The forward pass.")
      .def("__init__",
           [](Engine* self, std::shared_ptr<Weights> weights, std::vector<int> layers, std::shared_ptr<Pool> pool,
              const std::string& isa, const std::string& activations, bool half_cache) {
             new (self) Engine(weights, std::move(layers), pool, isa_or_best(isa), activations_named(activations), half_cache);
           })
      .def_prop_ro("isa", [](const Engine& e) { return std::string(name_of(e.isa())); })
      .def_prop_ro("pool", [](const Engine& e) { return e.pool(); })
      .def("open", [](const Engine& e) { return Cache(e.shape()); })
      .def("view",
           [](const Engine& e, const std::vector<int>& places) {
             std::vector<int> layers;
             for (int place : places) layers.push_back(e.layers().at(size_t(place)));
             const bool half = e.shape().bytes == 2;
             return std::make_unique<Engine>(e.weights(), layers, e.pool(), e.isa(), e.activations(), half);
           },
           "The same weights and threads with some of the layers, caches of its own.")
      .def("score", &score, nb::arg("asks"), nb::arg("taps"),
           "One pass. asks: (cache, tokens, parents, rows wanted, their logits too, how many of their best) each, and instead of "
           "tokens a seventh, [rows, width], that enters the first layer, and an eighth that its attention reads. -> (best "
           "token of each wanted row, best tokens and their logits, as many as any ask wants; logits, taps: views that "
           "the next pass writes over). ValueError for what breaks the contract.")
      .def("embed",
           [](const Engine& e, nb::handle ids) {
             const std::vector<int> tokens = whole(ids, "a token lies outside the vocabulary");
             for (int token : tokens)
               if (token < 0 || token >= e.config().vocabulary) throw std::invalid_argument("a token lies outside the vocabulary");
             auto out = std::make_shared<Buffer>(std::max<size_t>(1, tokens.size()) * size_t(e.config().width) * 4);
             e.embed(tokens, out->as<float>());
             return view(out, {tokens.size(), size_t(e.config().width)});
           })
      .def("head", [](Engine& e, Floats hidden) {
        if (hidden.shape(1) != size_t(e.config().width)) throw std::invalid_argument("hidden states are not as wide as the model");
        const size_t rows = hidden.shape(0);
        auto out = std::make_shared<Buffer>(std::max<size_t>(1, rows) * size_t(e.config().vocabulary) * 4);
        if (rows) {
          const Away away;
          e.head(hidden.data(), rows, out->as<float>());
        }
        return view(out, {rows, size_t(e.config().vocabulary)});
      });
}
