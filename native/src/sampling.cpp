#include "sampling.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "sampling_passes.hpp"

namespace foredraft {
namespace {

constexpr double LEAST = -708.0, HOTTEST = 1e300;
template <class T>
constexpr T INFINITE = std::numeric_limits<T>::infinity();

template <class T>
struct Peaks {
  std::vector<T> of;  // each block's largest; NaN where there is one
  size_t best = 0;    // the first block with the largest of all

  Peaks(const T* x, size_t size) : of((size + BLOCK_SIZE - 1) / BLOCK_SIZE) {
    if (passes<T>().peaks(x, size, of.data()))
      for (size_t i = 0; i < size; ++i)
        if (x[i] != x[i]) of[i / BLOCK_SIZE] = x[i];
    for (size_t block = 1; block < of.size(); ++block)
      if (!(of[best] >= of[block]) && of[best] == of[best]) best = block;
  }
  T largest() const { return of[best]; }
};

// --- the largest ---------------------------------------------------------------------------------------------------

template <class T>
size_t find_argmax(const T* x, size_t size) {
  const Peaks<T> peaks(x, size);
  const T largest = peaks.largest();
  size_t i = peaks.best * BLOCK_SIZE;
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
      for (size_t i = block * BLOCK_SIZE, end = std::min(i + BLOCK_SIZE, size); i < end; ++i)
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
  const double mass = log_of(passes<T>().total(x, size, peak, 1.0));
  for (size_t i = 0; i < size; ++i) out[i] = (double(x[i]) - peak) - mass;
}

// --- laws ----------------------------------------------------------------------------------------------------------

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
    const auto open = [&](T largest) { return scaled(largest) >= border; };
    std::vector<Token> tokens;
    tokens.reserve(BLOCK_SIZE * size_t(std::count_if(peaks.of.begin(), peaks.of.end(), open)));
    double weights[BLOCK_SIZE];
    for (size_t block = 0; block < peaks.of.size(); ++block) {
      if (!open(peaks.of[block])) continue;
      const size_t begin = block * BLOCK_SIZE, count = std::min(BLOCK_SIZE, size - begin);
      passes<T>().weights(x + begin, count, peak, inverse, weights);
      for (size_t i = 0; i < count; ++i)
        if (open(x[begin + i])) tokens.push_back({int64_t(begin + i), weights[i]});
    }
    return tokens;
  }

  // The same of these alone.
  std::vector<Token> among(std::vector<int64_t> ids, double border) const {
    std::erase_if(ids, [&](int64_t id) { return scaled(x[id]) < border; });
    std::vector<T> values(ids.size());
    std::transform(ids.begin(), ids.end(), values.begin(), [&](int64_t id) { return x[id]; });
    std::vector<double> weights(ids.size());
    passes<T>().weights(values.data(), values.size(), peak, inverse, weights.data());
    std::vector<Token> tokens(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) tokens[i] = {ids[i], weights[i]};
    return tokens;
  }

  double total() const { return passes<T>().total(x, size, peak, inverse); }
  double rough_total() const { return passes<T>().rough_total(x, size, peaks.largest(), float(inverse)); }
};

double mass_of(const std::vector<Token>& tokens) {
  std::vector<double> weights(tokens.size());
  std::transform(tokens.begin(), tokens.end(), weights.begin(), [](const Token& token) { return token.weight; });
  return sum_of(weights.data(), weights.size());
}

// Of those equal to the k-th largest the lowest ids.
template <class T>
std::vector<Token> top_k_of(const Row<T>& row, size_t k) {
  std::vector<int64_t> ids;
  const T least = floor_of(row.peaks, k);
  const auto reaches = [&](T value) { return value >= least; };
  each(row.x, row.size, row.peaks, reaches, [&](size_t i) { ids.push_back(int64_t(i)); });
  std::vector<T> values(ids.size());
  std::transform(ids.begin(), ids.end(), values.begin(), [&](int64_t id) { return row.x[id]; });
  std::nth_element(values.begin(), values.begin() + int64_t(k - 1), values.end(), std::greater<T>());
  const double border = row.scaled(values[k - 1]);
  // Scaling may make a token below `least` equal to the k-th only where it makes `least` so.
  std::vector<Token> tokens = row.scaled(least) < border ? row.among(std::move(ids), border) : row.from(border);
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
  size_t begin = 0, end = tokens.size();
  double mass = 0;  // of the first `begin`, which are too few; the first `end` are enough, or all
  while (end - begin > 1) {
    const size_t middle = begin + (end - begin) / 2;
    const auto first = tokens.begin() + int64_t(begin), split = tokens.begin() + int64_t(middle);
    std::nth_element(first, split, tokens.begin() + int64_t(end), likelier);
    const double more = std::accumulate(first, split, 0.0, [](double sum, const Token& t) { return sum + t.weight; });
    if (mass + more >= low)
      end = middle;
    else
      mass += more, begin = middle;
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
    const auto last = settle(-10.0, {rough * (1 - ROUGH), rough * (1 + ROUGH)});
    if (last) return until(std::move(tokens), *last);
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
  passes<T>().weights(row.x, row.size, row.peak, row.inverse, weights);
  size_t alive = 0;
  for (size_t i = 0; i < row.size; ++i) alive += weights[i] > 0;
  law.all = alive == row.size;
  law.size = alive;
  if (!law.all) {
    law.ids.reserve(alive);
    for (size_t i = 0; i < row.size; ++i)
      if (weights[i] > 0) weights[law.ids.size()] = weights[i], law.ids.push_back(int64_t(i));
  }
  const double mass = sum_of(weights, alive);
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

// --- noise ---------------------------------------------------------------------------------------------------------

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

// The best `count` > 0 tokens so far. A token of probability p with uniform u gains log p - log(-log u), at most
// log(p / (1 - u)), so it can only be among them when 1 - u <= p * reach: most need no logarithm, and those with less
// than 2^-53 no noise at all.
class Ranking {
 public:
  Ranking(size_t count, const Noise& noise) : count_(count), philox_(noise) {}

  void meet(int64_t id, double p) {
    const double chance = p * reach_;
    if (!(chance >= 0x1p-53)) return;  // p = 0 too
    const double u = philox_.uniform(uint64_t(id));
    if (1.0 - u > chance) return;
    best_.push_back({id, log_of(p) - log_of(-log_of(u))});
    std::push_heap(best_.begin(), best_.end(), likelier);
    if (best_.size() > count_) {
      std::pop_heap(best_.begin(), best_.end(), likelier);
      best_.pop_back();
    }
    if (best_.size() == count_) reach_ = std::exp(-best_.front().weight) * (1 + MARGIN);
  }

  std::vector<int64_t> ids() {
    std::sort_heap(best_.begin(), best_.end(), likelier);
    std::vector<int64_t> ids;
    for (const Token& token : best_) ids.push_back(token.id);
    return ids;
  }

 private:
  size_t count_;
  Philox philox_;
  std::vector<Token> best_;  // a heap, the worst in front; weights are perturbed log probabilities
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

double uniform(const Noise& noise) { return Philox(noise).uniform(0); }

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
