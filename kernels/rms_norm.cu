// dst[i, j] = x[i, j] * w[j] / sqrt(mean_j(x[i, j]^2) + eps): a block for each row.
#include "common.cuh"

struct RmsNormArgs {
    float *dst;     // [rows, dim], may be x
    const float *x; // [rows, dim]
    const float *w; // [dim]
    uint32_t dim;
    float eps;
};

constexpr int NORM_THREADS = 256;

KERNEL(rms_norm, NORM_THREADS, RmsNormArgs) {
    SHARED(float, sums, NORM_THREADS / WARP);
    const float *x = args.x + (size_t)blockIdx.x * args.dim;
    float *dst = args.dst + (size_t)blockIdx.x * args.dim;

    float sum = 0;
    for (uint32_t j = threadIdx.x; j < args.dim; j += NORM_THREADS) sum = fmaf(x[j], x[j], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    float total = 0;
    for (int warp = 0; warp < NORM_THREADS / WARP; warp++) total += sums[warp];

    float scale = 1.0f / sqrtf(total / (float)args.dim + args.eps);
    for (uint32_t j = threadIdx.x; j < args.dim; j += NORM_THREADS) dst[j] = x[j] * scale * args.w[j];
}
