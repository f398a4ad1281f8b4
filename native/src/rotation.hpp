// Rotary positions (RoFormer, 2104.09864, section 3.4): a table of cosines and sines that grows with the text.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "flags.hpp"

namespace foredraft {

struct Rotation {
  std::vector<float> frequencies;  // radians a position, by pair
  std::vector<float> factors;      // [position][pair][2]: cosine, sine
  int positions = 0;

  void reach(int position) {
    if (position < positions) return;
    const int wanted = std::max(position + 1, positions * 2);
    factors.resize(size_t(wanted) * frequencies.size() * 2);
    const Flags flags;  // a table lasts longer than the rounding that the first caller has set
    fill(wanted);
    positions = wanted;
  }

  // The angle is rounded to f32, as transformers has it; its cosine and sine are rounded once. Not inline, so that no
  // operation is moved to where other flags hold.
  [[gnu::noinline]] void fill(int wanted) {
    for (size_t at = size_t(positions) * frequencies.size(); at < size_t(wanted) * frequencies.size(); ++at) {
      const float angle = float(at / frequencies.size()) * frequencies[at % frequencies.size()];
      factors[2 * at] = float(std::cos(double(angle)));
      factors[2 * at + 1] = float(std::sin(double(angle)));
    }
  }

  // Rotates one head in place; halves: pairs are (i, i + n / 2), else neighbours.
  void apply(float* head, int position, bool halves) const {
    const size_t pairs = frequencies.size();
    const float* at = factors.data() + size_t(position) * pairs * 2;
    for (size_t i = 0; i < pairs; ++i) {
      float& a = head[halves ? i : 2 * i];
      float& b = head[halves ? i + pairs : 2 * i + 1];
      const float cosine = at[2 * i], sine = at[2 * i + 1], x = a * cosine, y = a * sine;
      a = x - b * sine;
      b = y + b * cosine;
    }
  }
};

}  // namespace foredraft
