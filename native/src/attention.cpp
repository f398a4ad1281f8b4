#include "attention.hpp"

#include <algorithm>
#include <climits>
#include <cstring>

namespace foredraft {
namespace {

// The block of a waiting row's path that begins at `start`: what stands in the pages up to the end of the chain, then
// its ancestors and itself, by depth. `path` holds the waiting rows from the first after the chain.
KeyBlock compose(const AttentionPlan& plan, int head, int start, int pages_end, const std::vector<int>& path, uint8_t* memory) {
  const CacheShape& shape = plan.shape;
  const size_t quarter = shape.half() / 4, row = shape.row_bytes();
  KeyBlock block{};
  block.start = start;
  uint8_t* values = memory + shape.half();
  const int standing = std::clamp(pages_end - start, 0, BLOCK);
  const int end = std::min(pages_end + int(path.size()) - start, BLOCK);
  for (int q = 0; q < BLOCK / SUB; ++q) {
    uint8_t* copy = memory + size_t(q) * quarter;
    if (standing > 0) {
      const uint8_t* from = plan.cache.keys(start / BLOCK, plan.layer, head) + size_t(q) * quarter;
      if (SUB * (q + 1) <= standing) copy = const_cast<uint8_t*>(from);  // read as it stands
      else if (SUB * q < standing) std::memcpy(copy, from, quarter);
    }
    block.keys[q] = copy;
  }
  if (standing > 0) std::memcpy(values, plan.cache.values(start / BLOCK, plan.layer, head), size_t(standing) * row);
  for (int slot = standing; slot < end; ++slot) {
    const uint8_t* from = plan.cache.waiting(path[size_t(start + slot - pages_end)], plan.layer, head);
    Cache::put_key(shape, from, memory, slot);
    std::memcpy(values + size_t(slot) * row, from + row, row);
  }
  block.values = values;
  return block;
}

KeyBlock standing(const AttentionPlan& plan, int head, int page) {
  KeyBlock block{};
  const uint8_t* keys = plan.cache.keys(page, plan.layer, head);
  for (int q = 0; q < BLOCK / SUB; ++q) block.keys[q] = keys + size_t(q) * plan.shape.half() / 4;
  block.values = plan.cache.values(page, plan.layer, head);
  block.start = page * BLOCK;
  return block;
}

// The rows of a job on their way along the blocks.
struct Walk {
  const AttentionPlan& plan;
  const AttentionJob& job;
  AttentionScratch& scratch;

  int position(int r) const { return plan.cache.length() + plan.cache.depths()[size_t(job.row + r)]; }
  bool waits(int r) const { return job.row + r >= plan.cache.chain(); }

  void load(const float* query, size_t stride) const {
    const size_t span = size_t(plan.group) * size_t(plan.shape.size);
    for (int r = 0; r < job.count; ++r) {
      std::memcpy(scratch.query.as<float>() + size_t(r) * span, query + size_t(r) * stride, span * sizeof(float));
      for (int g = 0; g < plan.group; ++g) {
        scratch.first[size_t(r * plan.group + g)] = plan.window ? std::max(0, position(r) - plan.window + 1) : 0;
        scratch.last[size_t(r * plan.group + g)] = position(r);
      }
    }
  }

  // Finds the waiting rows of a row's path, and where they begin.
  int find_path(int r) const {
    scratch.path.clear();
    for (int row = job.row + r; row >= plan.cache.chain(); row = plan.cache.parents()[size_t(row)])
      scratch.path.push_back(row);
    std::reverse(scratch.path.begin(), scratch.path.end());
    return position(r) + 1 - int(scratch.path.size());
  }

