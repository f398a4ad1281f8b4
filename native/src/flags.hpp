// The arithmetic of a pass, whatever the program around it has set: rounds to nearest, subnormals in and out are zero,
// nothing traps. Put back at the end.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace foredraft {

class Flags {
 public:
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;
#if defined(__x86_64__)
  Flags() : before_(_mm_getcsr()) { _mm_setcsr(0x9fc0); }
  ~Flags() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  Flags() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" ::"r"(uint64_t(1) << 24));
  }
  ~Flags() { __asm__ volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_ = 0;
#else
  Flags() {}
#endif
};

}  // namespace foredraft
