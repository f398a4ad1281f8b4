// Whole passes: a row is the same bits whatever else is in the pass, on every instruction set and number of threads.
#include <algorithm>
#include <cfenv>

#include "models.hpp"

namespace {

using namespace check;
using namespace foredraft;

struct Mode {
  Activations activations;
  bool half;
  const char* name;
};

void same_trace(const Trace& got, const Trace& want, const std::string& what) {
  for (size_t at = 0; at < want.held.size(); ++at) {
    CHECK(got.held[at] == want.held[at], what, "keys and values of position", at);
    CHECK(same(got.taps[at], want.taps[at]), what, "taps of position", at);
    CHECK(same(got.logits[at], want.logits[at]), what, "logits of position", at);
    CHECK(got.best[at] == want.best[at], what, "best token of position", at, got.best[at], "not", want.best[at]);
  }
  CHECK(got.held.size() == want.held.size(), what);
}

// The best token is the first of the largest logits, and logits say something.
void sane(const Trace& trace, const std::string& what) {
  bool differ = false;
  for (size_t at = 0; at < trace.logits.size(); ++at) {
    const std::vector<float>& logits = trace.logits[at];
    for (float x : logits) CHECK(std::isfinite(x), what, "position", at, x);
    CHECK(trace.best[at] == int(std::max_element(logits.begin(), logits.end()) - logits.begin()), what, "position", at);
    differ = differ || trace.best[at] != trace.best[0];
  }
  CHECK(differ, what, "says the same everywhere");
}

std::vector<int> layers_of(const Weights& weights) {
  std::vector<int> layers;
  for (int layer = 0; layer < int(weights.layers.size()); ++layer) layers.push_back(layer);
  return layers;
}

// Two texts in one pass each time, in steps that differ.
void batches(Engine& engine, const Trace& want, const std::vector<int>& text, const std::string& what) {
  Cache one(engine.shape()), other(engine.shape());
  const int length = int(text.size()), vocabulary = engine.config().vocabulary;
  for (int at = 0, turn = 0; at < length; ++turn) {
    const int mine = std::min(length - at, 1 + turn % 3), others = 1 + turn % 5;
    auto ask = [&](Cache& cache, int count, auto token) {
      Ask a{&cache, {}, {}, {}};
      for (int row = 0; row < count; ++row) {
        a.tokens.push_back(token(row));
        a.parents.push_back(row - 1);
        a.wanted.push_back(row);
      }
      return a;
    };
    Ask first = ask(other, others, [&](int row) { return (7 * turn + row) % vocabulary; });
    first.logits = turn % 2 == 0;
    const Ask second = ask(one, mine, [&](int row) { return text[size_t(at + row)]; });
    const Result result = engine.score({first, second}, {});
    const float* logits = result.logits->as<float>() + (first.logits ? others : 0) * vocabulary;
    for (int row = 0; row < mine; ++row) {
      CHECK(same(logits + row * vocabulary, want.logits[size_t(at + row)].data(), size_t(vocabulary)), what, "position", at + row);
      CHECK(result.best[size_t(others + row)] == want.best[size_t(at + row)], what, "position", at + row);
    }
    one.keep(second.wanted);
    other.keep(first.wanted);
    at += mine;
  }
}

// A text of which some is kept, and a tree that follows.
struct Branching {
  Cache cache;
  std::vector<int> tokens, parents;

  Branching(Engine& engine, int length, int rows, Random& random) : cache(engine.shape()) {
    const int vocabulary = engine.config().vocabulary;
    Ask ask{&cache, random_text(length, vocabulary, uint64_t(rows)), {}, {}};
    for (int row = 0; row < length; ++row) ask.parents.push_back(row - 1);
    std::vector<int> kept = ask.parents;
    for (int& row : kept) ++row;
    engine.score({ask}, {});
    cache.keep(kept);
    for (int row = 0; row < rows; ++row) {
      tokens.push_back(random.below(vocabulary));
      parents.push_back(random.below(3) ? row - 1 : random.below(row + 1) - 1);
    }
  }

  Ask whole() {
    Ask ask{&cache, tokens, parents, {}};
    for (size_t row = 0; row < tokens.size(); ++row) ask.wanted.push_back(int(row));
    return ask;
  }

