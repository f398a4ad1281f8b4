// Products of every kind of weight, for every number of rows, on every instruction set: the bits of one number at a time.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "instruction_sets.hpp"
#include "isa.hpp"
#include "pool.hpp"
#include "reference.hpp"
#include "tiles.hpp"

namespace {

using namespace check;
using namespace foredraft;

constexpr int MOST_ROWS = 33;  // two whole tiles and one row more
constexpr size_t OUTPUTS = 21;  // a panel and a part of one

// A matrix, rows for it, and what they give: [row][output], with one plane, the sum of two, and floats.
struct Case {
  Kind kind;
  size_t inputs;
  std::shared_ptr<Packed> packed;
  std::vector<std::vector<float>> rows;
  std::vector<std::vector<float>> one, two, floats;
};

// Rows as hidden states have them: a few large values; rows and groups of nothing, of one value, of tiny ones.
std::vector<float> random_row(size_t inputs, Random& random) {
  std::vector<float> row = random.units(inputs);
  const int choice = random.below(8);
  for (size_t k = 0; k < inputs; ++k) {
    if (random.below(64) == 0) row[k] *= 40;
    if (choice == 0 && k / 32 % 2 == 0) row[k] = 0;
    if (choice == 1 && k / 32 % 3 == 0) row[k] = std::ldexp(row[k], -110);
    if (choice == 2 && k / 32 % 5 == 0) row[k] = row[k] < 0 ? -0.75f : 0.75f;
  }
  return row;
}

// With the largest sums that there can be among them: row 1 is -127 throughout, output 0 of 8-bit codes -128.
Case make(Kind kind, size_t inputs, Pool& pool, Random& random) {
  Case c{kind, inputs, nullptr, {}, {}, {}, {}};
  std::vector<uint8_t> stored = random_stored(kind, OUTPUTS, inputs, random);
  const size_t bytes = stored_bytes(kind, inputs);
  if (kind == Kind::Q8_0)  // codes of -128 in pairs, where 16-bit sums are at their limit
    for (size_t at = 0; at < bytes; ++at)
      if (at % 34 >= 2) stored[at] = 0x80;
  c.packed = pack(kind, OUTPUTS, inputs, stored.data(), stored.size(), pool);
  std::vector<Decoded> weights;
  for (size_t o = 0; o < OUTPUTS; ++o) weights.push_back(decode(kind, stored.data() + o * bytes, inputs));
  for (int r = 0; r < MOST_ROWS; ++r) {
    c.rows.push_back(r == 1 ? std::vector<float>(inputs, -1.0f) : random_row(inputs, random));
    const std::vector<float>& row = c.rows.back();
    std::vector<Quantised> single = quantise(row, 1), planes = quantise(row, 2);
    std::vector<float> one, two, floats;
    for (const Decoded& w : weights) {
      floats.push_back(expanded_product(kind, w, row));
      if (is_float(kind)) continue;
      one.push_back(product(kind, w, single[0]));
      two.push_back(product(kind, w, planes[0]) + product(kind, w, planes[1]));
    }
    c.one.push_back(one);
    c.two.push_back(two);
    c.floats.push_back(floats);
  }
  return c;
}

// All of the matrix times the first `rows` rows, as the engine does it.
void compare(const InstructionSet& isa, const Case& c, size_t rows, int planes, bool expanded,
             const std::vector<std::vector<float>>& wanted, bool once = false) {
  Tiles tiles;
  tiles.set_once(once);
  const bool floats = expanded || is_float(c.kind);
  tiles.lay(rows, int64_t(c.inputs), floats ? 0 : bit_of(c.kind), floats, planes);
  isa.kernels.begin();
  for (size_t row = 0; row < rows; ++row) {
    const Placed& at = tiles.of(row);
    isa.kernels.quantise(c.rows[row].data(), int64_t(c.inputs), at.tile, int(row - at.first), at.plane);
  }
  const Product* products = expanded ? isa.kernels.expanded : isa.kernels.product;
  for (size_t panel = 0; panel < c.packed->panels(); ++panel)
    for (const Placed& at : tiles.placed()) {
      Buffer memory(size_t(at.tile.rows) * PANEL * sizeof(float));  // exactly as much as may be written
      float* out = memory.as<float>();
      products[int(c.kind)](c.packed->panel(panel), int64_t(c.inputs), at.tile, out);
      if (at.plane) isa.kernels.add(out, out + at.plane * PANEL, int64_t(at.count) * PANEL);
      const size_t first = panel * PANEL, count = std::min<size_t>(PANEL, OUTPUTS - first);
      for (int r = 0; r < at.count; ++r) {
        const float *got = out + r * PANEL, *want = wanted[at.first + size_t(r)].data() + first;
        size_t o = 0;
        while (o + 1 < count && same(got + o, want + o, 1)) ++o;
        CHECK(same(got, want, count), isa.name, layout_of(c.kind).name, "inputs", c.inputs, "rows", rows, "planes", planes,
              expanded ? "expanded" : "", "row", at.first + size_t(r), "output", first + o, "is", got[o], "not", want[o]);
      }
    }
  isa.kernels.end();
}

void run(const InstructionSet& isa, const Case& c, const std::vector<size_t>& counts) {
  for (size_t rows : counts) {
    if (is_float(c.kind))
      for (int planes : {1, 2}) compare(isa, c, rows, planes, false, c.floats);
    compare(isa, c, rows, 1, true, c.floats);
    if (is_float(c.kind)) continue;
    for (bool once : {false, true}) compare(isa, c, rows, 1, false, c.one, once);
    compare(isa, c, rows, 2, false, c.two);
  }
}

// Without the tiles' shapes a product of sixteen rows finds nothing to multiply: so that the test is of tiles at all.
void tiles_are_used(const InstructionSet& isa, const Case& c) {
  Tiles tiles;
  tiles.lay(16, int64_t(c.inputs), bit_of(c.kind), false, 1);
  for (size_t row = 0; row < 16; ++row)
    isa.kernels.quantise(c.rows[row].data(), int64_t(c.inputs), tiles.placed()[0].tile, int(row), 0);
  float out[16 * PANEL];
  isa.kernels.end();
  isa.kernels.product[int(c.kind)](c.packed->panel(0), int64_t(c.inputs), tiles.placed()[0].tile, out);
  CHECK(!same(out, c.one[0].data(), PANEL), isa.name, layout_of(c.kind).name, "does without tiles");
}

// Past the caches goes what no cache holds, on AMD's processors alone, as Linux names them.
void what_goes_past_the_caches() {
  bool amd = false;
#if defined(__x86_64__)
  std::ifstream file("/proc/cpuinfo");
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  amd = all.find("AuthenticAMD") != std::string::npos;
#endif
  CHECK(past_caches(size_t(1) << 40) == amd, "so much goes past the caches on other processors");
  CHECK(!past_caches(1 << 10), "what the caches hold goes past them");
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;  // any argument: less of it, for emulated processors
  const std::vector<InstructionSet> isas = instruction_sets();
#if defined(__x86_64__)
  if (isas.back().name == "amx emulated")
    CHECK(emulated_amx_kernels().begin != amx_kernels().begin, "the emulation of tiles is the real thing");
#endif
  what_goes_past_the_caches();
  Pool pool(1);
  Random random(3);
  std::vector<size_t> all;
  for (size_t rows = 1; rows <= MOST_ROWS; ++rows) all.push_back(rows);
  for (bool flush : {true, false}) {
    const Arithmetic arithmetic(flush);
    for (int kind = 0; kind < KINDS; ++kind) {
      const bool super = layout_of(Kind(kind)).block == 256;
      const std::vector<size_t> small = super ? std::vector<size_t>{256, 768} : std::vector<size_t>{32, 64, 96, 288};
      const std::vector<size_t> large = super ? std::vector<size_t>{1536, 8960} : std::vector<size_t>{1120, 8960};
      for (size_t inputs : small) {
        const Case c = make(Kind(kind), inputs, pool, random);
        for (const InstructionSet& isa : isas) run(isa, c, quick ? std::vector<size_t>{1, 3, 5, 7, 8, 17} : all);
      }
      for (size_t inputs : large) {
        if (quick || (inputs == 8960 && !flush)) continue;
        const Case c = make(Kind(kind), inputs, pool, random);
        for (const InstructionSet& isa : isas) {
          run(isa, c, {1, 7, 16});
          if (isa.name == "amx emulated" && !is_float(Kind(kind)) && Kind(kind) != Kind::Q6_K) tiles_are_used(isa, c);
        }
      }
    }
  }
  std::printf("products: %d kinds on %d instruction sets\n", KINDS, int(isas.size()));
}
