// A warp's tile of a product on tensor cores: 16 rows of a weight times 8 rows of activations, of which lane 4 g + t has
// four values: rows g and g + 8 of columns 2 t and 2 t + 1.
#pragma once
#include "matmul.cuh"
#include "mma.cuh"

constexpr int TILE_ROWS = 16;
constexpr int TILE_COLS = 8;

// What a lane needs of the scales of its two rows in a group: integers, or of each run a float or two.
template <class F> struct RowScales {
    GroupScales<F> integers[2];
    float d[2][GROUP_RUNS], m[2][GROUP_RUNS];

    // Row `i` of the two; `unit` points to the unit's scales, `halves` to its `d`, where each run has its own.
    __device__ __forceinline__ void load(int i, const uint8_t *unit, const uint16_t *halves, int group) {
        if (F::HAS_SCALES) integers[i].load(unit, group);
        if constexpr (F::SPAN != UNIT) {
            UNROLL
            for (int r = 0; r < GROUP_RUNS; r++) {
                const uint16_t *of = halves + (group * GROUP_RUNS + r) * F::HALVES;
                d[i][r] = scale_of_scales<F>(of);
                m[i][r] = F::HAS_MIN ? scale_of_mins<F>(of) : 0;
            }
        }
    }
};

// What it needs of its two columns, where each run has a scale.
template <class F> struct ColScales {
    float d[2][GROUP_RUNS];
    int sums[2][GROUP_RUNS];

    // Column `i` of the two; `dx` and `of` point to the unit's.
    __device__ __forceinline__ void load(int i, const float *dx, const uint8_t *of, int group) {
        if constexpr (F::SPAN != UNIT) {
            UNROLL
            for (int r = 0; r < GROUP_RUNS; r++) {
                int run = group * GROUP_RUNS + r;
                d[i][r] = dx[run];
                if (!F::HAS_MIN) continue;
                int low = (int8_t)of[2 * run] + (int8_t)of[2 * run + 1];
                sums[i][r] = low + 128 * ((int8_t)of[16 + 2 * run] + (int8_t)of[16 + 2 * run + 1]);
            }
        }
    }
};

// A unit's share of a tile. One of the two is in use.
template <class F> struct Tile {
    int dots[4];
    float sums[4]; // of the first group

    __device__ __forceinline__ void clear() {
        UNROLL
        for (int i = 0; i < 4; i++) dots[i] = 0;
    }

    // Adds a group: quads of rows g and g + 8, and of column g. After the last group of a unit of floats its value is
    // in `sums`.
    __device__ __forceinline__ void add(int group, const uint32_t (&upper)[LANE_QUADS],
                                        const uint32_t (&lower)[LANE_QUADS], const uint32_t (&x)[LANE_QUADS],
                                        const RowScales<F> &rows, const ColScales<F> &cols) {
        float values[GROUP_RUNS][4];
        UNROLL
        for (int r = 0; r < GROUP_RUNS; r++) {
            uint32_t a[4] = {upper[2 * r], lower[2 * r], upper[2 * r + 1], lower[2 * r + 1]};
            uint32_t b[2] = {x[2 * r], x[2 * r + 1]};
            if (F::HALF_RUNS) {
                int first[4] = {}, second[4] = {};
                MMA_S8_K16(first, a, b);
                MMA_S8_K16(second, (a + 2), (b + 1));
                UNROLL
                for (int i = 0; i < 4; i++) {
                    const GroupScales<F> &scales = rows.integers[i / 2];
                    dots[i] += first[i] * scales.of(r, 0) + second[i] * scales.of(r, 1);
                }
                continue;
            }
            int whole[4] = {};
            MMA_S8_K32(whole, a, b);
            UNROLL
            for (int i = 0; i < 4; i++) {
                if (F::SPAN == UNIT) {
                    dots[i] += whole[i] * rows.integers[i / 2].of(r, 0);
                } else {
                    int minimum = F::HAS_MIN ? cols.sums[i % 2][r] : 0;
                    values[r][i] = scaled<F>(rows.d[i / 2][r], rows.m[i / 2][r], cols.d[i % 2][r], whole[i], minimum);
                }
            }
        }
        if constexpr (F::SPAN != UNIT) {
            UNROLL
            for (int i = 0; i < 4; i++) {
                float sum = (values[0][i] + values[1][i]) + (values[2][i] + values[3][i]);
                sums[i] = group == 0 ? sum : sums[i] + sum;
            }
        }
    }

    // What the unit comes to. `mins` are those of rows g and g + 8, `low` and `high` bytes of column g's sums, in lane
    // t those of values 64 t on; `d` and `m` of the two rows, `dx` of the two columns, where a unit has one scale.
    __device__ __forceinline__ void finish(float (&values)[4], const uint32_t (&mins)[2], uint32_t low, uint32_t high,
                                           const float (&d)[2], const float (&m)[2], const float (&dx)[2]) {
        int lows[4] = {}, highs[4] = {};
        if (F::SPAN == UNIT && F::HAS_MIN) {
            MMA_S8_K16(lows, mins, (&low));
            MMA_S8_K16(highs, mins, (&high));
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            if (F::SPAN == UNIT) {
                int minimum = lows[i] + 128 * highs[i];
                values[i] = scaled<F>(d[i / 2], m[i / 2], dx[i % 2], dots[i], minimum);
            } else {
                values[i] = sums[i];
            }
        }
    }
};
