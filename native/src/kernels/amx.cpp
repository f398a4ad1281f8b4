// AMX for whole tiles of sixteen rows: integer sums are exact, so it may be mixed freely with AVX-512, which is as fast
// for eight, and for types with a scale for each half of a group.
#include "kernels.hpp"
#include "lanes_avx512.hpp"
#include "products.inc"
#include "tiles_amx.hpp"
#include "vectors.inc"

namespace {

// The codes of a group as a tile wants them, a row for four inputs, with their zero point taken off.
template <class K, int J = 0>
inline void unpack_codes(const uint8_t* codes, uint8_t* out) {
  if constexpr (J < 8) {
    constexpr int zero = K::BITS == 8 ? 128 : K::ZERO == 1 ? 16 : K::ZERO == 0 ? 8 : 0;
    I four = codes_of<K::BITS, J>(codes);
    if constexpr (zero != 0) four = _mm512_sub_epi8(four, bytes(zero));
    _mm512_store_si512(out + 64 * J, four);
    unpack_codes<K, J + 1>(codes, out);
  }
}

// Walks a panel group by group: for its codes, or for its scales.
template <class K>
struct Walk {
  const uint8_t* at;
  K weights = {};

  const uint8_t* codes(int64_t group) {
    if (K::SHARED && group % 8 == 0) at += K::SHARED;
    const uint8_t* found = at + K::SCALES;
    at += K::BYTES;
    return found;
  }
  void scales(int64_t group) {
    if (K::SHARED && group % 8 == 0) {
      weights.shared(at, 0);
      at += K::SHARED;
    }
    weights.group(at, 0);
    at += K::BYTES;
  }
};

// The sums of four groups are under way at once.
constexpr int TOGETHER = 4;
struct Batch {
  alignas(64) uint8_t codes[TOGETHER][512];
  alignas(64) int32_t sums[TOGETHER][256];
};

template <class K>
inline void unpack_batch(Walk<K>& walk, int64_t group, int64_t groups, Batch& batch) {
  for (int n = 0; n < TOGETHER && group + n < groups; ++n) {
    const uint8_t* codes = walk.codes(group + n);
    fetch<K::BYTES>(codes + AHEAD, false);  // the scales are read again, some groups later
    unpack_codes<K>(codes, batch.codes[n]);
  }
}

// The sums of a batch, left in the tiles.
template <int I = 0>
inline void multiply_batch(const int8_t* activations, int64_t left, const Batch& batch) {
  if constexpr (I < TOGETHER) {
    if (I >= left) return;
    tile_load<4 + I % 2>(activations + 512 * I, 32);
    tile_load<6 + I % 2>(batch.codes[I], 64);
    tile_zero<I>();
    tile_dot<I, 4 + I % 2, 6 + I % 2>();
    multiply_batch<I + 1>(activations, left, batch);
  }
}

inline void store_batch(Batch& batch) {
  tile_store<0>(batch.sums[0], 64);
  tile_store<1>(batch.sums[1], 64);
  tile_store<2>(batch.sums[2], 64);
  tile_store<3>(batch.sums[3], 64);
}

// The float chains take in what the tiles found.
template <class K>
inline void take_in(Walk<K>& walk, const Tile& tile, int64_t group, int64_t groups, const Batch& batch, F (&f)[16]) {
  for (int n = 0; n < TOGETHER && group + n < groups; ++n) {
    walk.scales(group + n);
    const float* scales = tile.scale + 16 * (group + n);
    const float* minima = tile.minimum + 16 * (group + n);
#pragma GCC unroll 16
    for (int m = 0; m < 16; ++m) {
      const F sum = to_float(_mm512_load_si512(batch.sums[n] + 16 * m));
      f[m] = fma(sum, mul(walk.weights.scale[0], all(scales[m])), f[m]);
    }
    if constexpr (K::MINIMUM) {
#pragma GCC unroll 16
      for (int m = 0; m < 16; ++m) f[m] = fma(walk.weights.low, all(minima[m]), f[m]);
    }
  }
}

// What tiles store cannot be loaded at once, nor can they load what was just stored. So the codes of a batch are
// unpacked one batch early, and the float chains follow one batch late.
template <class K>
void sixteen_rows(const uint8_t* panel, int64_t inputs, const Tile& tile, float* out) {
  F f[16];
#pragma GCC unroll 16
  for (int m = 0; m < 16; ++m) f[m] = all(0.0f);
  Batch batches[2];
  Walk<K> ahead{panel}, behind{panel};
  const int64_t groups = inputs / 32;
  unpack_batch(ahead, 0, groups, batches[0]);
  for (int64_t g = 0, turn = 0; g - TOGETHER < groups; g += TOGETHER, ++turn) {
    Batch &now = batches[turn & 1], &other = batches[~turn & 1];
    multiply_batch(tile.codes + 512 * g, groups - g, now);
    if (g > 0) take_in(behind, tile, g - TOGETHER, groups, other, f);
    unpack_batch(ahead, g + TOGETHER, groups, other);
    if (g < groups) store_batch(now);
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
  const foredraft::Product products[7] = {tiled_product<Q4_0>, tiled_product<Q4_1>, tiled_product<Q5_0>, tiled_product<Q5_1>,
                                          tiled_product<Q8_0>, tiled_product<Q4_K>, tiled_product<Q5_K>};
  for (int i = 0; i < 7; ++i) k.product[3 + i] = products[i];
  k.begin = tiles_begin;
  k.end = tiles_end;
  return k;
}

}  // namespace

const foredraft::Kernels& foredraft::amx_kernels() {
  static const Kernels kernels = tiled_table();
  return kernels;
}
