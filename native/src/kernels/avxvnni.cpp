#include "kernels.hpp"
#include "lanes_avx2.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"

const foredraft::Kernels& foredraft::avxvnni_kernels() {
  static const Kernels kernels = table();
  return kernels;
}
