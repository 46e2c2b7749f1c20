// What a GPU can do at most, measured by loops of nothing but that: copies, reads, and products of 8-bit
// integers on registers.
#include "mma.cuh"

constexpr int PROBE_THREADS = 256;
constexpr int PROBE_SUMS = 8; // independent, so that no product waits for the one before it

struct ProbeArgs {
    uint4 *to;         // [count]
    const uint4 *from; // [count]
    uint64_t count;
    uint64_t rounds; // of products
};

KERNEL(probe_copy, PROBE_THREADS, ProbeArgs) {
    uint64_t stride = (uint64_t)gridDim.x * PROBE_THREADS;
    for (uint64_t i = blockIdx.x * (uint64_t)PROBE_THREADS + threadIdx.x; i < args.count; i += stride) {
        args.to[i] = args.from[i];
    }
}

KERNEL(probe_read, PROBE_THREADS, ProbeArgs) {
    uint64_t stride = (uint64_t)gridDim.x * PROBE_THREADS;
    uint32_t seen = 0;
    for (uint64_t i = blockIdx.x * (uint64_t)PROBE_THREADS + threadIdx.x; i < args.count; i += stride) {
        uint4 x = args.from[i];
        seen |= x.x | x.y | x.z | x.w;
    }
    // There are only zeros; the compiler does not know.
    if (seen != 0) args.to[0] = uint4{seen, 0, 0, 0};
}

KERNEL(probe_mma, PROBE_THREADS, ProbeArgs) {
    uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {threadIdx.x, 5};
    int sums[PROBE_SUMS][4] = {};
    for (uint64_t round = 0; round < args.rounds; round++) {
        UNROLL
        for (int i = 0; i < PROBE_SUMS; i++) MMA_S8_K32(sums[i], a, b);
    }
    int all = 0;
    UNROLL
    for (int i = 0; i < PROBE_SUMS; i++) all |= sums[i][0] | sums[i][1] | sums[i][2] | sums[i][3];
    if (all == 0x7fffffff) args.to[0] = uint4{(uint32_t)all, 0, 0, 0};
}
