#include "kernels.hpp"
#include "lanes_avx512.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"

const foredraft::Kernels& foredraft::avx512_kernels() {
  static const Kernels kernels = table();
  return kernels;
}
