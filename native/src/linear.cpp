#include "linear.hpp"

#include <algorithm>
#include <cstring>

namespace foredraft {

void Linear::apply(Pool& pool, const float* in, size_t rows, float* out) {
  const size_t inputs = matrix_->inputs, outputs = matrix_->outputs;
  lay(rows);
  pool.run([&](Worker& worker) {
    products_.kernels.begin();
    multiply(
        worker, rows, [&](size_t row) { return in + row * inputs; },
        [&](size_t output, size_t row, const float* found) {
          std::memcpy(out + row * outputs + output, found, std::min<size_t>(PANEL, outputs - output) * 4);
        });
    products_.kernels.end();
  });
}

}  // namespace foredraft
