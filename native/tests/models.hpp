// Small models of random weights, and the ways to walk a text through one: token by token, in chunks, as a tree.
#pragma once

#include <memory>
#include <vector>

#include "check.hpp"
#include "engine.hpp"

namespace check {

// 0: blocks of 32 and floats, SiLU, rotation by neighbours. 1: K-quants, GELU, norms of every sort, a sliding window.
// 2: a matrix of each kind, biases, tied embedding, heads of keys with seven queries each.
constexpr int MODELS = 3;
std::shared_ptr<const foredraft::Weights> random_model(int which, foredraft::Pool& pool);

// What a text is at every position: keys and values as bytes; hidden states after each layer; logits.
struct Trace {
  std::vector<std::vector<uint8_t>> held;
  std::vector<std::vector<float>> taps, logits;
  std::vector<int> best;
};

std::vector<int> random_text(int length, int vocabulary, uint64_t seed);

// Feeds the text in chunks of at most `chunk` tokens. decoys: of each chunk but the first token a tree with wrong
// branches is made, of which the right one is kept. Every row's logits and taps are asked for.
Trace walk(foredraft::Engine& engine, const std::vector<int>& text, int chunk, bool decoys, uint64_t seed);

}  // namespace check
