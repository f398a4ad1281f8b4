// Which tokens may follow: native twin of draft/successors.py, which says what each one means. The same operations in the
// same order, so rows and scores are equal bit for bit.
#pragma once

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

  // One or two trusts, width > 0. Throws std::invalid_argument.
  Successors(std::vector<Trust> trusts, size_t width, double share, std::shared_ptr<const Successors> base);

  // Tokens are not negative; as many probabilities as tokens. Throws std::invalid_argument.
  void learn(std::span<const int32_t> text, std::span<const int32_t> tokens, std::span<const double> probs);
  void said(std::span<const int32_t> text, double prob);
  void put(std::span<const int32_t> context, std::span<const int32_t> tokens, std::span<const double> probs);
  Grown draft(std::span<const int32_t> text, int64_t rows, int64_t depth, double least) const;
  std::shared_ptr<Successors> over(const Successors* known, std::shared_ptr<const Successors> base) const;

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
  struct Entry {
    uint64_t key, stamp;
    uint32_t count;
  };
  struct Found {
    Row row;
    const Trust* trust;
  };

  static std::vector<int32_t> context_of(uint64_t key);
  std::vector<uint32_t> order() const;
  bool find(uint64_t key, Row& row) const;
  bool follow(std::span<const int32_t> context, Found& found) const;
  void write(uint64_t key, std::span<const int32_t> tokens, std::span<const double> probs);
  void blend(const Row& old, std::span<const int32_t> tokens, std::span<const double> probs);
  void keep_newest();

  std::vector<Trust> trusts_;
  size_t width_;
  double share_;
  std::shared_ptr<const Successors> base_;
  std::unordered_map<uint64_t, uint32_t> places_;
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
