#include "sampling.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

// The loops over a vocabulary in the widest vectors of the processor, chosen when the library is loaded. Nothing is
// contracted (the build says so), so all clones give the same bits.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define FOREDRAFT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOREDRAFT_CLONES
#endif

namespace foredraft {
namespace {

// --- exp, log, sums: as in core/sampling.py, operation by operation --------------------------------------------------

constexpr double LN2_HIGH = 0x1.62e42fefa38p-1, LN2_LOW = 0x1.ef35793c76730p-45, LOG2E = 0x1.71547652b82fep+0;
constexpr double SQRT_HALF = 0x1.6a09e667f3bcdp-1, LEAST = -708.0, HOTTEST = 1e300;
constexpr double EXP_SERIES[] = {1.0,           1.0,           1.0 / 2.0,      1.0 / 6.0,       1.0 / 24.0,
                                 1.0 / 120.0,   1.0 / 720.0,   1.0 / 5040.0,   1.0 / 40320.0,   1.0 / 362880.0,
                                 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
constexpr double ATANH_SERIES[] = {1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11,
                                   1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
constexpr size_t LANES = 8;

template <size_t N>
[[gnu::always_inline]] inline double series(const double (&coefficients)[N], double x) {
  double sum = coefficients[N - 1];
  for (size_t n = N - 1; n-- > 0;) sum = sum * x + coefficients[n];
  return sum;
}

// x <= 0. Adding SHIFT rounds to an integer and leaves it in the low bits.
[[gnu::always_inline]] inline double exp_of(double x) {
  constexpr double SHIFT = 0x1.8p52;
  const double y = x < LEAST ? LEAST : x;
  const double shifted = y * LOG2E + SHIFT;
  const double k = shifted - SHIFT;
  const double r = (y - k * LN2_HIGH) - k * LN2_LOW;
  const uint64_t exponent = std::bit_cast<uint64_t>(shifted) - std::bit_cast<uint64_t>(SHIFT) + 1023;
  const double power = std::bit_cast<double>(exponent << 52);
  return x < LEAST ? 0.0 : series(EXP_SERIES, r) * power;
}

double log_of(double x) {
  int k;
  double m = std::frexp(x, &k);
  if (m < SQRT_HALF) m += m, --k;
  const double f = m - 1.0, s = f / (m + 1.0), z = s * s;
  const double beyond = f - 2.0 * (z * series(ATANH_SERIES, z));
  return k * LN2_HIGH + (f - (s * beyond - k * LN2_LOW));
}

// --- sums ------------------------------------------------------------------------------------------------------------

using Doubles [[gnu::vector_size(8 * LANES)]] = double;

// Element i is added to lane i mod LANES; `size` is a multiple of LANES but in the last call.
struct Sum {
  double lanes[LANES] = {};

  [[gnu::always_inline]] void add(const double* x, size_t size) {
    Doubles sums, more;
    std::memcpy(&sums, lanes, sizeof(sums));
    size_t i = 0;
    for (; i + LANES <= size; i += LANES) {
      std::memcpy(&more, x + i, sizeof(more));
      sums += more;
    }
    std::memcpy(lanes, &sums, sizeof(sums));
    for (; i < size; ++i) lanes[i % LANES] += x[i];
  }

  double folded() const {
    const double a = lanes[0] + lanes[4], b = lanes[1] + lanes[5], c = lanes[2] + lanes[6], d = lanes[3] + lanes[7];
    return (a + c) + (b + d);
  }
};

FOREDRAFT_CLONES double total(const double* x, size_t size) {
  Sum sum;
  sum.add(x, size);
  return sum.folded();
}

// --- passes over a vocabulary -----------------------------------------------------------------------------------------

constexpr size_t BLOCK = 128;
template <class T>
constexpr T INFINITE = std::numeric_limits<T>::infinity();

// The largest of each block, NaN where there is one.
template <class T>
[[gnu::always_inline]] inline void find_peaks(const T* x, size_t size, T* peaks) {
  constexpr size_t WIDTH = 64 / sizeof(T);
  using Values [[gnu::vector_size(64)]] = T;
  for (size_t begin = 0; begin < size; begin += BLOCK) {
    const size_t end = std::min(begin + BLOCK, size);
    Values best = Values{} - INFINITE<T>, more;
    auto odd = best != best;
    size_t i = begin;
    for (; i + WIDTH <= end; i += WIDTH) {
      std::memcpy(&more, x + i, sizeof(more));
      best = best < more ? more : best;
      odd |= more != more;
    }
    T peak = -INFINITE<T>;
    bool found = false;
    for (size_t lane = 0; lane < WIDTH; ++lane) peak = std::max(peak, T(best[lane])), found |= odd[lane] != 0;
    for (; i < end; ++i) peak = std::max(peak, x[i]), found |= x[i] != x[i];
    peaks[begin / BLOCK] = found ? std::numeric_limits<T>::quiet_NaN() : peak;
  }
}

template <class T>
[[gnu::always_inline]] inline void find_weights(const T* x, size_t size, double peak, double inverse, double* out) {
  for (size_t i = 0; i < size; ++i) out[i] = exp_of((double(x[i]) - peak) * inverse);
}

template <class T>
[[gnu::always_inline]] inline double find_total(const T* x, size_t size, double peak, double inverse) {
  double weights[8 * BLOCK];
  Sum sum;
  for (size_t begin = 0; begin < size; begin += 8 * BLOCK) {
    const size_t count = std::min(8 * BLOCK, size - begin);
    find_weights(x + begin, count, peak, inverse, weights);
    sum.add(weights, count);
  }
  return sum.folded();
}

// e^y within 1e-5 of it relatively, for y <= 0; never less than 2^-127.
[[gnu::always_inline]] inline float rough_exp(float y) {
  constexpr float SHIFT = 0x1.8p23f;
  const float t = y * 1.44269504f < -126.0f ? -126.0f : y * 1.44269504f;
  const float shifted = t + SHIFT, f = t - (shifted - SHIFT);
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(SHIFT) + 127;
  const float p = 1 + f * (0.693147181f + f * (0.240226507f + f * (0.0555041087f + f * (0.00961812911f + f * 0.00133335581f))));
  return p * std::bit_cast<float>(exponent << 23);
}

// The total within ROUGH of it, relatively, at a fraction of its cost.
template <class T>
[[gnu::always_inline]] inline double find_rough_total(const T* x, size_t size, T peak, float inverse) {
  using Floats [[gnu::vector_size(64)]] = float;
  float weights[8 * BLOCK];
  double sum = 0;
  for (size_t begin = 0; begin < size; begin += 8 * BLOCK) {
    const size_t count = std::min(8 * BLOCK, size - begin);
    for (size_t i = 0; i < count; ++i) weights[i] = rough_exp(float(x[begin + i] - peak) * inverse);
    size_t i = 0;
    Floats sums = {}, more;
    for (; i + 16 <= count; i += 16) {
      std::memcpy(&more, weights + i, sizeof(more));
      sums += more;
    }
    for (size_t lane = 0; lane < 16; ++lane) sum += double(sums[lane]);
    for (; i < count; ++i) sum += double(weights[i]);
  }
  return sum;
}

#define FOREDRAFT_PASSES(T)                                                                                 \
  FOREDRAFT_CLONES void peaks_of(const T* x, size_t size, T* peaks) { find_peaks(x, size, peaks); }         \
  FOREDRAFT_CLONES void weights_of(const T* x, size_t size, double peak, double inverse, double* weights) { \
    find_weights(x, size, peak, inverse, weights);                                                          \
  }                                                                                                         \
  FOREDRAFT_CLONES double total_of(const T* x, size_t size, double peak, double inverse) {                  \
    return find_total(x, size, peak, inverse);                                                              \
  }                                                                                                         \
  FOREDRAFT_CLONES double rough_total_of(const T* x, size_t size, T peak, float inverse) {                  \
    return find_rough_total(x, size, peak, inverse);                                                        \
  }
FOREDRAFT_PASSES(float)
FOREDRAFT_PASSES(double)


template <class T>
struct Peaks {
  std::vector<T> of;  // each block's largest; NaN where there is one
  size_t best = 0;    // the first block with the largest of all

  Peaks(const T* x, size_t size) : of((size + BLOCK - 1) / BLOCK) {
    peaks_of(x, size, of.data());
    for (size_t block = 1; block < of.size(); ++block)
      if (!(of[best] >= of[block]) && of[best] == of[best]) best = block;
  }
  T largest() const { return of[best]; }
};

// --- the largest ------------------------------------------------------------------------------------------------------

template <class T>
size_t find_argmax(const T* x, size_t size) {
  const Peaks<T> peaks(x, size);
  const T largest = peaks.largest();
  size_t i = peaks.best * BLOCK;
  if (largest != largest) {
    while (x[i] == x[i]) ++i;
  } else {
    while (x[i] != largest) ++i;
  }
  return i;
}

// A value that at least `count` of x reach, as close to the count-th largest as the peaks of blocks tell.
template <class T>
T floor_of(const Peaks<T>& peaks, size_t count) {
  if (count > peaks.of.size()) return -INFINITE<T>;
  std::vector<T> of = peaks.of;
  for (T& peak : of)
    if (peak != peak) peak = INFINITE<T>;
  std::nth_element(of.begin(), of.begin() + (count - 1), of.end(), std::greater<T>());
  return of[count - 1];
}

// Calls visit(i) for the tokens of blocks that may hold one that is `wanted`, and are.
template <class T, class Wanted, class Visit>
void each(const T* x, size_t size, const Peaks<T>& peaks, Wanted wanted, Visit visit) {
  for (size_t block = 0; block < peaks.of.size(); ++block)
    if (wanted(peaks.of[block]))
      for (size_t i = block * BLOCK, end = std::min(i + BLOCK, size); i < end; ++i)
        if (wanted(x[i])) visit(i);
}

template <class T>
std::vector<int64_t> find_top(const T* x, size_t size, size_t count) {
  count = std::min(count, size);
  std::vector<int64_t> ids;
  if (count == 0) return ids;
  const Peaks<T> peaks(x, size);
  const T least = floor_of(peaks, count);
  each(x, size, peaks, [&](T value) { return !(value < least); }, [&](size_t i) { ids.push_back(int64_t(i)); });
  const auto better = [&](int64_t a, int64_t b) {
    const bool odd_a = x[a] != x[a], odd_b = x[b] != x[b];
    if (odd_a || odd_b) return odd_a && odd_b ? a < b : odd_a;
    return x[a] != x[b] ? x[a] > x[b] : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + int64_t(count), ids.end(), better);
  ids.resize(count);
  return ids;
}

template <class T>
void find_log_softmax(const T* x, size_t size, double* out) {
  const double peak = double(Peaks<T>(x, size).largest());
  if (!std::isfinite(peak)) return void(std::fill_n(out, size, std::numeric_limits<double>::quiet_NaN()));
  const double mass = log_of(total_of(x, size, peak, 1.0));
  for (size_t i = 0; i < size; ++i) out[i] = (double(x[i]) - peak) - mass;
}

// --- laws -------------------------------------------------------------------------------------------------------------

struct Token {
  int64_t id;
  double weight;
};

bool likelier(const Token& a, const Token& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; }

// How far a sum of weights may be off by rounding, and a rough total by its means; with much to spare.
constexpr double MARGIN = 1e-9, ROUGH = 1e-4;

struct Bounds {
  double low, high;
};

// A row of logits with its temperature.
template <class T>
struct Row {
  const T* x;
  size_t size;
  Peaks<T> peaks;
  double peak, inverse;

  Row(const T* logits, size_t count, double temperature)
      : x(logits), size(count), peaks(logits, count), peak(double(peaks.largest())),
        inverse(std::min(1.0 / temperature, HOTTEST)) {}

  double scaled(T value) const { return (double(value) - peak) * inverse; }

  // Those with a scaled logit of at least `border`, ids ascending.
  std::vector<Token> from(double border) const {
    std::vector<Token> tokens;
    each(x, size, peaks, [&](T value) { return scaled(value) >= border; },
         [&](size_t i) { tokens.push_back({int64_t(i), exp_of(scaled(x[i]))}); });
    return tokens;
  }

  double total() const { return total_of(x, size, peak, inverse); }
  double rough_total() const { return rough_total_of(x, size, peaks.largest(), float(inverse)); }
};

double mass_of(const std::vector<Token>& tokens) {
  std::vector<double> weights(tokens.size());
  std::transform(tokens.begin(), tokens.end(), weights.begin(), [](const Token& token) { return token.weight; });
  return total(weights.data(), weights.size());
}

// Of those equal to the k-th largest the lowest ids.
template <class T>
std::vector<Token> top_k_of(const Row<T>& row, size_t k) {
  std::vector<T> values;
  const T least = floor_of(row.peaks, k);
  each(row.x, row.size, row.peaks, [&](T value) { return value >= least; }, [&](size_t i) { values.push_back(row.x[i]); });
  std::nth_element(values.begin(), values.begin() + int64_t(k - 1), values.end(), std::greater<T>());
  const double border = row.scaled(values[k - 1]);
  std::vector<Token> tokens = row.from(border);
  const auto level = [&](const Token& token) { return row.scaled(row.x[token.id]) == border; };
  const size_t above = tokens.size() - size_t(std::count_if(tokens.begin(), tokens.end(), level));
  size_t room = k - above;
  std::erase_if(tokens, [&](const Token& token) { return level(token) && (room == 0 || room-- == 0); });
  return tokens;
}

// The last of the fewest tokens, likeliest first, that weigh as much as is needed. None where the bounds of what is
// needed, or the rounding of sums in any order, leave it open.
std::optional<Token> last_of(std::vector<Token> tokens, Bounds needed) {
  const double low = needed.low * (1 - MARGIN), high = needed.high * (1 + MARGIN);
  size_t begin = 0, end = tokens.size(), head = 64;
  double mass = 0;  // of the first `begin`, which are too few; the first `end` are enough, or all
  while (end - begin > 1) {
    const size_t middle = begin + std::min(head, (end - begin) / 2);
    const auto first = tokens.begin() + int64_t(begin), split = tokens.begin() + int64_t(middle);
    std::nth_element(first, split, tokens.begin() + int64_t(end), likelier);
    const double more = std::accumulate(first, split, 0.0, [](double sum, const Token& t) { return sum + t.weight; });
    if (mass + more >= low)
      end = middle;
    else
      mass += more, begin = middle, head *= 8;
  }
  if (mass + tokens[begin].weight < high) return std::nullopt;
  return tokens[begin];
}

// The same by the definition: sorted, summed up from the likeliest on.
Token last_in_order(std::vector<Token> tokens, double needed) {
  std::sort(tokens.begin(), tokens.end(), likelier);
  size_t last = 0;
  double mass = tokens[0].weight;
  while (mass < needed && last + 1 < tokens.size()) mass += tokens[++last].weight;
  return tokens[last];
}

std::vector<Token> until(std::vector<Token> tokens, const Token& last) {
  std::erase_if(tokens, [&](const Token& token) { return likelier(last, token); });
  return tokens;
}

// The smallest set with mass >= top_p of the total. Nearly always a rough total and the few tokens above a border
// settle it; they do when no token below the border can weigh as much as the last.
template <class T>
std::vector<Token> nucleus_of(const Row<T>& row, double top_p) {
  std::vector<Token> tokens;
  const auto settle = [&](double border, Bounds total) -> std::optional<Token> {
    tokens = row.from(border);
    const auto last = last_of(tokens, {top_p * total.low, top_p * total.high});
    return last && last->weight > exp_of(border) * (1 + MARGIN) ? last : std::nullopt;
  };
  if (1e-30 < row.inverse && row.inverse < 1e30) {  // a float, and no infinity times zero
    const double rough = row.rough_total();
    if (const auto last = settle(-10.0, {rough * (1 - ROUGH), rough * (1 + ROUGH)})) return until(std::move(tokens), *last);
  }
  const double total = row.total();
  // Tokens below this border together weigh less than 1 - top_p.
  const double border = std::max(LEAST, std::log((1 - top_p) / double(row.size)) - 1);
  if (const auto last = settle(border, {total, total})) return until(std::move(tokens), *last);
  tokens = row.from(-INFINITE<double>);
  const Token last = last_in_order(tokens, top_p * total);
  return until(std::move(tokens), last);
}

std::vector<Token> nucleus_of(std::vector<Token> tokens, double top_p) {
  const Token last = last_in_order(tokens, top_p * mass_of(tokens));
  return until(std::move(tokens), last);
}

Probabilities normalised(std::vector<Token> tokens, size_t size, double min_p) {
  std::erase_if(tokens, [&](const Token& token) { return !(token.weight > 0 && token.weight >= min_p); });
  Probabilities law;
  law.size = tokens.size();
  law.all = law.size == size;
  law.probs = std::make_unique_for_overwrite<double[]>(law.size);
  const double mass = mass_of(tokens);
  if (!law.all) law.ids.resize(law.size);
  for (size_t i = 0; i < law.size; ++i) {
    law.probs[i] = tokens[i].weight / mass;
    if (!law.all) law.ids[i] = tokens[i].id;
  }
  return law;
}

// No filter at all: the one case that touches the weights of all tokens.
template <class T>
Probabilities softmax_of(const Row<T>& row) {
  Probabilities law;
  law.probs = std::make_unique_for_overwrite<double[]>(row.size);
  double* weights = law.probs.get();
  weights_of(row.x, row.size, row.peak, row.inverse, weights);
  size_t alive = 0;
  for (size_t i = 0; i < row.size; ++i) alive += weights[i] > 0;
  law.all = alive == row.size;
  law.size = alive;
  if (!law.all) {
    law.ids.reserve(alive);
    for (size_t i = 0; i < row.size; ++i)
      if (weights[i] > 0) weights[law.ids.size()] = weights[i], law.ids.push_back(int64_t(i));
  }
  const double mass = total(weights, alive);
  for (size_t i = 0; i < alive; ++i) weights[i] /= mass;
  return law;
}

template <class T>
Probabilities find_law(const T* x, size_t size, const Warp& by) {
  const Row<T> row(x, size, by.temperature);
  if (!std::isfinite(row.peak)) return {};
  const bool cut_k = 0 < by.top_k && size_t(by.top_k) < size, cut_p = by.top_p < 1;
  if (cut_k) {
    std::vector<Token> tokens = top_k_of(row, size_t(by.top_k));
    return normalised(cut_p ? nucleus_of(std::move(tokens), by.top_p) : std::move(tokens), size, by.min_p);
  }
  if (cut_p) return normalised(nucleus_of(row, by.top_p), size, by.min_p);
  if (by.min_p > 0) return normalised(row.from(std::log(by.min_p) - 1e-9), size, by.min_p);
  return softmax_of(row);
}

// --- noise ------------------------------------------------------------------------------------------------------------

// Philox4x64-10 (Salmon et al. 2011): token x reads output x mod 4 of block x / 4 + 1.
class Philox {
 public:
  explicit Philox(const Noise& noise) : noise_(noise) {}

  double uniform(uint64_t token) {
    if (token / 4 + 1 != block_) fill(token / 4 + 1);
    return (double(out_[token % 4] >> 12) + 0.5) * 0x1p-52;
  }

 private:
  void fill(uint64_t block) {
    uint64_t a = block, b = noise_.position, c = noise_.purpose, d = noise_.origin;
    uint64_t first = noise_.seed, second = noise_.choice;
    for (int round = 0; round < 10; ++round) {
      const auto left = (unsigned __int128)a * 0xD2E7470EE14C6C93u, right = (unsigned __int128)c * 0xCA5A826395121157u;
      a = uint64_t(right >> 64) ^ b ^ first, b = uint64_t(right);
      c = uint64_t(left >> 64) ^ d ^ second, d = uint64_t(left);
      first += 0x9E3779B97F4A7C15u, second += 0xBB67AE8584CAA73Bu;
    }
    out_[0] = a, out_[1] = b, out_[2] = c, out_[3] = d;
    block_ = block;
  }

  Noise noise_;
  uint64_t block_ = 0, out_[4] = {};
};

// The best tokens so far. A token of probability p with uniform u gains log p - log(-log u) <= log(p / (1 - u)), so it
// can only be among them when 1 - u <= p * reach: most need no logarithm, and those below 2^-53 no noise at all.
class Ranking {
 public:
  Ranking(size_t count, const Noise& noise) : count_(count), philox_(noise) {}

  void meet(int64_t id, double p) {
    const double chance = p * reach_;
    if (!(chance >= 0x1p-53)) return;  // p = 0 too
    const double u = philox_.uniform(uint64_t(id));
    if (1.0 - u > chance) return;
    const Token found{id, log_of(p) - log_of(-log_of(u))};
    best_.insert(std::upper_bound(best_.begin(), best_.end(), found, likelier), found);
    if (best_.size() > count_) best_.pop_back();
    if (best_.size() == count_) reach_ = std::exp(-best_.back().weight) * (1 + 1e-9);
  }

  std::vector<int64_t> ids() const {
    std::vector<int64_t> ids;
    for (const Token& token : best_) ids.push_back(token.id);
    return ids;
  }

 private:
  size_t count_;
  Philox philox_;
  std::vector<Token> best_;
  double reach_ = INFINITE<double>;
};

}  // namespace

size_t argmax(const float* logits, size_t size) { return find_argmax(logits, size); }
size_t argmax(const double* logits, size_t size) { return find_argmax(logits, size); }
std::vector<int64_t> top(const float* logits, size_t size, size_t count) { return find_top(logits, size, count); }
std::vector<int64_t> top(const double* logits, size_t size, size_t count) { return find_top(logits, size, count); }
void log_softmax(const float* logits, size_t size, double* out) { find_log_softmax(logits, size, out); }
void log_softmax(const double* logits, size_t size, double* out) { find_log_softmax(logits, size, out); }
Probabilities warp(const float* logits, size_t size, const Warp& by) { return find_law(logits, size, by); }
Probabilities warp(const double* logits, size_t size, const Warp& by) { return find_law(logits, size, by); }

std::vector<int64_t> rank(const int64_t* ids, const double* probs, size_t size, size_t count, const Noise& noise) {
  if (count == 0 || size == 0) return {};
  Ranking ranking(count, noise);
  const size_t mode = argmax(probs, size);  // met first, it rules out most of the others
  const auto meet = [&](size_t i) { ranking.meet(ids ? ids[i] : int64_t(i), probs[i]); };
  meet(mode);
  for (size_t i = 0; i < size; ++i)
    if (i != mode) meet(i);
  return ranking.ids();
}

}  // namespace foredraft
