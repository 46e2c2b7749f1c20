// dst[i, :] = src[rows[i], :]: a block for each row.
#include "common.cuh"

constexpr int GATHER_THREADS = 256;

struct GatherArgs {
    float *dst;           // [n, dim]
    const float *src;     // [.., dim]
    const uint32_t *rows; // [n]
    uint64_t dim;
};

KERNEL(gather, GATHER_THREADS, GatherArgs) {
    const float *src = args.src + args.rows[blockIdx.x] * args.dim;
    float *dst = args.dst + blockIdx.x * args.dim;
    for (size_t j = threadIdx.x; j < args.dim; j += GATHER_THREADS) dst[j] = src[j];
}
