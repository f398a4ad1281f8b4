// The header of a GGUF file, read without trust: every count and length is checked against the bytes that are left of
// the file before anything is allocated. The twin of the plain reader in models/gguf_header.py, where the contents are
// judged; here they are only found. Source: the GGUF specification, versions 2 and 3.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace foredraft::gguf {

// What is wrong with a file, as the end of a sentence that begins with its name.
struct Damaged : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

enum Kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// Bytes of one value of the kind; 0 for strings, arrays and what is no kind.
size_t size_of(uint32_t kind);

struct Span {
  size_t at = 0, size = 0;
};

// A metadata value: `count` items of one kind where they lie in the file, strings with their lengths before them.
struct Value {
  uint32_t kind = u8;
  bool is_array = false;
  size_t count = 1;
  Span items;
};

struct Key {
  Span name;
  Value value;
};

constexpr uint32_t DEEPEST = 4;  // dimensions of a tensor

struct Tensor {
  Span name;
  uint32_t dimensions = 0, kind = 0;
  std::array<uint64_t, DEEPEST> shape{};
  uint64_t offset = 0;  // from where the weights begin
};

struct Header {
  std::string bytes;  // the beginning of the file, at least `end` bytes
  std::vector<Key> keys;
  std::vector<Tensor> tensors;
  size_t end = 0;  // how many bytes the header takes

  std::string_view view(Span span) const { return std::string_view(bytes).substr(span.at, span.size); }
};

// The text of the string whose length lies at `at`; moves `at` behind it. For strings that read_header has found.
std::string_view next_string(const Header& header, size_t& at);

// file: a descriptor, read from its beginning and not beyond `largest` bytes. most: keys, tensors and items of arrays
// together. Read rather than mapped: a file that shrinks meanwhile is then an error and not a signal. Throws Damaged,
// and std::system_error when reading fails.
Header read_header(int file, size_t largest, size_t most);

}  // namespace foredraft::gguf
