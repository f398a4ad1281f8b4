// A model: what its file says of its shape, and its packed tensors.
#pragma once

#include <memory>
#include <vector>

#include "packed.hpp"

namespace foredraft {

using Matrix = std::shared_ptr<const Packed>;
using Vector = std::vector<float>;

struct Config {
  int width = 0, heads = 0, kv_heads = 0, head_size = 0, hidden = 0, vocabulary = 0, context = 0;
  float epsilon = 1e-5f;
  float embedding_scale = 1.0f;  // Gemma's square root of the width
  float score_scale = 1.0f;      // what query . key is multiplied by
  bool gelu = false;             // the gate's activation: GELU by tanh, else SiLU
  bool halves = false;           // a rotation pairs component i with i + half, else neighbours
  int rotated = 0;               // components of a head that are rotated
  int entering = 0;              // width of what attention of the first layer reads, given with each row; 0: the stream
};

// One layer. Empty vectors and null matrices are parts the model does not have.
struct Layer {
  Matrix query, key, value, out, gate, up, down;
  Vector attention_norm, hidden_norm, query_norm, key_norm, after_attention_norm, after_hidden_norm;
  Vector query_bias, key_bias, value_bias, out_bias;
  Vector frequencies;  // radians a position, one for each pair that is rotated
  int window = 0;      // positions a row sees, itself included; 0 for all
};

struct Weights {
  Config config;
  std::vector<Layer> layers;
  Vector final_norm;       // empty where the head reads the stream as it is
  Matrix embedding, head;  // one object where the model ties them
  std::vector<int> says;   // the token of each row of a head that leaves tokens out, ascending; empty for a whole head

  size_t head_rows() const { return says.empty() ? size_t(config.vocabulary) : says.size(); }
  size_t nbytes() const;
};

// Throws std::invalid_argument, naming the part, where shapes do not fit together.
void check(const Weights& weights);

// Lays gate and up panel by panel in turn, as a pass multiplies with them: one stream of memory is faster than two. Where
// layers come one by one this holds no more than one of them twice, and gather leaves it as it is.
void pair(Layer& layer, Pool& pool);

// Lays out the matrices of a pass in its order. Those that are too small for large pages go into one buffer that is not,
// one after another: a pass over thousands of small pages waits for their addresses.
void gather(Weights& weights, Pool& pool);

// Lays matrices that are read one after another side by side, so that large pages may back what is small.
void together(std::vector<Matrix>& matrices, Pool& pool);

}  // namespace foredraft
