// The tile registers of AMX, by our own instructions: gcc 12's intrinsic that loads the configuration declares eight of
// the sixty-four bytes it reads, so the optimiser deletes the stores of the rest.
//
// FOREDRAFT_EMULATE_TILES replaces the registers by memory and the instructions by loops, so that everything around them
// can be tested on machines without tiles; such a build is never shipped.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles: 0 to 3 sums of sixteen rows; 4 and 5 their activations, of 32 inputs; 6 and 7 codes of 32 inputs.
inline TileShapes tile_shapes() {
  TileShapes shapes;
  const int bytes[8] = {64, 64, 64, 64, 32, 32, 64, 64}, rows[8] = {16, 16, 16, 16, 16, 16, 8, 8};
  for (int t = 0; t < 8; ++t) {
    shapes.row_bytes[t] = (uint16_t)bytes[t];
    shapes.rows[t] = (uint8_t)rows[t];
  }
  return shapes;
}

#if !defined(FOREDRAFT_EMULATE_TILES)

inline void tiles_begin() {
  const TileShapes shapes = tile_shapes();
  __asm__ volatile("ldtilecfg %0" ::"m"(shapes));
}
inline void tiles_end() { __asm__ volatile("tilerelease" ::: "memory"); }
template <int T>
inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
inline void tile_load(const void* from, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* to, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}
// sums += activations x codes, both signed
template <int C, int A, int B>
inline void tile_dot() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

#else

inline TileShapes& emulated_shapes() {
  static thread_local TileShapes shapes;
  return shapes;
}
inline uint8_t* emulated_tile(int t) {
  static thread_local uint8_t tiles[8][16 * 64];
  return tiles[t];
}
inline void tiles_begin() {
  emulated_shapes() = tile_shapes();
  for (int t = 0; t < 8; ++t) __builtin_memset(emulated_tile(t), 0, 16 * 64);
}
inline void tiles_end() { emulated_shapes() = TileShapes(); }
template <int T>
inline void tile_zero() { __builtin_memset(emulated_tile(T), 0, 16 * 64); }
template <int T>
inline void tile_load(const void* from, int64_t stride) {
  tile_zero<T>();
  for (int r = 0; r < emulated_shapes().rows[T]; ++r)
    __builtin_memcpy(emulated_tile(T) + 64 * r, (const uint8_t*)from + r * stride, emulated_shapes().row_bytes[T]);
}
template <int T>
inline void tile_store(void* to, int64_t stride) {
  for (int r = 0; r < emulated_shapes().rows[T]; ++r)
    __builtin_memcpy((uint8_t*)to + r * stride, emulated_tile(T) + 64 * r, emulated_shapes().row_bytes[T]);
}
template <int C, int A, int B>
inline void tile_dot() {
  for (int r = 0; r < emulated_shapes().rows[A]; ++r)
    for (int k = 0; k < emulated_shapes().row_bytes[A] / 4; ++k)
      for (int n = 0; n < emulated_shapes().row_bytes[C] / 4; ++n) {
        int32_t sum;
        __builtin_memcpy(&sum, emulated_tile(C) + 64 * r + 4 * n, 4);
        for (int b = 0; b < 4; ++b) sum += (int8_t)emulated_tile(A)[64 * r + 4 * k + b] * (int8_t)emulated_tile(B)[64 * k + 4 * n + b];
        __builtin_memcpy(emulated_tile(C) + 64 * r + 4 * n, &sum, 4);
      }
}

#endif

}  // namespace
