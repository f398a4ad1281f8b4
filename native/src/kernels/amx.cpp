// The tiles of AMX are to come; until then this path is AVX-512's.
#include "kernels.hpp"

const foredraft::Kernels& foredraft::amx_kernels() { return avx512_kernels(); }
