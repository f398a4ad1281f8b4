// Prints a hash of what each kernel and whole passes give. Instruction sets that differ here are an error; machines that
// differ would print different lines, which make check-aarch64 compares.
#include "formats.hpp"
#include "instruction_sets.hpp"
#include "models.hpp"
#include "pool.hpp"
#include "tiles.hpp"

namespace {

using namespace check;
using namespace foredraft;

// FNV-1a, 64 bits.
struct Hash {
  uint64_t state = 0xcbf29ce484222325u;

  void add(const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) state = (state ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  }
  template <class T>
  void add(const std::vector<T>& values) {
    add(values.data(), values.size() * sizeof(T));
  }
};

// name and hash, in the order in which they are found
class Lines {
 public:
  void add(const std::string& name, const Hash& hash) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash.state));
    all.push_back(name + " " + digits);
  }
  std::vector<std::string> all;
};

void products(const Kernels& kernels, Kind kind, Pool& pool, Lines& lines) {
  constexpr size_t OUTPUTS = 32, INPUTS = 768;
  Random random{uint64_t(kind)};
  const std::vector<uint8_t> stored = random_stored(kind, OUTPUTS, INPUTS, random);
  const auto packed = pack(kind, OUTPUTS, INPUTS, stored.data(), stored.size(), pool);
  Hash hash;
  for (size_t rows : {1, 2, 4, 8, 16, 23}) {
    Tiles tiles;
    tiles.lay(rows, INPUTS, ALL_KINDS, true, 1);
    kernels.begin();
    for (size_t row = 0; row < rows; ++row) {
      const Placed& at = tiles.of(row);
      kernels.quantise(random.units(INPUTS, 3).data(), INPUTS, at.tile, int(row - at.first), 0);
    }
    for (size_t panel = 0; panel < packed->panels(); ++panel)
      for (const Placed& at : tiles.placed())
        for (const Product* products : {kernels.product, kernels.expanded}) {
          std::vector<float> out(size_t(at.tile.rows) * PANEL);
          products[int(kind)](packed->panel(panel), INPUTS, at.tile, out.data());
          hash.add(out.data(), size_t(at.count) * PANEL * sizeof(float));
        }
    kernels.end();
  }
  lines.add(std::string("products ") + layout_of(kind).name, hash);
}

void vectors(const Kernels& kernels, Lines& lines) {
  Random random(1);
  const std::vector<float> a = random.units(4096, 30), b = random.units(4096);
  std::vector<float> out(a.size());
  std::vector<uint16_t> halves(a.size());
  Hash norm, gate, half;
  kernels.norm(a.data(), b.data(), 1e-5f, int64_t(a.size()), out.data());
  norm.add(out);
  for (bool gelu : {false, true}) {
    kernels.gate(a.data(), b.data(), gelu, int64_t(a.size()), out.data());
    gate.add(out);
  }
  kernels.to_half(a.data(), int64_t(a.size()), halves.data());
  half.add(halves);
  lines.add("norm", norm);
  lines.add("gate", gate);
  lines.add("half", half);
}

void passes(Isa isa, int which, Activations activations, const std::string& name, Lines& lines) {
  auto pool = std::make_shared<Pool>(2);
  const auto weights = random_model(which, *pool);
  Engine engine(weights, {0, 1}, pool, isa, activations, activations != Activations::f32);
  const Trace trace = walk(engine, random_text(70, engine.config().vocabulary, 9), 12, true, 1);
  Hash held, taps, logits;
  for (const auto& one : trace.held) held.add(one);
  for (const auto& one : trace.taps) taps.add(one);
  for (const auto& one : trace.logits) logits.add(one);
  const std::string model = "model " + std::to_string(which) + " " + name;
  lines.add(model + " keys and values", held);
  lines.add(model + " taps", taps);
  lines.add(model + " logits", logits);
}

Lines digest(Isa isa) {
  Lines lines;
  Pool pool(1);
  {
    const Arithmetic arithmetic(true);
    for (int kind = 0; kind < KINDS; ++kind) products(kernels_of(isa), Kind(kind), pool, lines);
    vectors(kernels_of(isa), lines);
  }
  for (int which = 0; which < MODELS; ++which) {
    passes(isa, which, Activations::int8, "int8", lines);
    passes(isa, which, Activations::int16, "int16", lines);
    passes(isa, which, Activations::f32, "f32", lines);
  }
  return lines;
}

}  // namespace

int main() {
  const Lines first = digest(usable_isas().front());
  for (Isa isa : usable_isas()) {
    const Lines lines = digest(isa);
    for (size_t i = 0; i < first.all.size(); ++i)
      CHECK(lines.all[i] == first.all[i], name_of(isa), lines.all[i], "not", first.all[i]);
  }
  for (const std::string& line : first.all) std::printf("%s\n", line.c_str());
}
