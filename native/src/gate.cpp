#include "gate.hpp"

#include <pthread.h>

#include <new>

namespace foredraft {

Gate& Gate::of_process() {
  static Gate* gate = [] {
    pthread_atfork(before_fork, after_fork, in_child);
    return new Gate;
  }();
  return *gate;
}

bool Gate::leave() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_ && closer_ != std::this_thread::get_id()) return false;
  ++away_;
  return true;
}

void Gate::begin() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return forks_ == 0; });
  ++computing_;
}

void Gate::end() {
  std::lock_guard<std::mutex> lock(mutex_);
  --computing_;
  changed_.notify_all();
}

void Gate::back() {
  std::lock_guard<std::mutex> lock(mutex_);
  --away_;
  changed_.notify_all();
}

void Gate::close() {
  std::unique_lock<std::mutex> lock(mutex_);
  closed_ = true;
  closer_ = std::this_thread::get_id();
  changed_.wait(lock, [&] { return away_ == 0; });
}

// The mutex stays locked until the fork is done, so that nobody begins meanwhile and the child finds it in one state.
void Gate::before_fork() {
  Gate& gate = of_process();
  std::unique_lock<std::mutex> lock(gate.mutex_);
  ++gate.forks_;
  gate.changed_.wait(lock, [&] { return gate.computing_ == 0; });
  lock.release();
}

void Gate::after_fork() {
  Gate& gate = of_process();
  --gate.forks_;
  gate.changed_.notify_all();
  gate.mutex_.unlock();
}

// Nobody who was away or waited came along: the child begins anew, as what stood here cannot be destroyed or mended.
void Gate::in_child() { new (&of_process()) Gate; }

}  // namespace foredraft
