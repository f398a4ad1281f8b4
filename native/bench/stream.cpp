// How fast N threads read memory they have no other use for: the bandwidth that a pass over the weights is measured by.
//
//   stream [--mb 1024] [--threads 2] [--repeats 15]
//
// Every thread reads its own slice of one block, far larger than any cache, and folds it with xor. Prints one JSON
// object: {"loads": …, "mb", "threads", "gb_s": the median, "all": one figure a repeat}; a GB is 10^9 bytes.
// Needs a C++20 compiler and no flag for the processor: c++ -std=c++20 -O3 -pthread stream.cpp -o stream

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr size_t LINE = 64;
constexpr size_t STEP = 8 * LINE;  // what one iteration reads: eight independent loads

using Fold = uint64_t (*)(const std::byte*, size_t);

struct Reader {
  const char* loads;
  Fold fold;
};

uint64_t fold_words(const std::byte* from, size_t bytes) {
  uint64_t sums[8] = {};
  for (size_t at = 0; at < bytes; at += LINE) {
    uint64_t words[8];
    std::memcpy(words, from + at, LINE);
    for (int i = 0; i < 8; ++i) sums[i] ^= words[i];
  }
  uint64_t all = 0;
  for (uint64_t sum : sums) all ^= sum;
  return all;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint64_t fold_avx2(const std::byte* from, size_t bytes) {
  __m256i sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (size_t at = 0; at < bytes; at += STEP / 2) {
    const auto* block = reinterpret_cast<const __m256i*>(from + at);
    for (int i = 0; i < 8; ++i) sums[i] = _mm256_xor_si256(sums[i], _mm256_load_si256(block + i));
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm256_xor_si256(sums[0], sums[i]);
  uint64_t words[4];
  std::memcpy(words, &sums[0], sizeof words);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

__attribute__((target("avx512f"))) uint64_t fold_avx512(const std::byte* from, size_t bytes) {
  __m512i sums[8];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (size_t at = 0; at < bytes; at += STEP) {
    const auto* block = reinterpret_cast<const __m512i*>(from + at);
    for (int i = 0; i < 8; ++i) sums[i] = _mm512_xor_si512(sums[i], _mm512_load_si512(block + i));
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  uint64_t words[8];
  std::memcpy(words, &sums[0], sizeof words);
  uint64_t all = 0;
  for (uint64_t word : words) all ^= word;
  return all;
}
#endif

Reader widest() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return {"avx512", fold_avx512};
  if (__builtin_cpu_supports("avx2")) return {"avx2", fold_avx2};
#endif
  return {"64 bits", fold_words};
}

struct Options {
  long mb = 1024, threads = 2, repeats = 15;
};

[[noreturn]] void refuse(const char* why) {
  std::fprintf(stderr, "stream: %s: use stream [--mb 512…] [--threads 1…] [--repeats 1…]\n", why);
  std::exit(2);
}

Options parse(int count, char** words) {
  Options options;
  for (int at = 1; at < count; at += 2) {
    long* value = std::strcmp(words[at], "--mb") == 0        ? &options.mb
                  : std::strcmp(words[at], "--threads") == 0 ? &options.threads
                  : std::strcmp(words[at], "--repeats") == 0 ? &options.repeats
                                                             : nullptr;
    if (value == nullptr || at + 1 == count) refuse(words[at]);
    char* end = nullptr;
    *value = std::strtol(words[at + 1], &end, 10);
    if (*end != '\0') refuse(words[at + 1]);
  }
  if (options.mb < 512 || options.mb > 65536) refuse("--mb must be 512 to 65536, so that no cache holds it");
  if (options.threads < 1 || options.threads > 1024) refuse("--threads must be 1 to 1024");
  if (options.repeats < 1 || options.repeats > 10000) refuse("--repeats must be 1 to 10000");
  return options;
}

// Seconds of each repeat, from all threads waiting to all threads done.
std::vector<double> measure(const Options& options, Fold fold) {
  const size_t slice = size_t(options.mb) * 1'000'000 / size_t(options.threads) / STEP * STEP;
  const size_t bytes = slice * size_t(options.threads);
  const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(STEP, bytes), std::free);
  if (block == nullptr) refuse("there is not so much memory");
  std::barrier gate(options.threads + 1);
  std::vector<uint64_t> sinks(size_t(options.threads) * (LINE / sizeof(uint64_t)));
  std::vector<std::thread> threads;
  for (long i = 0; i < options.threads; ++i) {
    threads.emplace_back([&, i] {
      std::byte* own = static_cast<std::byte*>(block.get()) + size_t(i) * slice;
      std::memset(own, int(i) + 1, slice);  // pages that were never written all share one page of zeros
      for (long repeat = 0; repeat <= options.repeats; ++repeat) {
        gate.arrive_and_wait();
        sinks[size_t(i) * (LINE / sizeof(uint64_t))] += fold(own, slice);
        gate.arrive_and_wait();
      }
    });
  }
  std::vector<double> seconds;
  for (long repeat = 0; repeat <= options.repeats; ++repeat) {
    gate.arrive_and_wait();
    const auto begun = std::chrono::steady_clock::now();
    gate.arrive_and_wait();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  }
  for (auto& thread : threads) thread.join();
  uint64_t all = 0;
  for (uint64_t sink : sinks) all ^= sink;
  if (all == 1) std::fputs("", stderr);  // the sums are used: no compiler may drop the loads
  seconds.erase(seconds.begin());        // the first repeat warms up
  for (double& one : seconds) one /= double(bytes) / 1e9;
  return seconds;
}

}  // namespace

int main(int count, char** words) {
  const Options options = parse(count, words);
  const Reader reader = widest();
  std::vector<double> speeds;
  for (double seconds_per_gb : measure(options, reader.fold)) speeds.push_back(1.0 / seconds_per_gb);
  std::vector<double> sorted = speeds;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  const double median = sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  std::printf("{\"loads\": \"%s\", \"mb\": %ld, \"threads\": %ld, \"gb_s\": %.3f, \"all\": [", reader.loads, options.mb,
              options.threads, median);
  for (size_t i = 0; i < speeds.size(); ++i) std::printf("%s%.3f", i ? ", " : "", speeds[i]);
  std::puts("]}");
}
