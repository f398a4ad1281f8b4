// 16 lanes in plain C++: what every other path must equal, and what machines without AVX2 run.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../half.hpp"

namespace {

constexpr int W = 16;
constexpr int ROWS = 4;
constexpr int REGISTERS = 8; // of 16 lanes
struct F {
  float v[W];
};
struct I {
  int32_t v[W];
};

#define LANES for (int i = 0; i < W; ++i)
inline F load(const float* at) { F r; LANES r.v[i] = at[i]; return r; }
inline void store(float* at, F a) { LANES at[i] = a.v[i]; }
inline F all(float a) { F r; LANES r.v[i] = a; return r; }
inline F add(F a, F b) { LANES a.v[i] += b.v[i]; return a; }
inline F sub(F a, F b) { LANES a.v[i] -= b.v[i]; return a; }
inline F mul(F a, F b) { LANES a.v[i] *= b.v[i]; return a; }
inline F div(F a, F b) { LANES a.v[i] /= b.v[i]; return a; }
inline F fma(F a, F b, F c) { LANES a.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]); return a; }
inline F maximum(F a, F b) { LANES a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return a; }
// Of two that are not negative; what is no number is larger than any.
inline F larger(F a, F b) { LANES a.v[i] = a.v[i] > b.v[i] || a.v[i] != a.v[i] ? a.v[i] : b.v[i]; return a; }
inline F minimum(F a, F b) { LANES a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]; return a; }
inline float largest_lane(F a) { for (int i = 1; i < W; ++i) a.v[0] = a.v[i] > a.v[0] ? a.v[i] : a.v[0]; return a.v[0]; }
inline F root(F a) { LANES a.v[i] = __builtin_sqrtf(a.v[i]); return a; }
inline F magnitude(F a) { LANES a.v[i] = __builtin_fabsf(a.v[i]); return a; }
inline F where_at_least(F x, F y, F a, F b) { LANES a.v[i] = x.v[i] >= y.v[i] ? a.v[i] : b.v[i]; return a; }
inline F where_lane(int begin, int end, F a, F b) { LANES a.v[i] = begin <= i && i < end ? a.v[i] : b.v[i]; return a; }
inline F to_float(I a) { F r; LANES r.v[i] = (float)a.v[i]; return r; }
// Adding 1.5 * 2^23 rounds to nearest, ties to even, and leaves the integer in the low bits; for |a| below 2^22.
inline I to_int(F a) {
  I r;
  LANES {
    const float shifted = a.v[i] + 12582912.0f;
    memcpy(&r.v[i], &shifted, 4);
    r.v[i] -= 0x4b400000;
  }
  return r;
}
inline F times_two_to(F a, I n) {
  LANES {
    const uint32_t bits = (uint32_t)(n.v[i] + 127) << 23;
    a.v[i] *= foredraft::bits_to_float(bits);
  }
  return a;
}
inline F load_half(const uint16_t* at) { F r; LANES r.v[i] = foredraft::half_to_float(at[i]); return r; }
inline uint16_t to_half(float a) {
  uint32_t bits;
  memcpy(&bits, &a, 4);
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
  if (bits >= 0x47800000) return (uint16_t)(sign | 0x7c00);
  uint32_t fraction = bits, shift = 13;
  if (bits < 0x38800000) {  // subnormal as a half
    if (bits < 0x33000000) return sign;
    shift = 126 - (bits >> 23);
    fraction = (bits & 0x7fffff) | 0x800000;
  } else {
    fraction -= 0x38000000;
  }
  const uint32_t rest = fraction & ((1u << shift) - 1), middle = 1u << (shift - 1);
  uint32_t out = fraction >> shift;
  out += rest > middle || (rest == middle && (out & 1));
  return (uint16_t)(sign | out);
}
inline void store_half(uint16_t* at, F a) { LANES at[i] = to_half(a.v[i]); }
inline F load_bfloat(const uint16_t* at) { F r; LANES r.v[i] = foredraft::bfloat_to_float(at[i]); return r; }
inline F load_u8(const uint8_t* at) { F r; LANES r.v[i] = (float)at[i]; return r; }
inline F load_s8(const uint8_t* at) { F r; LANES r.v[i] = (float)(int8_t)at[i]; return r; }
inline void store_codes(int8_t* at, I a) { LANES at[i] = (int8_t)a.v[i]; }
// Every other lane of a, then of b.
inline F evens(F a, F b) { F r; LANES r.v[i] = i < W / 2 ? a.v[2 * i] : b.v[2 * i - W]; return r; }
inline F odds(F a, F b) { F r; LANES r.v[i] = i < W / 2 ? a.v[2 * i + 1] : b.v[2 * i + 1 - W]; return r; }

// Codes are bytes: an I as 64 of them.
inline I all_int(int32_t a) { I r; LANES r.v[i] = a; return r; }
inline I load_codes(const uint8_t* at) { I r; memcpy(&r, at, sizeof r); return r; }
inline I both(I a, I b) { LANES a.v[i] &= b.v[i]; return a; }
inline I either(I a, I b) { LANES a.v[i] |= b.v[i]; return a; }
// Shifts of 16 bits, as the vector instructions have them; every caller masks what crosses a byte.
template <int N>
inline I left(I a) { LANES a.v[i] = (int32_t)((uint32_t)a.v[i] << N & (0xffffu >> N << N) * 0x10001u); return a; }
template <int N>
inline I right(I a) { LANES a.v[i] = (int32_t)((uint32_t)a.v[i] >> N & (0xffffu >> N) * 0x10001u); return a; }
inline I bytes(uint8_t a) { return all_int((int32_t)(a * 0x01010101u)); }
inline int part(int32_t word, int byte) { return (int)((uint32_t)word >> (8 * byte) & 255); }
inline I dot(I acc, I codes, const int8_t* activations) {
  int32_t word;
  __builtin_memcpy(&word, activations, 4);
  LANES for (int b = 0; b < 4; ++b) acc.v[i] += part(codes.v[i], b) * (int8_t)part(word, b);
  return acc;
}
inline I dot_wide(I acc, I codes, const int8_t* activations) { return dot(acc, codes, activations); }
inline I start_wide(int32_t zero) { return all_int(zero); }
#undef LANES

}  // namespace
