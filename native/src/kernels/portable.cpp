#include "kernels.hpp"
#include "lanes_portable.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"

const foredraft::Kernels& foredraft::portable_kernels() {
  static const Kernels kernels = table();
  return kernels;
}
