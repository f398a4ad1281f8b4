#include "residual.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace foredraft {

Residual::Residual(std::vector<Stack> stacks, Matrix head, std::shared_ptr<Pool> pool, Isa isa, Activations activations)
    : pool_(std::move(pool)), ones_(PANEL, 1.0f) {
  auto linear = [&](Matrix matrix) { return Linear(std::move(matrix), isa, activations); };
  auto require = [](bool fits) {
    if (!fits) throw std::invalid_argument("the blocks of a head do not fit together");
  };
  require(!stacks.empty() && !stacks[0].blocks.empty());
  width_ = stacks[0].blocks[0]->outputs;
  require(width_ % PANEL == 0 && (!head || head->inputs == width_));
  const size_t said = head ? width_ : stacks[0].out->outputs;
  for (Stack& stack : stacks) {
    require(!stack.blocks.empty() && stack.out && stack.out->inputs == width_ && stack.out->outputs == said);
    const size_t inputs = stack.blocks[0]->inputs;
    require(stack.residual ? stack.residual->inputs == inputs && stack.residual->outputs == width_ : inputs == width_);
    Part part{{}, {}, linear(std::move(stack.out))};
    if (stack.residual) part.residual.push_back(linear(std::move(stack.residual)));
    for (Matrix& block : stack.blocks) {
      require(block->outputs == width_ && block->inputs == (part.blocks.empty() ? inputs : width_));
      part.blocks.push_back(linear(std::move(block)));
    }
    stacks_.push_back(std::move(part));
  }
  if (head) head_.push_back(linear(std::move(head)));
}

void Residual::apply(size_t first, size_t last, const float* in, size_t rows, float* out) {
  const size_t count = last - first;
  std::lock_guard<std::mutex> lock(working_);
  states_.reserve(rows * width_ * 4);
  mixed_.reserve(rows * count * width_ * 4);
  for (size_t at = first; at < last; ++at) {
    for (Linear& linear : stacks_[at].residual) linear.lay(rows);
    for (Linear& linear : stacks_[at].blocks) linear.lay(rows);
    stacks_[at].out.lay(rows);
  }
  for (Linear& linear : head_) linear.lay(rows * count);
  pool_->run([&](Worker& worker) {
    const Kernels& kernels = stacks_[0].out.kernels();
    kernels.begin();
    for (size_t at = first; at < last; ++at) run(worker, stacks_[at], in, rows, at - first, count, out);
    const size_t tokens = this->tokens();
    for (const Linear& linear : head_)
      linear.multiply(
          worker, rows * count, [&](size_t row) { return mixed_.as<const float>() + row * width_; },
          [&](size_t output, size_t row, const float* found) {
            std::memcpy(out + row * tokens + output, found, std::min<size_t>(PANEL, tokens - output) * 4);
          });
    kernels.end();
  });
}

// One stack; what it says stands at `place` among `count` of each row.
void Residual::run(Worker& worker, Part& part, const float* in, size_t rows, size_t place, size_t count, float* out) {
  const Kernels& kernels = part.out.kernels();
  float* states = states_.as<float>();
  const size_t inputs = part.blocks[0].matrix().inputs;
  auto given = [&](size_t row) { return in + row * inputs; };
  auto state = [&](size_t row) { return const_cast<const float*>(states + row * width_); };
  if (part.residual.empty())
    worker.each(rows, 1, [&](size_t row) { std::memcpy(states + row * width_, given(row), width_ * 4); });
  for (const Linear& linear : part.residual)
    linear.multiply(worker, rows, given, [&](size_t output, size_t row, const float* found) {
      std::memcpy(states + row * width_ + output, found, PANEL * 4);
    });
  auto add = [&](size_t output, size_t row, const float* found) {
    float more[PANEL];
    kernels.gate(found, ones_.data(), false, PANEL, more);
    kernels.add(states + row * width_ + output, more, PANEL);
  };
  for (size_t block = 0; block < part.blocks.size(); ++block)  // rows are read before the first product is stored
    if (block) part.blocks[block].multiply(worker, rows, state, add);
    else part.blocks[block].multiply(worker, rows, given, add);
  const bool last = head_.empty();
  const size_t outputs = part.out.matrix().outputs;
  float* to = last ? out : mixed_.as<float>();
  part.out.multiply(worker, rows, state, [&](size_t output, size_t row, const float* found) {
    std::memcpy(to + (row * count + place) * outputs + output, found, std::min<size_t>(PANEL, outputs - output) * 4);
  });
}

}  // namespace foredraft
