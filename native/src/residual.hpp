// Heads that are residual blocks on one vector (Medusa 2401.10774, Hydra 2402.05109), several of them in one call.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "linear.hpp"

namespace foredraft {

class Residual {
 public:
  // x' = residual x + silu(blocks[0] x), then x' = x' + silu(blocks[n] x'); out x' says what the head says. No residual:
  // x as it is.
  struct Stack {
    Matrix residual;
    std::vector<Matrix> blocks;
    Matrix out;
  };
  // head: what all stacks are multiplied with at last, [tokens][width], or null where each `out` is such a matrix. Throws
  // std::invalid_argument for sizes that do not fit together.
  Residual(std::vector<Stack> stacks, Matrix head, std::shared_ptr<Pool> pool, Isa isa, Activations activations);

  size_t stacks() const { return stacks_.size(); }
  size_t inputs(size_t stack) const { return stacks_[stack].blocks[0].matrix().inputs; }
  size_t tokens() const { return head_.empty() ? stacks_[0].out.matrix().outputs : head_[0].matrix().outputs; }

  // in: [rows][inputs], what each of the stacks first … last - 1 reads. out: [rows][last - first][tokens].
  void apply(size_t first, size_t last, const float* in, size_t rows, float* out);

 private:
  struct Part {
    std::vector<Linear> residual, blocks;  // of the residual none or one
    Linear out;
  };
  void run(Worker& worker, Part& part, const float* in, size_t rows, size_t place, size_t count, float* out);

  std::vector<Part> stacks_;
  std::vector<Linear> head_;  // none or one
  std::shared_ptr<Pool> pool_;
  std::mutex working_;
  size_t width_;
  std::vector<float> ones_;
  Buffer states_, mixed_;  // [rows][width], [rows][stacks][width]
};

}  // namespace foredraft
