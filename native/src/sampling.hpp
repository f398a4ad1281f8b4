// From logits to a law and from a law to a token: native twins of core/sampling.py, which says what each one means.
// Both write exp, log and sums out in the same IEEE operations, so results are equal bit for bit. Logits are float or
// double; no function here writes to what it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace foredraft {

// The lowest id among the largest; the first NaN where there is one. size > 0.
size_t argmax(const float* logits, size_t size);
size_t argmax(const double* logits, size_t size);

// Ids of the `count` largest, best first, lower id among equals; NaN counts as the largest.
std::vector<int64_t> top(const float* logits, size_t size, size_t count);
std::vector<int64_t> top(const double* logits, size_t size, size_t count);

// out: [size].
void log_softmax(const float* logits, size_t size, double* out);
void log_softmax(const double* logits, size_t size, double* out);

struct Warp {
  double temperature;  // > 0
  int64_t top_k;       // 0: all
  double top_p, min_p;
};

// Probabilities of ascending `ids`, or of every token when `all`; none when the largest logit is not finite.
struct Probabilities {
  bool all = false;
  std::vector<int64_t> ids;
  std::unique_ptr<double[]> probs;
  size_t size = 0;
};

Probabilities warp(const float* logits, size_t size, const Warp& by);
Probabilities warp(const double* logits, size_t size, const Warp& by);

// What names a draw: Philox's key and the last three words of its counter (core/stream.py).
struct Noise {
  uint64_t seed, choice, position, purpose, origin;
};

// The uniform of token 0.
double uniform(const Noise& noise);

// The `count` tokens first by log p + Gumbel noise. ids: ascending, or nullptr for 0 … size - 1.
std::vector<int64_t> rank(const int64_t* ids, const double* probs, size_t size, size_t count, const Noise& noise);

}  // namespace foredraft
