// Quantisation, norms, sums and activations: every instruction set has the bits of one number at a time.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "instruction_sets.hpp"
#include "packed.hpp"
#include "reference.hpp"
#include "tiles.hpp"

namespace {

using namespace check;
using namespace foredraft;

void same_floats(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i)
    CHECK(same(&got[i], &want[i], 1), what, "entry", i, "of", want.size(), "is", got[i], "not", want[i]);
}

// Everything that a tile holds of a row.
void check_plane(const Tile& tile, int place, const Quantised& want, const std::string& what) {
  for (size_t g = 0; g < want.scale.size(); ++g) {
    const size_t spot = g * size_t(tile.rows) + size_t(place);
    int halves[2] = {};
    for (size_t i = 0; i < 32; ++i) {
      const int code = want.code[32 * g + i];
      halves[i / 16] += code;
      CHECK(tile.codes[32 * spot + i] == code, what, "group", g, "code", i, int(tile.codes[32 * spot + i]), "not", code);
    }
    const int sum = halves[0] + halves[1];
    const float minimum = want.scale[g] * float(sum);
    CHECK(same(tile.scale + spot, &want.scale[g], 1), what, "group", g, tile.scale[spot], "not", want.scale[g]);
    CHECK(same(tile.minimum + spot, &minimum, 1), what, "group", g, tile.minimum[spot], "not", minimum);
    const int zeros[5] = {-8 * sum, -16 * sum, -128 * sum, -32 * halves[0], -32 * halves[1]};
    for (int z = 0; z < 5; ++z) CHECK(tile.zero[z][spot] == zeros[z], what, "group", g, "zero", z, tile.zero[z][spot]);
  }
}

// Values from subnormal to huge, zeros of both signs, ties between codes.
std::vector<float> any_row(size_t inputs, Random& random) {
  const int least = random.below(150) - 149;
  std::vector<float> row;
  for (size_t k = 0; k < inputs; ++k) {
    const int choice = random.below(40);
    if (choice == 0) row.push_back(random.below(2) ? 0.0f : -0.0f);
    else if (choice < 8) row.push_back(float(random.below(255) - 127) / 2);
    else row.push_back(random.scaled(least, least + 20));
  }
  if (random.below(20) == 0) row[size_t(random.below(int(inputs)))] = random.below(2) ? FLT_MAX : -FLT_MAX;
  return row;
}

void rows_are_quantised(const InstructionSet& isa, size_t inputs, int planes, Random& random) {
  constexpr size_t MOST = 33;
  std::vector<std::vector<float>> rows;
  for (size_t row = 0; row < MOST; ++row) rows.push_back(any_row(inputs, random));
  for (size_t count : {1, 2, 3, 5, 8, 9, 13, 33}) {
    Tiles tiles;
    tiles.lay(count, int64_t(inputs), ALL_KINDS, true, planes);
    for (size_t row = 0; row < count; ++row) {
      const Placed& at = tiles.of(row);
      const int place = int(row - at.first);
      isa.kernels.quantise(rows[row].data(), int64_t(inputs), at.tile, place, at.plane);
      const std::vector<Quantised> want = quantise(rows[row], planes);
      const std::string what = text(isa.name, "inputs", inputs, "rows", count, "planes", planes, "row", row);
      for (int p = 0; p < planes; ++p) check_plane(at.tile, place + p * at.plane, want[size_t(p)], what);
      for (size_t k = 0; k < inputs; ++k)
        CHECK(same(&at.tile.values[k * size_t(at.tile.rows) + size_t(place)], &rows[row][k], 1), what, "value", k);
    }
  }
}

// Group after group of all rows, as the hidden layer is made: what whole rows give.
void groups_are_quantised(const InstructionSet& isa, size_t inputs, int planes, Random& random) {
  for (size_t count : {1, 3, 7, 13, 33}) {
    std::vector<std::vector<float>> rows;
    for (size_t row = 0; row < count; ++row) rows.push_back(any_row(inputs, random));
    Tiles tiles;
    tiles.lay(count, int64_t(inputs), ALL_KINDS, true, planes);
    for (const Placed& at : tiles.placed())
      for (size_t group = 0; group < inputs / 32; ++group) {
        std::vector<float> values;
        for (int r = 0; r < at.count; ++r) {
          const float* x = rows[at.first + size_t(r)].data() + 32 * group;
          values.insert(values.end(), x, x + 32);
        }
        isa.kernels.quantise_group(values.data(), at.count, at.tile, int64_t(group), at.plane);
      }
    for (size_t row = 0; row < count; ++row) {
      const Placed& at = tiles.of(row);
      const int place = int(row - at.first);
      const std::vector<Quantised> want = quantise(rows[row], planes);
      const std::string what = text(isa.name, "by groups, inputs", inputs, "rows", count, "planes", planes, "row", row);
      for (int p = 0; p < planes; ++p) check_plane(at.tile, place + p * at.plane, want[size_t(p)], what);
      for (size_t k = 0; k < inputs; ++k)
        CHECK(same(&at.tile.values[k * size_t(at.tile.rows) + size_t(place)], &rows[row][k], 1), what, "value", k);
    }
  }
}

// What is no number must not hang, trap or leave the codes' range; what it gives is the same everywhere.
void rows_of_no_numbers(const std::vector<InstructionSet>& isas) {
  std::vector<float> row(64, 1.0f);
  row[3] = NAN, row[20] = -NAN, row[40] = HUGE_VALF, row[50] = -HUGE_VALF, row[51] = NAN;
  std::vector<int8_t> first;
  for (const InstructionSet& isa : isas) {
    Tiles tiles;
    tiles.lay(1, 64, ALL_KINDS, false, 2);
    const Placed& at = tiles.of(0);
    isa.kernels.quantise(row.data(), 64, at.tile, 0, at.plane);
    const std::vector<int8_t> codes(at.tile.codes, at.tile.codes + 2 * 64);
    for (int8_t code : codes) CHECK(code >= -127, isa.name, int(code));
    for (int group : {0, 1})
      for (int place : {0, at.plane})
        CHECK(!std::isfinite(at.tile.scale[group * at.tile.rows + place]), isa.name, "hides what is no number in group", group);
    if (first.empty()) first = codes;
    CHECK(codes == first, isa.name, "codes of what is no number");
  }
}

