#include "models.hpp"

#include <algorithm>

#include "formats.hpp"

namespace check {

using namespace foredraft;

namespace {

class Builder {
 public:
  Builder(int which, Pool& pool) : which_(which), pool_(pool), random_(uint64_t(which) + 50) {}

  std::shared_ptr<const Weights> build() {
    auto weights = std::make_shared<Weights>();
    Config& c = weights->config;
    c.width = which_ == 0 ? 96 : 256;
    c.heads = which_ == 2 ? 7 : 4;
    c.kv_heads = which_ == 2 ? 1 : 2;
    c.head_size = which_ == 0 ? 16 : which_ == 1 ? 64 : 32;
    c.hidden = which_ == 0 ? 160 : 256;
    c.vocabulary = 43;
    c.context = 1 << 14;
    c.embedding_scale = which_ == 1 ? 16.0f : 1.0f;
    c.score_scale = 0.04f;
    c.gelu = which_ == 1;
    c.halves = which_ != 0;
    c.rotated = which_ == 2 ? c.head_size / 2 : c.head_size;
    if (which_ == 2) c.heads = 7 * c.kv_heads;
    for (int index = 0; index < 2 + (which_ == 2); ++index) weights->layers.push_back(layer(c, index));
    weights->final_norm = norm(c.width);
    weights->embedding = matrix(c.vocabulary, c.width);
    weights->head = which_ == 2 ? weights->embedding : matrix(c.vocabulary, c.width);
    foredraft::check(*weights);
    gather(*weights, pool_);
    return weights;
  }

 private:
  // The next kind that is this model's and that fits.
  Kind next_kind(int inputs) {
    static const std::vector<Kind> of[MODELS] = {
        {Kind::Q4_0, Kind::Q8_0, Kind::F16, Kind::Q5_1},
        {Kind::Q4_K, Kind::Q6_K, Kind::Q5_K},
        {Kind::Q4_K, Kind::F32, Kind::Q4_1, Kind::Q6_K, Kind::BF16, Kind::Q5_0, Kind::Q8_0, Kind::Q5_K, Kind::Q5_1}};
    const std::vector<Kind>& kinds = of[which_];
    while (inputs % layout_of(kinds[turn_ % kinds.size()]).block) ++turn_;
    return kinds[turn_++ % kinds.size()];
  }

  Matrix matrix(int outputs, int inputs) {
    const Kind kind = next_kind(inputs);
    const std::vector<uint8_t> stored = random_stored(kind, size_t(outputs), size_t(inputs), random_);
    return pack(kind, size_t(outputs), size_t(inputs), stored.data(), stored.size(), pool_);
  }

  Vector norm(int size) {
    Vector out = random_.units(size_t(size), 0.02f);
    for (float& x : out) x += 0.05f;
    return out;
  }

  Layer layer(const Config& c, int index) {
    const int queries = c.heads * c.head_size, keys = c.kv_heads * c.head_size;
    Layer l;
    l.query = matrix(queries, c.width);
    l.key = matrix(keys, c.width);
    l.value = matrix(keys, c.width);
    l.out = matrix(c.width, queries);
    l.gate = matrix(c.hidden, c.width);
    l.up = matrix(c.hidden, c.width);
    l.down = matrix(c.width, c.hidden);
    l.attention_norm = norm(c.width);
    l.hidden_norm = norm(c.width);
    if (which_ == 1) {
      l.query_norm = random_.units(size_t(c.head_size), 2.0f);
      l.key_norm = random_.units(size_t(c.head_size), 2.0f);
      l.after_attention_norm = norm(c.width);
      l.after_hidden_norm = norm(c.width);
      l.window = index == 0 ? 20 : 0;
    }
    if (which_ == 2) {
      l.query_bias = random_.units(size_t(queries));
      l.key_bias = random_.units(size_t(keys), 40.0f);
      l.value_bias = random_.units(size_t(keys));
      l.out_bias = random_.units(size_t(c.width));
    }
    for (int pair = 0; pair < c.rotated / 2; ++pair) l.frequencies.push_back(std::ldexp(1.0f, -pair * 13 / (c.rotated / 2)));
    return l;
  }

  int which_;
  Pool& pool_;
  Random random_;
  size_t turn_ = 0;
};

// A chunk of the text as a tree: the right tokens follow one another, with wrong ones before and behind them.
struct Tree {
  std::vector<int> tokens, parents, right;
};

Tree plant(const std::vector<int>& text, size_t begin, size_t end, bool decoys, int vocabulary, Random& random) {
  Tree tree;
  int last = -1;
  auto add = [&](int token, int parent) {
    tree.tokens.push_back(token);
    tree.parents.push_back(parent);
    return int(tree.tokens.size()) - 1;
  };
  for (size_t at = begin; at < end; ++at) {
    if (decoys)
      for (int wrong = random.below(3); wrong > 0; --wrong)
        add(random.below(vocabulary), random.below(2) ? last : random.below(int(tree.tokens.size()) + 1) - 1);
    last = add(text[at], last);
    tree.right.push_back(last);
  }
  return tree;
}

}  // namespace

std::shared_ptr<const Weights> random_model(int which, Pool& pool) { return Builder(which, pool).build(); }

std::vector<int> random_text(int length, int vocabulary, uint64_t seed) {
  Random random(seed);
  std::vector<int> text(static_cast<size_t>(length));
  for (int& token : text) token = random.below(vocabulary);
  return text;
}

Trace walk(Engine& engine, const std::vector<int>& text, int chunk, bool decoys, uint64_t seed) {
  Random random(seed);
  Trace trace;
  Cache cache(engine.shape());
  const size_t vocabulary = size_t(engine.config().vocabulary), width = size_t(engine.config().width);
  std::vector<int> layers;
  for (int layer = 0; layer <= int(engine.layers().size()); ++layer) layers.push_back(layer);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.size(), begin + 1 + size_t(random.below(chunk)));
    const Tree tree = plant(text, begin, end, decoys, int(vocabulary), random);
    const Result result = engine.score({{&cache, tree.tokens, tree.parents, tree.right}}, layers);
    CHECK(result.rows == tree.tokens.size() && result.logit_rows == tree.right.size(), "rows", result.rows);
    for (size_t i = 0; i < tree.right.size(); ++i) {
      const float* logits = result.logits->as<float>() + i * vocabulary;
      trace.logits.emplace_back(logits, logits + vocabulary);
      std::vector<float> taps;
      for (size_t layer = 0; layer < layers.size(); ++layer) {
        const float* tap = result.taps->as<float>() + (layer * result.rows + size_t(tree.right[i])) * width;
        taps.insert(taps.end(), tap, tap + width);
      }
      trace.taps.push_back(taps);
    }
    trace.best.insert(trace.best.end(), result.best.begin(), result.best.end());
    cache.keep(tree.right);
    begin = end;
  }
  for (int position = 0; position < cache.length(); ++position) trace.held.push_back(cache.at(position));
  return trace;
}

}  // namespace check
