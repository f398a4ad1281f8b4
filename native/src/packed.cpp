#include "packed.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "half.hpp"
#include "pool.hpp"

namespace foredraft {
namespace {

constexpr Layout LAYOUTS[KINDS] = {
    {"F32", 1, 4, 0, 0, 0, 0},        {"F16", 1, 2, 0, 0, 0, 0},        {"BF16", 1, 2, 0, 0, 0, 0},
    {"Q4_0", 32, 18, 4, 0, 32, 8},    {"Q4_1", 32, 20, 4, 0, 64, 0},    {"Q5_0", 32, 22, 5, 0, 32, 16},
    {"Q5_1", 32, 24, 5, 0, 64, 0},    {"Q8_0", 32, 34, 8, 0, 32, 128},  {"Q4_K", 256, 144, 4, 64, 32, 0},
    {"Q5_K", 256, 176, 5, 64, 32, 0}, {"Q6_K", 256, 210, 6, 32, 32, 32},
};

uint16_t u16(const uint8_t* at) { return uint16_t(at[0] | at[1] << 8); }

void put16(uint8_t* at, uint16_t value) {
  at[0] = uint8_t(value);
  at[1] = uint8_t(value >> 8);
}

// --- the codes of a block, one byte an input; 8-bit codes are moved to 0 … 255 ---

void codes_4(const uint8_t* nibbles, uint8_t* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = nibbles[i] & 15;
    out[i + 16] = nibbles[i] >> 4;
  }
}

void codes_5(const uint8_t* high, const uint8_t* nibbles, uint8_t* out) {
  codes_4(nibbles, out);
  const uint32_t bits = uint32_t(u16(high)) | uint32_t(u16(high + 2)) << 16;
  for (int i = 0; i < 32; ++i) out[i] |= uint8_t((bits >> i & 1) << 4);
}

void codes_8(const uint8_t* stored, uint8_t* out) {
  for (int i = 0; i < 32; ++i) out[i] = stored[i] ^ 0x80;
}

void codes_4k(const uint8_t* nibbles, uint8_t* out) {
  for (int chunk = 0; chunk < 4; ++chunk, nibbles += 32, out += 64)
    for (int i = 0; i < 32; ++i) {
      out[i] = nibbles[i] & 15;
      out[i + 32] = nibbles[i] >> 4;
    }
}

void codes_5k(const uint8_t* high, const uint8_t* nibbles, uint8_t* out) {
  codes_4k(nibbles, out);
  for (int chunk = 0; chunk < 4; ++chunk, out += 64)
    for (int i = 0; i < 32; ++i) {
      out[i] |= uint8_t((high[i] >> (2 * chunk) & 1) << 4);
      out[i + 32] |= uint8_t((high[i] >> (2 * chunk + 1) & 1) << 4);
    }
}

void codes_6k(const uint8_t* low, const uint8_t* high, uint8_t* out) {
  for (int half = 0; half < 2; ++half, low += 64, high += 32, out += 128)
    for (int i = 0; i < 32; ++i) {
      out[i] = uint8_t((low[i] & 15) | (high[i] & 3) << 4);
      out[i + 32] = uint8_t((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4);
      out[i + 64] = uint8_t((low[i] >> 4) | (high[i] >> 4 & 3) << 4);
      out[i + 96] = uint8_t((low[i + 32] >> 4) | (high[i] >> 6) << 4);
    }
}

// Six-bit scales and minima of a K-quant, as llama.cpp's format packs twelve bytes.
void sub_scales(const uint8_t* packed, uint8_t* scales, uint8_t* minima) {
  for (int g = 0; g < 4; ++g) {
    scales[g] = packed[g] & 63;
    minima[g] = packed[g + 4] & 63;
    scales[g + 4] = uint8_t((packed[g + 8] & 15) | (packed[g] >> 6) << 4);
    minima[g + 4] = uint8_t((packed[g + 8] >> 4) | (packed[g + 4] >> 6) << 4);
  }
}

// One block of the file: its codes, and its scales put where the panel has them, for one of the 16 outputs.
struct Block {
  uint8_t codes[256];
  bool finite = true;

  void scale(const uint8_t* stored, uint8_t* place, bool negate = false) {
    const uint16_t half = u16(stored);
    finite = finite && half_is_finite(half);
    put16(place, uint16_t(half ^ (negate ? 0x8000 : 0)));
  }

  void read(Kind kind, const uint8_t* b, int lane, uint8_t* shared, uint8_t* const* group) {
    switch (kind) {
      case Kind::Q4_0: scale(b, group[0] + 2 * lane); return codes_4(b + 2, codes);
      case Kind::Q5_0: scale(b, group[0] + 2 * lane); return codes_5(b + 2, b + 6, codes);
      case Kind::Q8_0: scale(b, group[0] + 2 * lane); return codes_8(b + 2, codes);
      case Kind::Q4_1:
        scale(b, group[0] + 2 * lane);
        scale(b + 2, group[0] + 32 + 2 * lane);
        return codes_4(b + 4, codes);
      case Kind::Q5_1:
        scale(b, group[0] + 2 * lane);
        scale(b + 2, group[0] + 32 + 2 * lane);
        return codes_5(b + 4, b + 8, codes);
      case Kind::Q4_K:
      case Kind::Q5_K: {
        uint8_t scales[SUPER], minima[SUPER];
        sub_scales(b + 4, scales, minima);
        scale(b, shared + 2 * lane);
        scale(b + 2, shared + 32 + 2 * lane, true);
        for (int g = 0; g < SUPER; ++g) {
          group[g][lane] = scales[g];
          group[g][16 + lane] = minima[g];
        }
        return kind == Kind::Q4_K ? codes_4k(b + 16, codes) : codes_5k(b + 16, b + 48, codes);
      }
      case Kind::Q6_K:
        scale(b + 208, shared + 2 * lane);
        for (int g = 0; g < SUPER; ++g) {
          group[g][lane] = b[192 + 2 * g];
          group[g][16 + lane] = b[193 + 2 * g];
        }
        return codes_6k(b, b + 128, codes);
      default: return;
    }
  }
};

// 32 codes of one output into the vectors of its group.
void place(const uint8_t* codes, int bits, int lane, uint8_t* out) {
  uint32_t step[8];
  std::memcpy(step, codes, 32);
  auto at = [&](int vector) { return out + 64 * vector + 4 * lane; };
  auto put = [](uint8_t* to, uint32_t value) { std::memcpy(to, &value, 4); };
  if (bits == 8) {
    for (int j = 0; j < 8; ++j) put(at(j), step[j]);
    return;
  }
  for (int j = 0; j < 4; ++j) put(at(j), (step[j] & 0x0f0f0f0f) | (step[j + 4] & 0x0f0f0f0f) << 4);
  if (bits == 5) {
    uint32_t plane = 0;
    for (int j = 0; j < 8; ++j) plane |= (step[j] >> 4 & 0x01010101) << j;
    put(at(4), plane);
  }
  if (bits == 6)
    for (int half = 0; half < 2; ++half) {
      uint32_t plane = 0;
      for (int j = 0; j < 4; ++j) plane |= (step[4 * half + j] >> 4 & 0x03030303) << (2 * j);
      put(at(4 + half), plane);
    }
}

uint8_t code_at(const uint8_t* codes, int bits, int lane, int input) {
  const int j = input / 4, byte = 4 * lane + input % 4;
  if (bits == 8) return codes[64 * j + byte];
  const int nibble = codes[64 * (j % 4) + byte] >> (j < 4 ? 0 : 4) & 15;
  if (bits == 4) return uint8_t(nibble);
  if (bits == 5) return uint8_t(nibble | (codes[256 + byte] >> j & 1) << 4);
  return uint8_t(nibble | (codes[256 + 64 * (j / 4) + byte] >> (2 * (j % 4)) & 3) << 4);
}

int group_bytes(const Layout& layout) { return layout.scales + 64 * layout.bits; }

size_t panel_size(const Layout& layout, size_t inputs) {
  if (!layout.bits) return inputs * PANEL * size_t(layout.block_bytes);
  const size_t groups = inputs / GROUP;
  return groups * size_t(group_bytes(layout)) + (layout.shared ? groups / SUPER * size_t(layout.shared) : 0);
}

bool pack_panel(const Packed& to, size_t panel, const uint8_t* stored) {
  const Layout& layout = layout_of(to.kind);
  const size_t row_bytes = to.inputs / size_t(layout.block) * size_t(layout.block_bytes);
  const int groups = layout.block / GROUP, stride = group_bytes(layout);
  bool finite = true;
  for (int lane = 0; lane < PANEL && panel * PANEL + size_t(lane) < to.outputs; ++lane) {
    const uint8_t* from = stored + (panel * PANEL + size_t(lane)) * row_bytes;
    uint8_t* at = to.data.data() + panel * to.stride;
    for (size_t k = 0; k < to.inputs; k += size_t(layout.block), from += layout.block_bytes) {
      Block block;
      uint8_t* group[SUPER];
      for (int g = 0; g < groups; ++g) group[g] = at + layout.shared + g * stride;
      block.read(to.kind, from, lane, at, group);
      for (int g = 0; g < groups; ++g) place(block.codes + g * GROUP, layout.bits, lane, group[g] + layout.scales);
      finite = finite && block.finite;
      at += layout.shared + groups * stride;
    }
  }
  return finite;
}

bool pack_floats(const Packed& to, size_t panel, const uint8_t* stored) {
  const size_t width = size_t(layout_of(to.kind).block_bytes);
  uint8_t* at = to.data.data() + panel * to.stride;
  bool finite = true;
  for (size_t lane = 0; lane < PANEL && panel * PANEL + lane < to.outputs; ++lane) {
    const uint8_t* from = stored + (panel * PANEL + lane) * to.inputs * width;
    for (size_t k = 0; k < to.inputs; ++k, from += width) {
      std::memcpy(at + (k * PANEL + lane) * width, from, width);
      uint32_t whole = 0;
      if (width == 4) std::memcpy(&whole, from, 4);
      const uint32_t exponent = to.kind == Kind::F16 ? 0x7c00 : width == 2 ? 0x7f80 : 0x7f800000;
      finite = finite && ((width == 4 ? whole : u16(from)) & exponent) != exponent;
    }
  }
  return finite;
}

}  // namespace

const Layout& layout_of(Kind kind) { return LAYOUTS[int(kind)]; }

Kind kind_named(const std::string& name) {
  for (int kind = 0; kind < KINDS; ++kind)
    if (name == LAYOUTS[kind].name) return Kind(kind);
  throw std::invalid_argument("the native engine does not read tensors of type " + name);
}

void Packed::row(size_t output, float* values) const {
  const Layout& layout = layout_of(kind);
  const int lane = int(output % PANEL);
  const uint8_t* at = panel(output / PANEL);
  if (!layout.bits) {
    for (size_t k = 0; k < inputs; ++k) {
      const uint8_t* one = at + (k * PANEL + size_t(lane)) * size_t(layout.block_bytes);
      if (kind == Kind::F32) std::memcpy(values + k, one, 4);
      if (kind == Kind::F16) values[k] = half_to_float(u16(one));
      if (kind == Kind::BF16) values[k] = bfloat_to_float(u16(one));
    }
    return;
  }
  float d = 0, dmin = 0;
  for (size_t g = 0; g < inputs / GROUP; ++g) {
    if (layout.shared && g % SUPER == 0) {
      d = half_to_float(u16(at + 2 * lane));
      if (kind != Kind::Q6_K) dmin = half_to_float(u16(at + 32 + 2 * lane));
      at += layout.shared;
    }
    float scale[2], minimum = 0;
    if (kind == Kind::Q6_K) {
      for (int half = 0; half < 2; ++half) scale[half] = d * float(int8_t(at[16 * half + lane]));
    } else if (layout.shared) {
      scale[0] = scale[1] = d * float(at[lane]);
      minimum = dmin * float(at[16 + lane]);
    } else {
      scale[0] = scale[1] = half_to_float(u16(at + 2 * lane));
      if (layout.scales == 64) minimum = half_to_float(u16(at + 32 + 2 * lane));
    }
    for (int i = 0; i < GROUP; ++i) {
      const int code = code_at(at + layout.scales, layout.bits, lane, i) - layout.zero;
      const float product = scale[i / 16] * float(code);
      *values++ = layout.zero ? product : product + minimum;
    }
    at += group_bytes(layout);
  }
}

std::shared_ptr<Packed> pack(Kind kind, size_t outputs, size_t inputs, const uint8_t* stored, size_t bytes, Pool& pool) {
  const Layout& layout = layout_of(kind);
  if (!outputs || !inputs || inputs % size_t(layout.block) || inputs > (size_t(1) << 31) || outputs > (size_t(1) << 31))
    throw std::invalid_argument("a matrix of such a shape cannot be packed");
  const size_t row_bytes = inputs / size_t(layout.block) * size_t(layout.block_bytes);
  if (bytes % row_bytes || bytes / row_bytes != outputs)  // no product, which may overflow
    throw std::invalid_argument("a tensor does not have as many bytes as its shape and type need");
  auto packed = std::make_shared<Packed>();
  packed->kind = kind;
  packed->outputs = outputs;
  packed->inputs = inputs;
  packed->panel_bytes = packed->stride = panel_size(layout, inputs);
  packed->data = Buffer::unset(packed->nbytes());
  std::atomic<bool> finite{true};
  pool.run([&](Worker& worker) {
    worker.each(packed->panels(), 4, [&](size_t panel) {
      if ((panel + 1) * PANEL > outputs) std::memset(packed->data.data() + panel * packed->stride, 0, packed->panel_bytes);
      const bool fine = layout.bits ? pack_panel(*packed, panel, stored) : pack_floats(*packed, panel, stored);
      if (!fine) finite = false;
    });
  });
  if (!finite) throw std::domain_error("a scale or weight is not a finite number");
  return packed;
}

}  // namespace foredraft
