#include "pool.hpp"

#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

#include "flags.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace foredraft {
namespace {

constexpr auto SPIN = std::chrono::microseconds(50);
constexpr unsigned COUNTERS = 4;
constexpr int MOST_THREADS = 1024;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Waits until `word` is no longer `old`: a while awake, then asleep.
void wait_while(std::atomic<uint32_t>& word, uint32_t old) {
  const auto limit = std::chrono::steady_clock::now() + SPIN;
  while (true) {
    for (int i = 0; i < 16; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      pause();
    }
    if (std::chrono::steady_clock::now() > limit) break;
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

}  // namespace

struct Pool::Team {
  std::vector<std::thread> threads;
  std::vector<Worker> workers;
  const std::function<void(Worker&)>* body = nullptr;
  bool stop = false;
  alignas(64) std::atomic<uint32_t> region{0};
  alignas(64) std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  struct alignas(64) Counter {
    std::atomic<size_t> next{0};
  };
  std::vector<Counter> counters;  // [COUNTERS][workers]

  // Those of one phase start at 0 again.
  void forget(unsigned phase) {
    for (size_t i = 0; i < workers.size(); ++i) counters[phase * workers.size() + i].next.store(0, std::memory_order_relaxed);
  }

  void work(Worker& worker) noexcept {
    Flags flags;
    worker.phase_ = 0;
    (*body)(worker);
  }

  // Wakes the others. Here and in a barrier the new value is in one order with the look for sleepers that follows: else
  // one that falls asleep meanwhile is not woken.
  void begin() {
    region.fetch_add(1, std::memory_order_seq_cst);
    region.notify_all();
  }

  void end() {
    stop = true;
    begin();
    for (std::thread& thread : threads) thread.join();
  }
};

Pool::Pool(int threads) : threads_(threads < 1 ? 1 : threads) {
  if (threads > MOST_THREADS)
    throw std::invalid_argument(std::to_string(threads) + " threads are too many: ask for at most " +
                                std::to_string(MOST_THREADS));
  start();
}

void Pool::start() {
  auto fresh = std::make_unique<Team>();
  Team* team = fresh.get();
  team->workers.resize(size_t(threads_));
  team->counters = std::vector<Team::Counter>(size_t(threads_) * COUNTERS);
  team->threads.reserve(size_t(threads_));
  for (int i = 0; i < threads_; ++i) {
    team->workers[size_t(i)].index = i;
    team->workers[size_t(i)].count = threads_;
    team->workers[size_t(i)].pool_ = this;
  }
  auto follow = [team](Worker& worker) {
    for (uint32_t seen = 0;; ++seen) {
      wait_while(team->region, seen);
      if (team->stop) return;
      team->work(worker);
      worker.barrier();
    }
  };
  try {
    for (int i = 1; i < threads_; ++i) team->threads.emplace_back(follow, std::ref(team->workers[size_t(i)]));
  } catch (const std::system_error&) {
    team->end();
    throw std::runtime_error("the system does not give " + std::to_string(threads_) + " threads: ask for fewer");
  }
  team_ = std::move(fresh);
  process_ = int(getpid());
}

Pool::~Pool() {
  if (process_ != int(getpid())) {
    team_.release();  // a fork has no such threads: there is nothing to join
    return;
  }
  team_->end();
}

void Pool::run(const std::function<void(Worker&)>& body) {
  std::lock_guard<std::mutex> lock(running_);
  if (process_ != int(getpid())) {
    team_.release();  // as in the destructor
    start();
  }
  Team& team = *team_;
  team.body = &body;
  for (unsigned phase = 0; phase < COUNTERS; ++phase) team.forget(phase);
  if (threads_ > 1) team.begin();
  team.work(team.workers[0]);
  team.workers[0].barrier();
}

std::atomic<size_t>& Worker::counter(int whose) {
  return pool_->team_->counters[phase_ % COUNTERS * size_t(count) + size_t(whose)].next;
}

void Worker::barrier() {
  Pool::Team& team = *pool_->team_;
  // The counter after next is free: all who used it have passed the barrier before this one.
  const unsigned stale = (phase_ + 2) % COUNTERS;
  ++phase_;
  const uint32_t generation = team.generation.load(std::memory_order_acquire);
  if (team.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == uint32_t(count)) {
    team.forget(stale);
    team.arrived.store(0, std::memory_order_relaxed);
    team.generation.store(generation + 1, std::memory_order_seq_cst);
    if (count > 1) team.generation.notify_all();
  } else {
    wait_while(team.generation, generation);
  }
}

}  // namespace foredraft
