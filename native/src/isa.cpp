#include "isa.hpp"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace foredraft {
namespace {

constexpr const char* NAMES[] = {"portable", "avx2", "avxvnni", "avx512", "amx"};

#if defined(__x86_64__)
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned sub) {
  Leaf out;
  if (__get_cpuid_max(0, nullptr) >= leaf) __cpuid_count(leaf, sub, out.a, out.b, out.c, out.d);
  return out;
}

uint64_t enabled_states() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

bool bit(unsigned word, int at) { return (word >> at) & 1; }

// Tiles are an extended state that a process must ask for; a refusal only means that another path is taken.
bool tiles_granted() {
  constexpr long request = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

std::vector<Isa> detect() {
  std::vector<Isa> found{Isa::portable};
  const Leaf one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  const bool saves = bit(one.c, 27);
  const uint64_t states = saves ? enabled_states() : 0;
  const bool fma = bit(one.c, 12), f16c = bit(one.c, 29), avx = bit(one.c, 28);
  const bool avx2 = (states & 0x6) == 0x6 && avx && fma && f16c && bit(seven.b, 5);
  if (!avx2) return found;
  found.push_back(Isa::avx2);
  if (bit(seven_one.a, 4)) found.push_back(Isa::avxvnni);
  const bool f = bit(seven.b, 16), dq = bit(seven.b, 17), bw = bit(seven.b, 30), vl = bit(seven.b, 31);
  const bool avx512 = (states & 0xe6) == 0xe6 && f && dq && bw && vl && bit(seven.c, 11);
  if (!avx512) return found;
  found.push_back(Isa::avx512);
  const bool tiles = bit(seven.d, 24) && bit(seven.d, 25) && (states & 0x60000) == 0x60000;
  if (tiles && tiles_granted()) found.push_back(Isa::amx);
  return found;
}

bool made_by_amd() {
  const Leaf maker = cpuid(0, 0);
  return maker.b == 0x68747541 && maker.d == 0x69746e65 && maker.c == 0x444d4163;  // AuthenticAMD
}
#else
std::vector<Isa> detect() { return {Isa::portable}; }

bool made_by_amd() { return false; }
#endif

// Of the first processor, as Linux knows it; 32 MB where nothing says so.
std::size_t largest_cache() {
  static const std::size_t found = [] {
    std::size_t most = 0;
    for (int index = 0; index < 8; ++index) {
      std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
      std::size_t kilobytes = 0;
      char unit = 0;
      if (file >> kilobytes >> unit && unit == 'K') most = kilobytes > most ? kilobytes : most;
    }
    return most ? most << 10 : std::size_t(32) << 20;
  }();
  return found;
}

}  // namespace

const char* name_of(Isa isa) { return NAMES[int(isa)]; }

const std::vector<Isa>& usable_isas() {
  static const std::vector<Isa> found = detect();
  return found;
}

Isa isa_named(const std::string& name) {
  if (name == "auto") return usable_isas().back();
  std::string usable;
  for (Isa isa : usable_isas()) {
    if (name == name_of(isa)) return isa;
    usable += std::string(usable.empty() ? "" : ", ") + name_of(isa);
  }
  throw std::invalid_argument("instruction set '" + name + "' cannot run here: choose auto or one of " + usable);
}

Isa choose_isa() {
  const char* forced = std::getenv("FOREDRAFT_ISA");
  return isa_named(forced && *forced ? forced : "auto");
}

bool past_caches(std::size_t bytes) { return made_by_amd() && bytes > largest_cache(); }

}  // namespace foredraft
