// The pool: all work once, nobody past a barrier before all have come, whole after a fork, and the caller's flags kept.
#include "pool.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

#include "check.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace check;
using namespace foredraft;

#if defined(__x86_64__)
unsigned control() { return _mm_getcsr(); }
void set_control(unsigned value) { _mm_setcsr(value); }
constexpr unsigned IN_REGION = 0x9fc0, STATUS = 0x3f, STRANGE[] = {0x1f80, 0x5f80, 0x7fc0, 0x1f81};
#elif defined(__aarch64__)
uint64_t control() {
  uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void set_control(uint64_t value) { __asm__ volatile("msr fpcr, %0" ::"r"(value)); }
constexpr uint64_t IN_REGION = 1 << 24, STATUS = 0, STRANGE[] = {0, 1 << 22, 3 << 22};
#endif

void idle(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

// One region: pieces of work of any number and grain, some with a plain barrier in between. Every item adds one to a
// plain counter, and its successor by another worker reads it: only the barrier makes that safe.
void region(Pool& pool, Random& random, bool dawdle) {
  struct Phase {
    size_t total, grain;
    bool barrier;
    std::vector<int> done, seen;
  };
  std::vector<Phase> phases;
  for (int left = random.below(12); left >= 0; --left) {
    const size_t total = size_t(random.below(4) ? random.below(3 * pool.threads()) : random.below(300));
    phases.push_back({total, size_t(1 + random.below(7)), random.below(3) == 0, std::vector<int>(total), std::vector<int>(total)});
  }
  std::vector<int> indices(size_t(pool.threads()));
  const int slow = dawdle ? random.below(pool.threads()) : -1;
  pool.run([&](Worker& worker) {
    if (worker.index == slow) idle(150);  // long enough for the others to fall asleep
    ++indices[size_t(worker.index)];
    for (Phase& phase : phases) {
      const size_t total = phase.total;
      worker.each(total, phase.grain, [&](size_t i) { ++phase.done[i]; });
      if (phase.barrier) worker.barrier();
      worker.each(total, phase.grain, [&](size_t i) { phase.seen[i] = phase.done[total - 1 - i]; });
    }
  });
  for (int count : indices) CHECK(count == 1, "threads", pool.threads());
  for (const Phase& phase : phases)
    for (size_t i = 0; i < phase.total; ++i)
      CHECK(phase.done[i] == 1 && phase.seen[i] == 1, "threads", pool.threads(), "item", i, "of", phase.total, "grain",
            phase.grain, "done", phase.done[i], "times, seen", phase.seen[i]);
}

void work_is_done_once(int threads, int regions) {
  Random random{uint64_t(threads)};
  Pool pool(threads);
  CHECK(pool.threads() == threads, "");
  for (int i = 0; i < regions; ++i) {
    region(pool, random, i % 16 == 0);
    if (i % 64 == 0) idle(200);
  }
}

// Nobody leaves a barrier before everybody is there.
void barriers_hold(int threads) {
  Pool pool(threads);
  std::vector<std::atomic<int>> arrived(200);
  pool.run([&](Worker& worker) {
    CHECK(worker.count == threads && worker.index >= 0 && worker.index < threads, worker.index);
    for (std::atomic<int>& one : arrived) {
      one.fetch_add(1, std::memory_order_relaxed);
      worker.barrier();
      CHECK(one.load(std::memory_order_relaxed) == threads, "threads", threads, "arrived", one.load());
    }
  });
}

void pools_end(int threads) {
  for (int i = 0; i < 40; ++i) {
    Random random{uint64_t(i)};
    Pool pool(threads);
    if (i % 4 == 1) idle(120);
    if (i % 4 > 1) region(pool, random, false);
    if (i % 4 == 3) idle(120);
  }
}

// Two callers take turns.
void callers_take_turns(int threads) {
  Pool pool(threads);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&pool, caller] {
      Random random{uint64_t(caller) + 100};
      for (int i = 0; i < 50; ++i) region(pool, random, false);
    });
  for (std::thread& caller : callers) caller.join();
}

// Runs body in a fork, which must end well within a minute.
template <class Body>
void forked(Body&& body, const char* what) {
  std::fflush(nullptr);
  const pid_t child = fork();
  CHECK(child >= 0, what);
  if (child == 0) {
    alarm(60);
    body();
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, what, "status", status);
}

// A child finds the pool without its threads, and makes its own, whether it then ends the pool or not.
void forks_work(int threads) {
#if !defined(__SANITIZE_THREAD__)  // which does not follow a fork
  auto pool = std::make_unique<Pool>(threads);
  Random random{7};
  for (int i = 0; i < 4; ++i) {
    if (i % 2) region(*pool, random, false);
    if (i / 2) idle(200);
    auto child = [&] {
      for (int j = 0; j < 10; ++j) region(*pool, random, j == 0);
      forked([&] { region(*pool, random, true); }, "a fork of a fork");
      pool.reset();
    };
    forked(child, "a fork that computes");
    forked([&] { pool.reset(); }, "a fork that only ends the pool");
    region(*pool, random, false);
  }
#endif
  (void)threads;
}

// A region has its own arithmetic; its caller finds what it had.
void flags_are_kept(int threads) {
  Pool pool(threads);
  const auto before = control();
  for (auto strange : STRANGE) {
    set_control(strange);
    std::vector<decltype(control())> inside(size_t(threads), 0);
    pool.run([&](Worker& worker) { inside[size_t(worker.index)] = control() & ~STATUS; });
    const auto after = control();
    set_control(before);
    CHECK(after == strange, "threads", threads, "flags were", strange, "and are", after);
    for (auto flags : inside) CHECK(flags == IN_REGION, "threads", threads, "flags", flags);
  }
}

// Where there is no room for so many threads that is an error, and those that had begun end.
void too_many_threads_are_refused([[maybe_unused]] bool quick) {
  for (int threads : {1025, 1 << 30}) THROWS(std::invalid_argument, Pool(threads), threads);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which reserve more room than the limit
  if (quick) return;  // so do emulators
  forked(
      [] {
        const rlimit room{rlim_t(1) << 29, rlim_t(1) << 29};
        setrlimit(RLIMIT_AS, &room);
        THROWS(std::runtime_error, Pool(400), "a stack takes eight megabytes");
        Random random{1};
        Pool few(2);
        region(few, random, false);
      },
      "too many threads");
#endif
}

}  // namespace

int main(int count, char**) {
  const bool quick = count > 1;
  for (int threads = 1; threads <= 8; ++threads) {
    work_is_done_once(threads, quick ? 40 : 160);
    barriers_hold(threads);
    flags_are_kept(threads);
  }
  for (int threads : {1, 2, 5}) {
    pools_end(threads);
    callers_take_turns(threads);
    forks_work(threads);
  }
  CHECK(Pool(0).threads() == 1 && Pool(-5).threads() == 1, "at least the caller");
  too_many_threads_are_refused(quick);
  std::printf("pool: 1 to 8 threads\n");
}
