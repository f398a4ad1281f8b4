// Caches that grow, are cut, and share their pages: each holds what a plain list beside it says, whatever the others do.
#include "cache.hpp"

#include <algorithm>
#include <stdexcept>

#include "check.hpp"

namespace {

using namespace check;
using namespace foredraft;

using Held = std::vector<uint8_t>;  // of one position: what Cache::at gives

// A cache and what it ought to hold, by position, and by pending row.
struct Twin {
  Cache cache;
  std::vector<Held> held, pending;
};

Held random_held(const CacheShape& shape, Random& random) {
  Held out(size_t(shape.layers) * size_t(shape.heads) * 2 * shape.row_bytes());
  for (uint8_t& byte : out) byte = uint8_t(random.bits() >> 56);
  return out;
}

// As a pass writes a row: where it would stay, or beside the pages.
void write(Cache& cache, int row, const Held& held) {
  const CacheShape& shape = cache.shape();
  const uint8_t* from = held.data();
  const size_t size = shape.row_bytes();
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int head = 0; head < shape.heads; ++head, from += 2 * size) {
      if (row >= cache.chain()) {
        std::memcpy(cache.waiting(row, layer, head), from, 2 * size);
        continue;
      }
      const int position = cache.length() + row, page = position / BLOCK, slot = position % BLOCK;
      Cache::put_key(shape, from, cache.keys(page, layer, head), slot);
      std::memcpy(cache.values(page, layer, head) + size_t(slot) * size, from + size, size);
    }
}

void score(Twin& twin, Random& random) {
  std::vector<int> parents;
  const int chain = random.below(4) ? random.below(12) : random.below(150), others = random.below(10);
  for (int row = 0; row < chain; ++row) parents.push_back(row - 1);
  for (int row = chain; row < chain + others; ++row) parents.push_back(random.below(row + 1) - 1);
  twin.cache.begin(parents);
  twin.pending.clear();
  for (int row = 0; row < int(parents.size()); ++row) {
    twin.pending.push_back(random_held(twin.cache.shape(), random));
    const int parent = parents[size_t(row)];
    CHECK(twin.cache.depths()[size_t(row)] == (parent < 0 ? 0 : twin.cache.depths()[size_t(parent)] + 1), "row", row);
  }
  // Rows may be written in any order: threads do.
  for (int row = int(parents.size()) - 1; row >= 0; --row) write(twin.cache, row, twin.pending[size_t(row)]);
}

void keep(Twin& twin, Random& random) {
  std::vector<int> rows;
  if (!twin.pending.empty())
    for (int row = random.below(int(twin.pending.size()) + 1) - 1; row >= 0; row = twin.cache.parents()[size_t(row)])
      rows.push_back(row);
  std::reverse(rows.begin(), rows.end());
  twin.cache.keep(rows);
  for (int row : rows) twin.held.push_back(twin.pending[size_t(row)]);
  twin.pending.clear();
}

void trim(Twin& twin, Random& random) {
  const int length = twin.cache.length(), cut = random.below(3) ? random.below(10) : random.below(length + 1);
  twin.cache.trim(std::max(0, length - cut));
  twin.held.resize(size_t(std::max(0, length - cut)));
  twin.pending.clear();
}

void check_all(const std::vector<Twin>& twins, int step) {
  for (size_t t = 0; t < twins.size(); ++t) {
    const Cache& cache = twins[t].cache;
    CHECK(cache.length() == int(twins[t].held.size()), "cache", t, "step", step, "length", cache.length());
    for (int position = 0; position < cache.length(); ++position)
      CHECK(cache.at(position) == twins[t].held[size_t(position)], "cache", t, "step", step, "position", position);
  }
}

void histories(const CacheShape& shape, uint64_t seed, int steps) {
  Random random(seed);
  std::vector<Twin> twins;
  twins.push_back({Cache(shape), {}, {}});
  for (int step = 0; step < steps; ++step) {
    const size_t t = size_t(random.below(int(twins.size())));
    const int choice = random.below(10);
    if (choice < 4) score(twins[t], random);
    else if (choice < 7) keep(twins[t], random);
    else if (choice == 7) trim(twins[t], random);
    else if (choice == 8 && twins.size() < 6 && twins[t].cache.parents().empty())
      twins.push_back({twins[t].cache.fork(), twins[t].held, {}});
    else if (choice == 9 && twins.size() > 1 && random.below(2))
      twins.erase(twins.begin() + long(t));
    check_all(twins, step);
  }
}

// A fork costs no pages until it writes, and then only those it writes to.
void forks_share_pages() {
  const CacheShape shape{1, 1, 16, 2};
  Random random(1);
  Twin one{Cache(shape), {}, {}};
  std::vector<int> chain(200);
  for (int row = 0; row < 200; ++row) chain[size_t(row)] = row - 1;
  one.cache.begin(chain);
  for (int row = 0; row < 200; ++row) {
    one.held.push_back(random_held(shape, random));
    write(one.cache, row, one.held.back());
  }
  one.cache.keep([&] { for (int& row : chain) ++row; return chain; }());
  CHECK(one.cache.length() == 200, "");
  Cache fork = one.cache.fork();
  CHECK(fork.keys(0, 0, 0) == one.cache.keys(0, 0, 0) && fork.keys(3, 0, 0) == one.cache.keys(3, 0, 0), "shared");
  const uint8_t* before = one.cache.keys(3, 0, 0);
  fork.begin({-1});
  CHECK(fork.keys(2, 0, 0) == one.cache.keys(2, 0, 0), "a page that nobody writes to is shared still");
  CHECK(fork.keys(3, 0, 0) != before && one.cache.keys(3, 0, 0) == before, "who writes gets a copy");
  one.cache.close();
  CHECK(fork.at(150) == one.held[150] && fork.at(199) == one.held[199], "pages outlive the cache that made them");
}

void wrong_use_is_refused() {
  const CacheShape shape{2, 1, 16, 2};
  Cache cache(shape);
  cache.begin({-1, 0, 0, 2, -1});
  const std::vector<std::vector<int>> wrong = {{5}, {-1}, {1}, {0, 3}, {0, 1, 2}, {4, 0}, {0, 0}, {0, 2, 3, 3}, {1 << 30}};
  for (const std::vector<int>& rows : wrong) THROWS(std::invalid_argument, cache.keep(rows), "rows", rows[0]);
  THROWS(std::invalid_argument, cache.fork(), "rows are pending");
  CHECK(cache.length() == 0 && cache.parents().size() == 5, "a refusal changes nothing");
  cache.keep({0, 2, 3});
  CHECK(cache.length() == 3, "");
  THROWS(std::invalid_argument, cache.keep({0}), "nothing is pending");
  for (int length : {-1, 4, 1 << 30, -(1 << 30)}) THROWS(std::invalid_argument, cache.trim(length), length);
  for (int position : {-1, 3, 1 << 30}) THROWS(std::invalid_argument, cache.at(position), position);
  cache.close();
  CHECK(cache.closed() && cache.nbytes() == 0 && cache.length() == 0, "");
  THROWS(std::invalid_argument, cache.at(0), "closed");
  cache.close();
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;
  wrong_use_is_refused();
  forks_share_pages();
  uint64_t seed = 1;
  for (const CacheShape& shape : {CacheShape{1, 1, 16, 2}, {2, 3, 16, 4}, {3, 1, 48, 2}, {1, 2, 64, 4}})
    for (int run = 0; run < (quick ? 1 : 8); ++run) histories(shape, seed++, quick ? 60 : 250);
  std::printf("cache: %d histories\n", int(seed) - 1);
}
