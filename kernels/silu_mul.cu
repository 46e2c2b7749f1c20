// dst[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)).
#include "common.cuh"

constexpr int SILU_THREADS = 256;

struct SiluMulArgs {
    float *dst; // [len]
    const float *gate;
    const float *up;
    uint64_t len;
};

KERNEL(silu_mul, SILU_THREADS, SiluMulArgs) {
    size_t i = (size_t)blockIdx.x * SILU_THREADS + threadIdx.x;
    if (i >= args.len) return;
    float gate = args.gate[i];
    args.dst[i] = gate / (1.0f + expf(-gate)) * args.up[i];
}
