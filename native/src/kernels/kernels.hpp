// What an instruction set provides. All of them give the same bits: sums of integers are exact, every float chain has one
// order (docs/engine.md), and whatever is not fixed by the lanes is written once, in *.inc, for all.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace foredraft {

constexpr int TILE = 16;    // rows that a tile holds at most
constexpr int BLOCK = 64;   // positions that attention folds at a time, beginning at multiples of it
constexpr int SUB = 16;     // keys in one vector
constexpr int QUERIES = 6;  // queries that share a read of keys from the registers

// One to eight or 16 rows of activations as products read them, group by group: [group][rows][32] codes, [group][rows]
// the rest. zero[z] holds -zero * (sum of the codes) for the zero points 8, 16, 128, and 32 for each half of a group.
// Arrays that no type of weights at hand reads are null.
struct Tile {
  int rows;  // 1 to 8, or 16
  bool once;  // whether no other tile reads the weights before they have left the caches
  int8_t* codes;  // none where only floats multiply
  float* scale;
  float* minimum;  // scale * sum of the codes: what a minimum is multiplied by
  int32_t* zero[5];
  float* values;  // [input][rows] f32, for products with floats; else none
};

// 16 outputs of a panel for all rows of a tile: out[row * 16 + output].
using Product = void (*)(const uint8_t* panel, int64_t inputs, const Tile& tile, float* out);

// Keys of a block: [d][16] for each quarter; values: [position][d].
struct KeyBlock {
  const void* keys[BLOCK / SUB];
  const void* values;
  int start;  // its first position
};

// Queries of one head of keys over blocks that stand on the path of each of them. query, out: [count][size]; a query sees
// positions first … last. most, sums [count], [count][16]: what online softmax carries from block to block, and with out
// from call to call: the first call of a query opens, the last one closes.
struct Attention {
  int count, size, blocks;
  bool opens, closes;
  const float* query;
  const int* first;
  const int* last;
  const KeyBlock* block;
  float* out;
  float* most;
  float* sums;
  float* scratch;  // QUERIES * BLOCK floats
};

struct Kernels {
  Product product[11];   // by kind: integer codes with int8 activations, float weights with f32
  Product expanded[11];  // by kind: weights as f32, activations f32
  void (*begin)();       // before a thread's first product of a region, and
  void (*end)();         // after its last
  // Quantises one row of `inputs` floats into place `row` of a tile; with `plane`, what the int8 codes leave over is
  // quantised into place `row + plane` (two planes of int8 make the int16 activations).
  void (*quantise)(const float* row, int64_t inputs, const Tile& tile, int place, int plane);
  // The same for one group of the first rows of a tile: values [rows][32].
  void (*quantise_group)(const float* values, int rows, const Tile& tile, int64_t group, int plane);
  void (*norm)(const float* row, const float* weight, float epsilon, int64_t count, float* out);
  void (*add)(float* to, const float* other, int64_t count);
  void (*multiply)(float* values, float factor, int64_t count);
  // out = silu(gate) * up or, for gelu, the tanh approximation of it.
  void (*gate)(const float* gate, const float* up, bool gelu, int64_t count, float* out);
  bool (*reaches)(const float* values, float bound);  // whether one of 16 values is at least the bound
  void (*attend_half)(const Attention& job);
  void (*attend_float)(const Attention& job);
  // Rounded to half precision, nearest even.
  void (*to_half)(const float* from, int64_t count, uint16_t* to);
};

const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avxvnni_kernels();
const Kernels& avx512_kernels();
const Kernels& amx_kernels();

}  // namespace foredraft
