// 8 lanes of AVX2 with FMA and F16C; with AVX-VNNI where this is compiled for it. FOREDRAFT_EVEX_VNNI: with the same
// operation in the encoding of AVX-512VL, so that processors that have no other can test what is made of it.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

constexpr int W = 8;
constexpr int ROWS = 4;
constexpr int REGISTERS = 16;
using F = __m256;
using I = __m256i;

inline F load(const float* at) { return _mm256_loadu_ps(at); }
inline void store(float* at, F a) { _mm256_storeu_ps(at, a); }
inline F all(float a) { return _mm256_set1_ps(a); }
inline F add(F a, F b) { return _mm256_add_ps(a, b); }
inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F div(F a, F b) { return _mm256_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F maximum(F a, F b) { return _mm256_max_ps(a, b); }
// Of two that are not negative; what is no number is larger than any.
inline F larger(F a, F b) { return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))); }
inline F minimum(F a, F b) { return _mm256_min_ps(a, b); }
inline float largest_lane(F a) {
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}
inline F root(F a) { return _mm256_sqrt_ps(a); }
inline F magnitude(F a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
inline F where_at_least(F x, F y, F a, F b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_GE_OQ)); }
inline F where_lane(int begin, int end, F a, F b) {
  const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const I inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
  return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(inside));
}
inline F to_float(I a) { return _mm256_cvtepi32_ps(a); }
inline I to_int(F a) { return _mm256_cvtps_epi32(a); }
inline F times_two_to(F a, I n) { return mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23))); }
inline F load_half(const uint16_t* at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)at)); }
inline void store_half(uint16_t* at, F a) { _mm_storeu_si128((__m128i*)at, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
inline F load_bfloat(const uint16_t* at) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)at)), 16)); }
inline F load_u8(const uint8_t* at) { return to_float(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)at))); }
inline F load_s8(const uint8_t* at) { return to_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)at))); }
inline void store_codes(int8_t* at, I a) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  _mm_storel_epi64((__m128i*)at, _mm_packs_epi16(words, words));
}
// Every other lane of a, then of b.
inline F in_order(F a) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8)); }
inline F evens(F a, F b) { return in_order(_mm256_shuffle_ps(a, b, 0x88)); }
inline F odds(F a, F b) { return in_order(_mm256_shuffle_ps(a, b, 0xdd)); }

inline I all_int(int32_t a) { return _mm256_set1_epi32(a); }
inline I load_codes(const uint8_t* at) { return _mm256_loadu_si256((const __m256i*)at); }
inline I both(I a, I b) { return _mm256_and_si256(a, b); }
inline I either(I a, I b) { return _mm256_or_si256(a, b); }
template <int N>
inline I left(I a) { return _mm256_slli_epi16(a, N); }
template <int N>
inline I right(I a) { return _mm256_srli_epi16(a, N); }
inline I bytes(uint8_t a) { return _mm256_set1_epi8((char)a); }

// Four activations in every lane.
inline I spread(const int8_t* activations) {
  int32_t word;
  __builtin_memcpy(&word, activations, 4);
  return all_int(word);
}

#if defined(__AVXVNNI__) || defined(FOREDRAFT_EVEX_VNNI)
#if defined(FOREDRAFT_EVEX_VNNI)
inline I dot(I acc, I codes, const int8_t* activations) { return _mm256_dpbusd_epi32(acc, codes, spread(activations)); }
#else
inline I dot(I acc, I codes, const int8_t* activations) { return _mm256_dpbusd_avx_epi32(acc, codes, spread(activations)); }
#endif
inline I dot_wide(I acc, I codes, const int8_t* activations) { return dot(acc, codes, activations); }
inline I start_wide(int32_t zero) { return all_int(zero); }
#else
// Pairs are added in 16 bits: codes are at most 63 here and activations at most 127 in size, so nothing saturates.
inline I dot(I acc, I codes, const int8_t* activations) {
  const I pairs = _mm256_maddubs_epi16(codes, spread(activations));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// The sign of a code goes to the activation: 128 * 127 * 2 still fits in 16 bits, where 255 would not.
inline I dot_wide(I acc, I codes, const int8_t* activations) {
  const I weights = _mm256_xor_si256(codes, bytes(0x80));
  const I pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(spread(activations), weights));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I start_wide(int32_t) { return all_int(0); }
#endif

}  // namespace
