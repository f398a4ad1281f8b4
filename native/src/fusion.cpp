#include "fusion.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace foredraft {

Fusion::Fusion(Matrix matrix, std::vector<float> offsets, float epsilon, std::shared_ptr<Pool> pool, Isa isa,
               Activations activations)
    : fuse_(std::move(matrix), isa, activations), offsets_(std::move(offsets)), ones_(width(), 1.0f), epsilon_(epsilon),
      pool_(std::move(pool)) {
  if (width() % PANEL || fuse_.matrix().inputs % width() || parts() < 2 || offsets_.size() % width())
    throw std::invalid_argument("the parts of a head's inputs do not fit together");
}

void Fusion::apply(const float* taps, const float* embedded, const std::vector<std::pair<int, int>>& feeds, float* out) {
  std::lock_guard<std::mutex> lock(working_);
  const size_t w = width(), before = (parts() - 1) * w, all = parts() * w;
  at_.clear();
  size_t place = 0;
  for (const auto& [own, more] : feeds) {
    for (int row = 0; row < own; ++row) at_.push_back(place++);
    place += size_t(more);
  }
  const size_t rows = at_.size();
  fuse_.lay(rows);
  joined_.reserve(size_t(pool_->threads()) * all * 4);
  const Kernels& kernels = fuse_.kernels();
  pool_->run([&](Worker& worker) {
    kernels.begin();
    float* joined = joined_.as<float>() + size_t(worker.index) * all;
    fuse_.multiply(
        worker, rows,
        [&](size_t row) {
          for (size_t part = 0; part + 1 < parts(); ++part)
            kernels.norm(taps + row * before + part * w, ones_.data(), epsilon_, int64_t(w), joined + part * w);
          kernels.norm(embedded + row * w, ones_.data(), epsilon_, int64_t(w), joined + before);
          return const_cast<const float*>(joined);
        },
        [&](size_t output, size_t row, const float* found) { std::memcpy(out + at_[row] * w + output, found, PANEL * 4); });
    kernels.end();
  });
  size_t begin = 0;
  for (const auto& [own, more] : feeds) {
    const float* last = out + (begin + size_t(own) - 1) * w;
    for (int row = 0; row < more; ++row) {
      float* to = out + (begin + size_t(own + row)) * w;
      std::memcpy(to, last, w * 4);
      kernels.add(to, offsets_.data() + size_t(row) * w, int64_t(w));
    }
    begin += size_t(own + more);
  }
}

}  // namespace foredraft
