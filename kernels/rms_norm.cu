// dst[i, j] = x[i, j] * w[j] / sqrt(mean_j(x[i, j]^2) + eps): a block for each row.
#include "quantize.cuh"

struct RmsNormArgs {
    float *dst;     // [rows, dim], may be x
    const float *x; // [rows, dim]
    const float *w; // [dim]
    uint32_t dim;
    float eps;
};

constexpr int NORM_THREADS = 256;

// What a row is multiplied by.
__device__ __forceinline__ float norm_scale(const RmsNormArgs &args, const float *x) {
    SHARED(float, sums, NORM_THREADS / WARP);
    float sum = 0;
    for (uint32_t j = threadIdx.x; j < args.dim; j += NORM_THREADS) sum = fmaf(x[j], x[j], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    float total = 0;
    for (int warp = 0; warp < NORM_THREADS / WARP; warp++) total += sums[warp];
    return 1.0f / sqrtf(total / (float)args.dim + args.eps);
}

KERNEL(rms_norm, NORM_THREADS, RmsNormArgs) {
    const float *x = args.x + (size_t)blockIdx.x * args.dim;
    float *dst = args.dst + (size_t)blockIdx.x * args.dim;
    float scale = norm_scale(args, x);
    for (uint32_t j = threadIdx.x; j < args.dim; j += NORM_THREADS) dst[j] = x[j] * scale * args.w[j];
}

// The same, and its values quantized: for the products that follow.
struct NormQuantizeArgs {
    RmsNormArgs norm;
    QuantizedArgs to[2]; // one for each kind of scales that is wanted; of those that are not, no units
};

KERNEL(norm_quantize, NORM_THREADS, NormQuantizeArgs) {
    const float *x = args.norm.x + (size_t)blockIdx.x * args.norm.dim;
    float *dst = args.norm.dst + (size_t)blockIdx.x * args.norm.dim;
    float scale = norm_scale(args.norm, x);
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, dim = args.norm.dim;
    for (uint32_t unit = warp; unit * 256 < dim; unit += NORM_THREADS / WARP) {
        float values[LANE_VALUES];
        for (uint32_t i = 0; i < LANE_VALUES; i++) {
            uint32_t j = unit * 256 + lane * LANE_VALUES + i;
            values[i] = j < dim ? x[j] * scale * args.norm.w[j] : 0;
            if (j < dim) dst[j] = values[i];
        }
        for (int i = 0; i < 2; i++) {
            if (args.to[i].units != 0) quantize_unit(args.to[i], blockIdx.x, unit, values);
        }
    }
}
