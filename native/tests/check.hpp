// What a test program is made of: CHECK, THROWS, and numbers that are the same everywhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace check {

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out.precision(9);
  ((out << parts << ' '), ...);
  return out.str();
}

// Ends the program at once: threads may be at work, and nothing after a failure is worth knowing.
[[noreturn]] inline void fail(const char* file, int line, const char* what, const std::string& where) {
  std::fprintf(stderr, "%s:%d: %s is wrong: %s\n", file, line, what, where.c_str());
  std::_Exit(1);
}

// Equal as bits, so that -0 is not 0 and a NaN equals itself.
template <class T>
bool same(const T* one, const T* other, size_t count) {
  return !count || std::memcmp(one, other, count * sizeof(T)) == 0;
}
template <class T>
bool same(const std::vector<T>& one, const std::vector<T>& other) {
  return one.size() == other.size() && same(one.data(), other.data(), one.size());
}

// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine and with every library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0 … below - 1
  int below(int below) { return int((bits() >> 33) % uint64_t(below)); }
  // Evenly within [-1, 1), exact in f32.
  float unit() { return float(int64_t(bits() >> 40) - (1 << 23)) / float(1 << 23); }
  // Evenly in the exponent, either sign.
  float scaled(int least, int most) {
    const float factor = unit();
    return std::ldexp(factor < 0 ? factor - 1 : factor + 1, least + below(most - least + 1));
  }
  std::vector<float> units(size_t count, float factor = 1.0f) {
    std::vector<float> out(count);
    for (float& one : out) one = factor * unit();
    return out;
  }

 private:
  uint64_t state_;
};

}  // namespace check

// CHECK(condition, anything that tells which case it is …)
#define CHECK(condition, ...) \
  ((condition) ? void() : check::fail(__FILE__, __LINE__, #condition, check::text(__VA_ARGS__)))

// The expression throws exactly this.
#define THROWS(type, expression, ...)                                                            \
  do {                                                                                           \
    bool thrown = false;                                                                         \
    try {                                                                                        \
      (void)(expression);                                                                        \
    } catch (const type&) {                                                                      \
      thrown = true;                                                                             \
    }                                                                                            \
    if (!thrown) check::fail(__FILE__, __LINE__, #expression " does not throw " #type, check::text(__VA_ARGS__)); \
  } while (false)
