#include "cache.hpp"

#include <cstring>
#include <stdexcept>

namespace foredraft {
namespace {

template <class T>
void put(const CacheShape& shape, const uint8_t* key, uint8_t* keys, int slot) {
  const T* from = reinterpret_cast<const T*>(key);
  T* to = reinterpret_cast<T*>(keys) + size_t(slot / SUB) * size_t(SUB) * size_t(shape.size) + slot % SUB;
  for (int d = 0; d < shape.size; ++d) to[d * SUB] = from[d];
}

template <class T>
void take(const CacheShape& shape, const uint8_t* keys, int slot, uint8_t* out) {
  const T* from = reinterpret_cast<const T*>(keys) + size_t(slot / SUB) * size_t(SUB) * size_t(shape.size) + slot % SUB;
  for (int d = 0; d < shape.size; ++d) std::memcpy(out + size_t(d) * sizeof(T), from + d * SUB, sizeof(T));
}

}  // namespace

void Cache::put_key(const CacheShape& shape, const uint8_t* key, uint8_t* keys, int slot) {
  shape.bytes == 2 ? put<uint16_t>(shape, key, keys, slot) : put<uint32_t>(shape, key, keys, slot);
}

size_t Cache::nbytes() const { return pages_.size() * shape_.page_bytes() + waiting_.size(); }

// Pages for these positions exist and belong to nobody else.
void Cache::own(int begin, int end) {
  for (int page = begin / BLOCK; page * BLOCK < end; ++page) {
    if (size_t(page) == pages_.size()) {
      pages_.push_back(std::make_shared<Buffer>(shape_.page_bytes()));
    } else if (pages_[size_t(page)].use_count() > 1) {
      auto copy = std::make_shared<Buffer>(shape_.page_bytes());
      std::memcpy(copy->data(), pages_[size_t(page)]->data(), copy->size());
      pages_[size_t(page)] = std::move(copy);
    }
  }
}

void Cache::begin(std::vector<int> parents) {
  parents_.clear();
  int chain = 0;
  while (chain < int(parents.size()) && parents[size_t(chain)] == chain - 1) ++chain;
  own(length_, length_ + chain);
  waiting_.reserve((parents.size() - size_t(chain)) * size_t(shape_.layers) * size_t(shape_.heads) * 2 * shape_.row_bytes());
  depths_.resize(parents.size());
  for (size_t row = 0; row < parents.size(); ++row) depths_[row] = parents[row] < 0 ? 0 : depths_[size_t(parents[row])] + 1;
  chain_ = chain;
  parents_ = std::move(parents);
}

void Cache::keep(const std::vector<int>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || size_t(rows[i]) >= parents_.size()) throw std::invalid_argument("there is no such row to keep");
    if (parents_[size_t(rows[i])] != (i ? rows[i - 1] : -1)) throw std::invalid_argument("the rows to keep are not one path");
  }
  own(length_, length_ + int(rows.size()));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < chain_) continue;
    const int position = length_ + int(i), page = position / BLOCK, slot = position % BLOCK;
    for (int layer = 0; layer < shape_.layers; ++layer)
      for (int head = 0; head < shape_.heads; ++head) {
        const uint8_t* from = waiting(rows[i], layer, head);
        put_key(shape_, from, keys(page, layer, head), slot);
        std::memcpy(values(page, layer, head) + size_t(slot) * shape_.row_bytes(), from + shape_.row_bytes(), shape_.row_bytes());
      }
  }
  length_ += int(rows.size());
  parents_.clear();
}

void Cache::trim(int length) {
  if (length < 0 || length > length_) throw std::invalid_argument("a cache cannot be trimmed to a length it has not");
  length_ = length;
  parents_.clear();
  const size_t needed = size_t((length + BLOCK - 1) / BLOCK);
  if (pages_.size() > needed) pages_.resize(needed);
}

Cache Cache::fork() const {
  if (!parents_.empty()) throw std::invalid_argument("a cache with rows pending cannot be forked: keep some or none first");
  Cache copy(shape_);
  copy.length_ = length_;
  copy.closed_ = closed_;
  copy.pages_ = pages_;
  return copy;
}

void Cache::close() {
  closed_ = true;
  length_ = 0;
  parents_.clear();
  pages_.clear();
  waiting_ = Buffer();
}

std::vector<uint8_t> Cache::at(int position) const {
  if (position < 0 || position >= length_) throw std::invalid_argument("there is nothing at this position");
  const int page = position / BLOCK, slot = position % BLOCK;
  const size_t row = shape_.row_bytes();
  std::vector<uint8_t> out(size_t(shape_.layers) * size_t(shape_.heads) * 2 * row);
  uint8_t* to = out.data();
  for (int layer = 0; layer < shape_.layers; ++layer)
    for (int head = 0; head < shape_.heads; ++head, to += 2 * row) {
      shape_.bytes == 2 ? take<uint16_t>(shape_, keys(page, layer, head), slot, to)
                        : take<uint32_t>(shape_, keys(page, layer, head), slot, to);
      std::memcpy(to + row, values(page, layer, head) + size_t(slot) * row, row);
    }
  return out;
}

}  // namespace foredraft
