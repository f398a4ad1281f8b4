// The engine's own threads. A region runs on all of them at once; inside it they meet at barriers.
//
// Work is handed out in pieces of outputs, never of sums, so who does what cannot change a result. Waiting spins for at
// most 50 us and then sleeps. Every thread flushes subnormals and rounds to nearest while it is inside a region,
// whatever the calling program has set, and puts that back afterwards.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace foredraft {

class Pool;

class Worker {
 public:
  int index = 0, count = 1;

  // All workers arrive before any goes on.
  void barrier();

  // body(i) for every i below total, then a barrier. Every worker has a share of its own, one run of indices that it
  // walks through in pieces of `grain`, and takes pieces of the others' when it is done. All workers of a region must
  // make the same calls.
  template <class Body>
  void each(size_t total, size_t grain, Body&& body) {
    for (int turn = 0; turn < count; ++turn) {
      const int whose = index + turn < count ? index + turn : index + turn - count;
      const size_t first = total * size_t(whose) / size_t(count), last = total * size_t(whose + 1) / size_t(count);
      std::atomic<size_t>& taken = counter(whose);
      for (size_t begin; (begin = first + taken.fetch_add(grain, std::memory_order_relaxed)) < last;)
        for (size_t i = begin, end = begin + grain < last ? begin + grain : last; i < end; ++i) body(i);
    }
    barrier();
  }

 private:
  friend class Pool;
  Pool* pool_ = nullptr;
  unsigned phase_ = 0;
  std::atomic<size_t>& counter(int whose);
};

class Pool {
 public:
  // Throws std::invalid_argument for more than 1024, std::runtime_error where the system does not give so many.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Runs body(worker) on all threads, the caller's among them, and returns when all are done. One region at a time:
  // a second caller waits. The body must not throw: what it needs is allocated before.
  void run(const std::function<void(Worker&)>& body);

 private:
  friend class Worker;
  struct Team;
  void start();

  int threads_;
  int process_ = 0;
  std::mutex running_;
  std::unique_ptr<Team> team_;
};

}  // namespace foredraft
