// Which instruction set the kernels use: by what the processor says it has and the operating system saves.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace foredraft {

// Ascending. Each runs wherever the next does, but for avxvnni, which processors with avx512 may lack.
enum class Isa { portable, avx2, avxvnni, avx512, amx };

const char* name_of(Isa isa);

// All that were compiled in and that this processor and operating system can run, ascending. AMX counts only after the
// kernel has granted the tiles, which is asked for once, here.
const std::vector<Isa>& usable_isas();

// The best of them, or the one that FOREDRAFT_ISA names. Throws std::invalid_argument for one that cannot run.
Isa choose_isa();

// Exactly this one; "auto" is the best. Throws std::invalid_argument.
Isa isa_named(const std::string& name);

// Whether so many bytes, read from end to end in every pass, are better fetched into the nearest cache alone: more than
// the largest cache holds, on a processor that does it as quickly. AMD's do; an Intel took twice as long (LOG.md,
// 2026-11-28), and of others nothing is known.
bool past_caches(std::size_t bytes);

}  // namespace foredraft
