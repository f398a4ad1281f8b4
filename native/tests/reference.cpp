#include "reference.hpp"

#include <algorithm>
#include <cmath>

namespace check {

using foredraft::Kind;

namespace {

constexpr int GROUP = 32, LANES = 16, BLOCK = 64;

// Sixteen partial sums, folded by halves.
float folded(std::vector<float> lanes) {
  for (size_t half = LANES / 2; half; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// The sum of weight times activation over some inputs, or of the activations alone; exact.
int sum(const int* weights, const int* activations, size_t count) {
  int total = 0;
  for (size_t i = 0; i < count; ++i) total += (weights ? weights[i] : 1) * activations[i];
  return total;
}

}  // namespace

std::vector<Quantised> quantise(const std::vector<float>& row, int planes) {
  std::vector<Quantised> out(static_cast<size_t>(planes));
  for (size_t k = 0; k < row.size(); k += GROUP) {
    std::vector<float> left(row.begin() + long(k), row.begin() + long(k + GROUP));
    float most = 0;
    for (float x : left) most = std::max(most, std::fabs(x));
    float scale = most / 127.0f;
    for (Quantised& plane : out) {
      const float inverse = scale >= 1e-30f ? 1.0f / scale : 0.0f;
      for (float& x : left) {
        const int code = int(std::nearbyint(std::min(std::max(x * inverse, -127.0f), 127.0f)));
        plane.code.push_back(code);
        x = std::fma(-float(code), scale, x);
      }
      plane.scale.push_back(inverse > 0 ? scale : 0.0f);
      scale = scale / 254.0f;
    }
  }
  return out;
}

float product(Kind kind, const Decoded& weights, const Quantised& row) {
  // Codes that share a scale are summed together, at most a group at a time.
  const size_t together = kind == Kind::Q6_K ? 16 : 32;
  float f = 0;
  for (size_t g = 0; g < row.scale.size(); ++g) {
    const size_t k = g * GROUP;
    for (size_t part = k; part < k + GROUP; part += together) {
      const int whole = sum(&weights.code[part], &row.code[part], together);
      const float scale = weights.scale[part / 16] * row.scale[g];
      f = std::fma(float(whole), scale, f);
    }
    if (!has_minimum(kind)) continue;
    const float activations = row.scale[g] * float(sum(nullptr, &row.code[k], GROUP));
    f = std::fma(weights.minimum[g], activations, f);
  }
  return f;
}

float expanded_product(Kind kind, const Decoded& weights, const std::vector<float>& row) {
  float f = 0;
  for (size_t k = 0; k < row.size(); ++k) {
    float weight = is_float(kind) ? weights.value[k] : weights.scale[k / 16] * float(weights.code[k]);
    if (has_minimum(kind)) weight = weight + weights.minimum[k / GROUP];
    f = std::fma(weight, row[k], f);
  }
  return f;
}

// Cody and Waite's reduction by ln 2 in two parts, then the polynomial of Cephes' expf.
float exponential(float x) {
  if (!(x >= -87.0f)) return 0;
  const float clamped = std::min(x, 88.0f);
  const float n = std::nearbyint(clamped * 1.44269504f);
  float r = std::fma(n, -0.693359375f, clamped);
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = std::fma(p, r, next);
  p = std::fma(p, r * r, r);
  return (p + 1.0f) * std::ldexp(1.0f, int(n));
}

std::vector<float> norm(const std::vector<float>& row, const std::vector<float>& weight, float epsilon) {
  std::vector<float> lanes(LANES), out;
  for (size_t i = 0; i < row.size(); ++i) lanes[i % LANES] = std::fma(row[i], row[i], lanes[i % LANES]);
  const float mean = folded(lanes) / float(row.size());
  const float factor = 1.0f / std::sqrt(mean + epsilon);
  for (size_t i = 0; i < row.size(); ++i) out.push_back(row[i] * factor * weight[i]);
  return out;
}

float gate(float x, float up, bool gelu) {
  // tanh(y) = 2 logistic(2 y) - 1: GELU's approximation by tanh is x logistic(2 sqrt(2 / pi) (x + 0.044715 x^3)).
  const float argument = gelu ? x * 1.5957691216f * std::fma(x * x, 0.044715f, 1.0f) : x;
  return x / (1.0f + exponential(0.0f - argument)) * up;
}

std::vector<float> attend(const std::vector<float>& query, const std::vector<std::vector<float>>& keys,
                          const std::vector<std::vector<float>>& values, int first) {
  const int count = int(keys.size());
  const size_t size = query.size();
  std::vector<float> out(size), lanes(LANES);
  float most = -3e38f;
  for (int start = first / BLOCK * BLOCK; start < count; start += BLOCK) {
    const int begin = std::max(first, start), end = std::min(count, start + BLOCK);
    std::vector<float> p;
    float now = -3e38f;
    for (int at = begin; at < end; ++at) {
      float score = 0;
      for (size_t d = 0; d < size; ++d) score = std::fma(keys[size_t(at)][d], query[d], score);
      p.push_back(score);
      now = std::max(now, score);
    }
    if (now > most) {
      const float shrink = exponential(most - now);
      for (float& x : lanes) x *= shrink;
      for (float& x : out) x *= shrink;
      most = now;
    }
    for (int at = begin; at < end; ++at) {
      const float weight = exponential(p[size_t(at - begin)] - most);
      lanes[size_t(at) % LANES] += weight;
      for (size_t d = 0; d < size; ++d) out[d] = std::fma(values[size_t(at)][d], weight, out[d]);
    }
  }
  const float whole = folded(lanes);
  for (float& x : out) x = x / whole;
  return out;
}

}  // namespace check
