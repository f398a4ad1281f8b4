// A block head's pass, and its draft from the target's hidden states to the tree, without a way back to Python in
// between: the second thread of a pool sleeps after 50 us of waiting, and would have to be woken for every part.
#pragma once

#include <mutex>
#include <vector>

#include "block.hpp"
#include "cache.hpp"
#include "engine.hpp"
#include "fusion.hpp"

namespace foredraft {

// Of one text: rows to be fed, and tokens wanted after them.
struct BlockFeed {
  Cache* cache;
  int own, block;

  int rows() const { return own + (block ? block - 1 : 0); }
};

// Of the tree of one text: nodes at most, and the chance of a path below which it is not worth a row.
struct BlockLimit {
  int rows;
  double least;
};

// Threads that share one take turns.
class BlockHead {
 public:
  // They stay alive as long as this does. Throws std::invalid_argument where they are of different sizes.
  BlockHead(Engine& engine, Fusion& fusion, BlockTree& tree);

  const Engine& engine() const { return engine_; }
  const Fusion& fusion() const { return fusion_; }

  // The chain of a text's rows, of which the last fed one and those of the block are asked for their tokens.
  static Ask ask(const BlockFeed& feed);
  // taps, embedded: as for Fusion::apply. asks: of the feeds, in order. The caches keep what was fed. The logits, of as
  // many rows as tokens are wanted, are written over by the next pass.
  Result score(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds, std::vector<Ask>& asks);
  // The likeliest tree of each text.
  std::vector<Drafts> draft(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds,
                            const std::vector<BlockLimit>& limits, std::vector<Ask>& asks);

 private:
  Result pass(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds, std::vector<Ask>& asks);

  Engine& engine_;
  Fusion& fusion_;
  BlockTree& tree_;
  std::mutex working_;  // until trees are grown from the logits of a pass
};

}  // namespace foredraft
