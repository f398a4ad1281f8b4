// Keys and values of one sequence, in pages of 64 positions that forks share until one of them writes.
//
// A page holds for each layer and head of keys: keys as four vectors of 16 positions, [4][size][16], then values,
// [64][size]. Rows of a pass that follow the end of the cache as a chain are written where they would stay; other rows
// of a tree wait beside the pages until `keep` moves those that were accepted.
#pragma once

#include <memory>
#include <vector>

#include "buffer.hpp"
#include "kernels/kernels.hpp"

namespace foredraft {

struct CacheShape {
  int layers, heads, size;
  int bytes;  // of an element: 2 for half precision, 4 for f32

  size_t half() const { return size_t(BLOCK) * size_t(size) * size_t(bytes); }  // the keys, or the values, of a head
  size_t head_bytes() const { return 2 * half(); }
  size_t page_bytes() const { return size_t(layers) * size_t(heads) * head_bytes(); }
  size_t row_bytes() const { return size_t(size) * size_t(bytes); }
  bool operator==(const CacheShape&) const = default;
};

class Cache {
 public:
  explicit Cache(CacheShape shape) : shape_(shape) {}

  const CacheShape& shape() const { return shape_; }
  int length() const { return length_; }
  size_t nbytes() const;
  bool closed() const { return closed_; }
  // Whether a pass is at work on it, in which time nothing else may be. Read and set under the interpreter's lock.
  bool passing() const { return passing_; }
  void set_passing(bool passing) { passing_ = passing; }

  // Throws std::invalid_argument, and changes nothing, for rows that are not one path.
  void keep(const std::vector<int>& rows);
  void trim(int length);
  Cache fork() const;
  void close();
  // Raw keys and values of one position, layer after layer, head after head: key then value. For tests.
  std::vector<uint8_t> at(int position) const;

  // --- for a pass ---
  // Makes room for rows with these parents; what was pending is forgotten.
  void begin(std::vector<int> parents);
  void forget() noexcept { parents_.clear(); }
  int chain() const { return chain_; }  // pending rows that stand in the pages, from the first on
  uint8_t* keys(int page, int layer, int head) const {
    return pages_[size_t(page)]->data() + (size_t(layer) * size_t(shape_.heads) + size_t(head)) * shape_.head_bytes();
  }
  uint8_t* values(int page, int layer, int head) const { return keys(page, layer, head) + shape_.half(); }
  // Key, then value, of a pending row that does not stand in the pages.
  uint8_t* waiting(int row, int layer, int head) const {
    const size_t place = (size_t(row - chain_) * size_t(shape_.layers) + size_t(layer)) * size_t(shape_.heads) + size_t(head);
    return waiting_.data() + place * 2 * shape_.row_bytes();
  }
  const std::vector<int>& parents() const { return parents_; }
  const std::vector<int>& depths() const { return depths_; }

  // Writes a key into a column of 16 positions.
  static void put_key(const CacheShape& shape, const uint8_t* key, uint8_t* keys, int slot);

 private:
  void own(int begin, int end);

  CacheShape shape_;
  int length_ = 0, chain_ = 0;
  bool closed_ = false, passing_ = false;
  std::vector<std::shared_ptr<Buffer>> pages_;
  std::vector<int> parents_, depths_;
  Buffer waiting_;
};

}  // namespace foredraft
