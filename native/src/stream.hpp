// How fast this machine reads memory: the yardstick that a pass is held against (a plain pass reads all weights once).
#pragma once

#include <cstddef>
#include <vector>

#include "isa.hpp"

namespace foredraft {

// Reads a buffer of `bytes` from end to end `repeats` times with `threads` threads, each its own part, and returns the
// GB/s (1e9 bytes) of every repeat, by the widest loads of `isa`. The buffer is written first, each part by the thread
// number that will read it, and what was read is checked. Throws std::invalid_argument for counts below 1, and
// std::bad_alloc when there is no such memory.
std::vector<double> read_bandwidth(std::size_t bytes, int threads, int repeats, Isa isa);

}  // namespace foredraft
