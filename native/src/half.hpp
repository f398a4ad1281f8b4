// Half precision and bfloat16 in portable code: exact, subnormals included, whatever the rounding flags say.
// Static, so that no object of kernels shares them with another.
#pragma once

#include <cstdint>
#include <cstring>

namespace foredraft {

static inline float bits_to_float(uint32_t bits) {
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

static inline float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 0x3ff;
  if (exponent == 31) return bits_to_float(sign | 0x7f800000 | (fraction << 13));
  if (exponent) return bits_to_float(sign | ((exponent + 112) << 23) | (fraction << 13));
  if (!fraction) return bits_to_float(sign);
  const int shift = __builtin_clz(fraction) - 21;  // leading zeros within the ten bits of the fraction, plus one
  return bits_to_float(sign | uint32_t(113 - shift) << 23 | ((fraction << shift & 0x3ff) << 13));
}

static inline float bfloat_to_float(uint16_t bits) { return bits_to_float(uint32_t(bits) << 16); }

static inline bool half_is_finite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

}  // namespace foredraft
