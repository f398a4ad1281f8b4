// Bindings of cache.hpp and engine.hpp: passes and what they leave behind.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>

#include "asks.hpp"
#include "bindings.hpp"
#include "engine.hpp"
#include "views.hpp"

namespace nb = nanobind;
using namespace foredraft;

namespace {

// A numpy array of what was found.
template <class T>
nb::ndarray<nb::numpy, T> array(std::vector<T> found, std::initializer_list<size_t> shape) {
  auto* kept = new std::vector<T>(std::move(found));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(kept->data(), shape, owner);
}

nb::tuple score(Engine& engine, const nb::list& asked, const std::vector<int>& taps) {
  std::vector<Ask> asks;
  std::vector<nb::tuple> kept;  // for the pass, with the caches in them
  std::vector<Floats> inputs;   // kept too
  for (nb::handle one : asked) {
    const nb::tuple& t = kept.emplace_back(nb::cast<nb::tuple>(one));
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
    const Taken taken(asks);
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
  nb::class_<Cache>(module, "Cache", "Keys and values of one sequence.")
      .def_prop_ro("length", &Cache::length)
      .def_prop_ro("nbytes", &Cache::nbytes)
      .def_prop_ro("passing", &Cache::passing)
      .def("keep", [](Cache& cache, nb::handle rows) { idle(cache).keep(whole(rows, "there is no such row to keep")); })
      .def("trim",
           [](Cache& cache, nb::handle length) {
             idle(cache).trim(whole(nb::make_tuple(length), "a cache cannot be trimmed to a length it has not")[0]);
           })
      .def("fork", [](Cache& cache) { return idle(cache).fork(); })
      .def("close", [](Cache& cache) { idle(cache).close(); })
      .def("at", [](Cache& cache, int position) {
        const std::vector<uint8_t> raw = idle(cache).at(position);
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
