// A block head's draft, from the target's hidden states to the tree, without a way back to Python in between: the
// second thread of a pool sleeps after 50 us of waiting, and a draft has no time to wake it three times. One draft or pass
// of a head at a time: the trees are grown from the engine's logits, which its next pass writes over.
#pragma once

#include <vector>

#include "block.hpp"
#include "cache.hpp"
#include "engine.hpp"
#include "fusion.hpp"

namespace foredraft {

// Of one text: `own` rows to be fed and `more` of a block after them, and the tree that is wanted: nodes at most, and
// the chance of a path below which it is not worth a row.
struct BlockFeed {
  Cache* cache;
  int own, more, rows;
  double least;
};

class BlockHead {
 public:
  // They stay alive as long as this does. Throws std::invalid_argument where they are of different sizes.
  BlockHead(Engine& engine, Fusion& fusion, BlockTree& tree);

  const Engine& engine() const { return engine_; }
  const Fusion& fusion() const { return fusion_; }

  // The chain of a text's rows, of which the last fed one and those of the block are asked for their tokens.
  static Ask ask(const BlockFeed& feed);
  // taps, embedded: as for Fusion::apply. asks: of the feeds, in order. The caches keep what was fed.
  std::vector<Drafts> draft(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds, std::vector<Ask>& asks);

 private:
  Engine& engine_;
  Fusion& fusion_;
  BlockTree& tree_;
};

}  // namespace foredraft
