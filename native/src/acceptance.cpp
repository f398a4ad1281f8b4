#include "acceptance.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace foredraft {
namespace {

constexpr double EDGES[] = {0.03, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95};
constexpr double PRIOR = 8.0, MOST_PRIOR = 200.0, CEILING = 0.995, FLOOR = 1e-200, LEAST = -60.0;
constexpr double DOUBT = 2.0, SUFFIX_ALONE = 1.2, FURTHER[Acceptance::DEPTHS] = {1.0, 0.85, 0.75, 0.6};
constexpr int LOOKS_UP = 0, REMEMBERS = 1, LEARNT = 2;
constexpr const char* LEARNT_ONES[] = {"ahead", "block", "eagle",  "eagle3",         "early_exit", "hydra",
                                       "medusa", "model", "mtp",   "mtp_sequential", "staged",     "translate"};

// What is thought of some sources together before they were tested.
Acceptance::Repute repute_of(const std::string& names) {
  Acceptance::Repute found{};
  bool looks_up = false;
  for (size_t begin = 0, end; begin <= names.size(); begin = end + 1) {
    end = std::min(names.find('+', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    looks_up |= name == "suffix" || name == "recycling";
    const bool learnt = std::find(std::begin(LEARNT_ONES), std::end(LEARNT_ONES), name) != std::end(LEARNT_ONES);
    const bool known = learnt || name == "suffix" || name == "recycling";
    const int rank = learnt ? LEARNT : name == "recycling" ? REMEMBERS : LOOKS_UP;
    found.casts = std::max(found.casts, rank);
    found.informed = std::max(found.informed, known ? rank : LEARNT);
  }
  for (size_t depth = 0; depth < Acceptance::DEPTHS; ++depth) {
    found.power[depth] = (names == "suffix" ? SUFFIX_ALONE : 1.0) * (looks_up ? FURTHER[depth] : 1.0);
    found.power[Acceptance::DEPTHS + depth] = DOUBT;
  }
  return found;
}

double estimate(const Acceptance::Tally& tally, double prior, double most) {
  const double before = prior * most > PRIOR ? PRIOR / prior : most;
  return (tally.hits + before * prior) / (tally.trials + before);
}

}  // namespace

std::vector<Acceptance::Trait> Acceptance::traits_of(const Drafted& drafted) const {
  std::vector<Trait> found;
  found.reserve(drafted.parents.size());
  std::vector<int> best(drafted.parents.size() + 1, 0);  // informed, of those that drafted after a node, the root first
  const auto repute = [&](size_t node) -> const Repute& { return known_->reputes[size_t(drafted.sources[node])]; };
  for (size_t node = 0; node < drafted.parents.size(); ++node)
    if (int& most = best[size_t(drafted.parents[node] + 1)]; !drafted.probes[node])
      most = std::max(most, repute(node).casts);
  for (size_t node = 0; node < drafted.parents.size(); ++node) {
    const int parent = drafted.parents[node];
    const double above = parent < 0 ? 0.0 : drafted.score[size_t(parent)];
    const double claimed = std::exp(std::max(LEAST, std::min(0.0, drafted.score[node] - above)));
    const int depth = parent < 0 ? 0 : std::min(found[size_t(parent)].depth % DEPTHS + 1, DEPTHS - 1);
    const bool doubted = repute(node).informed < best[size_t(parent + 1)];
    const int confidence = int(std::lower_bound(std::begin(EDGES), std::end(EDGES), claimed) - std::begin(EDGES));
    found.push_back({doubted ? DEPTHS + depth : depth, confidence, claimed});
  }
  return found;
}

namespace {

// Scales siblings (and what hangs below) that together promise more than their parent can keep.
void share_out(const Drafted& drafted, std::vector<double>& chances) {
  const size_t nodes = chances.size();
  std::vector<double> promised(nodes + 1, 0.0), scale(nodes);  // promised: by parent, the root first
  for (size_t node = 0; node < nodes; ++node)
    if (!drafted.probes[node]) promised[size_t(drafted.parents[node] + 1)] += chances[node];
  for (size_t node = 0; node < nodes; ++node) {
    const int parent = drafted.parents[node];
    const double above = parent < 0 ? 1.0 : chances[size_t(parent)] / scale[size_t(parent)];
    const double inherited = parent < 0 ? 1.0 : scale[size_t(parent)], sum = promised[size_t(parent + 1)];
    scale[node] = inherited * (sum > CEILING * above ? CEILING * above / sum : 1.0);
    chances[node] *= scale[node];
  }
}

}  // namespace

Acceptance::Acceptance(double memory, std::shared_ptr<Acceptance> below)
    : memory_(memory), below_(std::move(below)), known_(below_ ? below_->known_ : std::make_shared<Known>()) {}

int Acceptance::source(const std::string& names) {
  const auto [at, fresh] = known_->numbers.try_emplace(names, int(known_->names.size()));
  if (fresh) {
    known_->names.push_back(names);
    known_->reputes.push_back(repute_of(names));
  }
  return at->second;
}

void Acceptance::add(int source, int depth, int confidence, bool hit) {
  if (size_t(source) >= tallies_.size()) tallies_.resize(size_t(source) + 1);
  Tally& tally = tallies_[size_t(source)][size_t(depth)][size_t(confidence)];
  const double keep = 1.0 - 1.0 / memory_;
  tally.trials = tally.trials * keep + 1.0;
  tally.hits = tally.hits * keep + (hit ? 1.0 : 0.0);
  if (below_) below_->add(source, depth, confidence, hit);
}

// What is believed of a claim, corrected level by level from the lowest up.
double Acceptance::chance(int source, int depth, int confidence, double claimed) const {
  const double power = known_->reputes[size_t(source)].power[size_t(depth)];
  const double found = below_ ? below_->chance(source, depth, confidence, claimed)
                              : power == 1.0 ? claimed : std::pow(claimed, power);
  if (size_t(source) >= tallies_.size()) return std::min(CEILING, found);
  const Tally& own = tallies_[size_t(source)][size_t(depth)][size_t(confidence)];
  if (own.trials == 0) return std::min(CEILING, found);
  return std::min(CEILING, estimate(own, found, std::min(MOST_PRIOR, memory_ / 2)));
}

Acceptance::Found Acceptance::look(const Drafted& drafted) const {
  Found found;
  for (const Trait& trait : traits_of(drafted)) {
    const size_t node = found.chances.size();
    const int parent = drafted.parents[node];
    const double above = parent < 0 ? 1.0 : found.chances[size_t(parent)];
    const double own = chance(drafted.sources[node], trait.depth, trait.confidence, trait.claimed);
    found.claimed.push_back(trait.claimed);
    found.chances.push_back(std::max(FLOOR, above * own));
  }
  share_out(drafted, found.chances);
  return found;
}

void Acceptance::learn(const Drafted& drafted, const std::vector<int>& came) {
  const std::vector<Trait> traits = traits_of(drafted);
  int at = -1;
  for (const int token : came) {
    int follows = -1;
    for (size_t node = size_t(at + 1); node < traits.size(); ++node) {
      if (drafted.parents[node] != at || drafted.probes[node]) continue;
      const bool hit = drafted.tokens[node] == token;
      add(drafted.sources[node], traits[node].depth, traits[node].confidence, hit);
      if (hit && follows < 0) follows = int(node);
    }
    if (follows < 0) return;
    at = follows;
  }
}

}  // namespace foredraft
