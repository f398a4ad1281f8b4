#include "block.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "sampling_passes.hpp"
#include "softmax.hpp"

namespace foredraft {
namespace {

constexpr size_t BATCH = 4;  // nodes that get children at a time
constexpr float NOTHING = -std::numeric_limits<float>::infinity();

// The largest of 16 floats that is a number, in four lanes, for one after another would wait for each other.
float largest_of(const float* x) {
  float lanes[4] = {NOTHING, NOTHING, NOTHING, NOTHING};
  for (int i = 0; i < PANEL; i += 4)
    for (int lane = 0; lane < 4; ++lane) lanes[lane] = lanes[lane] < x[i + lane] ? x[i + lane] : lanes[lane];
  return std::max(std::max(lanes[0], lanes[1]), std::max(lanes[2], lanes[3]));
}

}  // namespace

BlockTree::BlockTree(Matrix previous, Matrix bias, std::shared_ptr<Pool> pool, Isa isa, Activations activations)
    : BlockTree(previous->outputs, std::move(pool), isa) {
  if (previous->outputs != bias->outputs || previous->inputs != bias->inputs)
    throw std::invalid_argument("the two tables of a bias differ in shape");
  previous_ = std::move(previous);
  bias_.emplace_back(std::move(bias), isa, activations);
}

BlockTree::BlockTree(size_t tokens, std::shared_ptr<Pool> pool, Isa isa)
    : pool_(std::move(pool)), kernels_(kernels_of(isa)), tokens_(tokens) {
  blocks_ = (tokens_ + SUM_BLOCK - 1) / SUM_BLOCK;
  width_ = blocks_ * SUM_BLOCK;
}

// The rows of `previous` for these tokens, as floats, and room for what is multiplied with them.
void BlockTree::gather(const std::vector<int>& places) {
  const size_t rank = previous_->inputs;
  before_.reserve(places.size() * rank * 4);
  for (size_t row = 0; row < places.size(); ++row) previous_->row(size_t(places[row]), before_.as<float>() + row * rank);
  bias_[0].lay(places.size());
}

void BlockTree::bias(const std::vector<int>& places, float* out) {
  std::lock_guard<std::mutex> lock(working_);
  if (bias_.empty()) {
    std::fill_n(out, places.size() * tokens(), 0.0f);
    return;
  }
  gather(places);
  bias_[0].apply(*pool_, before_.as<float>(), places.size(), out);
}

void BlockTree::laws(const std::vector<const float*>& bases, const std::vector<int>& places) {
  const size_t rows = bases.size(), panels = width_ / PANEL;
  const bool biased = !places.empty() && !bias_.empty();
  logits_.reserve(rows * width_ * 4);
  peaks_.reserve(rows * panels * 4);
  largest_.resize(rows);
  sums_.resize(rows * blocks_);
  if (biased) gather(places);
  auto put = [&](size_t output, size_t row, const float* more) {
    float* to = logits_.as<float>() + row * width_ + output;
    const size_t count = output < tokens() ? std::min<size_t>(PANEL, tokens() - output) : 0;
    if (count < PANEL) std::fill_n(to, PANEL, NOTHING);
    const float* base = bases[row] + output;
    for (size_t i = 0; i < count; ++i) to[i] = more ? base[i] + more[i] : base[i];
    peaks_.as<float>()[row * panels + output / PANEL] = largest_of(to);
  };
  pool_->run([&](Worker& worker) {
    kernels_.begin();
    if (biased) {
      const size_t rank = previous_->inputs;
      bias_[0].multiply(worker, rows, [&](size_t row) { return before_.as<const float>() + row * rank; }, put);
    }
    kernels_.end();
    // What no product fills: everything without one, else the panels that only fill up the last block.
    const size_t first = biased ? bias_[0].matrix().panels() : 0;
    worker.each((panels - first) * rows, 32, [&](size_t i) { put((first + i / rows) * PANEL, i % rows, nullptr); });
    worker.each(rows, 1, [&](size_t row) {
      const float* own = peaks_.as<float>() + row * panels;
      float largest = NOTHING;  // whole blocks are whole panels of panels
      for (size_t panel = 0; panel < panels; panel += PANEL) largest = std::max(largest, largest_of(own + panel));
      largest_[row] = largest;
    });
    worker.each(rows * blocks_, 1, [&](size_t job) {
      sums_[job] = sum_of_exps(logits_.as<float>() + job * SUM_BLOCK, largest_[job / blocks_]);
    });
  });
}

// Adds the likeliest children of a row's node, best first, `rows` at most, none below the bound.
void BlockTree::extend(size_t row, int parent, size_t rows, double bound, std::vector<Node>& found) const {
  const double largest = double(largest_[row]), before = parent < 0 ? 0.0 : found[size_t(parent)].score;
  const int depth = parent < 0 ? 1 : found[size_t(parent)].depth + 1;
  const float* sums = sums_.data() + row * blocks_;
  const double total = std::accumulate(sums, sums + blocks_, 0.0);
  if (!std::isfinite(largest) || !std::isfinite(total)) return;  // logits that are no numbers: the target decides
  const double every = log_of(total);
  auto score = [&](float logit) { return before + ((double(logit) - largest) - every); };
  using Child = std::pair<float, int>;
  auto better = [](const Child& a, const Child& b) { return a.first > b.first || (a.first == b.first && a.second < b.second); };
  std::vector<Child> best;  // a heap, the worst on top
  const size_t panels = width_ / PANEL;
  const float *logits = logits_.as<float>() + row * width_, *peaks = peaks_.as<float>() + row * panels;
  for (size_t panel = 0; panel < panels; ++panel) {
    if (best.size() == rows ? peaks[panel] <= best.front().first : score(peaks[panel]) < bound) continue;
    const size_t end = std::min(tokens(), (panel + 1) * PANEL);
    for (size_t place = panel * PANEL; place < end; ++place) {
      const Child child{logits[place], int(place)};
      if (best.size() == rows ? !better(child, best.front()) : !(score(child.first) >= bound)) continue;
      if (best.size() == rows) {
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.push_back(child);
      std::push_heap(best.begin(), best.end(), better);
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
  for (const Child& child : best) found.push_back({child.second, parent, depth, score(child.first)});
}

Drafts BlockTree::children(const float* logits, size_t rows, size_t count) {
  constexpr double LOWEST = -std::numeric_limits<double>::infinity();
  std::lock_guard<std::mutex> lock(working_);
  std::vector<const float*> bases;
  for (size_t row = 0; row < rows; ++row) bases.push_back(logits + row * tokens());
  Drafts drafts;
  if (!rows || !count) return drafts;
  laws(bases, {});
  std::vector<Node> found;
  for (size_t row = 0; row < rows; ++row) {
    found.clear();
    extend(row, -1, count, LOWEST, found);
    for (const Node& node : found) {
      drafts.places.push_back(node.place);
      drafts.parents.push_back(int(row));
      drafts.scores.push_back(node.score);
    }
  }
  return drafts;
}

Drafts BlockTree::grow(const float* base, int levels, int rows, int depth, double least) {
  constexpr double LOWEST = -std::numeric_limits<double>::infinity();
  std::lock_guard<std::mutex> lock(working_);
  levels = rows > 0 ? std::min(levels, depth) : 0;
  const double floor = least > 0 ? log_of(least) : LOWEST;
  std::vector<Node> found;
  std::vector<int> best, batch(levels > 0 ? 1 : 0, -1), places;  // best: the likeliest nodes so far, at most `rows`
  std::vector<const float*> bases(batch.size(), base);
  double bound = LOWEST;
  auto better = [&](int a, int b) {
    const double one = found[size_t(a)].score, two = found[size_t(b)].score;
    return one > two || (one == two && a < b);
  };
  while (!batch.empty()) {
    laws(bases, places);
    for (size_t row = 0; row < batch.size(); ++row) extend(row, batch[row], size_t(rows), std::max(floor, bound), found);
    best.resize(found.size());
    std::iota(best.begin(), best.end(), 0);
    const size_t kept = std::min(best.size(), size_t(rows));
    std::partial_sort(best.begin(), best.begin() + std::ptrdiff_t(kept), best.end(), better);
    best.resize(kept);
    bound = kept == size_t(rows) ? found[size_t(best.back())].score : LOWEST;
    batch.clear(), bases.clear(), places.clear();
    for (int place : best) {
      Node& node = found[size_t(place)];
      if (node.grown || node.depth >= levels || node.score <= bound || batch.size() == BATCH) continue;
      node.grown = true;
      batch.push_back(place);
      bases.push_back(base + size_t(node.depth) * tokens());
      places.push_back(node.place);
    }
  }
  std::sort(best.begin(), best.end());
  std::vector<int> at(found.size(), -1);  // no node is likelier than its parent, so parents are among the best
  Drafts drafts;
  for (int node : best) {
    const Node& one = found[size_t(node)];
    at[size_t(node)] = int(drafts.places.size());
    drafts.places.push_back(one.place);
    drafts.parents.push_back(one.parent < 0 ? -1 : at[size_t(one.parent)]);
    drafts.scores.push_back(one.score);
  }
  return drafts;
}

}  // namespace foredraft
