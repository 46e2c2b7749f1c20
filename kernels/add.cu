// dst[i] += src[i], and a bias for each row.
#include "common.cuh"

constexpr int ADD_THREADS = 256;

struct AddArgs {
    float *dst; // [len]
    const float *src;
    uint64_t len;
    uint64_t period; // src[i % period]: `len` to add, a row's length for a bias
};

KERNEL(add, ADD_THREADS, AddArgs) {
    size_t i = (size_t)blockIdx.x * ADD_THREADS + threadIdx.x;
    if (i < args.len) args.dst[i] += args.src[args.period == args.len ? i : i % args.period];
}
