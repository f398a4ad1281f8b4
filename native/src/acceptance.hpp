// How often drafts are accepted: native twin of policy/acceptance.py, which says what each thing means. The same
// operations in the same order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace foredraft {

// Nodes of a draft tree, parents first: the root is -1. sources: who drafted them, as `Acceptance::source` knows them.
struct Drafted {
  std::vector<int> tokens, parents, sources;
  std::vector<double> score;
  std::vector<uint8_t> probes;
};

class Acceptance {
 public:
  static constexpr int DEPTHS = 4, CLASSES = 10;
  struct Tally {
    double trials = 0, hits = 0;
  };
  // Of a source: by depth, those of doubted nodes after the others, then by confidence.
  using Tallies = std::array<std::array<Tally, CLASSES>, 2 * DEPTHS>;
  // Of sources together: how much the best informed of them knows, as others are doubted for it and as it is doubted
  // itself, and the powers to which claims are raised, by depth.
  struct Repute {
    int casts = 0, informed = 0;
    std::array<double, 2 * DEPTHS> power{};
  };
  struct Found {
    std::vector<double> claimed, chances;
  };

  // below: where the estimates start from, or null. memory: in trials.
  Acceptance(double memory, std::shared_ptr<Acceptance> below);

  // The number of sources that drafted a node together, from here on.
  int source(const std::string& names);
  const std::string& names(int source) const { return known_->names[size_t(source)]; }
  const std::vector<Tallies>& tallies() const { return tallies_; }

  void add(int source, int depth, int confidence, bool hit);
  // What drafters claim of each node given its parent, and the chance that its path is accepted.
  Found look(const Drafted& drafted) const;
  // What was drafted, held against the tokens that came.
  void learn(const Drafted& drafted, const std::vector<int>& came);

 private:
  // Sources by name, the same for all levels.
  struct Known {
    std::vector<std::string> names;
    std::vector<Repute> reputes;
    std::unordered_map<std::string, int> numbers;
  };
  // By node: how deep it stands (of DEPTHS classes, and as many more of doubted ones), what is claimed of it, and of
  // which class that is.
  struct Trait {
    int depth, confidence;
    double claimed;
  };
  std::vector<Trait> traits_of(const Drafted& drafted) const;
  double chance(int source, int depth, int confidence, double claimed) const;

  double memory_;
  std::shared_ptr<Acceptance> below_;
  std::shared_ptr<Known> known_;
  std::vector<Tallies> tallies_;  // by source
};

}  // namespace foredraft
