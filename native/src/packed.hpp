// Weights as the kernels read them: panels of 16 outputs, the integer codes of the file and its scales, nothing rounded.
//
// A panel holds 16 outputs (the matrix is padded with zeros) and all inputs, in groups of 32 inputs. Codes lie in steps of
// four inputs: 64 bytes, output after output, which is what one instruction multiplies. Low nibbles of vector j are step
// j, high nibbles step j + 4; the fifth bit of step j is bit j of a plane of 64 bytes, the fifth and sixth bits are bits
// 2 (j mod 4) of one of two such planes. Before the codes stand the scales of the group, and before eight groups those
// that a K-quant shares:
//
//   Q4_0 Q5_0 Q8_0   d[16] f16                                          | codes
//   Q4_1 Q5_1        d[16] f16, m[16] f16                               | codes
//   Q4_K Q5_K        (d[16] f16, -dmin[16] f16 per 256) sc[16] m[16] u8 | codes
//   Q6_K             (d[16] f16 per 256)    sc[2][16] i8, for 16 inputs | codes
//   F32 F16 BF16     one vector of 16 outputs an input, f32 or 16 bits
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "buffer.hpp"

namespace foredraft {

enum class Kind : uint8_t { F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };
constexpr int KINDS = 11;
constexpr int PANEL = 16;  // outputs
constexpr int GROUP = 32;  // inputs that share a scale
constexpr int SUPER = 8;   // groups that share a scale of scales

struct Layout {
  const char* name;
  int block, block_bytes;  // of the file: inputs, bytes
  int bits;                // of a code; 0 for floats
  int shared;              // bytes before eight groups
  int scales;              // bytes before each group
  int zero;                // what is subtracted from a stored code
};

const Layout& layout_of(Kind kind);
// Throws std::invalid_argument for a type that is not one of the above.
Kind kind_named(const std::string& name);

struct Packed {
  Kind kind = Kind::F32;
  size_t outputs = 0, inputs = 0, panel_bytes = 0;
  size_t stride = 0;  // bytes from a panel to the next, between which those of another matrix may stand
  Buffer data;

  size_t panels() const { return (outputs + PANEL - 1) / PANEL; }
  const uint8_t* panel(size_t index) const { return data.data() + index * stride; }
  size_t nbytes() const { return panels() * panel_bytes; }
  // Decodes one output to f32: exactly what the file's format says it is.
  void row(size_t output, float* values) const;
};

class Pool;

// From a tensor as a GGUF file stores it, output after output. Throws std::invalid_argument for sizes that do not fit
// together, and std::domain_error for a scale that is not a finite number.
std::shared_ptr<Packed> pack(Kind kind, size_t outputs, size_t inputs, const uint8_t* stored, size_t bytes, Pool& pool);

}  // namespace foredraft
