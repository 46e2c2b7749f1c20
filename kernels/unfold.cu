// Rows of a quantized weight as halves, for products of halves: a block has 4096 values of a row.
//
// Halves have 11 bits of a value where most types have fewer, but reach from 2^-24 to 2^16 only. So the whole weight is
// multiplied by a power of two that brings the largest that its scales allow to just below 2^15; what products are multiplied
// by in the end takes that back, and what was done to the activations.
#include "values.cuh"

constexpr int UNFOLD_THREADS = 128;

struct UnfoldArgs {
    uint16_t *to; // [rows, units, 256]
    WeightArgs w;
    const float *x_scale; // what products are multiplied by for the activations' sake
    float *scale;         // and for both; written
    uint32_t first;       // of the weight's rows
    float up, down;       // powers of two: what values are multiplied by, and what takes that back
};

// Writes values as halves.
struct ToHalves {
    uint16_t *row;
    float up;
    __device__ __forceinline__ void operator()(uint32_t first, const float (&four)[4]) const {
        uint32_t low = two_halves(four[0] * up, four[1] * up), high = two_halves(four[2] * up, four[3] * up);
        *(uint2 *)(row + first) = uint2{low, high};
    }
};

template <class F> __device__ __forceinline__ void unfold(const UnfoldArgs &args) {
    uint32_t lane = blockIdx.y * UNFOLD_THREADS + threadIdx.x;
    if (blockIdx.x == 0 && lane == 0) *args.scale = *args.x_scale * args.down;
    if (lane >= args.w.units * GROUPS * 4) return;
    ToHalves to = {args.to + (size_t)blockIdx.x * args.w.units * UNIT, args.up};
    take_values<F>(args.w, args.first + blockIdx.x, lane, to);
}

#define UNFOLD(F) \
    KERNEL(unfold_##F, UNFOLD_THREADS, UnfoldArgs) { unfold<F>(args); }
FOR_EACH_FORMAT(UNFOLD)
