// Products of quantized weights with 8-bit activations: what both kernels compute, bit for bit.
//
// The sum over a row is cut into spans of 32 runs, 1024 values. Within a span runs are added as a butterfly
// does: neighbours, then pairs of neighbours, up to all 32. Where 256 values share their scales, sums of up
// to 8 runs are integers and exact; everything else is f32. Spans are added in order. A warp that has a run
// in each lane does this by shuffles, a thread that goes from run to run by keeping what is unfinished. So a
// row's result depends neither on the kernel nor on how many rows there are.
#pragma once
#include "formats.cuh"

struct ActivationArgs {
    const uint32_t *q;   // [rows, k / 4]
    const float *d;      // [rows, k / SPAN]
    const int16_t *sums; // [rows, k / 16]
};

struct MatmulArgs {
    float *dst; // [rows, n]
    ActivationArgs x;
    WeightArgs w;
    uint32_t rows;
    uint32_t unused;
};

// What a run, or 256 values, contribute: integers times scales.
template <class F> __device__ __forceinline__ float scaled(float d, float m, float dx, int dot, int minimum) {
    float value = d * dx * (float)dot;
    return F::HAS_MIN ? fmaf(m * dx, (float)minimum, value) : value;
}
