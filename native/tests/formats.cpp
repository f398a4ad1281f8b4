#include "formats.hpp"

#include <cmath>

namespace check {

using foredraft::Kind;

namespace {

constexpr int SUPER_BLOCK = 256;

struct Block {
  int inputs, bytes;
};

Block block_of(Kind kind) {
  switch (kind) {
    case Kind::F32: return {1, 4};
    case Kind::F16:
    case Kind::BF16: return {1, 2};
    case Kind::Q4_0: return {32, 2 + 16};
    case Kind::Q4_1: return {32, 2 + 2 + 16};
    case Kind::Q5_0: return {32, 2 + 4 + 16};
    case Kind::Q5_1: return {32, 2 + 2 + 4 + 16};
    case Kind::Q8_0: return {32, 2 + 32};
    case Kind::Q4_K: return {SUPER_BLOCK, 2 + 2 + 12 + 128};
    case Kind::Q5_K: return {SUPER_BLOCK, 2 + 2 + 12 + 32 + 128};
    case Kind::Q6_K: return {SUPER_BLOCK, 128 + 64 + 16 + 2};
  }
  return {};
}

uint16_t word(const uint8_t* at) { return uint16_t(at[0] + 256 * at[1]); }

void put_word(uint8_t* at, uint16_t value) {
  at[0] = uint8_t(value % 256);
  at[1] = uint8_t(value / 256);
}

int nibble(uint8_t byte, bool high) { return high ? byte / 16 : byte % 16; }
int bit(const uint8_t* bits, int at) { return bits[at / 8] >> (at % 8) & 1; }

// The six-bit scale (which = 0) or minimum (1) of group g: the first four whole, the others in two parts.
int six_bits(const uint8_t* packed, int g, int which) {
  if (g < 4) return packed[4 * which + g] & 63;
  return nibble(packed[4 + g], which == 1) + 16 * (packed[4 * which + g - 4] >> 6);
}

// Blocks of 32: where the nibbles begin, whether there is a minimum and a plane of fifth bits, the zero point.
struct Simple {
  int nibbles, fifth, zero;
  bool minimum;
};

void decode_simple(const uint8_t* block, const Simple& s, Decoded& out) {
  for (int i = 0; i < 32; ++i) {
    int code = nibble(block[s.nibbles + i % 16], i >= 16);
    if (s.fifth) code += 16 * bit(block + s.fifth, i);
    out.code.push_back(code - s.zero);
  }
  for (int half = 0; half < 2; ++half) out.scale.push_back(half_value(word(block)));
  out.minimum.push_back(s.minimum ? half_value(word(block + 2)) : 0.0f);
}

void decode_bytes(const uint8_t* block, Decoded& out) {
  for (int i = 0; i < 32; ++i) out.code.push_back(int8_t(block[2 + i]));
  for (int half = 0; half < 2; ++half) out.scale.push_back(half_value(word(block)));
  out.minimum.push_back(0.0f);
}

void decode_two_level(const uint8_t* block, bool fifth, Decoded& out) {
  const float d = half_value(word(block)), dmin = half_value(word(block + 2));
  const uint8_t* nibbles = block + (fifth ? 48 : 16);
  for (int i = 0; i < SUPER_BLOCK; ++i) {
    int code = nibble(nibbles[32 * (i / 64) + i % 32], i / 32 % 2 == 1);
    if (fifth) code += 16 * (block[16 + i % 32] >> (i / 32) & 1);
    out.code.push_back(code);
  }
  for (int g = 0; g < SUPER_BLOCK / 32; ++g) {
    for (int half = 0; half < 2; ++half) out.scale.push_back(d * float(six_bits(block + 4, g, 0)));
    out.minimum.push_back(-dmin * float(six_bits(block + 4, g, 1)));
  }
}

void decode_six(const uint8_t* block, Decoded& out) {
  const float d = half_value(word(block + 208));
  for (int i = 0; i < SUPER_BLOCK; ++i) {
    const int part = i / 128, quarter = i / 32 % 4;
    const int low = nibble(block[64 * part + 32 * (quarter % 2) + i % 32], quarter >= 2);
    const int high = block[128 + 32 * part + i % 32] >> (2 * quarter) & 3;
    out.code.push_back(low + 16 * high - 32);
  }
  for (int g = 0; g < SUPER_BLOCK / 16; ++g) out.scale.push_back(d * float(int8_t(block[192 + g])));
  for (int g = 0; g < SUPER_BLOCK / 32; ++g) out.minimum.push_back(0.0f);
}

void decode_float(Kind kind, const uint8_t* at, Decoded& out) {
  float value;
  const uint32_t high = uint32_t(word(at)) << 16;
  if (kind == Kind::F16) value = half_value(word(at));
  else std::memcpy(&value, kind == Kind::F32 ? static_cast<const void*>(at) : &high, 4);
  out.value.push_back(value);
}

// Mostly small, as in real files; one in eight or sixteen subnormal, one in sixteen zero.
uint16_t random_scale(Random& random) {
  const int choice = random.below(16);
  const uint16_t sign = uint16_t(random.below(2) << 15), fraction = uint16_t(random.below(1024));
  if (choice == 0) return sign;
  if (choice <= 2) return uint16_t(sign | fraction);
  return uint16_t(sign | (1 + random.below(14)) << 10 | fraction);
}

uint32_t random_float(Random& random) {
  const float value = random.scaled(-12, 0);
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const int choice = random.below(16);
  return choice == 0 ? 0 : choice == 1 ? bits & 0x807fffff : bits;
}

}  // namespace

float half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double sign = half >> 15 ? -1 : 1;
  if (exponent == 31 && fraction) return std::nanf("");
  if (exponent == 31) return float(sign * HUGE_VAL);
  return float(sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24)));
}

