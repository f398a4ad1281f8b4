// One matrix times rows of floats, beside the passes of an engine and by the same products.
#pragma once

#include <memory>
#include <utility>

#include "isa.hpp"
#include "products.hpp"
#include "weights.hpp"

namespace foredraft {

const Kernels& kernels_of(Isa isa);

class Linear {
 public:
  Linear(Matrix matrix, Isa isa, Activations activations)
      : matrix_(std::move(matrix)), products_{kernels_of(isa), activations} {}

  const Packed& matrix() const { return *matrix_; }
  const Kernels& kernels() const { return products_.kernels; }

  // Makes room, before a region.
  void lay(size_t rows) {
    const unsigned kind = bit_of(matrix_->kind);
    tiles_.lay(rows, int64_t(matrix_->inputs), products_.codes(kind), products_.values(kind), products_.planes());
  }

  // In a region, all threads: read(row) gives a row of floats, store(output, row, 16 floats) takes what came of it.
  template <class Read, class Store>
  void multiply(Worker& worker, size_t rows, Read&& read, Store&& store) const {
    products_.quantise(worker, rows, int64_t(matrix_->inputs), tiles_, read);
    products_.multiply(worker, {matrix_.get()}, tiles_,
                       [&](size_t, size_t output, size_t row, float* out) { store(output, row, out); });
  }

  // in: [rows][inputs], out: [rows][outputs]
  void apply(Pool& pool, const float* in, size_t rows, float* out);

 private:
  Matrix matrix_;
  Products products_;
  Tiles tiles_;
};

}  // namespace foredraft
