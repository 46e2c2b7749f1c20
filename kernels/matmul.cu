// Products for many rows of activations on tensor cores, with 8-bit integers: a warp computes 16 rows of the
// weight times 8 NT rows of activations, a block four warps below each other.
#include "matmul.cuh"
#include "mma.cuh"

constexpr int MATMUL_THREADS = 128;
constexpr int TILE_ROWS = 16; // of a weight, for a warp
constexpr int TILE_COLS = 8;  // rows of activations, for one product

// Sums as a butterfly over `levels` levels adds them: what is unfinished after some runs, by level. Adding
// the last of 2^levels finishes the sum.
template <int LEVELS> struct Butterfly {
    float pending[LEVELS];

    // Places are known to the compiler, so that all of it stays in registers.
    __device__ __forceinline__ float add(int index, float x) {
        bool finished = true;
        UNROLL
        for (int level = 0; level < LEVELS; level++) {
            if (!finished) continue;
            if (index >> level & 1) {
                x = pending[level] + x;
            } else {
                pending[level] = x;
                finished = false;
            }
        }
        return finished ? x : 0;
    }
};

template <class F, int NT> __device__ __forceinline__ void matmul(const MatmulArgs &args) {
    constexpr int PER_SCALE = F::SPAN / RUN;                // runs that share their scales
    constexpr int LEVELS = F::SPAN == 256 ? 2 : 5;          // of float sums in a span
    constexpr int STEPS = 1 << LEVELS;                      // of them
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t first_row = (blockIdx.y * (MATMUL_THREADS / WARP) + threadIdx.x / WARP) * TILE_ROWS;
    if (first_row >= args.w.n) return;
    uint32_t runs = args.w.runs, steps = runs / PER_SCALE;
    // Beyond the edges the last row stands in; what it gives is not written.
    uint32_t rows[2], cols[NT], out_cols[NT][2];
    for (int i = 0; i < 2; i++) {
        uint32_t row = first_row + g + 8 * i;
        rows[i] = row < args.w.n ? row : args.w.n - 1;
    }
    for (int c = 0; c < NT; c++) {
        uint32_t first = (blockIdx.x * NT + c) * TILE_COLS;
        cols[c] = first + g < args.rows ? first + g : args.rows - 1;
        for (int i = 0; i < 2; i++) {
            uint32_t col = first + 2 * t + i;
            out_cols[c][i] = col < args.rows ? col : args.rows - 1;
        }
    }

    float acc[NT][4] = {};
    for (uint32_t span = 0; span < steps; span += STEPS) {
        Butterfly<LEVELS> sums[NT][4];
        for (int step = 0; step < STEPS; step++) {
            uint32_t at = span + step;
            if (at >= steps) {
                UNROLL
                for (int c = 0; c < NT; c++) {
                    UNROLL
                    for (int i = 0; i < 4; i++) acc[c][i] += sums[c][i].add(step, 0);
                }
                continue;
            }
            int dots[NT][4] = {}, minimums[NT][4] = {};
            for (int r = 0; r < PER_SCALE; r++) {
                uint32_t run = at * PER_SCALE + r;
                Run<F> upper(args.w, rows[0], run), lower(args.w, rows[1], run);
                uint32_t a[4] = {upper.quad((int)t), lower.quad((int)t), upper.quad((int)t + 4),
                                 lower.quad((int)t + 4)};
                UNROLL
                for (int c = 0; c < NT; c++) {
                    const uint32_t *x = args.x.q + ((size_t)cols[c] * runs + run) * QUADS + t;
                    uint32_t b[2] = {x[0], x[4]};
                    if (F::HALF_RUNS) {
                        int first[4] = {}, second[4] = {};
                        MMA_S8_K16(first, a, b);
                        MMA_S8_K16(second, (a + 2), (b + 1));
                        for (int i = 0; i < 4; i++) {
                            const Run<F> &w = i < 2 ? upper : lower;
                            dots[c][i] += first[i] * w.scale(0) + second[i] * w.scale(1);
                        }
                    } else {
                        int whole[4] = {};
                        MMA_S8_K32(whole, a, b);
                        for (int i = 0; i < 4; i++) dots[c][i] += whole[i] * (i < 2 ? upper : lower).scale(0);
                    }
                    if (F::HAS_MIN) {
                        for (int i = 0; i < 4; i++) {
                            const Run<F> &w = i < 2 ? upper : lower;
                            const int16_t *of = args.x.sums + ((size_t)out_cols[c][i % 2] * runs + run) * 2;
                            minimums[c][i] += of[0] * w.min(0) + of[1] * w.min(1);
                        }
                    }
                }
            }
            Run<F> upper(args.w, rows[0], at * PER_SCALE), lower(args.w, rows[1], at * PER_SCALE);
            float d[2] = {upper.scale_of_scales(), lower.scale_of_scales()};
            float m[2] = {F::HAS_MIN ? upper.scale_of_mins() : 0, F::HAS_MIN ? lower.scale_of_mins() : 0};
            UNROLL
            for (int c = 0; c < NT; c++) {
                UNROLL
                for (int i = 0; i < 4; i++) {
                    float dx = args.x.d[(size_t)out_cols[c][i % 2] * steps + at];
                    float value = scaled<F>(d[i / 2], m[i / 2], dx, dots[c][i], minimums[c][i]);
                    acc[c][i] += sums[c][i].add(step, value);
                }
            }
        }
    }
    for (int c = 0; c < NT; c++) {
        for (int i = 0; i < 4; i++) {
            uint32_t row = first_row + g + 8 * (i / 2);
            uint32_t col = (blockIdx.x * NT + c) * TILE_COLS + 2 * t + i % 2;
            if (row < args.w.n && col < args.rows) args.dst[(size_t)col * args.w.n + row] = acc[c][i];
        }
    }
}

#define MATMUL(F)                                                            \
    KERNEL(matmul_8_##F, MATMUL_THREADS, MatmulArgs) { matmul<F, 1>(args); }  \
    KERNEL(matmul_32_##F, MATMUL_THREADS, MatmulArgs) { matmul<F, 4>(args); }
FOR_EACH_FORMAT(MATMUL)
