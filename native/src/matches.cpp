#include "matches.hpp"

#include <algorithm>
#include <queue>

namespace foredraft {

namespace {

constexpr int32_t KEY = 3;

void follow(Text text, Chain chain, Text context, int64_t first, int64_t until, int64_t reach, int32_t below,
            std::vector<Place>& found) {
  int64_t place = chain.newest;
  for (int64_t seen = 0; place >= first && seen < reach; ) {
    if (place >= text.size || place >= chain.before.size) return;
    if (place + 1 < until) {
      const int64_t most = std::min(context.size, place - first + 1);
      int64_t size = 1;
      while (size < most && text.tokens[place - size] == context.tokens[context.size - 1 - size]) ++size;
      ++seen;
      if (size < below) found.push_back({static_cast<int32_t>(place + 1), static_cast<int32_t>(size)});
    }
    const int64_t before = chain.before.tokens[place];
    if (before >= place) return;  // a chain that does not go back has no end
    place = before;
  }
}

// A place with the source it is in, and the level of its match length.
struct At {
  int32_t source, end, level;
};

struct Level {
  int32_t source;
  double size, doubt;
};

int32_t following(const Source& source, int64_t place, int64_t d) {
  if (place < 0) return -1;
  if (place + d < source.text.size) return source.text.tokens[place + d];
  const int64_t period = source.text.size - place;
  return source.wraps && period > 0 ? source.text.tokens[place + d % period] : -1;
}

// A node that may be taken: its places, and its chance on each level.
struct Node {
  double best;
  int64_t order;
  int32_t token, parent;
  int64_t depth;
  std::vector<At> places;
  std::vector<double> chances;
};

struct Later {
  bool operator()(const Node& a, const Node& b) const {
    return a.best != b.best ? a.best < b.best : a.order > b.order;
  }
};

class Growth {
 public:
  Growth(const std::vector<Source>& sources, double least) : sources_(sources), least_(least) {
    Node& root = root_;
    root = {1.0, -1, -1, -1, 0, {}, {}};
    for (size_t index = 0; index < sources.size(); ++index) {
      const Source& source = sources[index];
      std::vector<int32_t> sizes;
      for (size_t at = 0; at < source.count; ++at) sizes.push_back(source.places[at].size);
      std::sort(sizes.begin(), sizes.end(), std::greater<>());
      sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
      const auto begin = static_cast<int32_t>(levels_.size());
      for (int32_t size : sizes) levels_.push_back({static_cast<int32_t>(index), static_cast<double>(size), source.doubt});
      for (size_t at = 0; at < source.count; ++at) {
        const auto where = std::lower_bound(sizes.begin(), sizes.end(), source.places[at].size, std::greater<>());
        const auto level = begin + static_cast<int32_t>(where - sizes.begin());
        root.places.push_back({static_cast<int32_t>(index), source.places[at].end, level});
      }
    }
    root.chances.assign(levels_.size(), 1.0);
  }

  Tree grow(int64_t rows, int64_t depth) {
    Tree tree;
    Node node = std::move(root_);
    for (int32_t taken = -1;; taken = static_cast<int32_t>(tree.tokens.size()) - 1) {
      if (node.depth < depth) push_children(node, taken);
      if (heap_.empty() || static_cast<int64_t>(tree.tokens.size()) >= rows) return tree;
      node = std::move(const_cast<Node&>(heap_.top()));  // it is popped next
      heap_.pop();
      tree.tokens.push_back(node.token);
      tree.parents.push_back(node.parent);
      tree.chances.push_back(node.best);
    }
  }

 private:
  struct Group {
    int32_t token;
    std::vector<At> places;
  };

  void push_children(const Node& node, int32_t parent) {
    std::vector<Group> groups;
    const std::vector<double> total = count(group(node, groups));
    for (Group& one : groups) {
      const std::vector<double> counts = count(one.places);
      Node child{0.0, pushed_, one.token, parent, node.depth + 1, {}, std::vector<double>(levels_.size())};
      for (size_t level = 0; level < levels_.size(); ++level) {
        if (counts[level] == 0) continue;
        const double open = levels_[level].doubt / (levels_[level].size + static_cast<double>(node.depth));
        child.chances[level] = node.chances[level] * (counts[level] / (total[level] + open));
        child.best = std::max(child.best, child.chances[level]);
      }
      if (!(child.best >= least_)) continue;
      child.places = std::move(one.places);
      heap_.push(std::move(child));
      ++pushed_;
    }
  }

  // Sorts the places of a node by what follows, tokens in the order of their first place; returns those with any.
  std::vector<At> group(const Node& node, std::vector<Group>& groups) const {
    std::vector<At> followed;
    std::vector<std::pair<int32_t, int32_t>> tokens;  // what follows, and which of `followed`
    for (const At& at : node.places) {
      const int32_t token = following(sources_[at.source], at.end, node.depth);
      if (token < 0) continue;
      tokens.emplace_back(token, static_cast<int32_t>(followed.size()));
      followed.push_back(at);
    }
    std::sort(tokens.begin(), tokens.end());
    std::vector<std::pair<int32_t, size_t>> order;  // the first place of each token, and where its run begins
    for (size_t at = 0; at < tokens.size(); ++at)
      if (at == 0 || tokens[at].first != tokens[at - 1].first) order.emplace_back(tokens[at].second, at);
    std::sort(order.begin(), order.end());
    for (const auto& [first, begin] : order) {
      Group one{tokens[begin].first, {}};
      for (size_t at = begin; at < tokens.size() && tokens[at].first == one.token; ++at)
        one.places.push_back(followed[tokens[at].second]);
      groups.push_back(std::move(one));
    }
    return followed;
  }

  // How many of the places belong to each level: those of the longer ones of its source are its own too.
  std::vector<double> count(const std::vector<At>& places) const {
    std::vector<double> counts(levels_.size());
    for (const At& at : places) ++counts[at.level];
    for (size_t level = 1; level < counts.size(); ++level)
      if (levels_[level].source == levels_[level - 1].source) counts[level] += counts[level - 1];
    return counts;
  }

  const std::vector<Source>& sources_;
  double least_;
  std::vector<Level> levels_;
  Node root_;
  std::priority_queue<Node, std::vector<Node>, Later> heap_;
  int64_t pushed_ = 0;
};

}  // namespace

std::vector<Place> matches(Text text, Chain single, Chain triple, Text context, int64_t first, int64_t until,
                           int64_t reach) {
  std::vector<Place> found;
  if (context.size == 0 || first < 0) return found;
  // Places of less than three tokens are all found by the last one.
  if (context.size >= KEY) follow(text, triple, context, first, until, reach, INT32_MAX, found);
  follow(text, single, context, first, until, reach, KEY, found);
  std::sort(found.begin(), found.end(),
            [](Place a, Place b) { return a.size != b.size ? a.size > b.size : a.end > b.end; });
  return found;
}

std::pair<int64_t, int64_t> bounds(Text text, Text suffixes, Text context) {
  const auto search = [&](bool beyond) {
    int64_t low = 0, high = suffixes.size;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const int64_t begin = std::clamp<int64_t>(suffixes.tokens[middle], 0, text.size);
      const int64_t end = std::min(begin + context.size, text.size);
      const auto order = std::lexicographical_compare_three_way(text.tokens + begin, text.tokens + end, context.tokens,
                                                                context.tokens + context.size);
      if (order < 0 || (beyond && order == 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return {search(false), search(true)};
}

Tree continuations(const std::vector<Source>& sources, int64_t rows, int64_t depth, double least) {
  return Growth(sources, least).grow(rows, depth);
}

}  // namespace foredraft
