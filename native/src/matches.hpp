// Where a context stood before and what followed it there: native twins of draft/matches.py, which says what each one
// means. The same additions, multiplications and divisions in the same order, so chances are equal bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace foredraft {

struct Text {
  const int32_t* tokens = nullptr;
  int64_t size = 0;
};

struct Place {
  int32_t end, size;
};

// For each place the one before it, and the latest of all: negative for none.
struct Chain {
  Text before;
  int64_t newest = -1;
};

// Places that nothing says are inside the text are left out.
std::vector<Place> matches(Text text, Chain single, Chain triple, Text context, int64_t first, int64_t until,
                           int64_t reach);

std::pair<int64_t, int64_t> bounds(Text text, Text suffixes, Text context);

struct Source {
  Text text;
  bool wraps = false;
  const Place* places = nullptr;
  size_t count = 0;
  double doubt = 0.0;
};

struct Tree {
  std::vector<int32_t> tokens, parents;
  std::vector<double> chances;
};

Tree continuations(const std::vector<Source>& sources, int64_t rows, int64_t depth, double least);

}  // namespace foredraft
