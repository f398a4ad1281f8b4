// Which tokens may follow: native twin of draft/successors.py, which says what each one means. The same operations in the
// same order, so rows and scores are equal bit for bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace foredraft {

// score = weight * log(prob) - doubt
struct Trust {
  double weight, doubt;
  double score(double prob) const;
};

// Where the row of each context stands: slots that are probed one after another, at most half of them taken. What is
// looked up comes from memory each time, for a pass of the target has swept the caches: a slot is all that is read to
// know that a context is none, and many can be asked for at once.
class Places {
 public:
  static constexpr size_t LONGEST = 4;
  // The tokens of a context, each one more than it is, the last one last; 0 where there are fewer.
  using Key = std::array<int32_t, LONGEST>;
  struct Slot {
    Key key{};  // of zeros: free
    uint32_t place = 0, count = 0;
  };

  Places() : slots_(SMALLEST) {}
  // Null where it is not.
  const Slot* find(const Key& key) const;
  // The slot of a key; where it is new its place is `fresh`.
  Slot& put(const Key& key, uint32_t fresh);
  void ask_for(const Key& key) const { __builtin_prefetch(&slots_[first(key)]); }

 private:
  static constexpr size_t SMALLEST = 256;

  size_t first(const Key& key) const;
  size_t place_of(const Key& key) const;

  std::vector<Slot> slots_;
  size_t taken_ = 0;
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
  static constexpr size_t LONGEST = Places::LONGEST;

  // A trust for each length of context, LONGEST at most; width > 0. Throws std::invalid_argument.
  Successors(std::vector<Trust> trusts, size_t width, double share, std::shared_ptr<const Successors> base);

  // Tokens are not negative; as many probabilities as tokens. Throws std::invalid_argument.
  void learn(std::span<const int32_t> text, std::span<const int32_t> tokens, std::span<const double> probs);
  void said(std::span<const int32_t> text, double prob);
  void put(std::span<const int32_t> context, std::span<const int32_t> tokens, std::span<const double> probs);
  Grown draft(std::span<const int32_t> text, int64_t rows, int64_t depth, double least) const;
  void take(const Successors& learnt, double share);
  std::shared_ptr<Successors> over(const Successors* known) const;
  // Whatever is known of what may follow this text will soon be looked up.
  void ask_for(std::span<const int32_t> text) const;

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
  using Key = Places::Key;
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
  Places places_;
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
