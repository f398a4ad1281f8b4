#include "softmax.hpp"

#include <bit>
#include <cstdint>
#include <cstring>

#include "isa.hpp"

#define FOREDRAFT_INLINE [[gnu::always_inline]] inline

namespace foredraft {
namespace {

// The constants of draft/block_tree.py.
constexpr float LN2_HIGH = 0x1.62e4p-1f, LN2_LOW = 0x1.7f7d1cp-20f, LOG2E = 0x1.715476p+0f, LEAST = -87.0f;
constexpr float FACTORIALS[] = {1, 1, 2, 6, 24, 120, 720, 5040};
constexpr size_t LANES = 16;

template <size_t BYTES>
FOREDRAFT_INLINE float find_sum(const float* x, float peak) {
  typedef float V __attribute__((vector_size(BYTES)));
  typedef uint32_t Bits __attribute__((vector_size(BYTES)));
  typedef int32_t Mask __attribute__((vector_size(BYTES)));
  constexpr size_t PARTS = LANES * 4 / BYTES, WIDTH = BYTES / 4;
  constexpr float SHIFT = 0x1.8p23f;  // adding it rounds to an integer and leaves it in the low bits
  const V least = V{} + LEAST;
  V sums[PARTS] = {}, y;
  for (size_t i = 0; i < SUM_BLOCK; i += LANES)
    for (size_t part = 0; part < PARTS; ++part) {
      std::memcpy(&y, x + i + part * WIDTH, BYTES);
      y -= peak;
      const Mask nothing = y < least;
      y = nothing ? least : y;
      const V shifted = y * LOG2E + SHIFT;
      const V k = shifted - SHIFT;
      const V r = (y - k * LN2_HIGH) - k * LN2_LOW;
      V power = V{} + 1.0f / FACTORIALS[7];
      for (int n = 6; n >= 0; --n) power = power * r + 1.0f / FACTORIALS[n];
      Bits bits;
      std::memcpy(&bits, &shifted, BYTES);
      bits = (bits - std::bit_cast<uint32_t>(SHIFT) + 127) << 23;
      V scale;
      std::memcpy(&scale, &bits, BYTES);
      sums[part] += nothing ? V{} : power * scale;
    }
  float lanes[LANES];
  std::memcpy(lanes, sums, sizeof(lanes));
  for (size_t half = LANES / 2; half; half /= 2)
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

#define FOREDRAFT_SUM(NAME, BYTES, TARGET) \
  TARGET float NAME(const float* x, float peak) { return find_sum<BYTES>(x, peak); }

FOREDRAFT_SUM(portable, 16, )
#if defined(__x86_64__)
FOREDRAFT_SUM(avx2, 32, __attribute__((target("avx2"))))
FOREDRAFT_SUM(avx512, 64, __attribute__((target("avx512f"))))
#endif

using Sum = float (*)(const float*, float);

Sum chosen() {
#if defined(__x86_64__)
  const Isa isa = choose_isa();
  if (isa >= Isa::avx512) return avx512;
  if (isa >= Isa::avx2) return avx2;
#endif
  return portable;
}

}  // namespace

float sum_of_exps(const float* x, float peak) {
  static const Sum sum = chosen();
  return sum(x, peak);
}

}  // namespace foredraft
