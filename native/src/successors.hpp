// Which tokens may follow: native twin of draft/successors.py, which says what each one means. The same operations in the
// same order, so rows and scores are equal bit for bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace foredraft {

// score = weight * log(prob) - doubt
struct Trust {
  double weight, doubt;
  double score(double prob) const;
};

class Successors {
 public:
  struct Row {
    std::span<const int32_t> tokens;
    std::span<const double> probs;
  };
  struct Grown {
    std::vector<int32_t> tokens, parents;
    std::vector<double> score;
  };

  // The longest context that a table may know.
  static constexpr size_t LONGEST = 4;

  // A trust for each length of context, LONGEST at most; width > 0. Throws std::invalid_argument.
  Successors(std::vector<Trust> trusts, size_t width, double share, std::shared_ptr<const Successors> base);

  // Tokens are not negative; as many probabilities as tokens. Throws std::invalid_argument.
  void learn(std::span<const int32_t> text, std::span<const int32_t> tokens, std::span<const double> probs);
  void said(std::span<const int32_t> text, double prob);
  void put(std::span<const int32_t> context, std::span<const int32_t> tokens, std::span<const double> probs);
  Grown draft(std::span<const int32_t> text, int64_t rows, int64_t depth, double least) const;
  void take(const Successors& learnt, double share);
  std::shared_ptr<Successors> over(const Successors* known) const;

  size_t longest() const { return trusts_.size(); }
  size_t size() const { return rows_.size(); }
  const std::shared_ptr<const Successors>& base() const { return base_; }
  // The rows, not read for longest first: context, tokens, probabilities.
  template <class Visit>
  void each(Visit visit) const {
    for (uint32_t place : order())
      visit(context_of(rows_[place].key), Row{{&tokens_[place * width_], rows_[place].count}, {&probs_[place * width_], rows_[place].count}});
  }

 private:
  // The tokens of a context, each one more than it is, the last one last; 0 where there are fewer.
  using Key = std::array<int32_t, LONGEST>;
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    Key key;
    uint64_t stamp;
    uint32_t count;
  };
  struct Found {
    Row row;
    const Trust* trust;
  };

  static Key key_of(std::span<const int32_t> context);
  static std::vector<int32_t> context_of(const Key& key);
  std::vector<uint32_t> order() const;
  bool find(const Key& key, Row& row) const;
  bool follow(std::span<const int32_t> context, Found& found) const;
  // Writes a row; where there is one the new one weighs `share`, and 1 overwrites.
  void mix(const Key& key, std::span<const int32_t> tokens, std::span<const double> probs, double share);
  void write(const Key& key, std::span<const int32_t> tokens, std::span<const double> probs);
  void blend(const Row& old, std::span<const int32_t> tokens, std::span<const double> probs, double share);
  void keep_newest();

  std::vector<Trust> trusts_;
  size_t width_;
  double share_;
  std::shared_ptr<const Successors> base_;
  std::unordered_map<Key, uint32_t, Hash> places_;
  std::vector<Entry> rows_;
  std::vector<int32_t> tokens_;  // [rows][width]
  std::vector<double> probs_;
  uint64_t stamp_ = 0;
  std::vector<std::pair<double, int32_t>> pairs_;  // what blend works on, and gives
  std::vector<int32_t> mixed_;
  std::vector<double> means_;
};

// The probabilities of logits among themselves.
std::vector<double> among_themselves(std::span<const double> logits);

}  // namespace foredraft
