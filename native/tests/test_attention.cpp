// Attention over pages, chains and trees: the bits of one query at a time over a list of its own path's keys.
#include "attention.hpp"

#include <algorithm>
#include <limits>

#include "instruction_sets.hpp"
#include "reference.hpp"

namespace {

using namespace check;
using namespace foredraft;

using Rows = std::vector<std::vector<float>>;

constexpr int LAYERS = 2, HEADS = 2, LAYER = 1;

struct Setting {
  int size, group, window;
  bool half;
};

// What an element of the cache holds after it was written as half or f32.
float held(float x, bool half) { return half ? half_value(half_of(x)) : x; }

std::vector<uint8_t> raw(const std::vector<float>& row, bool half) {
  std::vector<uint8_t> out;
  for (float x : row) {
    const uint16_t narrow = half_of(x);
    const void* from = half ? static_cast<const void*>(&narrow) : &x;
    const uint8_t* bytes = static_cast<const uint8_t*>(from);
    out.insert(out.end(), bytes, bytes + (half ? 2 : 4));
  }
  return out;
}

// A cache and a list beside it of what each position and pending row holds, for the heads of one layer.
struct Text {
  Setting setting;
  CacheShape shape;
  Cache cache;
  Rows keys[HEADS], values[HEADS];                // by position
  Rows pending_keys[HEADS], pending_values[HEADS];  // by row

  explicit Text(const Setting& s)
      : setting(s), shape{LAYERS, HEADS, s.size, s.half ? 2 : 4}, cache(shape) {}

  // Everything that no row wrote becomes NaN: what attention must not touch would show.
  void poison() {
    for (int page = 0; page * BLOCK < cache.length() + cache.chain(); ++page)
      for (int position = std::max(cache.length(), page * BLOCK); position < (page + 1) * BLOCK; ++position)
        for (int head = 0; head < HEADS; ++head) {
          const std::vector<uint8_t> nan(shape.row_bytes(), 0xff);
          std::memcpy(cache.values(page, LAYER, head) + size_t(position % BLOCK) * shape.row_bytes(), nan.data(), nan.size());
          Cache::put_key(shape, nan.data(), cache.keys(page, LAYER, head), position % BLOCK);
        }
  }

  void write(int row, int head, Random& random) {
    std::vector<float> key = random.units(size_t(setting.size), 2), value = random.units(size_t(setting.size));
    for (std::vector<float>* one : {&key, &value})
      for (float& x : *one) x = held(x, setting.half);
    pending_keys[head].push_back(key);
    pending_values[head].push_back(value);
    const std::vector<uint8_t> k = raw(key, setting.half), v = raw(value, setting.half);
    if (row >= cache.chain()) {
      std::memcpy(cache.waiting(row, LAYER, head), k.data(), k.size());
      std::memcpy(cache.waiting(row, LAYER, head) + k.size(), v.data(), v.size());
      return;
    }
    const int position = cache.length() + row;
    Cache::put_key(shape, k.data(), cache.keys(position / BLOCK, LAYER, head), position % BLOCK);
    std::memcpy(cache.values(position / BLOCK, LAYER, head) + size_t(position % BLOCK) * v.size(), v.data(), v.size());
  }

  void begin(const std::vector<int>& parents, Random& random) {
    cache.begin(parents);
    poison();
    for (int head = 0; head < HEADS; ++head) {
      pending_keys[head].clear();
      pending_values[head].clear();
      for (int row = 0; row < int(parents.size()); ++row) write(row, head, random);
    }
  }

  std::vector<int> path(int row) const {
    std::vector<int> rows;
    for (; row >= 0; row = cache.parents()[size_t(row)]) rows.push_back(row);
    std::reverse(rows.begin(), rows.end());
    return rows;
  }

