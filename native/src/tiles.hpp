// Rows of activations laid out in tiles, as the products read them.
#pragma once

#include <vector>

#include "buffer.hpp"
#include "kernels/kernels.hpp"
#include "packed.hpp"

namespace foredraft {

// One tile and the rows of the pass that it holds. plane: 0, or where the second int8 plane of row 0 stands.
struct Placed {
  Tile tile;
  size_t first;
  int count, plane;
};

class Tiles {
 public:
  // For `rows` rows of `inputs` values. codes, values: which of the two forms is wanted. planes: 1 or 2.
  void lay(size_t rows, int64_t inputs, bool codes, bool values, int planes);
  const std::vector<Placed>& placed() const { return placed_; }
  // The tile of a row.
  const Placed& of(size_t row) const { return placed_[tile_of_[row]]; }

 private:
  std::vector<Placed> placed_;
  std::vector<size_t> tile_of_;
  Buffer memory_;
};

}  // namespace foredraft
