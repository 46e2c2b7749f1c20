// dst[i] = silu(gate[i]) * up[i].
#include "silu.cuh"

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
    args.dst[i] = silu_times(args.gate[i], args.up[i]);
}
