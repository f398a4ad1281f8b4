#include "engine.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "flags.hpp"

namespace foredraft {

const Kernels& kernels_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2: return avx2_kernels();
    case Isa::avxvnni: return avxvnni_kernels();
    case Isa::avx512: return avx512_kernels();
    case Isa::amx: return amx_kernels();
#endif
    default: return portable_kernels();
  }
}

namespace {

// The types of weights that a pass multiplies with, bit by bit.
unsigned kinds_of(const Weights& weights) {
  unsigned kinds = bit_of(weights.head->kind);
  for (const Layer& l : weights.layers)
    for (const Matrix& m : {l.query, l.key, l.value, l.out, l.gate, l.up, l.down}) kinds |= bit_of(m->kind);
  return kinds;
}

// Views of earlier results keep what they see. True for a new buffer.
bool reserve_shared(std::shared_ptr<Buffer>& buffer, size_t bytes) {
  if (buffer && buffer->size() >= bytes) return false;
  buffer = std::make_shared<Buffer>(bytes + bytes / 4);
  return true;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Weights> weights, std::vector<int> layers, std::shared_ptr<Pool> pool, Isa isa,
               Activations activations, bool half_cache)
    : weights_(std::move(weights)), layers_(std::move(layers)), pool_(std::move(pool)), isa_(isa),
      products_{kernels_of(isa), activations}, kernels_(products_.kernels) {
  const Config& c = config();
  shape_ = {int(layers_.size()), c.kv_heads, c.head_size, half_cache ? 2 : 4};
  const unsigned kinds = kinds_of(*weights_);
  const bool once = past_caches(weights_->nbytes());
  for (Tiles* tiles : {&width_tiles_, &entering_tiles_, &mixed_tiles_, &hidden_tiles_, &head_tiles_})
    tiles->set_once(once);
  kinds_ = products_.codes(kinds);
  values_ = products_.values(kinds);
  for (int layer : layers_) {
    if (layer < 0 || size_t(layer) >= weights_->layers.size()) throw std::invalid_argument("there is no such layer");
    const Vector& wanted = weights_->layers[size_t(layer)].frequencies;
    size_t at = 0;
    while (at < rotations_.size() && rotations_[at].frequencies != wanted) ++at;
    if (at == rotations_.size()) rotations_.push_back({wanted, {}, 0});
    rotation_of_.push_back(at);
  }
  best_.resize(size_t(pool_->threads()));
  scratch_.resize(size_t(pool_->threads()));
}

// --- the plan of a pass ---

void Engine::plan(const std::vector<Ask>& asks) {
  rows_.clear();
  jobs_.clear();
  wanted_.clear();
  logits_at_.clear();
  logit_rows_ = 0;
  most_ = 1;
  const int group = config().heads / config().kv_heads;
  int most_together = 1;
  int deepest = 0, furthest = 0;
  for (size_t a = 0; a < asks.size(); ++a) {
    const Ask& ask = asks[a];
    ask.cache->begin(ask.parents);
    most_ = std::max(most_, size_t(std::min(ask.top, config().vocabulary)));
    const size_t first = rows_.size();
    for (size_t r = 0; r < ask.parents.size(); ++r) {
      const int depth = ask.cache->depths()[r];
      rows_.push_back({int(a), int(r), ask.inputs ? 0 : ask.tokens[r], ask.cache->length() + depth});
      deepest = std::max(deepest, depth);
      furthest = std::max(furthest, rows_.back().position);
    }
    const int total = int(ask.parents.size());
    const int cuts = row_jobs(total, config().kv_heads * int(asks.size()), group, pool_->threads());
    for (int head = 0; head < config().kv_heads; ++head)
      for (int cut = 0; cut < cuts; ++cut) {
        const int row = int(int64_t(total) * cut / cuts), count = int(int64_t(total) * (cut + 1) / cuts) - row;
        jobs_.push_back({int(a), head, row, count, first + size_t(row)});
        most_together = std::max(most_together, count);
      }
    for (int row : ask.wanted) {
      wanted_.push_back(int(first) + row);
      logits_at_.push_back(ask.logits ? int(logit_rows_++) : -1);
    }
  }
  for (Rotation& rotation : rotations_) rotation.reach(furthest);
  for (AttentionScratch& scratch : scratch_) scratch.reserve(shape_, most_together * group, deepest, furthest);
}

void Engine::reserve(size_t taps) {
  const Config& c = config();
  const size_t rows = rows_.size(), width = size_t(c.width), size = size_t(c.head_size);
  const size_t queries = size_t(c.heads) * size, keys = size_t(c.kv_heads) * size;
  stream_.reserve(rows * width * 4);
  sublayer_.reserve(rows * width * 4);
  projected_.reserve(rows * (queries + 2 * keys) * 4);
  mixed_.reserve(rows * queries * 4);
  // Tokens that the head leaves out are impossible in every row; no pass writes over them.
  if (reserve_shared(logits_, logit_rows_ * size_t(c.vocabulary) * 4) && !weights_->says.empty())
    std::fill_n(logits_->as<float>(), logits_->size() / 4, -std::numeric_limits<float>::infinity());
  reserve_shared(taps_, taps * rows * width * 4);
  rows_scratch_.reserve(size_t(pool_->threads()) * std::max(width, queries) * 4);
  const int planes = products_.planes();
  width_tiles_.lay(rows, c.width, kinds_, values_, planes);
  if (c.entering) entering_tiles_.lay(rows, c.entering, kinds_, values_, planes);
  mixed_tiles_.lay(rows, int64_t(queries), kinds_, values_, planes);
  hidden_tiles_.lay(rows, c.hidden, kinds_, values_, planes);
  head_tiles_.lay(wanted_.size(), c.width, kinds_, values_, planes);
  for (auto& best : best_) best.assign(wanted_.size() * most_, {0.0f, -1});
}

Result Engine::score(const std::vector<Ask>& asks, const std::vector<int>& taps) {
  std::lock_guard<std::mutex> lock(passing_);
  try {
    plan(asks);
    reserve(taps.size());
    pool_->run([&](Worker& worker) {
      kernels_.begin();
      pass(worker, asks, taps);
      kernels_.end();
    });
  } catch (...) {
    for (const Ask& ask : asks) ask.cache->forget();  // rows that were never computed must not be kept
    throw;
  }
  Result result;
  collect(result);
  result.rows = rows_.size();
  result.logit_rows = logit_rows_;
  result.logits = logits_;
  result.taps = taps_;
  return result;
}

// The best tokens of each row, of what the threads found in their parts of the head.
void Engine::collect(Result& result) const {
  const std::vector<int>& says = weights_->says;
  std::vector<Best> all;
  result.most = most_;
  for (size_t w = 0; w < wanted_.size(); ++w) {
    all.clear();
    for (const auto& best : best_)
      for (size_t at = w * most_; at < (w + 1) * most_ && best[at].token >= 0; ++at) all.push_back(best[at]);
    std::sort(all.begin(), all.end(), [](const Best& a, const Best& b) { return a.before(b); });
    all.resize(most_, {-std::numeric_limits<float>::infinity(), -1});
    for (const Best& one : all) {
      result.top.push_back(one.token < 0 || says.empty() ? one.token : says[size_t(one.token)]);
      result.top_logits.push_back(one.value);
    }
    result.best.push_back(int(result.top[w * most_]));
  }
}

// --- the pass, which all threads walk together ---

void Engine::pass(Worker& worker, const std::vector<Ask>& asks, const std::vector<int>& taps) {
  const size_t width = size_t(config().width);
  worker.each(rows_.size(), 1, [&](size_t row) {
    float* x = stream_.as<float>() + row * width;
    if (const float* inputs = asks[size_t(rows_[row].ask)].inputs) {
      std::memcpy(x, inputs + size_t(rows_[row].row) * width, width * 4);
      return;
    }
    weights_->embedding->row(size_t(rows_[row].token), x);
    if (config().embedding_scale != 1.0f) kernels_.multiply(x, config().embedding_scale, int64_t(width));
  });
  for (size_t index = 0; index < layers_.size(); ++index) run_layer(worker, index, asks, taps);
  if (!taps.empty())
    worker.each(rows_.size(), 1, [&](size_t row) { keep_taps(taps, int(layers_.size()), row); });
  if (!wanted_.empty()) vocabulary(worker, stream_.as<float>(), wanted_);
}

void Engine::keep_taps(const std::vector<int>& taps, int after, size_t row) {
  const size_t width = size_t(config().width);
  for (size_t t = 0; t < taps.size(); ++t)
    if (taps[t] == after)
      std::memcpy(taps_->as<float>() + (t * rows_.size() + row) * width, stream_.as<float>() + row * width, width * 4);
}

void Engine::run_layer(Worker& worker, size_t index, const std::vector<Ask>& asks, const std::vector<int>& taps) {
  const Layer& layer = weights_->layers[size_t(layers_[index])];
  const Config& c = config();
  const size_t width = size_t(c.width), size = size_t(c.head_size), rows = rows_.size();
  const size_t queries = size_t(c.heads) * size, keys = size_t(c.kv_heads) * size, stride = queries + 2 * keys;
  float* x = stream_.as<float>();
  float* scratch = rows_scratch_.as<float>() + size_t(worker.index) * std::max(width, queries);
  auto normed = [&](const Vector& norm) {
    return [&, scratch](size_t row) {
      kernels_.norm(x + row * width, norm.data(), c.epsilon, c.width, scratch);
      return const_cast<const float*>(scratch);
    };
  };

  const bool apart = c.entering && layers_[index] == 0;
  const Tiles& entering = apart ? entering_tiles_ : width_tiles_;
  products_.quantise(worker, rows, apart ? c.entering : c.width, entering, [&, read = normed(layer.attention_norm)](size_t row) {
    if (!taps.empty()) keep_taps(taps, int(index), row);
    if (apart) return asks[size_t(rows_[row].ask)].entering + size_t(rows_[row].row) * size_t(c.entering);
    return read(row);
  });
  const size_t places[3] = {0, queries, queries + keys}, counts[3] = {queries, keys, keys};
  const Vector* biases[3] = {&layer.query_bias, &layer.key_bias, &layer.value_bias};
  products_.multiply(worker, {layer.query.get(), layer.key.get(), layer.value.get()}, entering,
           [&](size_t which, size_t output, size_t row, float* out) {
             if (output >= counts[which]) return;
             if (!biases[which]->empty()) kernels_.add(out, biases[which]->data() + output, PANEL);
             std::memcpy(projected_.as<float>() + row * stride + places[which] + output, out, PANEL * 4);
           });
  worker.each(rows, 1, [&](size_t row) { rotate(layer, index, row, asks, scratch); });
  const bool last = index + 1 == layers_.size();
  if (last && wanted_.empty() && std::find(taps.begin(), taps.end(), int(layers_.size())) == taps.end())
    return;  // of rows that are only to be seen by later ones, keys and values are all that anybody reads
  worker.each(jobs_.size(), 1, [&](size_t j) { attend_job(worker, layer, index, jobs_[j], asks); });
  auto into = [&](const Vector& after, const Vector& bias) {
    float* to = after.empty() ? x : sublayer_.as<float>();
    return [&, to](size_t, size_t output, size_t row, float* out) {
      if (!bias.empty()) kernels_.add(out, bias.data() + output, PANEL);
      if (to == x) kernels_.add(to + row * width + output, out, PANEL);
      else std::memcpy(to + row * width + output, out, PANEL * 4);
    };
  };
  static const Vector none;
  products_.multiply(worker, {layer.out.get()}, mixed_tiles_, into(layer.after_attention_norm, layer.out_bias));
  settle(worker, layer.after_attention_norm);

  products_.quantise(worker, rows, c.width, width_tiles_, normed(layer.hidden_norm));
  worker.each(size_t(c.hidden) / GROUP, 1, [&](size_t group) { hidden_group(layer, group); });
  products_.multiply(worker, {layer.down.get()}, hidden_tiles_, into(layer.after_hidden_norm, none));
  settle(worker, layer.after_hidden_norm);
}

// Some rows and one head of keys, from queries to what `out` reads of them.
void Engine::attend_job(Worker& worker, const Layer& layer, size_t index, const AttentionJob& job, const std::vector<Ask>& asks) {
  const Config& c = config();
  const size_t queries = size_t(c.heads) * size_t(c.head_size), stride = queries + 2 * size_t(c.kv_heads) * size_t(c.head_size);
  const size_t span = queries / size_t(c.kv_heads), column = size_t(job.head) * span;
  const AttentionPlan plan{shape_, kernels_, *asks[size_t(job.ask)].cache, int(index), c.heads / c.kv_heads, layer.window};
  float* out = mixed_.as<float>() + job.pass_row * queries;
  attend(plan, job, projected_.as<float>() + job.pass_row * stride, stride, out, queries, scratch_[size_t(worker.index)]);
  for (size_t r = 0; r < size_t(job.count); ++r) {
    const Placed& at = mixed_tiles_.of(job.pass_row + r);
    kernels_.quantise(out + r * queries + column, int64_t(span), from_group(at.tile, column / GROUP),
                      int(job.pass_row + r - at.first), at.plane);
  }
}

// One group of the hidden layer, from its gate and up panels to what `down` reads of it.
void Engine::hidden_group(const Layer& layer, size_t group) {
  const Product* products = products_.table();
  alignas(64) float gates[TILE * PANEL], ups[TILE * PANEL], values[TILE * GROUP];
  for (size_t t = 0; t < width_tiles_.placed().size(); ++t) {
    const Placed &from = width_tiles_.placed()[t], &to = hidden_tiles_.placed()[t];
    for (size_t half = 0; half < GROUP / PANEL; ++half) {
      const size_t panel = group * (GROUP / PANEL) + half;
      products[int(layer.gate->kind)](layer.gate->panel(panel), config().width, from.tile, gates);
      products[int(layer.up->kind)](layer.up->panel(panel), config().width, from.tile, ups);
      if (from.plane) kernels_.add(gates, gates + from.plane * PANEL, int64_t(from.count) * PANEL);
      if (from.plane) kernels_.add(ups, ups + from.plane * PANEL, int64_t(from.count) * PANEL);
      for (int r = 0; r < from.count; ++r)
        kernels_.gate(gates + r * PANEL, ups + r * PANEL, config().gelu, PANEL, values + r * GROUP + half * PANEL);
    }
    kernels_.quantise_group(values, to.count, to.tile, int64_t(group), to.plane);
  }
}

// Where a sublayer has a norm of its own, what it gave is normed and added to the stream here.
void Engine::settle(Worker& worker, const Vector& norm) {
  if (norm.empty()) return;
  const int64_t width = config().width;
  worker.each(rows_.size(), 1, [&](size_t row) {
    float* y = sublayer_.as<float>() + row * size_t(width);
    kernels_.norm(y, norm.data(), config().epsilon, width, y);
    kernels_.add(stream_.as<float>() + row * size_t(width), y, width);
  });
}

// Norms and turns the queries and keys of a row, and writes its keys and values where its cache wants them.
void Engine::rotate(const Layer& layer, size_t index, size_t row, const std::vector<Ask>& asks, float* scratch) {
  const Config& c = config();
  const size_t size = size_t(c.head_size), queries = size_t(c.heads) * size, keys = size_t(c.kv_heads) * size;
  float* at = projected_.as<float>() + row * (queries + 2 * keys);
  const Rotation& rotation = rotations_[rotation_of_[index]];
  const int position = rows_[row].position;
  auto turn = [&](float* head, const Vector& norm) {
    if (!norm.empty()) kernels_.norm(head, norm.data(), c.epsilon, c.head_size, head);
    rotation.apply(head, position, c.halves);
  };
  for (int head = 0; head < c.heads; ++head) turn(at + size_t(head) * size, layer.query_norm);
  kernels_.multiply(at, c.score_scale, int64_t(queries));
  const Cache& cache = *asks[size_t(rows_[row].ask)].cache;
  const int own = rows_[row].row;
  const bool stands = own < cache.chain();
  for (int head = 0; head < c.kv_heads; ++head) {
    float* key = at + queries + size_t(head) * size;
    const float* value = at + queries + keys + size_t(head) * size;
    turn(key, layer.key_norm);
    uint8_t* to = stands ? reinterpret_cast<uint8_t*>(scratch) : cache.waiting(own, int(index), head);
    uint8_t* values = stands ? cache.values(position / BLOCK, int(index), head) + size_t(position % BLOCK) * shape_.row_bytes()
                             : to + shape_.row_bytes();
    if (shape_.bytes == 2) {
      kernels_.to_half(key, c.head_size, reinterpret_cast<uint16_t*>(to));
      kernels_.to_half(value, c.head_size, reinterpret_cast<uint16_t*>(values));
    } else {
      std::memcpy(to, key, size * 4);
      std::memcpy(values, value, size * 4);
    }
    if (stands) Cache::put_key(shape_, to, cache.keys(position / BLOCK, int(index), head), position % BLOCK);
  }
}

// The final norm and the output head of some rows: the best token of each, and logits where they were asked for.
void Engine::vocabulary(Worker& worker, const float* hidden, const std::vector<int>& from) {
  const Config& c = config();
  const size_t width = size_t(c.width);
  float* scratch = rows_scratch_.as<float>() + size_t(worker.index) * std::max(width, size_t(c.heads * c.head_size));
  products_.quantise(worker, from.size(), c.width, head_tiles_, [&](size_t w) {
    if (weights_->final_norm.empty()) return hidden + size_t(from[w]) * width;
    kernels_.norm(hidden + size_t(from[w]) * width, weights_->final_norm.data(), c.epsilon, c.width, scratch);
    return const_cast<const float*>(scratch);
  });
  const std::vector<int>& says = weights_->says;
  const int rows = int(weights_->head_rows());
  std::vector<Best>& best = best_[size_t(worker.index)];
  products_.multiply(worker, {weights_->head.get()}, head_tiles_, [&](size_t, size_t output, size_t w, const float* out) {
    const int count = std::min(PANEL, rows - int(output));
    if (count <= 0) return;
    if (logits_at_[w] >= 0) {
      float* logits = logits_->as<float>() + size_t(logits_at_[w]) * size_t(c.vocabulary);
      if (says.empty()) std::memcpy(logits + output, out, size_t(count) * 4);
      else
        for (int i = 0; i < count; ++i) logits[says[output + size_t(i)]] = out[i];
    }
    Best* top = best.data() + w * most_;
    Best& last = top[most_ - 1];
    if (last.token >= 0 && count == PANEL && !kernels_.reaches(out, last.value)) return;
    for (int i = 0; i < count; ++i) {
      const Best one{out[i], int(output) + i};
      if (out[i] != out[i] || !one.before(last)) continue;
      Best* to = &last;
      for (; to != top && one.before(to[-1]); --to) *to = to[-1];
      *to = one;
    }
  });
}

void Engine::embed(const std::vector<int>& tokens, float* out) const {
  const size_t width = size_t(config().width);
  const Flags flags;
  for (size_t t = 0; t < tokens.size(); ++t) {
    float* x = out + t * width;
    weights_->embedding->row(size_t(tokens[t]), x);
    if (config().embedding_scale != 1.0f) kernels_.multiply(x, config().embedding_scale, int64_t(width));
  }
}

void Engine::head(const float* hidden, size_t rows, float* logits) {
  std::lock_guard<std::mutex> lock(passing_);
  rows_.clear();
  wanted_.resize(rows);
  logits_at_.resize(rows);
  for (size_t row = 0; row < rows; ++row) wanted_[row] = logits_at_[row] = int(row);
  logit_rows_ = rows;
  most_ = 1;
  std::shared_ptr<Buffer> scores = std::exchange(logits_, nullptr);  // what the last pass said stays as it is
  reserve(0);
  pool_->run([&](Worker& worker) {
    kernels_.begin();
    vocabulary(worker, hidden, wanted_);
    kernels_.end();
  });
  std::memcpy(logits, logits_->data(), rows * size_t(config().vocabulary) * 4);
  logits_ = std::move(scores);
}

}  // namespace foredraft
