// The two halves of a product of rows with matrices, which all threads of a region walk together.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "kernels/kernels.hpp"
#include "packed.hpp"
#include "pool.hpp"
#include "tiles.hpp"

namespace foredraft {

enum class Activations { int8, int16, f32 };

constexpr unsigned FLOATS = bit_of(Kind::F32) | bit_of(Kind::F16) | bit_of(Kind::BF16);

struct Products {
  const Kernels& kernels;
  Activations activations;

  const Product* table() const { return activations == Activations::f32 ? kernels.expanded : kernels.product; }
  // What tiles must hold for matrices of these types, bit by bit.
  unsigned codes(unsigned kinds) const { return activations == Activations::f32 ? 0 : kinds & ~FLOATS; }
  bool values(unsigned kinds) const { return activations == Activations::f32 || kinds & FLOATS; }
  int planes() const { return activations == Activations::int16 ? 2 : 1; }

  // tiles <- read(row), a row of floats
  template <class Read>
  void quantise(Worker& worker, size_t rows, int64_t inputs, const Tiles& tiles, Read&& read) const {
    worker.each(rows, 1, [&](size_t row) {
      const Placed& at = tiles.of(row);
      kernels.quantise(read(row), inputs, at.tile, int(row - at.first), at.plane);
    });
  }

  // store(matrix, output, row, 16 floats) for every panel of every matrix and every row.
  template <class Store>
  void multiply(Worker& worker, std::initializer_list<const Packed*> matrices, const Tiles& tiles, Store&& store) const {
    size_t total = 0;
    for (const Packed* matrix : matrices) total += matrix->panels();
    const size_t grain = std::clamp<size_t>(total / (size_t(worker.count) * 8), 1, 32);
    worker.each(total, grain, [&](size_t panel) {
      size_t index = 0;
      const Packed* const* matrix = matrices.begin();
      for (; panel >= (*matrix)->panels(); ++matrix, ++index) panel -= (*matrix)->panels();
      alignas(64) float out[TILE * PANEL];
      for (const Placed& at : tiles.placed()) {
        table()[int((*matrix)->kind)]((*matrix)->panel(panel), int64_t((*matrix)->inputs), at.tile, out);
        if (at.plane) kernels.add(out, out + at.plane * PANEL, int64_t(at.count) * PANEL);
        for (int r = 0; r < at.count; ++r) store(index, panel * PANEL, at.first + size_t(r), out + r * PANEL);
      }
    });
  }
};

}  // namespace foredraft
