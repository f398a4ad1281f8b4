// Attention of the rows of a pass, each over its own path: cache, chain and ancestors, in the order of positions.
#pragma once

#include <vector>

#include "buffer.hpp"
#include "cache.hpp"
#include "kernels/kernels.hpp"

namespace foredraft {

// Rows of one sequence and one head of keys. Rows of several branches share the blocks that stand on all their paths.
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

// Into how many jobs the rows of a sequence are cut for each head of keys: few, for the rows of a job share a read of
// the keys, but as many as occupy all threads alike, and no more queries in one than the nearest caches hold.
int row_jobs(int rows, int kv_heads, int group, int threads);

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
