#include "stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "buffer.hpp"

namespace foredraft {
namespace {

// The unit in which the buffer is cut up: whole turns of every kernel's loop.
constexpr std::size_t BLOCK = 512;

// Adds up whole blocks; four independent sums keep the loads, not the additions, at the limit.
using Sum = std::uint64_t (*)(const std::byte*, std::size_t);

std::uint64_t sum_portable(const std::byte* data, std::size_t bytes) {
  std::uint64_t sums[4] = {}, words[4];
  for (std::size_t at = 0; at < bytes; at += sizeof words) {
    std::memcpy(words, data + at, sizeof words);
    for (int lane = 0; lane < 4; ++lane) sums[lane] += words[lane];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) std::uint64_t sum_avx2(const std::byte* data, std::size_t bytes) {
  __m256i sums[4] = {};
  for (std::size_t at = 0; at < bytes; at += sizeof sums)
    for (int lane = 0; lane < 4; ++lane)
      sums[lane] = _mm256_add_epi64(sums[lane], _mm256_load_si256((const __m256i*)(data + at) + lane));
  alignas(32) std::uint64_t out[4];
  sums[0] = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  _mm256_store_si256((__m256i*)out, sums[0]);
  return out[0] + out[1] + out[2] + out[3];
}

__attribute__((target("avx512f"))) std::uint64_t sum_avx512(const std::byte* data, std::size_t bytes) {
  __m512i sums[4] = {};
  for (std::size_t at = 0; at < bytes; at += sizeof sums)
    for (int lane = 0; lane < 4; ++lane)
      sums[lane] = _mm512_add_epi64(sums[lane], _mm512_load_si512((const __m512i*)(data + at) + lane));
  alignas(64) std::uint64_t out[8];
  sums[0] = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]));
  _mm512_store_si512(out, sums[0]);
  std::uint64_t sum = 0;
  for (std::uint64_t lane : out) sum += lane;
  return sum;
}
#endif

// The widest loads of an instruction set.
Sum widest([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::avx512) return sum_avx512;
  if (isa >= Isa::avx2) return sum_avx2;
#endif
  return sum_portable;
}

// Part `number` of `of`: blocks shared out as evenly as can be.
struct Part {
  std::size_t begin, size;
  Part(std::size_t bytes, int number, int of) {
    const std::size_t blocks = bytes / BLOCK, share = blocks / of, rest = blocks % of, own = number;
    begin = (own * share + std::min(own, rest)) * BLOCK;
    size = (share + (own < rest)) * BLOCK;
  }
};

// Every byte of a part is one more than its number; the sum of its 8-byte words, overflow included.
std::uint64_t written(const Part& part, int number) {
  return std::uint64_t(part.size / 8) * (0x0101010101010101u * std::uint64_t((number + 1) & 0xff));
}

// Runs work(0) here and work(1) … work(threads - 1) on threads of their own; all have ended when it returns or throws.
// Starting a thread costs some 50 us, against tens of milliseconds of reading.
void everywhere(int threads, const std::function<void(int)>& work) {
  std::vector<std::jthread> others;
  for (int number = 1; number < threads; ++number) others.emplace_back(work, number);
  work(0);
}

}  // namespace

std::vector<double> read_bandwidth(std::size_t bytes, int threads, int repeats, Isa isa) {
  if (bytes < BLOCK || threads < 1 || repeats < 1)
    throw std::invalid_argument("bandwidth is read of at least 512 bytes, with at least 1 thread, at least once");
  const std::size_t whole = bytes / BLOCK * BLOCK;
  // On large pages where there are any, as the weights are: small ones would be waited for.
  Buffer memory(std::max(whole, Buffer::LARGE));
  std::byte* data = memory.as<std::byte>();
  everywhere(threads, [&](int number) {
    const Part part(whole, number, threads);
    std::memset(data + part.begin, number + 1, part.size);
  });
  const Sum sum = widest(isa);
  std::vector<double> found;
  std::vector<std::uint64_t> sums(threads);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begun = std::chrono::steady_clock::now();
    everywhere(threads, [&](int number) {
      const Part part(whole, number, threads);
      sums[number] = sum(data + part.begin, part.size);
    });
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begun;
    // So that no compiler and no kernel can leave out a part of the reading.
    for (int number = 0; number < threads; ++number)
      if (sums[number] != written(Part(whole, number, threads), number)) throw std::logic_error("memory was misread");
    found.push_back(double(whole) / 1e9 / std::max(spent.count(), 1e-9));
  }
  return found;
}

}  // namespace foredraft
