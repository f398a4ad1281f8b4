// The passes of sampling over a whole vocabulary, in the widest vectors of the processor, and the exp and log they
// share with numpy. No operation is fused (the build says so), so every instruction set gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace foredraft {

constexpr size_t BLOCK = 128;

// T: float or double. Weights are e^((x - peak) * inverse) for x <= peak.
template <class T>
struct Passes {
  // The largest number of each BLOCK tokens; true when there is a NaN among all of them.
  bool (*peaks)(const T* x, size_t size, T* peaks);
  void (*weights)(const T* x, size_t size, double peak, double inverse, double* out);
  // The sum of the weights, as `sum_of` adds.
  double (*total)(const T* x, size_t size, double peak, double inverse);
  // The same within 1e-4 relatively, at a fraction of the cost; for 1e-30 < inverse < 1e30.
  double (*rough_total)(const T* x, size_t size, T peak, float inverse);
};

// Those of the chosen instruction set (isa.hpp).
template <class T>
const Passes<T>& passes();

// core/sampling.py's exp, log and total.
double exp_of(double x);
double log_of(double x);
double sum_of(const double* x, size_t size);

}  // namespace foredraft
