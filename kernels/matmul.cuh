// Products of quantized weights with 8-bit activations: what all kernels compute, bit for bit.
//
// The sum over a row is that of its units of 256 values, in order. Where 256 values share their scales a unit's sum is
// an integer, and exact, times these; else its eight runs, each an integer times its scale, are added as a butterfly
// does: neighbours, pairs of neighbours, halves. So a row's result depends neither on the kernel nor on how many rows
// there are.
#pragma once
#include "formats.cuh"
#include "jobs.cuh"

constexpr int SUM_BYTES = 32; // of a unit: the low bytes of sums of 16 values, then the high ones

struct ActivationArgs {
    const uint32_t *q;   // [rows, units, 64] as 8-bit codes lie
    const float *d;      // [rows, units, 256 / SPAN]
    const uint8_t *sums; // [rows, units, 32] sums of 16 values, as 128 high + low
};

// A weight, and where its product goes.
struct MatmulJob {
    float *dst; // [rows, n]
    WeightArgs w;
    uint32_t first_block; // of rows, counted through all jobs
    uint32_t unused;
};

// Products of the same activations with one to three weights of a type.
struct MatmulArgs {
    ActivationArgs x;
    MatmulJob jobs[MAX_JOBS];
    uint32_t count; // of jobs
    uint32_t rows;
    uint32_t add; // whether products are added to what is there
    uint32_t unused;
};

// What a run, or a unit, contributes: integers times scales.
template <class F> __device__ __forceinline__ float scaled(float d, float m, float dx, int dot, int minimum) {
    float value = d * dx * (float)dot;
    return F::HAS_MIN ? fmaf(m * dx, (float)minimum, value) : value;
}
