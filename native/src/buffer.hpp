// Memory in whole cache lines, zeroed unless said otherwise, that the operating system may back with large pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace foredraft {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) : Buffer(unset(bytes)) {
    if (bytes) std::memset(data_, 0, bytes);
  }
  // Of any contents. Much memory costs its first touch, which threads that fill it in parts share.
  static Buffer unset(size_t bytes) {
    Buffer made;
    if (!bytes) return made;
    const bool large = bytes >= LARGE;
    const size_t align = large ? LARGE : 64;
    const size_t whole = (bytes + align - 1) / align * align;
    made.data_ = static_cast<uint8_t*>(std::aligned_alloc(align, whole));
    if (!made.data_) throw std::bad_alloc();
    made.bytes_ = bytes;
#if defined(__linux__)
    if (large) madvise(made.data_, whole, MADV_HUGEPAGE);  // the last page too, which is not full
#endif
    return made;
  }
  // A part of another, which lives as long as it has parts.
  Buffer(std::shared_ptr<const Buffer> whole, size_t offset, size_t bytes)
      : data_(whole->data_ + offset), bytes_(bytes), whole_(std::move(whole)) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), whole_(std::move(other.whole_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(whole_, other.whole_);
    return *this;
  }
  ~Buffer() {
    if (!whole_) std::free(data_);
  }

  // From so many bytes on large pages may back it.
  static constexpr size_t LARGE = size_t(2) << 20;

  uint8_t* data() const { return data_; }
  size_t size() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  // At least so many bytes; what was there is lost when it must grow.
  void reserve(size_t bytes) {
    if (bytes > bytes_) *this = Buffer(bytes + bytes / 4);
  }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  std::shared_ptr<const Buffer> whole_;  // whose part this is
};

}  // namespace foredraft