  // The logits of a row from its own path alone.
  std::vector<float> alone(Engine& engine, int row) {
    cache.keep({});
    Cache copy = cache.fork();
    Ask ask{&copy, {}, {}, {}};
    for (; row >= 0; row = parents[size_t(row)]) ask.tokens.insert(ask.tokens.begin(), tokens[size_t(row)]);
    for (size_t at = 0; at < ask.tokens.size(); ++at) ask.parents.push_back(int(at) - 1);
    ask.wanted = {int(ask.tokens.size()) - 1};
    const float* logits = engine.score({ask}, {}).logits->as<float>();
    return {logits, logits + engine.config().vocabulary};
  }
};

// Every row of two trees in one pass, on either side of the end of a page, is what its path alone gives.
void trees(int which, const Mode& mode) {
  auto pool = std::make_shared<Pool>(1);
  const auto weights = random_model(which, *pool);
  const size_t vocabulary = size_t(weights->config.vocabulary);
  for (Isa isa : usable_isas())
    for (int threads : {1, 2, 3}) {
      Engine engine(weights, layers_of(*weights), std::make_shared<Pool>(threads), isa, mode.activations, mode.half);
      Random random(uint64_t(which) + 1);
      Branching first(engine, 60, 17, random), second(engine, 79, 9, random);
      const Result result = engine.score({first.whole(), second.whole()}, {});
      const float* found = result.logits->as<float>();
      const std::vector<float> logits(found, found + 26 * vocabulary);
      for (int row = 0; row < 26; ++row) {
        const std::vector<float> want = row < 17 ? first.alone(engine, row) : second.alone(engine, row - 17);
        CHECK(same(logits.data() + size_t(row) * vocabulary, want.data(), vocabulary), "model", which, mode.name,
              name_of(isa), "threads", threads, "row", row);
      }
    }
}

void check_model(int which, const Mode& mode, int length) {
  auto alone = std::make_shared<Pool>(1);
  const auto weights = random_model(which, *alone);
  const std::vector<int> text = random_text(length, weights->config.vocabulary, uint64_t(which));
  Engine plain(weights, layers_of(*weights), alone, Isa::portable, mode.activations, mode.half);
  const Trace want = walk(plain, text, 1, false, 1);
  sane(want, check::text("model", which, mode.name));
  for (Isa isa : usable_isas())
    for (int threads : {1, 3}) {
      Engine engine(weights, layers_of(*weights), std::make_shared<Pool>(threads), isa, mode.activations, mode.half);
      const std::string what = check::text("model", which, mode.name, name_of(isa), "threads", threads);
      same_trace(walk(engine, text, 2 * length, false, 2), want, what + "all at once");
      same_trace(walk(engine, text, 20, false, 3), want, what + "chunks");
      same_trace(walk(engine, text, 9, true, 4), want, what + "trees");
      batches(engine, want, text, what + "batch");
    }
}

// Whatever the program around it rounds to: also what is computed once, before the first pass.
void the_callers_rounding_is_nothing_to_it() {
  auto pool = std::make_shared<Pool>(2);
  const auto weights = random_model(1, *pool);
  const std::vector<int> text = random_text(40, weights->config.vocabulary, 8);
  auto trace = [&](int rounding) {
    Engine engine(weights, layers_of(*weights), pool, usable_isas().back(), Activations::int8, true);
    std::fesetround(rounding);
    const Trace found = walk(engine, text, 7, false, 9);
    std::fesetround(FE_TONEAREST);
    return found;
  };
  const Trace want = trace(FE_TONEAREST);
  for (int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO})
    same_trace(trace(rounding), want, check::text("the caller rounds", rounding));
}

// Ends of a model by themselves are those of a pass.
void ends_are_the_same() {
  auto pool = std::make_shared<Pool>(2);
  const auto weights = random_model(1, *pool);
  Engine engine(weights, layers_of(*weights), pool, usable_isas().back(), Activations::int8, true);
  const size_t width = size_t(engine.config().width), vocabulary = size_t(engine.config().vocabulary);
  const std::vector<int> text = random_text(20, int(vocabulary), 5);
  const Trace trace = walk(engine, text, 20, false, 6);
  std::vector<float> embedded(text.size() * width), hidden, logits(text.size() * vocabulary);
  engine.embed(text, embedded.data());
  for (size_t row = 0; row < text.size(); ++row) {
    CHECK(same(embedded.data() + row * width, trace.taps[row].data(), width), "embedding of row", row);
    hidden.insert(hidden.end(), trace.taps[row].end() - long(width), trace.taps[row].end());
  }
  engine.head(hidden.data(), text.size(), logits.data());
  for (size_t row = 0; row < text.size(); ++row)
    CHECK(same(logits.data() + row * vocabulary, trace.logits[row].data(), vocabulary), "head of row", row);
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;
  const Mode modes[] = {{Activations::int8, true, "int8"}, {Activations::int16, true, "int16"}, {Activations::f32, false, "f32"}};
  for (int which = 0; which < MODELS; ++which)
    for (const Mode& mode : modes) {
      check_model(which, mode, quick ? 24 : 75);
      if (!quick) trees(which, mode);
    }
  ends_are_the_same();
  the_callers_rounding_is_nothing_to_it();
  std::printf("engine: %d models, %d instruction sets\n", MODELS, int(usable_isas().size()));
}
