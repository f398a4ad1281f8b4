// Rows of activations laid out in tiles, as the products read them.
#pragma once

#include <vector>

#include "buffer.hpp"
#include "kernels/kernels.hpp"
#include "packed.hpp"

namespace foredraft {

constexpr unsigned ALL_KINDS = ~0u;
constexpr unsigned bit_of(Kind kind) { return 1u << int(kind); }

// One tile and the rows of the pass that it holds. plane: 0, or where the second int8 plane of row 0 stands.
struct Placed {
  Tile tile;
  size_t first;
  int count, plane;
};

// A tile from one of its groups on.
inline Tile from_group(Tile tile, size_t group) {
  const size_t places = group * size_t(tile.rows);
  if (tile.values) tile.values += places * GROUP;
  if (!tile.codes) return tile;
  tile.codes += places * GROUP;
  tile.scale += places;
  if (tile.minimum) tile.minimum += places;
  for (int32_t*& zero : tile.zero)
    if (zero) zero += places;
  return tile;
}

class Tiles {
 public:
  // Whether the weights leave the caches before they are read again, of the tiles that are laid from now on.
  void set_once(bool once) { once_ = once; }
  // For `rows` rows of `inputs` values. kinds: the types of integer weights that will multiply them, bit by bit, none
  // where the codes are not wanted; values: whether the floats are. planes: 1 or 2.
  void lay(size_t rows, int64_t inputs, unsigned kinds, bool values, int planes);
  const std::vector<Placed>& placed() const { return placed_; }
  // The tile of a row.
  const Placed& of(size_t row) const { return placed_[tile_of_[row]]; }

 private:
  bool once_ = false;
  std::vector<Placed> placed_;
  std::vector<size_t> tile_of_;
  Buffer memory_;
};

}  // namespace foredraft
