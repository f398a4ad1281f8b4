// Attention of the rows of a pass, each over its own path: cache, chain and ancestors, in the order of positions.
#pragma once

#include <vector>

#include "buffer.hpp"
#include "cache.hpp"
#include "kernels/kernels.hpp"

namespace foredraft {

// Rows of one sequence, of which all stand in the pages or one waits beside them, and one head of keys.
struct AttentionJob {
  int ask, head;
  int row, count;     // rows of the query, consecutive
  size_t pass_row;    // of the first, in the pass
};

// What one thread needs to attend.
struct AttentionScratch {
  Buffer query, out, scores, most, sums, composed;
  std::vector<KeyBlock> blocks;
  std::vector<int> first, last, path;

  void reserve(const CacheShape& shape, int queries, int deepest, int positions);
};

// How many rows of a chain one job takes: as many as leave every thread several jobs, for they share a read of the keys,
// but no more queries than their scores fit beside a block in the nearest cache.
inline int rows_together(int rows, int kv_heads, int group, int threads) {
  const int most = 24 / group > 1 ? 24 / group : 1, fair = rows * kv_heads / (threads * 3) + 1;
  return fair < most ? fair : most;
}

struct AttentionPlan {
  const CacheShape& shape;
  const Kernels& kernels;
  const Cache& cache;
  int layer, group, window;  // group: heads of queries that share a head of keys
};

// query, out: of the job's first row, [rows][stride] and [rows][width]; the job's heads begin at head * group * size.
void attend(const AttentionPlan& plan, const AttentionJob& job, const float* query, size_t stride, float* out,
            size_t width, AttentionScratch& scratch);

}  // namespace foredraft
