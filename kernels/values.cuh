// The values of a quantized weight, by the float operations of the file's definition, in their order.
#pragma once
#include "formats.cuh"

// What one lane of four has of a group of row `row`: `take(first, four)` gets four neighbouring values at a time, and where
// in the row they begin. `lane` counts those of all groups of the row.
template <class F, class Take>
__device__ __forceinline__ void take_values(const WeightArgs &w, uint32_t row, uint32_t lane, Take take) {
    uint32_t unit = lane / (GROUPS * 4), group = lane / 4 % GROUPS, t = lane % 4;
    uint32_t in_plane = row * w.units + unit, quads[LANE_QUADS];
    Decoder<F>::all(w, in_plane * GROUPS + group, t, quads);
    const uint8_t *scales = w.scales + in_plane * SCALE_BYTES;
    for (int i = 0; i < LANE_QUADS; i++) {
        int run = group * GROUP_RUNS + i / 2, half = i % 2, span = F::SPAN == UNIT ? 0 : run;
        const uint16_t *d = w.d + (in_plane * (UNIT / F::SPAN) + span) * F::HALVES;
        float scale = scale_of_scales<F>(d), min = F::HAS_MIN ? scale_of_mins<F>(d) : 0, four[4];
        if (F::HAS_SCALES) scale = scale * (float)scale_of<F>(scales[F::HALF_RUNS ? 2 * run + half : run]);
        if (F::HAS_MIN && F::HAS_SCALES) {
            int m = F::SCALES == Scales::nibbles ? scales[2 * run + half] >> 4 : scales[UNIT_RUNS + run];
            min = min * (float)m;
        }
        for (int j = 0; j < 4; j++) four[j] = scale * (float)(int8_t)(quads[i] >> (8 * j)) + min;
        take(unit * UNIT + run * RUN + half * 16 + t * 4, four);
    }
}
