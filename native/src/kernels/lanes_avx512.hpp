// 16 lanes of AVX-512 with VNNI.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

constexpr int W = 16;       // lanes
constexpr int ROWS = 8;     // rows that a product holds in registers
constexpr int REGISTERS = 32;
using F = __m512;
using I = __m512i;

inline F load(const float* at) { return _mm512_loadu_ps(at); }
inline void store(float* at, F a) { _mm512_storeu_ps(at, a); }
inline F all(float a) { return _mm512_set1_ps(a); }
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F maximum(F a, F b) { return _mm512_max_ps(a, b); }
// Of two that are not negative; what is no number is larger than any.
inline F larger(F a, F b) { return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))); }
inline F minimum(F a, F b) { return _mm512_min_ps(a, b); }
inline float largest_lane(F a) { return _mm512_reduce_max_ps(a); }
inline F root(F a) { return _mm512_sqrt_ps(a); }
inline F magnitude(F a) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff))); }
// a where x >= y, else b.
inline F where_at_least(F x, F y, F a, F b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_GE_OQ), b, a); }
// a where begin <= lane < end, else b.
inline F where_lane(int begin, int end, F a, F b) {
  const I lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 inside = _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(begin)) & _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(end));
  return _mm512_mask_blend_ps(inside, b, a);
}
inline F to_float(I a) { return _mm512_cvtepi32_ps(a); }
inline I to_int(F a) { return _mm512_cvtps_epi32(a); }
inline F times_two_to(F a, I n) { return mul(a, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23))); }
inline F load_half(const uint16_t* at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)at)); }
inline void store_half(uint16_t* at, F a) { _mm256_storeu_si256((__m256i*)at, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
inline F load_bfloat(const uint16_t* at) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at)), 16)); }
inline F load_u8(const uint8_t* at) { return to_float(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)at))); }
inline F load_s8(const uint8_t* at) { return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)at))); }
// Integers within -127 … 127 as bytes.
inline void store_codes(int8_t* at, I a) { _mm_storeu_si128((__m128i*)at, _mm512_cvtsepi32_epi8(a)); }
// Every other lane of a, then of b.
inline F evens(F a, F b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
inline F odds(F a, F b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}

inline I all_int(int32_t a) { return _mm512_set1_epi32(a); }
inline I load_codes(const uint8_t* at) { return _mm512_loadu_si512(at); }
inline I both(I a, I b) { return _mm512_and_si512(a, b); }
inline I either(I a, I b) { return _mm512_or_si512(a, b); }
template <int N>
inline I left(I a) { return _mm512_slli_epi16(a, N); }
template <int N>
inline I right(I a) { return _mm512_srli_epi16(a, N); }
inline I bytes(uint8_t a) { return _mm512_set1_epi8((char)a); }
// acc + the four products of each lane with four activations; codes 0 … 127 and, for dot_wide, 0 … 255 that stand for
// code - 128. The instruction spreads the activations itself: GCC spreads them with one more, which is a quarter of what
// a processor of four instructions a cycle has to begin here (LOG.md, 2026-11-28). Sanitizers do not see this read, but
// that of the same template in AVX2.
inline I dot(I acc, I codes, const int8_t* activations) {
  using Four = int8_t[4];
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(codes), "m"(*(const Four*)activations));
  return acc;
}
inline I dot_wide(I acc, I codes, const int8_t* activations) { return dot(acc, codes, activations); }
inline I start_wide(int32_t zero) { return all_int(zero); }

}  // namespace
