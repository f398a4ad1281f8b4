// How a row enters a head that drafts token by token.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "linear.hpp"

namespace foredraft {

// Vectors of each row side by side, normed or as they are, and a matrix that makes one of them.
class Join {
 public:
  // norms: of each part, empty for one that is read as it is. matrix: null where the parts stay side by side. Throws
  // std::invalid_argument for a matrix whose outputs do not fill panels.
  Join(Matrix matrix, std::vector<Vector> norms, float epsilon, std::shared_ptr<Pool> pool, Isa isa,
       Activations activations);

  struct Part {
    const float* rows;
    size_t width;
  };
  size_t parts() const { return norms_.size(); }
  // Width of a row that comes out, of parts of these widths. Throws std::invalid_argument for widths that do not fit.
  size_t width(const std::vector<Part>& parts) const;
  // out: [rows][width]
  void apply(const std::vector<Part>& parts, size_t rows, float* out);

 private:
  std::vector<Linear> join_;  // one or none
  std::vector<Vector> norms_;
  float epsilon_;
  std::shared_ptr<Pool> pool_;
  const Kernels& kernels_;
  std::mutex working_;
  Buffer joined_;  // by thread, one row of all parts
};

}  // namespace foredraft