  void fold(int r, int count, bool opens, bool closes) const {
    const size_t from = size_t(r) * size_t(plan.group), size = size_t(plan.shape.size);
    Attention call{};
    call.count = count * plan.group;
    call.size = plan.shape.size;
    call.blocks = int(scratch.blocks.size());
    call.opens = opens;
    call.closes = closes;
    call.query = scratch.query.as<float>() + from * size;
    call.first = scratch.first.data() + from;
    call.last = scratch.last.data() + from;
    call.block = scratch.blocks.data();
    call.out = scratch.out.as<float>() + from * size;
    call.most = scratch.most.as<float>() + from;
    call.sums = scratch.sums.as<float>() + from * 16;
    call.scratch = scratch.scores.as<float>();
    plan.shape.bytes == 2 ? plan.kernels.attend_half(call) : plan.kernels.attend_float(call);
  }

  // Takes the whole blocks that stand in the pages for every row into all of them. Returns where they end.
  int share() const {
    int begin = INT_MAX, end = 0, stand = INT_MAX;
    for (int r = 0; r < job.count; ++r) {
      begin = std::min(begin, scratch.first[size_t(r * plan.group)] / BLOCK * BLOCK);
      end = std::max(end, position(r) / BLOCK * BLOCK + BLOCK);
      if (waits(r)) stand = std::min(stand, find_path(r) / BLOCK * BLOCK);
    }
    end = std::min(end, stand);
    scratch.blocks.clear();
    for (int page = begin / BLOCK; page * BLOCK < end; ++page) scratch.blocks.push_back(standing(plan, job.head, page));
    fold(0, job.count, true, false);
    return end;
  }

  // Takes the blocks from `start` on into rows of the chain or into one that waits: the last of them.
  void finish(int r, int count, int start) const {
    const int last = position(r + count - 1), pages_end = waits(r) ? find_path(r) : last + 1;
    uint8_t* memory = scratch.composed.data();
    scratch.blocks.clear();
    start = std::max(start, scratch.first[size_t(r * plan.group)] / BLOCK * BLOCK);
    for (; start <= last; start += BLOCK) {
      if (!waits(r) || start + BLOCK <= pages_end) {
        scratch.blocks.push_back(standing(plan, job.head, start / BLOCK));
      } else {
        scratch.blocks.push_back(compose(plan, job.head, start, pages_end, scratch.path, memory));
        memory += plan.shape.head_bytes();
      }
    }
    fold(r, count, false, true);
  }
};

}  // namespace

int row_jobs(int rows, int kv_heads, int group, int threads) {
  const int most = std::max(1, 48 / group);
  int jobs = (rows + most - 1) / most;
  while (jobs < rows && jobs * kv_heads < 3 * threads && jobs * kv_heads % threads) ++jobs;
  return jobs;
}

void AttentionScratch::reserve(const CacheShape& shape, int queries, int deepest, int positions) {
  query.reserve(size_t(queries) * size_t(shape.size) * sizeof(float));
  out.reserve(size_t(queries) * size_t(shape.size) * sizeof(float));
  scores.reserve(size_t(QUERIES) * BLOCK * sizeof(float));
  most.reserve(size_t(queries) * sizeof(float));
  sums.reserve(size_t(queries) * 16 * sizeof(float));
  composed.reserve(size_t(deepest / BLOCK + 2) * shape.head_bytes());
  blocks.reserve(size_t(positions / BLOCK + 2));
  first.resize(size_t(queries));
  last.resize(size_t(queries));
  path.reserve(size_t(deepest) + 1);
}

void attend(const AttentionPlan& plan, const AttentionJob& job, const float* query, size_t stride, float* out,
            size_t width, AttentionScratch& scratch) {
  const size_t span = size_t(plan.group) * size_t(plan.shape.size), column = size_t(job.head) * span;
  const Walk walk{plan, job, scratch};
  walk.load(query + column, stride);
  const int shared = walk.share(), chain = std::clamp(plan.cache.chain() - job.row, 0, job.count);
  if (chain > 0) walk.finish(0, chain, shared);
  for (int r = chain; r < job.count; ++r) walk.finish(r, 1, shared);
  for (int r = 0; r < job.count; ++r)
    std::memcpy(out + size_t(r) * width + column, scratch.out.as<float>() + size_t(r) * span, span * sizeof(float));
}

}  // namespace foredraft
