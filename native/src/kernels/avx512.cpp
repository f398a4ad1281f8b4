// kernels: to come
