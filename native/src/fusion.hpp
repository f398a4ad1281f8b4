// What enters a trained head: hidden states and embeddings of each position, brought to one size and joined by a matrix.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "linear.hpp"

namespace foredraft {

// Threads that share one take turns.
class Fusion {
 public:
  // matrix: [width][parts * width]; offsets: of the rows of a block after its first, [block - 1][width]. Throws
  // std::invalid_argument for sizes that do not fit together.
  Fusion(Matrix matrix, std::vector<float> offsets, float epsilon, std::shared_ptr<Pool> pool, Isa isa,
         Activations activations);

  size_t width() const { return fuse_.matrix().outputs; }
  size_t parts() const { return fuse_.matrix().inputs / width(); }
  size_t block() const { return offsets_.size() / width() + 1; }

  // taps: [rows][(parts - 1) * width], embedded: [rows][width]. feeds: of each text, how many of the rows are its own
  // and how many rows of a block follow the last of them. out: [those and these][width]. epsilon as for a norm.
  void apply(const float* taps, const float* embedded, const std::vector<std::pair<int, int>>& feeds, float* out);

 private:
  Linear fuse_;
  std::vector<float> offsets_, ones_;
  float epsilon_;
  std::shared_ptr<Pool> pool_;
  std::mutex working_;
  std::vector<size_t> at_;  // where each row goes
  Buffer joined_;           // by thread, one row of all parts
};

}  // namespace foredraft
