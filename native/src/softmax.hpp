// Sums of powers in single precision, in the widest vectors of the processor: native twin of draft/block_tree.py's
// `sum_of_exps`. No operation is fused (the build says so), so every instruction set gives the same bits.
#pragma once

#include <cstddef>

namespace foredraft {

constexpr size_t SUM_BLOCK = 1024;  // numbers that are added up at a time

// The sum of e^(x - peak) over SUM_BLOCK numbers x <= peak: 16 lanes, then the upper half to the lower.
float sum_of_exps(const float* x, float peak);

}  // namespace foredraft
