#include "tiles.hpp"

namespace foredraft {
namespace {

// Places of the next tile. None is left empty: arithmetic is what several rows cost.
int next_tile(size_t places) { return places < 8 ? int(places) : places < TILE ? 8 : TILE; }

// Which of a tile's arrays the types read: a zero point of each sort, and minima.
struct Forms {
  bool zero[5] = {}, minimum = false;

  explicit Forms(unsigned kinds) {
    for (int kind = 0; kind < KINDS; ++kind) {
      const int point = layout_of(Kind(kind)).zero;
      if (!(kinds & bit_of(Kind(kind)))) continue;
      minimum |= point == 0;
      zero[0] |= point == 8;
      zero[1] |= point == 16;
      zero[2] |= point == 128;
      zero[3] |= point == 32;
      zero[4] |= point == 32;
    }
  }
  size_t count() const { return size_t(minimum + zero[0] + zero[1] + zero[2] + zero[3] + zero[4]); }
};

size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void Tiles::lay(size_t rows, int64_t inputs, unsigned kinds, bool values, int planes) {
  const bool codes = kinds != 0;
  const Forms forms(kinds);
  placed_.clear();
  tile_of_.resize(rows);
  const size_t groups = size_t(inputs + GROUP - 1) / GROUP;
  size_t bytes = 0;
  for (size_t row = 0; row < rows;) {
    const int size = next_tile((rows - row) * size_t(planes)), count = size / planes;
    Placed one{};
    one.tile.rows = size;
    one.tile.once = once_ && count == int(rows);
    one.first = row;
    one.count = count;
    one.plane = planes == 2 ? count : 0;
    for (int i = 0; i < count; ++i) tile_of_[row + size_t(i)] = placed_.size();
    placed_.push_back(one);
    const size_t places = groups * size_t(size);
    if (codes) bytes += whole_lines(places * GROUP) + (1 + forms.count()) * whole_lines(places * 4);
    if (values) bytes += places * GROUP * 4;
    row += size_t(count);
  }
  memory_.reserve(bytes);
  uint8_t* at = memory_.data();
  auto take = [&](size_t wanted) {
    uint8_t* here = at;
    at += whole_lines(wanted);
    return here;
  };
  for (Placed& one : placed_) {
    const size_t places = groups * size_t(one.tile.rows);
    if (codes) {
      one.tile.codes = reinterpret_cast<int8_t*>(take(places * GROUP));
      one.tile.scale = reinterpret_cast<float*>(take(places * 4));
      if (forms.minimum) one.tile.minimum = reinterpret_cast<float*>(take(places * 4));
      for (int z = 0; z < 5; ++z)
        if (forms.zero[z]) one.tile.zero[z] = reinterpret_cast<int32_t*>(take(places * 4));
    }
    if (values) one.tile.values = reinterpret_cast<float*>(take(places * GROUP * 4));
  }
}

}  // namespace foredraft
