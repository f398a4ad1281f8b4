#include "gguf.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie in the file");

namespace foredraft::gguf {
namespace {

constexpr std::string_view MAGIC = "GGUF";
constexpr size_t FIRST_READ = 1 << 20;
// The fewest bytes that an entry can take, as the plain reader counts them.
constexpr uint64_t LEAST_TENSOR = 24, LEAST_KEY = 12, LEAST_STRING = 8;

std::system_error failed() { return {errno, std::generic_category()}; }

size_t size_of_file(int file) {
  struct stat found;
  if (fstat(file, &found) != 0) throw failed();
  return size_t(std::max<off_t>(found.st_size, 0));
}

// Reads values one after another, and the file as far as they go. Invariant: at_ <= bytes_.size() <= size_.
class Cursor {
 public:
  Cursor(int file, size_t largest, size_t most)
      : file_(file), size_(size_of_file(file)), largest_(std::min(size_, largest)), most_(most) {}

  // Moves on by `count` bytes that are there.
  Span take(uint64_t count) {
    if (count > size_ - at_) throw Damaged("ends in the middle of its header");
    if (count > largest_ - at_) throw Damaged("has a header that is too large");
    load(at_ + count);
    const Span taken{at_, size_t(count)};
    at_ += count;
    return taken;
  }

  template <class T>
  T number() {
    T out;
    const Span taken = take(sizeof out);
    std::memcpy(&out, bytes_.data() + taken.at, sizeof out);
    return out;
  }

  // A number of items of at least `least` bytes each.
  size_t count(size_t least) {
    const auto count = number<uint64_t>();
    if (count > (size_ - at_) / least) throw Damaged("claims more entries than it has bytes");
    if (count > most_) throw Damaged("claims more entries than any model has");
    most_ -= count;
    return count;
  }

  Span string() {
    const auto length = number<uint64_t>();
    if (length > size_ - at_) throw Damaged("claims a string longer than itself");
    return take(length);
  }

  std::string_view view(Span span) const { return std::string_view(bytes_).substr(span.at, span.size); }
  size_t at() const { return at_; }
  size_t size() const { return size_; }
  std::string release() { return std::move(bytes_); }

 private:
  // Makes bytes [0, upto) present, upto <= largest_.
  void load(size_t upto) {
    if (upto <= bytes_.size()) return;
    size_t loaded = bytes_.size();
    bytes_.resize(std::min(largest_, std::max({upto, 2 * loaded, FIRST_READ})));
    while (loaded < bytes_.size()) {
      const ssize_t got = pread(file_, bytes_.data() + loaded, bytes_.size() - loaded, off_t(loaded));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw failed();
      if (got == 0) throw Damaged("ends in the middle of its header");
      loaded += size_t(got);
    }
  }

  int file_;
  size_t size_, largest_, most_, at_ = 0;
  std::string bytes_;
};

void check_beginning(Cursor& at) {
  if (at.size() < MAGIC.size() || at.view(at.take(MAGIC.size())) != MAGIC)
    throw Damaged("does not begin as a GGUF file does");
  const auto version = at.number<uint32_t>();
  if (version == 2 || version == 3) return;
  if (version == 2u << 24 || version == 3u << 24) throw Damaged("is big-endian");
  throw Damaged("is of version " + std::to_string(version) + ", and only 2 and 3 are known");
}

Value read_array(Cursor& at) {
  Value out;
  out.kind = at.number<uint32_t>();
  out.is_array = true;
  const size_t size = size_of(out.kind);
  if (!size && out.kind != string)
    throw Damaged("has an array of unsupported type " + std::to_string(out.kind));
  out.count = at.count(size ? size : LEAST_STRING);
  out.items.at = at.at();
  if (size) at.take(out.count * size);
  else
    for (size_t i = 0; i < out.count; ++i) at.string();
  out.items.size = at.at() - out.items.at;
  return out;
}

Value read_value(Cursor& at) {
  const auto kind = at.number<uint32_t>();
  if (kind == array) return read_array(at);
  if (kind == string) return {.kind = kind, .items = at.string()};
  if (!size_of(kind)) throw Damaged("has a value of unknown type " + std::to_string(kind));
  return {.kind = kind, .items = at.take(size_of(kind))};
}

Tensor read_tensor(Cursor& at) {
  Tensor out{.name = at.string(), .dimensions = at.number<uint32_t>()};
  if (out.dimensions < 1 || out.dimensions > DEEPEST)
    throw Damaged("has a tensor of " + std::to_string(out.dimensions) + " dimensions");
  for (uint32_t i = 0; i < out.dimensions; ++i) out.shape[i] = at.number<uint64_t>();
  out.kind = at.number<uint32_t>();
  out.offset = at.number<uint64_t>();
  return out;
}

}  // namespace

size_t size_of(uint32_t kind) {
  constexpr size_t SIZES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kind < std::size(SIZES) ? SIZES[kind] : 0;
}

std::string_view next_string(const Header& header, size_t& at) {
  uint64_t length;
  std::memcpy(&length, header.view({at, sizeof length}).data(), sizeof length);
  const std::string_view text = header.view({at + sizeof length, length});
  at += sizeof length + length;
  return text;
}

Header read_header(int file, size_t largest, size_t most) {
  Cursor at(file, largest, most);
  check_beginning(at);
  Header out;
  const size_t tensors = at.count(LEAST_TENSOR), keys = at.count(LEAST_KEY);
  for (size_t i = 0; i < keys; ++i) {
    const Span name = at.string();
    out.keys.push_back({name, read_value(at)});
  }
  for (size_t i = 0; i < tensors; ++i) out.tensors.push_back(read_tensor(at));
  out.end = at.at();
  out.bytes = at.release();
  return out;
}

}  // namespace foredraft::gguf
