// dst[i, :] += scale_s B_s A_s x[i, :] with s = adapters[i]: each row through its own adapter, two kernels.
// Slot 0 and empty slots have rank 0 and add nothing.
#include "common.cuh"

constexpr int LORA_THREADS = 128;

// What is in a slot; the table's address stays, its contents change between steps.
struct LoraSlot {
    const uint16_t *a; // [rank, k] halves
    const uint16_t *b; // [rank, n] halves
    uint32_t rank;
    float scale;
};

struct LoraArgs {
    float *dst;               // [rows, n]
    const float *x;           // [rows, k]
    float *sums;              // [rows, max_rank]
    const LoraSlot *slots;    // [slots + 1]
    const uint32_t *adapters; // [rows]
    uint32_t n, k, max_rank;
    uint32_t unused;
};

// sums[i, r] = A_s[r, :] x[i, :]: a warp for each row and rank.
KERNEL(lora_shrink, LORA_THREADS, LoraArgs) {
    LoraSlot slot = args.slots[args.adapters[blockIdx.x]];
    uint32_t r = blockIdx.y * (LORA_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (r >= slot.rank) return;
    const uint16_t *a = slot.a + (size_t)r * args.k;
    const float *x = args.x + (size_t)blockIdx.x * args.k;
    float sum = 0;
    for (uint32_t j = lane; j < args.k; j += WARP) sum = fmaf(half_to_float(a[j]), x[j], sum);
    sum = warp_sum(sum);
    if (lane == 0) args.sums[(size_t)blockIdx.x * args.max_rank + r] = sum;
}

// dst[i, o] += scale_s sum_r B_s[o, r] sums[i, r]: a thread for each row and output.
KERNEL(lora_expand, LORA_THREADS, LoraArgs) {
    LoraSlot slot = args.slots[args.adapters[blockIdx.x]];
    uint32_t o = blockIdx.y * LORA_THREADS + threadIdx.x;
    if (slot.rank == 0 || o >= args.n) return;
    const float *sums = args.sums + (size_t)blockIdx.x * args.max_rank;
    float sum = 0;
    for (uint32_t r = 0; r < slot.rank; r++) {
        sum = fmaf(half_to_float(slot.b[(size_t)r * args.n + o]), sums[r], sum);
    }
    float *dst = args.dst + (size_t)blockIdx.x * args.n + o;
    *dst = fmaf(slot.scale, sum, *dst);
}
