#define FOREDRAFT_TABLE avx2_kernels
#include "kernels.hpp"
#include "lanes_avx2.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"
