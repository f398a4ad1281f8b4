// The forward pass: rows of any number of sequences and trees, several for little more than the price of one.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "attention.hpp"
#include "buffer.hpp"
#include "cache.hpp"
#include "isa.hpp"
#include "kernels/kernels.hpp"
#include "pool.hpp"
#include "products.hpp"
#include "rotation.hpp"
#include "tiles.hpp"
#include "weights.hpp"

namespace foredraft {

const Kernels& kernels_of(Isa isa);

// What one sequence asks of a pass. Rows follow their parents, -1 for the end of the cache.
struct Ask {
  Cache* cache;
  std::vector<int> tokens, parents;  // no tokens where rows come as vectors
  std::vector<int> wanted;  // rows whose best token is wanted,
  bool logits = true;       // and whether their logits are too
  int top = 0;              // and so many of the best, with their logits, whether or not all logits are
  const float* inputs = nullptr;  // [rows][width], what enters the first layer instead of embeddings
  const float* entering = nullptr;  // [rows][entering], what its attention reads, where the model is such
};

// What a pass found. The memory is the engine's and is written over by its next pass.
struct Result {
  std::vector<int> best;           // of each wanted row, in order; -1 where no logit is a number
  size_t most = 0;                 // of the best tokens of a row that any ask wanted
  std::vector<int64_t> top;        // [wanted rows][most]: best first, lower token among equals; -1 where there are no more
  std::vector<float> top_logits;   // their logits, -inf where there are no more
  size_t logit_rows = 0, rows = 0;
  std::shared_ptr<Buffer> logits;  // [logit rows][vocabulary], of the asks that wanted logits, in order
  std::shared_ptr<Buffer> taps;    // [taps][rows][width]
};

class Engine {
 public:
  // layers: which of the weights' layers, in order. Throws std::invalid_argument.
  Engine(std::shared_ptr<const Weights> weights, std::vector<int> layers, std::shared_ptr<Pool> pool, Isa isa,
         Activations activations, bool half_cache);

  const Config& config() const { return weights_->config; }
  const std::shared_ptr<const Weights>& weights() const { return weights_; }
  const std::shared_ptr<Pool>& pool() const { return pool_; }
  const std::vector<int>& layers() const { return layers_; }
  Isa isa() const { return isa_; }
  Activations activations() const { return products_.activations; }
  const CacheShape& shape() const { return shape_; }

  // One pass. taps: after how many layers hidden states are wanted, 0 for the embeddings. The caller has checked the
  // asks: parents come before their children, tokens and positions are within bounds, no cache comes twice.
  Result score(const std::vector<Ask>& asks, const std::vector<int>& taps);
  // Input embeddings, [tokens][width].
  void embed(const std::vector<int>& tokens, float* out) const;
  // Final norm and output head of hidden states [rows][width] -> [rows][vocabulary].
  void head(const float* hidden, size_t rows, float* logits);

 private:
  struct Row {
    int ask, row, token, position;
  };
  struct Best {
    float value;
    int token;  // row of the head, -1 for none
    bool before(const Best& other) const {
      return other.token < 0 || value > other.value || (value == other.value && token < other.token);
    }
  };

  void plan(const std::vector<Ask>& asks);
  void collect(Result& result) const;
  void reserve(size_t taps);
  void pass(Worker& worker, const std::vector<Ask>& asks, const std::vector<int>& taps);
  void run_layer(Worker& worker, size_t index, const std::vector<Ask>& asks, const std::vector<int>& taps);
  void keep_taps(const std::vector<int>& taps, int after, size_t row);
  void rotate(const Layer& layer, size_t index, size_t row, const std::vector<Ask>& asks, float* scratch);
  void vocabulary(Worker& worker, const float* hidden, const std::vector<int>& from);
  void attend_job(Worker& worker, const Layer& layer, size_t index, const AttentionJob& job, const std::vector<Ask>& asks);
  void hidden_group(const Layer& layer, size_t group);
  void settle(Worker& worker, const Vector& norm);

  std::shared_ptr<const Weights> weights_;
  std::vector<int> layers_;
  std::shared_ptr<Pool> pool_;
  Isa isa_;
  Products products_;
  const Kernels& kernels_;
  CacheShape shape_;
  unsigned kinds_;  // types of integer weights, bit by bit
  bool values_;     // whether activations are wanted as floats too
  std::mutex passing_;
  std::vector<Rotation> rotations_;
  std::vector<size_t> rotation_of_;  // by layer

  std::vector<Row> rows_;
  std::vector<AttentionJob> jobs_;
  std::vector<int> wanted_;     // rows of the pass whose best token is wanted
  std::vector<int> logits_at_;  // where the logits of each of them go, or -1
  size_t logit_rows_ = 0;
  size_t most_ = 1;                      // of the best tokens of each that are
  std::vector<std::vector<Best>> best_;  // by thread: [wanted][most], best first
  std::vector<AttentionScratch> scratch_;
  Tiles width_tiles_, entering_tiles_, mixed_tiles_, hidden_tiles_, head_tiles_;
  Buffer stream_, projected_, mixed_, sublayer_, rows_scratch_;
  std::shared_ptr<Buffer> logits_, taps_;  // shared with the views of results
};

}  // namespace foredraft
