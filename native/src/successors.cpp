#include "successors.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <stdexcept>

namespace foredraft {

namespace {

constexpr double LEAST = 1e-6;
constexpr size_t CONTEXTS = 100'000;

std::span<const int32_t> end_of(std::span<const int32_t> text, size_t size) { return text.last(std::min(size, text.size())); }

void check(std::span<const int32_t> tokens) {
  for (int32_t token : tokens)
    if (token < 0 || token == INT32_MAX) throw std::invalid_argument("there is no such token");
}

}  // namespace

double Trust::score(double prob) const { return weight * std::log(std::min(std::max(prob, LEAST), 1.0)) - doubt; }

Successors::Successors(std::vector<Trust> trusts, size_t width, double share, std::shared_ptr<const Successors> base)
    : trusts_(std::move(trusts)), width_(width), share_(share), base_(std::move(base)) {
  if (trusts_.empty() || trusts_.size() > LONGEST) throw std::invalid_argument("contexts have from one to four tokens");
  if (!width_) throw std::invalid_argument("a row has at least one successor");
}

size_t Places::first(const Key& key) const {
  uint64_t mixed = 0;
  for (int32_t token : key) {
    mixed = (mixed ^ uint32_t(token)) * 0x9e3779b97f4a7c15;
    mixed ^= mixed >> 32;
  }
  return size_t(mixed) & (slots_.size() - 1);
}

// Of its slot, or of the free one where it belongs.
size_t Places::place_of(const Key& key) const {
  size_t at = first(key);
  while (slots_[at].key != Key{} && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
  return at;
}

const Places::Slot* Places::find(const Key& key) const {
  const Slot& slot = slots_[place_of(key)];
  return slot.key == key ? &slot : nullptr;
}

Places::Slot& Places::put(const Key& key, uint32_t fresh) {
  size_t at = place_of(key);
  if (slots_[at].key == key) return slots_[at];
  if (2 * ++taken_ > slots_.size()) {
    std::vector<Slot> before(2 * slots_.size());
    before.swap(slots_);
    for (const Slot& slot : before)
      if (slot.key != Key{}) slots_[place_of(slot.key)] = slot;
    at = place_of(key);
  }
  slots_[at] = {key, fresh, 0};
  return slots_[at];
}

Successors::Key Successors::key_of(std::span<const int32_t> context) {
  Key key{};
  size_t place = LONGEST - context.size();
  for (int32_t token : context) key[place++] = int32_t(uint32_t(token) + 1);
  return key;
}

std::vector<int32_t> Successors::context_of(const Key& key) {
  std::vector<int32_t> context;
  for (int32_t token : key)
    if (token) context.push_back(token - 1);
  return context;
}

std::vector<uint32_t> Successors::order() const {
  std::vector<uint32_t> places(rows_.size());
  std::iota(places.begin(), places.end(), 0);
  std::sort(places.begin(), places.end(), [&](uint32_t a, uint32_t b) { return rows_[a].stamp < rows_[b].stamp; });
  return places;
}

bool Successors::find(const Key& key, Row& row) const {
  const Places::Slot* found = places_.find(key);
  if (!found) return base_ && base_->find(key, row);
  row = {{&tokens_[found->place * width_], found->count}, {&probs_[found->place * width_], found->count}};
  return true;
}

void Successors::learn(std::span<const int32_t> text, std::span<const int32_t> tokens, std::span<const double> probs) {
  if (tokens.size() != probs.size()) throw std::invalid_argument("tokens and probabilities differ in number");
  for (size_t size = 1; size <= std::min(trusts_.size(), text.size()); ++size) {
    const std::span<const int32_t> context = end_of(text, size);
    check(context);
    mix(key_of(context), tokens, probs, share_);
  }
  if (rows_.size() > CONTEXTS * 5 / 4) keep_newest();
}

void Successors::mix(const Key& key, std::span<const int32_t> tokens, std::span<const double> probs, double share) {
  Row old;
  if (share == 1.0 || !find(key, old)) {
    write(key, tokens, probs);
  } else {
    blend(old, tokens, probs, share);
    write(key, mixed_, means_);
  }
}

void Successors::said(std::span<const int32_t> text, double prob) {
  for (size_t end = 1; end < text.size(); ++end)
    learn(end_of(text.first(end), trusts_.size()), text.subspan(end, 1), {&prob, 1});
}

void Successors::put(std::span<const int32_t> context, std::span<const int32_t> tokens, std::span<const double> probs) {
  if (tokens.size() != probs.size()) throw std::invalid_argument("tokens and probabilities differ in number");
  if (context.empty() || context.size() > LONGEST) throw std::invalid_argument("contexts have from one to four tokens");
  check(context);
  write(key_of(context), tokens, probs);
}

void Successors::write(const Key& key, std::span<const int32_t> tokens, std::span<const double> probs) {
  Places::Slot& slot = places_.put(key, uint32_t(rows_.size()));
  if (slot.place == rows_.size()) {
    rows_.push_back({key, 0, 0});
    tokens_.resize(rows_.size() * width_);
    probs_.resize(rows_.size() * width_);
  }
  const size_t count = std::min(width_, tokens.size());
  std::copy_n(tokens.begin(), count, tokens_.begin() + int64_t(slot.place * width_));
  std::copy_n(probs.begin(), count, probs_.begin() + int64_t(slot.place * width_));
  rows_[slot.place].stamp = ++stamp_;
  rows_[slot.place].count = slot.count = uint32_t(count);
}

void Successors::blend(const Row& old, std::span<const int32_t> tokens, std::span<const double> probs, double share) {
  const double rest = 1.0 - share;
  std::vector<bool> met(old.tokens.size());
  pairs_.clear();
  for (size_t i = 0; i < tokens.size(); ++i) {
    size_t at = 0;
    while (at < met.size() && (met[at] || old.tokens[at] != tokens[i])) ++at;
    const double before = at < met.size() ? old.probs[at] : 0.0;
    if (at < met.size()) met[at] = true;
    pairs_.emplace_back(share * probs[i] + rest * before, tokens[i]);
  }
  for (size_t at = 0; at < met.size(); ++at)
    if (!met[at]) pairs_.emplace_back(rest * old.probs[at], old.tokens[at]);
  std::stable_sort(pairs_.begin(), pairs_.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  mixed_.clear();
  means_.clear();
  for (const auto& [prob, token] : pairs_) mixed_.push_back(token), means_.push_back(prob);
}

void Successors::keep_newest() {
  Successors kept(trusts_, width_, share_, base_);
  const size_t left_out = rows_.size() - std::min(rows_.size(), CONTEXTS);
  size_t place = 0;
  each([&](const std::vector<int32_t>& context, const Row& row) {
    if (place++ >= left_out) kept.put(context, row.tokens, row.probs);
  });
  *this = std::move(kept);
}

void Successors::take(const Successors& learnt, double share) {
  if (&learnt == this) throw std::invalid_argument("a table has nothing to learn from itself");
  learnt.each([&](const std::vector<int32_t>& context, const Row& row) { mix(key_of(context), row.tokens, row.probs, share); });
  if (rows_.size() > CONTEXTS * 5 / 4) keep_newest();
}

std::shared_ptr<Successors> Successors::over(const Successors* known) const {
  auto joined = std::make_shared<Successors>(trusts_, width_, share_, nullptr);
  if (known)
    known->each([&](const std::vector<int32_t>& context, const Row& row) {
      if (!places_.find(key_of(context))) joined->put(context, row.tokens, row.probs);
    });
  each([&](const std::vector<int32_t>& context, const Row& row) { joined->put(context, row.tokens, row.probs); });
  if (joined->rows_.size() > CONTEXTS) joined->keep_newest();
  return joined;
}

void Successors::ask_for(std::span<const int32_t> text) const {
  for (size_t size = std::min(text.size(), trusts_.size()); size > 0; --size) {
    const Key key = key_of(end_of(text, size));
    for (const Successors* table = this; table; table = table->base_.get()) table->places_.ask_for(key);
  }
}

bool Successors::follow(std::span<const int32_t> context, Found& found) const {
  for (size_t size = std::min(context.size(), trusts_.size()); size > 0; --size)
    if (find(key_of(end_of(context, size)), found.row)) {
      found.trust = &trusts_[size - 1];
      return true;
    }
  return false;
}

Successors::Grown Successors::draft(std::span<const int32_t> text, int64_t rows, int64_t depth, double least) const {
  struct Offer {
    double lost;
    int64_t serial;
    int32_t parent;
    Found found;
    size_t place;
  };
  const auto later = [](const Offer& a, const Offer& b) { return a.lost != b.lost ? a.lost > b.lost : a.serial > b.serial; };
  std::priority_queue<Offer, std::vector<Offer>, decltype(later)> heap(later);
  Grown grown;
  std::vector<std::vector<int32_t>> contexts;  // of each node, the root first
  std::vector<int64_t> levels{0};
  std::vector<int32_t> soon;
  int64_t serial = 0;
  const auto offer = [&](int32_t parent, const Found& found, size_t place) {
    if (place >= found.row.tokens.size()) return;
    const double above = parent < 0 ? 0.0 : grown.score[size_t(parent)];
    const double lost = -above - found.trust->score(found.row.probs[place]);
    if (lost <= -least) {
      heap.push({lost, serial++, parent, found, place});
      soon = contexts[size_t(parent + 1)];  // it may be the next that is taken
      soon.push_back(found.row.tokens[place]);
      ask_for(soon);
    }
  };
  const auto last = end_of(text, trusts_.size());
  contexts.emplace_back(last.begin(), last.end());
  ask_for(last);
  Found found;
  if (rows > 0 && depth > 0 && follow(contexts[0], found)) offer(-1, found, 0);
  while (!heap.empty() && int64_t(grown.tokens.size()) < rows) {
    const Offer taken = heap.top();
    heap.pop();
    const auto node = int32_t(grown.tokens.size());
    const int32_t token = taken.found.row.tokens[taken.place];
    grown.tokens.push_back(token);
    grown.parents.push_back(taken.parent);
    grown.score.push_back(-taken.lost);
    std::vector<int32_t> context = contexts[size_t(taken.parent + 1)];
    context.push_back(token);
    const auto kept = end_of(context, trusts_.size());
    contexts.emplace_back(kept.begin(), kept.end());
    levels.push_back(levels[size_t(taken.parent + 1)] + 1);
    offer(taken.parent, taken.found, taken.place + 1);
    if (levels.back() < depth && follow(contexts.back(), found)) offer(node, found, 0);
  }
  return grown;
}

std::vector<double> among_themselves(std::span<const double> logits) {
  std::vector<double> probs;
  double total = 0.0;
  for (double logit : logits) {
    probs.push_back(std::exp(logit - logits[0]));
    total += probs.back();
  }
  for (double& prob : probs) prob /= total;
  return probs;
}

}  // namespace foredraft
