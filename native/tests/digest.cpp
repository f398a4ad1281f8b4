// Prints a hash of what each kernel and whole passes give on one instruction set: digest [ISA]. The lines are the same on
// every machine, which make check-aarch64 compares.
#include <stdexcept>

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
  void print(const std::string& what) const { std::printf("%s %016llx\n", what.c_str(), (unsigned long long)state); }
};

void products(const Kernels& kernels, Kind kind, Pool& pool) {
  constexpr size_t OUTPUTS = 32, INPUTS = 768;
  Random random{uint64_t(kind)};
  const std::vector<uint8_t> stored = random_stored(kind, OUTPUTS, INPUTS, random);
  const auto packed = pack(kind, OUTPUTS, INPUTS, stored.data(), stored.size(), pool);
  Hash hash;
  for (size_t rows : {1, 2, 4, 8, 16, 23}) {
    Tiles tiles;
    tiles.lay(rows, INPUTS, true, true, 1);
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
  hash.print(std::string("products ") + layout_of(kind).name);
}

void vectors(const Kernels& kernels) {
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
  norm.print("norm");
  gate.print("gate");
  half.print("half");
}

void passes(Isa isa, int which, Activations activations, const std::string& name) {
  auto pool = std::make_shared<Pool>(2);
  const auto weights = random_model(which, *pool);
  Engine engine(weights, {0, 1}, pool, isa, activations, activations != Activations::f32);
  const Trace trace = walk(engine, random_text(70, engine.config().vocabulary, 9), 12, true, 1);
  Hash held, taps, logits;
  for (const auto& one : trace.held) held.add(one);
  for (const auto& one : trace.taps) taps.add(one);
  for (const auto& one : trace.logits) logits.add(one);
  const std::string model = "model " + std::to_string(which) + " " + name;
  held.print(model + " keys and values");
  taps.print(model + " taps");
  logits.print(model + " logits");
}

}  // namespace

int main(int count, char** words) {
  try {
    const Isa isa = isa_named(count > 1 ? words[1] : "auto");
    Pool pool(1);
    {
      const Arithmetic arithmetic(true);
      for (int kind = 0; kind < KINDS; ++kind) products(kernels_of(isa), Kind(kind), pool);
      vectors(kernels_of(isa));
    }
    for (int which = 0; which < MODELS; ++which) {
      passes(isa, which, Activations::int8, "int8");
      passes(isa, which, Activations::int16, "int16");
      passes(isa, which, Activations::f32, "f32");
    }
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "digest: %s\n", error.what());
    return 2;
  }
}
