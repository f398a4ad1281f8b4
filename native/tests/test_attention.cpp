// Attention over pages, chains and trees: the bits of one query at a time over a list of its own path's keys.
#include "attention.hpp"

#include <algorithm>

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

// All rows of a pass, as the engine asks for them: rows of the chain together, the others alone.
void check_pass(const InstructionSet& isa, Text& text_, int together, Random& random) {
  const Setting& s = text_.setting;
  Cache& cache = text_.cache;
  const int rows = int(cache.parents().size());
  const size_t span = size_t(s.group) * size_t(s.size), width = HEADS * span, stride = width + 16;
  const std::vector<float> queries = random.units(size_t(rows) * stride, 1.5f);
  std::vector<float> out(size_t(rows) * width);
  const int deepest = *std::max_element(cache.depths().begin(), cache.depths().end());
  AttentionScratch scratch;
  scratch.reserve(text_.shape, std::max(1, together) * s.group, deepest, cache.length() + deepest);
  const AttentionPlan plan{text_.shape, isa.kernels, cache, LAYER, s.group, s.window};
  for (int head = 0; head < HEADS; ++head)
    for (int row = 0, count; row < rows; row += count) {
      count = row < cache.chain() ? std::min(together, cache.chain() - row) : 1;
      AttentionJob job{};
      job.head = head;
      job.row = row;
      job.count = count;
      attend(plan, job, queries.data() + size_t(row) * stride, stride, out.data() + size_t(row) * width, width, scratch);
    }
  for (int head = 0; head < HEADS; ++head)
    for (int row = 0; row < rows; ++row) {
      Rows keys = text_.keys[head], values = text_.values[head];
      for (int ancestor : text_.path(row)) {
        keys.push_back(text_.pending_keys[head][size_t(ancestor)]);
        values.push_back(text_.pending_values[head][size_t(ancestor)]);
      }
      const int first = s.window ? std::max(0, int(keys.size()) - s.window) : 0;
      for (int g = 0; g < s.group; ++g) {
        const size_t at = size_t(head) * span + size_t(g * s.size);
        const float* query = queries.data() + size_t(row) * stride + at;
        const std::vector<float> want = check::attend({query, query + s.size}, keys, values, first);
        CHECK(same(out.data() + size_t(row) * width + at, want.data(), want.size()), isa.name, "size", s.size, "group",
              s.group, "window", s.window, s.half ? "half" : "f32", "length", cache.length(), "chain", cache.chain(),
              "together", together, "row", row, "of", rows, "head", head, "query", g, "is",
              out[size_t(row) * width + at], "not", want[0]);
      }
    }
}

// A text that grows by chains and trees, past several pages.
void check_text(const std::vector<InstructionSet>& isas, const Setting& s, int most, uint64_t seed) {
  Random random(seed);
  Text grown(s);
  while (grown.cache.length() < most) {
    const int chain = random.below(3) ? random.below(20) : random.below(90), others = random.below(14);
    if (chain + others == 0) continue;
    grown.begin(random_tree(chain, others, random), random);
    for (const InstructionSet& isa : isas) check_pass(isa, grown, 1 + random.below(std::max(1, QUERIES / s.group)), random);
    grown.keep(random.below(chain + others));
  }
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
  std::printf("attention: %d settings on %d instruction sets\n", int(settings.size()), int(isas.size()));
}