  void keep(int last) {
    const std::vector<int> rows = path(last);
    for (int head = 0; head < HEADS; ++head)
      for (int row : rows) {
        keys[head].push_back(pending_keys[head][size_t(row)]);
        values[head].push_back(pending_values[head][size_t(row)]);
      }
    cache.keep(rows);
  }
};

// A chain of `chain` rows, then rows that follow any row before them, or the end of the cache.
std::vector<int> random_tree(int chain, int others, Random& random) {
  std::vector<int> parents;
  for (int row = 0; row < chain; ++row) parents.push_back(row - 1);
  for (int row = chain; row < chain + others; ++row) parents.push_back(random.below(row + 1) - 1);
  return parents;
}

// Queries of a pass, [row][stride], and what comes of them, [row][width].
struct Pass {
  size_t width, stride;
  std::vector<float> queries, wanted;
};

// Each query by itself, over its row's path.
Pass expect(const Text& text, Random& random) {
  const Setting& s = text.setting;
  const size_t rows = text.cache.parents().size(), span = size_t(s.group) * size_t(s.size);
  Pass pass{HEADS * span, HEADS * span + 16, {}, {}};
  pass.queries = random.units(rows * pass.stride, 1.5f);
  pass.wanted.resize(rows * pass.width);
  for (int head = 0; head < HEADS; ++head)
    for (size_t row = 0; row < rows; ++row) {
      Rows keys = text.keys[head], values = text.values[head];
      for (int ancestor : text.path(int(row))) {
        keys.push_back(text.pending_keys[head][size_t(ancestor)]);
        values.push_back(text.pending_values[head][size_t(ancestor)]);
      }
      const int first = s.window ? std::max(0, int(keys.size()) - s.window) : 0;
      for (int g = 0; g < s.group; ++g) {
        const size_t at = size_t(head) * span + size_t(g * s.size);
        const float* query = pass.queries.data() + row * pass.stride + at;
        const std::vector<float> out = check::attend({query, query + s.size}, keys, values, first);
        std::copy(out.begin(), out.end(), pass.wanted.begin() + long(row * pass.width + at));
      }
    }
  return pass;
}

// All rows, so many to a job: those of the chain and of every branch. Returns what comes of them.
std::vector<float> run(const InstructionSet& isa, const Text& text, const Pass& pass, int together) {
  const Setting& s = text.setting;
  const Cache& cache = text.cache;
  const int rows = int(cache.parents().size());
  std::vector<float> out(pass.wanted.size());
  const int deepest = *std::max_element(cache.depths().begin(), cache.depths().end());
  AttentionScratch scratch;
  scratch.reserve(text.shape, together * s.group, deepest, cache.length() + deepest);
  const AttentionPlan plan{text.shape, isa.kernels, cache, LAYER, s.group, s.window};
  for (int head = 0; head < HEADS; ++head)
    for (int row = 0; row < rows; row += together) {
      AttentionJob job{};
      job.head = head;
      job.row = row;
      job.count = std::min(together, rows - row);
      attend(plan, job, pass.queries.data() + size_t(row) * pass.stride, pass.stride,
             out.data() + size_t(row) * pass.width, pass.width, scratch);
    }
  return out;
}

void check_pass(const InstructionSet& isa, const Text& text, const Pass& pass, int together, size_t rows) {
  const Setting& s = text.setting;
  const std::vector<float> out = run(isa, text, pass, together);
  for (size_t at = 0; at < rows * pass.width; ++at)
    CHECK(same(&out[at], &pass.wanted[at], 1), isa.name, "size", s.size, "group", s.group, "window", s.window,
          s.half ? "half" : "f32", "length", text.cache.length(), "chain", text.cache.chain(), "together", together, "row",
          at / pass.width, "of", rows, "component", at % pass.width, "is", out[at], "not", pass.wanted[at]);
}

// A text that grows by chains and trees, past several pages.
void check_text(const std::vector<InstructionSet>& isas, const Setting& s, int most, uint64_t seed) {
  Random random(seed);
  Text grown(s);
  while (grown.cache.length() < most) {
    const int chain = random.below(3) ? random.below(20) : random.below(90), others = random.below(14);
    if (chain + others == 0) continue;
    grown.begin(random_tree(chain, others, random), random);
    const Pass pass = expect(grown, random);
    const int rows = chain + others;
    for (const InstructionSet& isa : isas) {
      check_pass(isa, grown, pass, 1 + random.below(std::max(1, 48 / s.group)), size_t(rows));
      if (rows > 30) continue;
      for (int together : {1, rows}) check_pass(isa, grown, pass, together, size_t(rows));
    }
    grown.keep(random.below(rows));
  }
}

// Branches from several depths on both sides of a page's end, with windows that begin in different blocks.
void check_branches(const std::vector<InstructionSet>& isas, const Setting& s, int length) {
  Random random(uint64_t(length + s.window));
  Text text(s);
  text.begin(random_tree(length, 0, random), random);
  text.keep(length - 1);
  text.begin({-1, 0, 1, 2, -1, 4, 5, 6, 1, 8, 9, -1, 3, 12, 13, 14, 15, 10}, random);
  const Pass pass = expect(text, random);
  for (const InstructionSet& isa : isas)
    for (int together : {1, 2, 5, 18}) check_pass(isa, text, pass, together, 18);
}

// A weight of 0 would not hide an infinite value from the rows before it.
void check_infinite(const std::vector<InstructionSet>& isas) {
  const Setting setting{64, 3, 0, true};
  Random random(9);
  Text text(setting);
  text.begin(random_tree(70, 0, random), random);
  const std::vector<uint8_t> infinite = raw(std::vector<float>(64, std::numeric_limits<float>::infinity()), true);
  for (int head = 0; head < HEADS; ++head)
    std::memcpy(text.cache.values(1, LAYER, head) + size_t(69 - BLOCK) * infinite.size(), infinite.data(),
                infinite.size());
  const Pass pass = expect(text, random);
  for (const InstructionSet& isa : isas) check_pass(isa, text, pass, 8, 69);
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;
  const std::vector<InstructionSet> isas = instruction_sets();
  const Arithmetic arithmetic(true);
  const std::vector<Setting> settings = {
      {16, 1, 0, true},   {32, 3, 0, false}, {64, 3, 0, true},   {48, 2, 40, true},  {80, 1, 0, false},
      {128, 6, 0, true},  {64, 8, 0, true},  {64, 9, 7, false},  {256, 4, 64, true}, {64, 7, 130, true},
      {128, 1, 0, false}, {64, 4, 1, true},  {112, 5, 65, true},
  };
  uint64_t seed = 1;
  for (const Setting& s : settings) {
    if (quick && seed > 4) break;
    check_text(isas, s, quick ? 70 : s.size > 100 ? 150 : 270, seed++);
  }
  for (int length : {40, 61, 64, 127})
    for (int window : {0, 3, 62}) check_branches(isas, {64, 3, window, true}, length);
  check_infinite(isas);
  std::printf("attention: %d settings on %d instruction sets\n", int(settings.size()), int(isas.size()));
}
