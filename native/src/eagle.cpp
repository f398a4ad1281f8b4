#include "eagle.hpp"

#include <cstring>
#include <stdexcept>
#include <utility>

namespace foredraft {

Join::Join(Matrix matrix, std::vector<Vector> norms, float epsilon, std::shared_ptr<Pool> pool, Isa isa,
           Activations activations)
    : norms_(std::move(norms)), epsilon_(epsilon), pool_(std::move(pool)), kernels_(kernels_of(isa)) {
  if (!matrix) return;
  if (matrix->outputs % PANEL) throw std::invalid_argument("a matrix that joins parts does not fill panels");
  join_.emplace_back(std::move(matrix), isa, activations);
}

size_t Join::width(const std::vector<Part>& parts) const {
  size_t all = 0;
  for (size_t part = 0; part < parts.size(); ++part) {
    if (!norms_[part].empty() && norms_[part].size() != parts[part].width)
      throw std::invalid_argument("a part is not as wide as its norm");
    all += parts[part].width;
  }
  if (join_.empty()) return all;
  if (all != join_[0].matrix().inputs) throw std::invalid_argument("the parts are not as wide as the matrix that joins them");
  return join_[0].matrix().outputs;
}

void Join::apply(const std::vector<Part>& parts, size_t rows, float* out) {
  size_t all = 0;
  for (const Part& part : parts) all += part.width;
  auto side_by_side = [&](size_t row, float* to) {
    for (size_t part = 0; part < parts.size(); ++part) {
      const size_t width = parts[part].width;
      const float* from = parts[part].rows + row * width;
      if (norms_[part].empty()) std::memcpy(to, from, width * 4);
      else kernels_.norm(from, norms_[part].data(), epsilon_, int64_t(width), to);
      to += width;
    }
  };
  if (join_.empty()) {
    pool_->run([&](Worker& worker) {
      worker.each(rows, 1, [&](size_t row) { side_by_side(row, out + row * all); });
    });
    return;
  }
  Linear& join = join_[0];
  const size_t width = join.matrix().outputs;
  std::lock_guard<std::mutex> lock(working_);
  join.lay(rows);
  joined_.reserve(size_t(pool_->threads()) * all * 4);
  pool_->run([&](Worker& worker) {
    kernels_.begin();
    float* joined = joined_.as<float>() + size_t(worker.index) * all;
    join.multiply(
        worker, rows,
        [&](size_t row) {
          side_by_side(row, joined);
          return const_cast<const float*>(joined);
        },
        [&](size_t output, size_t row, const float* found) { std::memcpy(out + row * width + output, found, PANEL * 4); });
    kernels_.end();
  });
}

}  // namespace foredraft
