// The draft tree of a block: the native twin of draft/block_tree.py's `best_first`, which says what each step means.
// The same operations in the same order, so that trees and scores are equal bit for bit, given the same biases.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "linear.hpp"

namespace foredraft {

// Tokens by their place in the draft vocabulary. parents: nodes before, -1 for the root.
struct Drafts {
  std::vector<int32_t> places, parents;
  std::vector<double> scores;
};

// Threads that share one take turns.
class BlockTree {
 public:
  // previous, bias: [tokens][rank]; after token t, token u is likelier by bias[u] . previous[t]. Throws
  // std::invalid_argument where they differ in shape.
  BlockTree(Matrix previous, Matrix bias, std::shared_ptr<Pool> pool, Isa isa, Activations activations);
  // No token makes another likelier.
  BlockTree(size_t tokens, std::shared_ptr<Pool> pool, Isa isa);

  size_t tokens() const { return tokens_; }

  // What each of these tokens adds to the logits after it, [places][tokens].
  void bias(const std::vector<int>& places, float* out);

  // base: [levels][tokens] logits before any bias. rows: nodes at most; depth: levels at most; least: the chance of a
  // path below which it is not worth a row.
  Drafts grow(const float* base, int levels, int rows, int depth, double least);

  // The `count` likeliest tokens after each of some rows [rows][tokens], best first; parents are the rows, scores log
  // probabilities.
  Drafts children(const float* logits, size_t rows, size_t count);

 private:
  struct Node {
    int place, parent, depth;
    double score;
    bool grown = false;  // has it been given children
  };
  // Rows: their logits, and of each of them the largest and the sum of e^(logit - largest). bases: before any bias;
  // places: the tokens whose biases are added, none for the root alone.
  void laws(const std::vector<const float*>& bases, const std::vector<int>& places);
  void extend(size_t row, int parent, size_t rows, double bound, std::vector<Node>& found) const;
  void gather(const std::vector<int>& places);

  Matrix previous_;  // null without a bias
  std::shared_ptr<Pool> pool_;
  std::mutex working_;
  std::vector<Linear> bias_;  // none or one
  const Kernels& kernels_;
  size_t tokens_, width_, blocks_;  // tokens filled up to whole blocks, and how many these are
  Buffer before_, logits_, peaks_;  // [rows][rank], [rows][width], [rows][width / 16]
  std::vector<float> largest_, sums_;
};

}  // namespace foredraft
