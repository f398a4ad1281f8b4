// Half precision: all of it, both ways, on every instruction set.
#include <cmath>

#include "formats.hpp"
#include "half.hpp"
#include "instruction_sets.hpp"

namespace {

using namespace check;
using namespace foredraft;

float of_bits(uint32_t bits) {
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

uint32_t bits_of(float x) {
  uint32_t out;
  std::memcpy(&out, &x, 4);
  return out;
}

void every_half_is_read() {
  for (uint32_t half = 0; half < 65536; ++half) {
    const float got = half_to_float(uint16_t(half)), want = half_value(uint16_t(half));
    CHECK(std::isnan(want) ? std::isnan(got) : same(&got, &want, 1), "half", half, "is", got, "not", want);
    CHECK(half_is_finite(uint16_t(half)) == std::isfinite(want), "half", half);
    CHECK(half_of(want) == half || std::isnan(want), "half", half, "by the definition of rounding");
  }
}

// Every half as a weight, sixteen at a time, times one.
void every_half_is_multiplied(const InstructionSet& isa) {
  float one = 1;
  Tile tile{};
  tile.rows = 1;
  tile.values = &one;
  isa.kernels.begin();
  for (uint32_t half = 0; half < 65536; half += PANEL) {
    uint16_t panel[PANEL];
    float out[PANEL];
    for (int i = 0; i < PANEL; ++i) panel[i] = uint16_t(half + uint32_t(i));
    isa.kernels.product[int(Kind::F16)](reinterpret_cast<const uint8_t*>(panel), 1, tile, out);
    for (int i = 0; i < PANEL; ++i) {
      const float want = half_value(panel[i]);
      CHECK(out[i] == want || (std::isnan(want) && std::isnan(out[i])), isa.name, "half", panel[i], "is", out[i]);
    }
  }
  isa.kernels.end();
}

// Every half, its neighbours in f32, and the middles between it and the next half with their neighbours; then any floats.
std::vector<float> interesting(Random& random) {
  std::vector<float> all;
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    const double here = half_value(uint16_t(half));
    const double next = half == 0x7bff ? 65536.0 : double(half_value(uint16_t(half + 1)));
    for (double at : {here, (here + next) / 2})
      for (int side : {-1, 0, 1}) {
        const uint32_t bits = bits_of(float(at)) + uint32_t(side);
        if (float(at) == 0 && side < 0) continue;
        all.push_back(of_bits(bits));
        all.push_back(-of_bits(bits));
      }
  }
  while (all.size() < 500000 || all.size() % 16) {
    const float x = of_bits(uint32_t(random.bits() >> 32));
    all.push_back(std::isnan(x) ? HUGE_VALF : x);
  }
  return all;
}

void floats_are_rounded(const InstructionSet& isa, const std::vector<float>& all) {
  std::vector<uint16_t> out(all.size());
  isa.kernels.to_half(all.data(), int64_t(all.size()), out.data());
  for (size_t i = 0; i < all.size(); ++i)
    CHECK(out[i] == half_of(all[i]), isa.name, "float", all[i], "bits", bits_of(all[i]), "is", out[i], "not", half_of(all[i]));
}

// A NaN stays one, quiet, with its sign and the upper bits of its payload.
void nans_stay(const InstructionSet& isa) {
  for (uint32_t payload = 1; payload < 0x800000; payload = payload * 3 + 1) {
    float from[16];
    uint16_t to[16];
    for (uint32_t i = 0; i < 16; ++i) from[i] = of_bits((i % 2) << 31 | 0x7f800000 | payload);
    isa.kernels.to_half(from, 16, to);
    for (uint32_t i = 0; i < 16; ++i)
      CHECK(to[i] == ((i % 2) << 15 | 0x7e00 | payload >> 13), isa.name, "NaN of payload", payload, "is", to[i]);
  }
}

}  // namespace

int main() {
  Random random(5);
  const std::vector<float> floats = interesting(random);
  for (bool flush : {true, false}) {
    const Arithmetic arithmetic(flush);
    every_half_is_read();
    for (const InstructionSet& isa : instruction_sets()) {
      every_half_is_multiplied(isa);
      floats_are_rounded(isa, floats);
      nans_stay(isa);
    }
  }
  std::printf("half: 65536 halves, %d floats\n", int(floats.size()));
}
