// Activations as one value of 16 bits each, for products of halves: what is lost is a part in 2^11 of each with F16 at
// most, in 2^8 with BF16.
//
// F16 ends at 65504, and models have activations beyond. So all rows of a step are multiplied by one power of two, which
// brings the largest finite value to just below 2^15: what a product is multiplied by in the end, one number, takes it back.
// Values 2^29 times smaller than the largest lose further bits, others none. The largest is looked for first, by PARTS blocks
// of which each leaves its own. What is no number, or infinite, spoils its row and no other.
#include "halves.cuh"
#include "silu.cuh"

constexpr int NARROW_THREADS = 256;
constexpr int PARTS = NARROW_THREADS;

struct LargestArgs {
    const float *x;  // [len]
    uint32_t *parts; // [PARTS] bits of magnitudes; one for each block
    uint64_t len;
};

// The same of silu(gate) * up, which is written to `values`.
struct LargestSiluArgs {
    const float *gate; // [len]
    const float *up;
    float *values;
    uint32_t *parts;
    uint64_t len;
};

struct NarrowArgs {
    uint16_t *to;   // [rows, stride]; what is beyond k is zero
    const float *x; // [rows, k]
    const uint32_t *parts;
    float *scale; // what products are multiplied by; written
    uint32_t k, stride;
};

// The larger one of two magnitudes, finite ones counting only.
__device__ __forceinline__ uint32_t larger(uint32_t largest, float x) {
    uint32_t magnitude = __float_as_uint(x) & 0x7fffffffu;
    return magnitude > largest && magnitude < 0x7f800000u ? magnitude : largest;
}

__device__ __forceinline__ void leave(uint32_t *parts, uint32_t largest) {
    largest = largest_of_block<NARROW_THREADS>(largest);
    if (threadIdx.x == 0) parts[blockIdx.x] = largest;
}

KERNEL(largest, NARROW_THREADS, LargestArgs) {
    uint32_t largest = 0;
    UNROLL_BY(4)
    for (uint64_t i = blockIdx.x * NARROW_THREADS + threadIdx.x; i < args.len; i += PARTS * NARROW_THREADS) {
        largest = larger(largest, args.x[i]);
    }
    leave(args.parts, largest);
}

KERNEL(largest_silu, NARROW_THREADS, LargestSiluArgs) {
    uint32_t largest = 0;
    UNROLL_BY(4)
    for (uint64_t i = blockIdx.x * NARROW_THREADS + threadIdx.x; i < args.len; i += PARTS * NARROW_THREADS) {
        float x = silu_times(args.gate[i], args.up[i]);
        args.values[i] = x;
        largest = larger(largest, x);
    }
    leave(args.parts, largest);
}

template <class T> __device__ __forceinline__ void narrow(const NarrowArgs &args) {
    float up = 1, down = 1;
    if constexpr (Cut<T>::SCALED) {
        Powers powers = powers_of(largest_of_block<NARROW_THREADS>(args.parts[threadIdx.x]));
        up = powers.up, down = powers.down;
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) *args.scale = down;
    const float *x = args.x + (size_t)blockIdx.x * args.k;
    uint16_t *to = args.to + (size_t)blockIdx.x * args.stride;
    for (uint32_t j = threadIdx.x; j < args.stride; j += NARROW_THREADS) to[j] = j < args.k ? T::narrow(x[j] * up) : 0;
}

KERNEL(narrow_F16, NARROW_THREADS, NarrowArgs) { narrow<F16>(args); }
KERNEL(narrow_BF16, NARROW_THREADS, NarrowArgs) { narrow<BF16>(args); }
