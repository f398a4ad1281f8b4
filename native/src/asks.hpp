// What bindings of passes look at before the engine walks: it trusts what it is asked.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "engine.hpp"

// A cache that no pass is at work on: what another thread then does to it would tear its pages away.
inline foredraft::Cache& idle(foredraft::Cache& cache) {
  if (cache.passing()) throw std::invalid_argument("a pass of another thread is at work on this cache: wait until it has ended");
  return cache;
}

inline void check_ask(const foredraft::Engine& engine, const foredraft::Ask& ask) {
  const size_t rows = ask.parents.size();
  if (!ask.cache || ask.cache->closed() || !(ask.cache->shape() == engine.shape()))
    throw std::invalid_argument("a model scores its own open caches only");
  idle(*ask.cache);
  if (!rows) throw std::invalid_argument("a query has at least one row");
  if (!ask.inputs && rows != ask.tokens.size()) throw std::invalid_argument("tokens and parents of a query differ in number");
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
inline std::vector<int> whole(nanobind::handle numbers, const char* what) {
  try {
    return nanobind::cast<std::vector<int>>(numbers);
  } catch (const nanobind::cast_error&) {
    throw std::invalid_argument(what);
  }
}

// While it lives the caches of a pass are its own. It begins and ends with the interpreter's lock.
class Taken {
 public:
  explicit Taken(const std::vector<foredraft::Ask>& asks) : asks_(asks) {
    for (const foredraft::Ask& ask : asks_) ask.cache->set_passing(true);
  }
  ~Taken() {
    for (const foredraft::Ask& ask : asks_) ask.cache->set_passing(false);
  }
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;

 private:
  const std::vector<foredraft::Ask>& asks_;
};
