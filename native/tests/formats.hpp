// The storage formats written out a second time, value by value and with no layout of panels in mind: what packing and
// products are held against.
#pragma once

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "packed.hpp"

namespace check {

// Half precision by its definition.
float half_value(uint16_t half);
// Rounded to nearest, ties to even, by its definition. x is a number.
uint16_t half_of(float x);

// One output of a matrix of codes: value k is scale[k / 16] * code[k] + minimum[k / 32]. Of floats: `value` alone.
struct Decoded {
  std::vector<int> code;
  std::vector<float> scale, minimum;
  std::vector<float> value;
};

size_t stored_bytes(foredraft::Kind kind, size_t inputs);
// As a file may hold it: any codes; scales of either sign, zero and subnormal among them, but finite.
std::vector<uint8_t> random_stored(foredraft::Kind kind, size_t outputs, size_t inputs, Random& random);
Decoded decode(foredraft::Kind kind, const uint8_t* stored, size_t inputs);
bool has_minimum(foredraft::Kind kind);
bool is_float(foredraft::Kind kind);

}  // namespace check
