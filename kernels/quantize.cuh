// Activations as the integer kernels want them: 8 bits, a scale for each 256 or 32 values, and sums of 16.
#pragma once
#include "common.cuh"

struct QuantizedArgs {
    uint32_t *q;   // [rows, units, 64] as formats.cuh says
    float *d;      // [rows, units, 256 / LEN]
    uint8_t *sums; // [rows, units, 32]
    uint32_t units;
    uint32_t len; // 256 or 32: what shares a scale
};

constexpr int LANE_VALUES = 8; // of a lane, of the 256 that a warp quantizes

// Quantizes a unit of a row: lane l of the warp has values 8 l to 8 l + 7.
template <int LEN>
__device__ __forceinline__ void quantize_unit(const QuantizedArgs &to, size_t row, uint32_t unit,
                                              const float (&x)[LANE_VALUES]) {
    uint32_t lane = threadIdx.x % WARP, largest = 0;
    for (int i = 0; i < LANE_VALUES; i++) {
        // Of bits, so that no number is larger than all.
        uint32_t magnitude = __float_as_uint(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    for (int with = 1; with < LEN / LANE_VALUES; with *= 2) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
        largest = other > largest ? other : largest;
    }
    StepSize step = step_size<LEN>(largest);

    int sum = 0;
    uint32_t words[2] = {};
    for (int i = 0; i < LANE_VALUES; i++) {
        int q = step.factor == 0 ? 0 : __float2int_rn(x[i] * step.factor);
        sum += q;
        words[i / 4] |= ((uint32_t)q & 0xff) << (8 * (i % 4));
    }
    sum += (int)__shfl_xor_sync(ALL_LANES, sum, 1);
    size_t at = row * to.units + unit;
    // Quads 2 (lane % 4) and the next of run lane / 4: quad q of run r lies in lane q % 4 of its group, at word
    // 2 (r % 4) + q / 4 of that lane, of which four are neighbours.
    uint32_t run = lane / 4;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t quad = lane % 4 * 2 + i, word = run % 4 * 2 + quad / 4;
        to.q[at * 64 + run / 4 * 32 + word / 4 * 16 + quad % 4 * 4 + word % 4] = words[i];
    }
    if (lane % 2 == 0) {
        int high = (sum + 64) >> 7;
        to.sums[at * 32 + lane / 2] = (uint8_t)(sum - 128 * high);
        to.sums[at * 32 + 16 + lane / 2] = (uint8_t)high;
    }
    constexpr uint32_t LANES = LEN / LANE_VALUES;
    if (lane % LANES == 0) to.d[at * (WARP / LANES) + lane / LANES] = step.d;
}

// By what shares a scale, which is the same for all threads.
__device__ __forceinline__ void quantize_unit(const QuantizedArgs &to, size_t row, uint32_t unit,
                                              const float (&x)[LANE_VALUES]) {
    if (to.len == 256) quantize_unit<256>(to, row, unit, x);
    else quantize_unit<32>(to, row, unit, x);
}
