// Products of weights in f32 with plain activations: a warp for each row of the weight.
// Lane j adds values j, j + 32 and so on in order, then lanes are added: the same whatever is beside a row.
#include "common.cuh"

constexpr int FLOAT_THREADS = 128;

struct MatmulFloatArgs {
    float *dst;     // [rows, n]
    const float *x; // [rows, k]
    const float *w; // [n, k]
    uint32_t n, k, rows;
    uint32_t add; // whether the product is added to what is there
};

template <int M> __device__ __forceinline__ void matmul_float(const MatmulFloatArgs &args) {
    uint32_t row = blockIdx.x * (FLOAT_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.n) return;
    const float *w = args.w + (size_t)row * args.k;
    const float *x[M];
    for (int r = 0; r < M; r++) {
        uint32_t at = blockIdx.y * M + r;
        x[r] = args.x + (size_t)(at < args.rows ? at : args.rows - 1) * args.k;
    }
    float acc[M] = {};
    for (uint32_t j = lane; j < args.k; j += WARP) {
        float value = w[j];
        for (int r = 0; r < M; r++) acc[r] = fmaf(value, x[r][j], acc[r]);
    }
    for (int r = 0; r < M; r++) {
        float sum = warp_sum(acc[r]);
        uint32_t at = blockIdx.y * M + r;
        if (lane != 0 || at >= args.rows) continue;
        float *dst = args.dst + (size_t)at * args.n + row;
        *dst = args.add ? *dst + sum : sum;
    }
}

KERNEL(matmul_1_F32, FLOAT_THREADS, MatmulFloatArgs) { matmul_float<1>(args); }
KERNEL(matmul_8_F32, FLOAT_THREADS, MatmulFloatArgs) { matmul_float<8>(args); }
