#include "sampling_passes.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "isa.hpp"

#define FOREDRAFT_INLINE [[gnu::always_inline]] inline

namespace foredraft {
namespace {

// --- the constants of core/sampling.py -----------------------------------------------------------------------------

constexpr double LN2_HIGH = 0x1.62e42fefa38p-1, LN2_LOW = 0x1.ef35793c76730p-45, LOG2E = 0x1.71547652b82fep+0;
constexpr double SQRT_HALF = 0x1.6a09e667f3bcdp-1, LEAST = -708.0;
constexpr double FACTORIALS[] = {1,     1,      2,       6,        24,        120,       720,
                                 5040,  40320,  362880,  3628800,  39916800,  479001600, 6227020800};
constexpr size_t LANES = 8;

// --- vectors: BYTES is the width of a register ---------------------------------------------------------------------

template <size_t BYTES>
struct Vectors {
  typedef double Doubles __attribute__((vector_size(BYTES)));
  typedef uint64_t Longs __attribute__((vector_size(BYTES)));
  typedef float Floats __attribute__((vector_size(BYTES)));
  typedef float HalfFloats __attribute__((vector_size(BYTES / 2)));
  typedef uint32_t Ints __attribute__((vector_size(BYTES)));
};

template <class V, class T>
FOREDRAFT_INLINE void load(V& to, const T* from) {
  std::memcpy(&to, from, sizeof(V));
}

// The same bits as another type; vectors are not returned, for how depends on the instruction set.
template <class To, class From>
FOREDRAFT_INLINE void read_as(To& to, const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&to, &from, sizeof(To));
}

// In place, x <= 0. Adding SHIFT rounds to an integer and leaves it in the low bits.
template <class V, class Bits>
FOREDRAFT_INLINE void to_exp(V& x) {
  constexpr double SHIFT = 0x1.8p52;
  const V least = V{} + LEAST;
  const V y = x < least ? least : x;
  const V shifted = y * LOG2E + SHIFT;
  const V k = shifted - SHIFT;
  const V r = (y - k * LN2_HIGH) - k * LN2_LOW;
  V sum = V{} + 1.0 / FACTORIALS[13];
  for (int n = 12; n >= 0; --n) sum = sum * r + 1.0 / FACTORIALS[n];
  Bits bits;
  read_as(bits, shifted);
  bits = (bits - std::bit_cast<uint64_t>(SHIFT) + 1023) << 52;
  V scale;
  read_as(scale, bits);
  x = x < least ? V{} : sum * scale;
}

// In place, within 1e-5 relatively for x <= 0, and never less than 2^-127.
template <class V, class Bits>
FOREDRAFT_INLINE void to_rough_exp(V& x) {
  constexpr float SHIFT = 0x1.8p23f;
  const V least = V{} - 126.0f, t = x * 1.44269504f < least ? least : x * 1.44269504f;
  const V shifted = t + SHIFT, f = t - (shifted - SHIFT);
  const V high = 0.0555041087f + f * (0.00961812911f + f * 0.00133335581f);
  const V power = 1.0f + f * (0.693147181f + f * (0.240226507f + f * high));
  Bits bits;
  read_as(bits, shifted);
  bits = (bits - std::bit_cast<uint32_t>(SHIFT) + 127) << 23;
  V scale;
  read_as(scale, bits);
  x = power * scale;
}

template <size_t BYTES>
FOREDRAFT_INLINE void load_doubles(typename Vectors<BYTES>::Doubles& to, const double* from) {
  load(to, from);
}

template <size_t BYTES>
FOREDRAFT_INLINE void load_doubles(typename Vectors<BYTES>::Doubles& to, const float* from) {
  typename Vectors<BYTES>::HalfFloats half;
  load(half, from);
  to = __builtin_convertvector(half, typename Vectors<BYTES>::Doubles);
}

// --- the passes ----------------------------------------------------------------------------------------------------

template <size_t BYTES, class T>
FOREDRAFT_INLINE bool find_peaks(const T* x, size_t size, T* peaks) {
  using V = std::conditional_t<sizeof(T) == 4, typename Vectors<BYTES>::Floats, typename Vectors<BYTES>::Doubles>;
  constexpr size_t WIDTH = BYTES / sizeof(T);
  auto odd = V{} != V{};
  bool found = false;
  for (size_t begin = 0; begin < size; begin += BLOCK) {
    const size_t end = std::min(begin + BLOCK, size);
    V best = V{} - std::numeric_limits<T>::infinity(), more;
    size_t i = begin;
    for (; i + WIDTH <= end; i += WIDTH) {
      load(more, x + i);
      best = best < more ? more : best;
      odd |= more != more;
    }
    T lanes[WIDTH];
    std::memcpy(lanes, &best, sizeof(best));
    for (; i < end; ++i) lanes[0] = std::max(lanes[0], x[i]), found |= x[i] != x[i];
    for (size_t half = WIDTH / 2; half > 0; half /= 2)
      for (size_t lane = 0; lane < half; ++lane) lanes[lane] = std::max(lanes[lane], lanes[lane + half]);
    peaks[begin / BLOCK] = lanes[0];
  }
  for (size_t lane = 0; lane < WIDTH; ++lane) found |= odd[lane] != 0;
  return found;
}

template <size_t BYTES, class T>
FOREDRAFT_INLINE void find_weights(const T* x, size_t size, double peak, double inverse, double* out) {
  typename Vectors<BYTES>::Doubles weights;
  constexpr size_t WIDTH = BYTES / 8;
  size_t i = 0;
  for (; i + WIDTH <= size; i += WIDTH) {
    load_doubles<BYTES>(weights, x + i);
    weights = (weights - peak) * inverse;
    to_exp<decltype(weights), typename Vectors<BYTES>::Longs>(weights);
    std::memcpy(out + i, &weights, BYTES);
  }
  for (; i < size; ++i) {
    out[i] = (double(x[i]) - peak) * inverse;
    to_exp<double, uint64_t>(out[i]);
  }
}

// Element i goes to lane i mod 8; `size` is a multiple of 8 but in the last call.
template <size_t BYTES>
FOREDRAFT_INLINE void add_to(double (&lanes)[LANES], const double* x, size_t size) {
  constexpr size_t WIDTH = BYTES / 8;
  typename Vectors<BYTES>::Doubles sums[LANES / WIDTH], more;
  std::memcpy(sums, lanes, sizeof(lanes));
  size_t i = 0;
  for (; i + LANES <= size; i += LANES)
    for (size_t part = 0; part < LANES / WIDTH; ++part) {
      load(more, x + i + part * WIDTH);
      sums[part] += more;
    }
  std::memcpy(lanes, sums, sizeof(lanes));
  for (; i < size; ++i) lanes[i % LANES] += x[i];
}

double folded(const double (&lanes)[LANES]) {
  const double a = lanes[0] + lanes[4], b = lanes[1] + lanes[5], c = lanes[2] + lanes[6], d = lanes[3] + lanes[7];
  return (a + c) + (b + d);
}

template <size_t BYTES, class T>
FOREDRAFT_INLINE double find_total(const T* x, size_t size, double peak, double inverse) {
  double weights[8 * BLOCK], lanes[LANES] = {};
  for (size_t begin = 0; begin < size; begin += 8 * BLOCK) {
    const size_t count = std::min(8 * BLOCK, size - begin);
    find_weights<BYTES>(x + begin, count, peak, inverse, weights);
    add_to<BYTES>(lanes, weights, count);
  }
  return folded(lanes);
}

template <size_t BYTES, class T>
FOREDRAFT_INLINE double find_rough_total(const T* x, size_t size, T peak, float inverse) {
  typename Vectors<BYTES>::Floats weights, sums;
  constexpr size_t WIDTH = BYTES / 4;
  double total = 0;
  size_t i = 0;
  while (i + WIDTH <= size) {
    sums = decltype(sums){};  // floats are not added up for long
    for (const size_t end = i + 8 * BLOCK; i + WIDTH <= size && i < end; i += WIDTH) {
      if constexpr (sizeof(T) == 4) {
        load(weights, x + i);
        weights -= peak;
      } else {
        for (size_t lane = 0; lane < WIDTH; ++lane) weights[lane] = float(x[i + lane] - peak);
      }
      weights *= inverse;
      to_rough_exp<decltype(weights), typename Vectors<BYTES>::Ints>(weights);
      sums += weights;
    }
    for (size_t lane = 0; lane < WIDTH; ++lane) total += double(sums[lane]);
  }
  for (; i < size; ++i) {
    float weight = float(x[i] - peak) * inverse;
    to_rough_exp<float, uint32_t>(weight);
    total += double(weight);
  }
  return total;
}

// --- one set of them for each width --------------------------------------------------------------------------------

#define FOREDRAFT_PASSES(NAME, BYTES, TARGET)                                                               \
  template <class T>                                                                                        \
  struct NAME {                                                                                             \
    TARGET static bool peaks(const T* x, size_t size, T* peaks) { return find_peaks<BYTES>(x, size, peaks); } \
    TARGET static void weights(const T* x, size_t size, double peak, double inverse, double* out) {         \
      find_weights<BYTES>(x, size, peak, inverse, out);                                                     \
    }                                                                                                       \
    TARGET static double total(const T* x, size_t size, double peak, double inverse) {                      \
      return find_total<BYTES>(x, size, peak, inverse);                                                     \
    }                                                                                                       \
    TARGET static double rough_total(const T* x, size_t size, T peak, float inverse) {                      \
      return find_rough_total<BYTES>(x, size, peak, inverse);                                               \
    }                                                                                                       \
    static constexpr Passes<T> all{peaks, weights, total, rough_total};                                     \
  };

FOREDRAFT_PASSES(Portable, 16, )
#if defined(__x86_64__)
FOREDRAFT_PASSES(Avx2, 32, __attribute__((target("avx2"))))
FOREDRAFT_PASSES(Avx512, 64, __attribute__((target("avx512f"))))
#endif

}  // namespace

template <class T>
const Passes<T>& passes() {
#if defined(__x86_64__)
  static const Isa isa = choose_isa();
  if (isa >= Isa::avx512) return Avx512<T>::all;
  if (isa >= Isa::avx2) return Avx2<T>::all;
#endif
  return Portable<T>::all;
}
template const Passes<float>& passes();
template const Passes<double>& passes();

double exp_of(double x) {
  to_exp<double, uint64_t>(x);
  return x;
}

double log_of(double x) {
  int k;
  double m = std::frexp(x, &k);
  if (m < SQRT_HALF) m += m, --k;
  const double f = m - 1.0, s = f / (m + 1.0), z = s * s;
  double series = 1.0 / 21;
  for (int n = 19; n >= 3; n -= 2) series = series * z + 1.0 / n;
  const double beyond = f - 2.0 * (z * series);
  return k * LN2_HIGH + (f - (s * beyond - k * LN2_LOW));
}

double sum_of(const double* x, size_t size) {
  double lanes[LANES] = {};
  add_to<16>(lanes, x, size);
  return folded(lanes);
}

}  // namespace foredraft
