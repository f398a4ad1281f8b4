// AMX for whole tiles of sixteen rows, AVX-512 for fewer: integer sums are exact, so the two may be mixed freely.
#include "kernels.hpp"
#include "lanes_avx512.hpp"
#include "products.inc"
#include "tiles_amx.hpp"
#include "vectors.inc"

namespace {

// The codes of a group as a tile wants them: a row for four inputs.
template <class K, int J = 0>
inline void unpack_codes(const uint8_t* panel, uint8_t* out) {
  if constexpr (J < 8) {
    _mm512_store_si512(out + 64 * J, codes_of<K::BITS, J>(panel));
    unpack_codes<K, J + 1>(panel, out);
  }
}

// The float chains of sixteen rows take in what a group's tile of sums holds.
template <class K>
inline void take_in(const int32_t* sums, const Tile& tile, int64_t group, int half, F scale, F (&f)[16]) {
#pragma GCC unroll 16
  for (int m = 0; m < 16; ++m) {
    I sum = _mm512_load_si512(sums + 16 * m);
    if constexpr (K::ZERO >= 0) sum = _mm512_add_epi32(sum, all_int(tile.zero[K::ZERO + half][16 * group + m]));
    f[m] = fma(to_float(sum), mul(scale, all(tile.scale[16 * group + m])), f[m]);
  }
}

template <class K>
inline void take_in_minimum(const Tile& tile, int64_t group, F low, F (&f)[16]) {
  if constexpr (K::MINIMUM) {
#pragma GCC unroll 16
    for (int m = 0; m < 16; ++m) f[m] = fma(low, all(tile.minimum[16 * group + m]), f[m]);
  }
}

// Two groups at a time, so that one is summed while the other is unpacked and taken in.
template <class K>
void sixteen_rows(const uint8_t* panel, int64_t inputs, const Tile& tile, float* out) {
  F f[16];
#pragma GCC unroll 16
  for (int m = 0; m < 16; ++m) f[m] = all(0.0f);
  alignas(64) uint8_t codes[2][512];
  alignas(64) int32_t sums[2][256];
  K weights[2] = {};
  const int64_t groups = inputs / 32;
  for (int64_t g = 0; g < groups; g += 2) {
    const int pair = g + 1 < groups ? 2 : 1;
    for (int i = 0; i < pair; ++i) {
      if (K::SHARED && (g + i) % 8 == 0) {
        weights[i].shared(panel, 0);
        panel += K::SHARED;
      } else if (K::SHARED) {
        const K& other = weights[1 - i];
        weights[i] = other;
      }
      for (int line = 0; line < K::BYTES; line += 64) __builtin_prefetch(panel + line + 4096);
      weights[i].group(panel, 0);
      unpack_codes<K>(panel + K::SCALES, codes[i]);
      panel += K::BYTES;
    }
    const int8_t* activations = tile.codes + 512 * g;
    if constexpr (K::HALVES == 1) {
      tile_zero<0>();
      tile_load<2>(activations, 32);
      tile_load<3>(codes[0], 64);
      tile_dot<0, 2, 3>();
      if (pair == 2) {
        tile_zero<1>();
        tile_load<6>(activations + 512, 32);
        tile_load<7>(codes[1], 64);
        tile_dot<1, 6, 7>();
      }
      for (int i = 0; i < pair; ++i) {
        i ? tile_store<1>(sums[1], 64) : tile_store<0>(sums[0], 64);
        take_in<K>(sums[i], tile, g + i, 0, weights[i].scale[0], f);
        take_in_minimum<K>(tile, g + i, weights[i].low, f);
      }
    } else {
      for (int i = 0; i < pair; ++i) {
        tile_zero<0>();
        tile_load<4>(activations + 512 * i, 32);
        tile_load<5>(codes[i], 64);
        tile_dot<0, 4, 5>();
        tile_zero<1>();
        tile_load<4>(activations + 512 * i + 16, 32);
        tile_load<5>(codes[i] + 256, 64);
        tile_dot<1, 4, 5>();
        tile_store<0>(sums[0], 64);
        tile_store<1>(sums[1], 64);
        take_in<K>(sums[0], tile, g + i, 0, weights[i].scale[0], f);
        take_in<K>(sums[1], tile, g + i, 1, weights[i].scale[K::HALVES - 1], f);
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < 16; ++m) store(out + 16 * m, f[m]);
}

template <class K>
void tiled_product(const uint8_t* panel, int64_t inputs, const Tile& tile, float* out) {
  tile.rows == 16 ? sixteen_rows<K>(panel, inputs, tile, out) : product<K>(panel, inputs, tile, out);
}

}  // namespace

#include "table.inc"

namespace {

foredraft::Kernels tiled_table() {
  foredraft::Kernels k = table();
  const foredraft::Product products[8] = {tiled_product<Q4_0>, tiled_product<Q4_1>, tiled_product<Q5_0>, tiled_product<Q5_1>,
                                          tiled_product<Q8_0>, tiled_product<Q4_K>, tiled_product<Q5_K>, tiled_product<Q6_K>};
  for (int i = 0; i < 8; ++i) k.product[3 + i] = products[i];
  k.begin = tiles_begin;
  k.end = tiles_end;
  return k;
}

}  // namespace

const foredraft::Kernels& foredraft::amx_kernels() {
  static const Kernels kernels = tiled_table();
  return kernels;
}
