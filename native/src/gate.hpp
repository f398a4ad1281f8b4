// What a fork and the end of the process wait for: threads that are away from the interpreter, computing.
//
// A fork takes along the memory of a pass but not the threads that were in it: what they were changing would stay half
// done in the child and their locks held for ever. And a thread that asks for the interpreter's lock after its end has
// begun is ended by Python, which unwinds its stack; C++ answers that with abort().
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace foredraft {

class Gate {
 public:
  // The one of this process. It is never destroyed, for threads may stand at it when the process ends.
  static Gate& of_process();

  // A thread that holds the interpreter's lock is about to go away; false: never again, the process ends.
  bool leave();
  void begin();  // without the lock: it computes from now on,
  void end();    // and no longer; now it waits for the lock.
  void back();   // It has the lock again.

  // Without the lock: waits until all are back, and lets nobody but the calling thread leave after that.
  void close();

 private:
  static void before_fork();
  static void after_fork();
  static void in_child();

  std::mutex mutex_;
  std::condition_variable changed_;
  int away_ = 0, computing_ = 0, forks_ = 0;
  bool closed_ = false;
  std::thread::id closer_;
};

}  // namespace foredraft