void rows_are_normed(const InstructionSet& isa, Random& random) {
  for (size_t count : {16, 32, 48, 64, 80, 128, 576, 1536, 8960})
    for (float size : {1.0f, 1e-3f, 300.0f, 1e-25f}) {
      const std::vector<float> row = random.units(count, size), weight = random.units(count);
      const std::vector<float> want = norm(row, weight, 1e-6f);
      std::vector<float> out(count), in_place = row;
      isa.kernels.norm(row.data(), weight.data(), 1e-6f, int64_t(count), out.data());
      same_floats(out, want, text(isa.name, "norm of", count, "of size", size));
      isa.kernels.norm(in_place.data(), weight.data(), 1e-6f, int64_t(count), in_place.data());
      same_floats(in_place, want, text(isa.name, "norm in place of", count));
    }
}

void rows_are_added_and_scaled(const InstructionSet& isa, Random& random) {
  for (size_t count : {16, 48, 96, 1536}) {
    const std::vector<float> one = any_row(count, random), other = any_row(count, random);
    std::vector<float> sum = one, product = one, want;
    isa.kernels.add(sum.data(), other.data(), int64_t(count));
    for (size_t i = 0; i < count; ++i) want.push_back(one[i] + other[i]);
    same_floats(sum, want, text(isa.name, "sum"));
    isa.kernels.multiply(product.data(), 33.941125f, int64_t(count));
    for (size_t i = 0; i < count; ++i) want[i] = one[i] * 33.941125f;
    same_floats(product, want, text(isa.name, "multiple"));
  }
}

void bounds_are_reached(const InstructionSet& isa, Random& random) {
  for (int turn = 0; turn < 2000; ++turn) {
    const std::vector<float> values = any_row(16, random);
    const int pick = random.below(17);
    const float most = *std::max_element(values.begin(), values.end());
    const float bound = pick == 16 ? std::nextafter(most, HUGE_VALF) : values[size_t(pick)];
    CHECK(isa.kernels.reaches(values.data(), bound) == (most >= bound), isa.name, "bound", bound, "largest", most);
  }
}

void exponentials_are_right() {
  double worst = 0;
  for (int i = -87 * 4000; i <= 88 * 4000; ++i) {
    const float x = float(i) / 4000;
    const double want = std::exp(double(x));
    worst = std::max(worst, std::fabs(exponential(x) - want) / want);
  }
  CHECK(worst < 1.3e-7, "relative error", worst);  // a unit in the last place is 6e-8 to 1.2e-7
  CHECK(exponential(0) == 1 && exponential(-87.1f) == 0 && exponential(-HUGE_VALF) == 0 && exponential(NAN) == 0, "");
  CHECK(exponential(89) == exponential(88) && exponential(HUGE_VALF) == exponential(88), "");
}

// That also shows exp to be the one above: below -17 the logistic function is exp, to the last bit.
void gates_are_right(const InstructionSet& isa, bool gelu, Random& random) {
  std::vector<float> gates, ups;
  for (int i = -120 * 300; i <= 120 * 300; ++i) gates.push_back(float(i) / 300);
  for (float x : {0.0f, -0.0f, 1e-38f, 1e-42f, -1e-42f, 1e18f, -1e18f, 1e30f}) gates.push_back(x);
  while (gates.size() % 16) gates.push_back(random.scaled(-30, 7));
  ups = random.units(gates.size(), 3.0f);
  std::vector<float> out(gates.size());
  isa.kernels.gate(gates.data(), ups.data(), gelu, int64_t(gates.size()), out.data());
  for (size_t i = 0; i < gates.size(); ++i) {
    const float want = gate(gates[i], ups[i], gelu);
    CHECK(same(&out[i], &want, 1) || (std::isnan(want) && std::isnan(out[i])), isa.name, gelu ? "gelu" : "silu", "of",
          gates[i], "times", ups[i], "is", out[i], "not", want);
    const double x = gates[i], inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    const double exact = (gelu ? 0.5 * x * (1 + std::tanh(inner)) : x / (1 + std::exp(-x))) * ups[i];
    // Far out on the left an error of the argument is one of the result, times the argument.
    if (std::fabs(x) < 60) CHECK(std::fabs(out[i] - exact) <= 1e-5 * std::fabs(exact) + 1e-9, isa.name, x, out[i], exact);
  }
}

}  // namespace

int main() {
  const std::vector<InstructionSet> isas = instruction_sets();
  for (bool flush : {true, false}) {
    const Arithmetic arithmetic(flush);
    exponentials_are_right();
    rows_of_no_numbers(isas);
    for (const InstructionSet& isa : isas) {
      Random random(11);
      for (size_t inputs : {32, 64, 96, 160, 576, 1536})
        for (int planes : {1, 2}) {
          rows_are_quantised(isa, inputs, planes, random);
          groups_are_quantised(isa, inputs, planes, random);
        }
      rows_are_normed(isa, random);
      rows_are_added_and_scaled(isa, random);
      bounds_are_reached(isa, random);
      for (bool gelu : {false, true}) gates_are_right(isa, gelu, random);
    }
  }
  std::printf("vectors: %d instruction sets\n", int(isas.size()));
}
