#define FOREDRAFT_TABLE portable_kernels
#include "kernels.hpp"
#include "lanes_portable.hpp"
#include "products.inc"
#include "vectors.inc"
#include "table.inc"
