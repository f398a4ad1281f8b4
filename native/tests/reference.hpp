// What the kernels compute, by the one order of sums and one number at a time: no vectors, no tiles, no panels.
#pragma once

#include <cstdint>
#include <vector>

#include "formats.hpp"

namespace check {

// A row of activations in int8: value k is about scale[k / 32] * code[k]. One of two planes, or the only one.
struct Quantised {
  std::vector<int> code;
  std::vector<float> scale;
};

// planes: 1, or 2 where what the first leaves over is quantised again.
std::vector<Quantised> quantise(const std::vector<float>& row, int planes);

// One row times one output: groups ascending, one chain of fused operations.
float product(foredraft::Kind kind, const Decoded& weights, const Quantised& row);
// The same with weights as the format says they are and activations as floats.
float expanded_product(foredraft::Kind kind, const Decoded& weights, const std::vector<float>& row);

float exponential(float x);
std::vector<float> norm(const std::vector<float>& row, const std::vector<float>& weight, float epsilon);
float gate(float gate, float up, bool gelu);

// One query over the positions of its path, of which it sees those from `first` on. keys, values: [position][size].
std::vector<float> attend(const std::vector<float>& query, const std::vector<std::vector<float>>& keys,
                          const std::vector<std::vector<float>>& values, int first);

}  // namespace check
