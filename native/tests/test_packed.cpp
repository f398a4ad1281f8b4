// Packing: every format read back value by value, and arguments that do not fit together refused before any memory is had.
#include "packed.hpp"

#include <limits>
#include <stdexcept>

#include "formats.hpp"
#include "half.hpp"
#include "instruction_sets.hpp"
#include "pool.hpp"
#include "weights.hpp"

namespace {

using namespace check;
using namespace foredraft;

// Equal but for the sign of zero, which no sum can tell.
bool equal(float one, float other) { return one + 0.0f == other + 0.0f; }

void reads_back(Kind kind, size_t outputs, size_t inputs, Pool& pool, Random& random) {
  const std::vector<uint8_t> stored = random_stored(kind, outputs, inputs, random);
  const auto packed = pack(kind, outputs, inputs, stored.data(), stored.size(), pool);
  CHECK(packed->data.size() == packed->nbytes(), layout_of(kind).name);
  std::vector<float> row(inputs);
  for (size_t o = 0; o < outputs; ++o) {
    packed->row(o, row.data());
    const Decoded want = decode(kind, stored.data() + o * stored_bytes(kind, inputs), inputs);
    for (size_t k = 0; k < inputs; ++k) {
      float value = is_float(kind) ? want.value[k] : want.scale[k / 16] * float(want.code[k]);
      if (has_minimum(kind)) value = value + want.minimum[k / 32];
      CHECK(equal(row[k], value), layout_of(kind).name, outputs, "x", inputs, "output", o, "input", k, row[k], "not", value);
    }
  }
}

// What outputs beyond the last one of a panel hold is zero: they are computed with.
void padding_is_zero(Kind kind, Pool& pool, Random& random) {
  const std::vector<uint8_t> stored = random_stored(kind, 1, 512, random);
  const auto packed = pack(kind, 1, 512, stored.data(), stored.size(), pool);
  std::vector<float> row(512);
  for (size_t o = 1; o < PANEL; ++o) {
    packed->row(o, row.data());
    // A code of zero stands for minus the zero point, whose scale of zero makes nothing of it.
    for (float x : row) CHECK(equal(x, 0.0f), layout_of(kind).name, "output", o, "is", x);
  }
}

void what_does_not_fit_is_refused(Kind kind, Pool& pool) {
  const Layout& layout = layout_of(kind);
  const size_t block = size_t(layout.block), bytes = size_t(layout.block_bytes);
  const std::vector<uint8_t> stored(4 * bytes);
  const size_t most = std::numeric_limits<size_t>::max(), large = size_t(1) << 31;
  struct Wrong {
    size_t outputs, inputs, bytes;
  };
  std::vector<Wrong> all = {{0, block, 0}, {1, 0, 0}, {0, 0, 0}, {1, block, bytes - 1}, {1, block, bytes + 1},
                            {1, block, 0}, {2, block, bytes}, {1, 2 * block, bytes}, {most, block, bytes},
                            {1, most, bytes}, {most, most, bytes}, {most / block, block, bytes}, {large + 1, block, bytes}};
  if (block > 1) all.insert(all.end(), {{1, block - 1, bytes}, {1, block + 1, bytes}, {1, block / 2, bytes / 2}});
  // Products of sizes that come to the right number of bytes once they have overflowed.
  for (size_t outputs = large; outputs; outputs /= 2)
    for (size_t inputs = large; inputs >= block; inputs /= 2) {
      const __uint128_t whole = __uint128_t(inputs / block) * bytes * outputs;
      if (whole >> 64) all.push_back({outputs, inputs, size_t(whole)});
    }
  for (const Wrong& w : all)
    THROWS(std::invalid_argument, pack(kind, w.outputs, w.inputs, stored.data(), w.bytes, pool), layout.name, w.outputs, "x",
           w.inputs, "of", w.bytes, "bytes");
}

// A scale of a lane anywhere that is infinite or no number.
void what_is_not_finite_is_refused(Kind kind, Pool& pool, Random& random) {
  const Layout& layout = layout_of(kind);
  constexpr size_t OUTPUTS = 19, INPUTS = 512;
  std::vector<size_t> places = {kind == Kind::Q6_K ? size_t(208) : 0};
  if (has_minimum(kind)) places.push_back(2);
  for (uint16_t bad : {0x7c00, 0xfc00, 0x7e00, 0xfc01})
    for (size_t place : places) {
      std::vector<uint8_t> stored = random_stored(kind, OUTPUTS, INPUTS, random);
      const size_t block = size_t(random.below(int(stored.size() / size_t(layout.block_bytes))));
      uint8_t* at = stored.data() + block * size_t(layout.block_bytes) + place;
      const bool wide = kind == Kind::F32 || kind == Kind::BF16;
      const uint16_t bits = wide ? uint16_t(bad | 0x0380) : bad;  // eight bits of exponent instead of five
      std::memcpy(at + (kind == Kind::F32 ? 2 : 0), &bits, 2);
      THROWS(std::domain_error, pack(kind, OUTPUTS, INPUTS, stored.data(), stored.size(), pool), layout.name, "block", block);
    }
}

void names() {
  for (int kind = 0; kind < KINDS; ++kind) CHECK(int(kind_named(layout_of(Kind(kind)).name)) == kind, kind);
  for (const char* name : {"", "Q4", "q4_0", "Q4_0 ", "IQ4_XS", "F64", "Q8_K"})
    THROWS(std::invalid_argument, kind_named(name), name);
}

void buffers() {
  Buffer none, empty(0), small(1), large((size_t(2) << 20) + 1);
  CHECK(!none.data() && !empty.data() && none.size() == 0, "");
  CHECK(reinterpret_cast<uintptr_t>(small.data()) % 64 == 0 && reinterpret_cast<uintptr_t>(large.data()) % 64 == 0, "");
  for (size_t i = 0; i < large.size(); ++i) CHECK(large.data()[i] == 0, "byte", i);
  uint8_t* kept = large.data();
  Buffer moved(std::move(large));
  CHECK(moved.data() == kept && !large.data() && large.size() == 0, "");
  none = std::move(moved);
  none.reserve(100);
  CHECK(none.data() == kept, "what is large enough stays");
  small.reserve(1000);
  CHECK(small.size() >= 1000 && small.data()[999] == 0, "");
  Buffer part;
  {
    const auto whole = std::make_shared<const Buffer>(256);
    part = Buffer(whole, 64, 128);
    part.data()[127] = 7;
    CHECK(part.size() == 128 && whole->data()[191] == 7, "a part is the whole's memory");
  }
  CHECK(part.data()[127] == 7, "and outlives its name");
}

bool equal_rows(const Packed& a, const Packed& b) {
  std::vector<float> one(a.inputs), other(b.inputs);
  bool equal = a.outputs == b.outputs && a.inputs == b.inputs;
  for (size_t output = 0; equal && output < a.outputs; ++output) {
    a.row(output, one.data());
    b.row(output, other.data());
    equal = same(one, other);
  }
  return equal;
}

// Gathered matrices say what they said before, and one that is used twice stays one.
void gathering(Pool& pool, Random& random) {
  const auto made = [&](int outputs, int inputs) -> Matrix {
    const std::vector<uint8_t> stored = random_stored(Kind::Q4_1, size_t(outputs), size_t(inputs), random);
    return pack(Kind::Q4_1, size_t(outputs), size_t(inputs), stored.data(), stored.size(), pool);
  };
  Weights weights;
  Layer layer;
  layer.query = made(17, 64);
  layer.key = made(16, 64);
  layer.value = made(16, 64);
  layer.out = made(64, 32);
  layer.gate = made(96, 64);
  layer.up = made(96, 64);
  layer.down = made(64, 96);
  weights.layers.push_back(layer);
  weights.embedding = weights.head = made(40, 64);
  const size_t bytes = weights.nbytes();
  gather(weights, pool);
  const Layer& moved = weights.layers[0];
  CHECK(weights.embedding == weights.head && weights.nbytes() == bytes, "ties", weights.nbytes());
  CHECK(moved.query != layer.query && moved.down->data.size() == layer.down->data.size(), "moved");
  CHECK(same(moved.down->data.data(), layer.down->data.data(), layer.down->data.size()), "bytes");
  CHECK(moved.key->data.data() > moved.query->data.data() && moved.key->outputs == 16, "in order");
  CHECK(moved.up->panel(0) == moved.gate->panel(0) + moved.gate->panel_bytes, "gate and up in turn");
  CHECK(equal_rows(*moved.up, *layer.up) && equal_rows(*moved.gate, *layer.gate), "what they say");
}

// Pairs too large to be gathered, those of which one is missing, and those that are not of one size.
void pairing(Pool& pool, Random& random) {
  const auto made = [&](size_t outputs, size_t inputs) -> Matrix {
    const std::vector<uint8_t> stored = random_stored(Kind::Q8_0, outputs, inputs, random);
    return pack(Kind::Q8_0, outputs, inputs, stored.data(), stored.size(), pool);
  };
  Layer layer;
  pair(layer, pool);
  const Matrix gate = layer.gate = made(1600, 1024);
  pair(layer, pool);
  CHECK(layer.gate == gate, "alone");
  layer.up = made(1584, 1024);
  pair(layer, pool);
  CHECK(layer.gate == gate, "of another size");
  const Matrix up = layer.up = made(1600, 1024);
  pair(layer, pool);
  CHECK(layer.gate != gate && layer.gate->panel(1) == layer.up->panel(0) + layer.up->panel_bytes, "in turn");
  CHECK(equal_rows(*layer.up, *up) && equal_rows(*layer.gate, *gate), "what they say");
  CHECK(layer.up->nbytes() == up->nbytes(), "bytes", layer.up->nbytes());
  const Matrix paired = layer.gate;
  pair(layer, pool);
  CHECK(layer.gate == paired, "once");
  layer.gate = layer.up = up;
  pair(layer, pool);
  CHECK(layer.gate == up, "one matrix twice");
}

}  // namespace

int main() {
  names();
  buffers();
  Random random(9);
  Pool pool(2);
  gathering(pool, random);
  pairing(pool, random);
  for (bool flush : {true, false}) {
    const Arithmetic arithmetic(flush);
    for (int k = 0; k < KINDS; ++k) {
      const Kind kind = Kind(k);
      for (size_t outputs : {1, 15, 16, 17, 40})
        for (size_t inputs : {256, 768}) reads_back(kind, outputs, inputs, pool, random);
      if (layout_of(kind).block <= 32) reads_back(kind, 3, 96, pool, random);
      if (layout_of(kind).block == 1) reads_back(kind, 3, 1, pool, random);
      padding_is_zero(kind, pool, random);
      what_is_not_finite_is_refused(kind, pool, random);
    }
  }
  for (int kind = 0; kind < KINDS; ++kind) what_does_not_fit_is_refused(Kind(kind), pool);
  std::printf("packed: %d kinds\n", KINDS);
}
