// The kernels of every instruction set that can run here, and the modes of arithmetic that they must agree in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine.hpp"
#include "isa.hpp"
#include "kernels/kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace foredraft {
// kernels/amx.cpp once more, with memory for tile registers.
const Kernels& emulated_amx_kernels();
// kernels/avxvnni.cpp once more, for processors with AVX-512VL and its VNNI.
const Kernels& evex_avxvnni_kernels();
}  // namespace foredraft

namespace check {

struct InstructionSet {
  std::string name;
  const foredraft::Kernels& kernels;
};

// The portable one first. Emulated tiles need AVX-512 for all that is not a tile, and so does VNNI in its encoding.
inline std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> all;
  [[maybe_unused]] bool wide = false;
  for (foredraft::Isa isa : foredraft::usable_isas()) {
    all.push_back({foredraft::name_of(isa), foredraft::kernels_of(isa)});
    wide = wide || isa == foredraft::Isa::avx512;
  }
#if defined(__x86_64__)
  if (wide) all.push_back({"amx emulated", foredraft::emulated_amx_kernels()});
  if (wide) all.push_back({"avxvnni by AVX-512VL", foredraft::evex_avxvnni_kernels()});
#endif
  return all;
}

// Rounds to nearest; with `flush`, subnormals are zero in and out, as the pool has it. Put back at the end.
class Arithmetic {
 public:
#if defined(__x86_64__)
  explicit Arithmetic(bool flush) : before_(_mm_getcsr()) { _mm_setcsr(flush ? 0x9fc0 : 0x1f80); }
  ~Arithmetic() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  explicit Arithmetic(bool flush) {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" ::"r"(uint64_t(flush) << 24));
  }
  ~Arithmetic() { __asm__ volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_ = 0;
#else
  explicit Arithmetic(bool) {}
#endif
};

}  // namespace check
