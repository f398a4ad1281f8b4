#include "attention.hpp"

#include <algorithm>
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

}  // namespace

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
  const CacheShape& shape = plan.shape;
  const size_t span = size_t(plan.group) * size_t(shape.size), column = size_t(job.head) * span;
  const int length = plan.cache.length();
  const int end = length + plan.cache.depths()[size_t(job.row + job.count - 1)];  // the last position that is seen
  for (int r = 0; r < job.count; ++r) {
    std::memcpy(scratch.query.as<float>() + size_t(r) * span, query + size_t(r) * stride + column, span * sizeof(float));
    const int position = length + plan.cache.depths()[size_t(job.row + r)];
    for (int g = 0; g < plan.group; ++g) {
      scratch.first[size_t(r * plan.group + g)] = plan.window ? std::max(0, position - plan.window + 1) : 0;
      scratch.last[size_t(r * plan.group + g)] = position;
    }
  }
  const bool waits = job.row >= plan.cache.chain();
  const int begin = scratch.first[0] / BLOCK * BLOCK;
  scratch.blocks.clear();
  std::vector<int>& path = scratch.path;
  path.clear();
  int standing_end = end + 1;
  if (waits) {
    for (int row = job.row; row >= plan.cache.chain(); row = plan.cache.parents()[size_t(row)]) path.push_back(row);
    std::reverse(path.begin(), path.end());
    standing_end = end + 1 - int(path.size());
  }
  for (int start = begin; start <= end; start += BLOCK) {
    const bool whole = !waits || start + BLOCK <= standing_end;
    uint8_t* memory = scratch.composed.data() + size_t((start - standing_end / BLOCK * BLOCK) / BLOCK) * shape.head_bytes();
    scratch.blocks.push_back(whole ? standing(plan, job.head, start / BLOCK)
                                   : compose(plan, job.head, start, standing_end, path, memory));
  }
  Attention call{};
  call.count = job.count * plan.group;
  call.size = shape.size;
  call.blocks = int(scratch.blocks.size());
  call.query = scratch.query.as<float>();
  call.first = scratch.first.data();
  call.last = scratch.last.data();
  call.block = scratch.blocks.data();
  call.out = scratch.out.as<float>();
  call.most = scratch.most.as<float>();
  call.sums = scratch.sums.as<float>();
  call.scratch = scratch.scores.as<float>();
  shape.bytes == 2 ? plan.kernels.attend_half(call) : plan.kernels.attend_float(call);
  for (int r = 0; r < job.count; ++r)
    std::memcpy(out + size_t(r) * width + column, scratch.out.as<float>() + size_t(r) * span, span * sizeof(float));
}

}  // namespace foredraft
