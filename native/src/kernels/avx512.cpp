#define FOREDRAFT_TABLE avx512_kernels
#include "kernels.hpp"
#include "lanes_avx512.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"