uint16_t half_of(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double size = std::fabs(double(x));
  if (size >= 65520) return uint16_t(sign | 0x7c00);
  int exponent = 0;
  std::frexp(size, &exponent);  // size = [0.5, 1) * 2^exponent
  const int unit = size < std::ldexp(1.0, -14) ? -24 : exponent - 11;  // a subnormal's, or the last of eleven bits
  // The bits of a half count its units from zero on; a carry into the exponent is right as it is.
  const int units = int(std::nearbyint(std::ldexp(size, -unit)));
  return uint16_t(sign | (units + (unit + 24) * 1024));
}

size_t stored_bytes(Kind kind, size_t inputs) {
  const Block block = block_of(kind);
  return inputs / size_t(block.inputs) * size_t(block.bytes);
}

std::vector<uint8_t> random_stored(Kind kind, size_t outputs, size_t inputs, Random& random) {
  std::vector<uint8_t> stored(outputs * stored_bytes(kind, inputs));
  for (uint8_t& byte : stored) byte = uint8_t(random.bits() >> 56);
  const Block block = block_of(kind);
  for (size_t at = 0; at < stored.size(); at += size_t(block.bytes)) {
    uint8_t* b = stored.data() + at;
    const uint32_t bits = random_float(random);
    if (kind == Kind::F32) std::memcpy(b, &bits, 4);
    else if (kind == Kind::BF16) put_word(b, uint16_t(bits >> 16));
    else put_word(kind == Kind::Q6_K ? b + 208 : b, random_scale(random));
    if (has_minimum(kind)) put_word(b + 2, random_scale(random));
  }
  return stored;
}

Decoded decode(Kind kind, const uint8_t* stored, size_t inputs) {
  Decoded out;
  const Block block = block_of(kind);
  for (size_t k = 0; k < inputs; k += size_t(block.inputs), stored += block.bytes) {
    switch (kind) {
      case Kind::Q4_0: decode_simple(stored, {2, 0, 8, false}, out); break;
      case Kind::Q4_1: decode_simple(stored, {4, 0, 0, true}, out); break;
      case Kind::Q5_0: decode_simple(stored, {6, 2, 16, false}, out); break;
      case Kind::Q5_1: decode_simple(stored, {8, 4, 0, true}, out); break;
      case Kind::Q8_0: decode_bytes(stored, out); break;
      case Kind::Q4_K: decode_two_level(stored, false, out); break;
      case Kind::Q5_K: decode_two_level(stored, true, out); break;
      case Kind::Q6_K: decode_six(stored, out); break;
      default: decode_float(kind, stored, out);
    }
  }
  return out;
}

bool has_minimum(Kind kind) {
  return kind == Kind::Q4_1 || kind == Kind::Q5_1 || kind == Kind::Q4_K || kind == Kind::Q5_K;
}

bool is_float(Kind kind) { return kind == Kind::F32 || kind == Kind::F16 || kind == Kind::BF16; }

}  // namespace check
