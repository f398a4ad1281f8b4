#include "block_head.hpp"

#include <numeric>
#include <stdexcept>
#include <utility>

namespace foredraft {

BlockHead::BlockHead(Engine& engine, Fusion& fusion, BlockTree& tree) : engine_(engine), fusion_(fusion), tree_(tree) {
  const Config& c = engine.config();
  if (size_t(c.width) != fusion.width() || size_t(c.vocabulary) != tree.tokens() || c.entering)
    throw std::invalid_argument("the parts of a head are of different sizes");
}

Ask BlockHead::ask(const BlockFeed& feed) {
  Ask ask{feed.cache, {}, std::vector<int>(size_t(feed.rows())), std::vector<int>(size_t(feed.block))};
  std::iota(ask.parents.begin(), ask.parents.end(), -1);
  std::iota(ask.wanted.begin(), ask.wanted.end(), feed.own - 1);
  return ask;
}

Result BlockHead::pass(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds, std::vector<Ask>& asks) {
  std::vector<std::pair<int, int>> counts;
  size_t all = 0;
  for (const BlockFeed& feed : feeds) {
    counts.emplace_back(feed.own, feed.rows() - feed.own);
    all += size_t(feed.rows());
  }
  const size_t width = fusion_.width();
  Buffer rows = Buffer::unset(all * width * 4);
  fusion_.apply(taps, embedded, counts, rows.as<float>());
  size_t begin = 0;
  for (Ask& ask : asks) {
    ask.inputs = rows.as<const float>() + begin * width;
    begin += ask.parents.size();
  }
  Result result = engine_.score(asks, {});
  for (const BlockFeed& feed : feeds) {
    std::vector<int> kept(size_t(feed.own));
    std::iota(kept.begin(), kept.end(), 0);
    feed.cache->keep(kept);
  }
  return result;
}

Result BlockHead::score(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds, std::vector<Ask>& asks) {
  std::lock_guard<std::mutex> lock(working_);
  return pass(taps, embedded, feeds, asks);
}

std::vector<Drafts> BlockHead::draft(const float* taps, const float* embedded, const std::vector<BlockFeed>& feeds,
                                     const std::vector<BlockLimit>& limits, std::vector<Ask>& asks) {
  std::lock_guard<std::mutex> lock(working_);
  const Result result = pass(taps, embedded, feeds, asks);
  const float* logits = result.logits->as<float>();
  std::vector<Drafts> found;
  for (size_t text = 0; text < feeds.size(); ++text) {
    const int levels = feeds[text].block;
    found.push_back(tree_.grow(logits, levels, limits[text].rows, levels, limits[text].least));
    logits += size_t(levels) * tree_.tokens();
  }
  return found;
}

}  // namespace foredraft
