// Products for five to 64 rows of activations, where weights are read once and little is computed with each: straight
// from memory to tensor cores. The four warps of a block have the same rows of the weight and a unit each of four, whose
// values they add in order. So as much is under way as there are units, whatever the number of rows.
#include "tile.cuh"

constexpr int FEW_WARPS = 4;
constexpr int FEW_THREADS = FEW_WARPS * WARP;

// The rows of a block, before anybody may read activations.
template <class F, int MT> __device__ __forceinline__ void prefetch(const MatmulArgs &args) {
    constexpr uint32_t SHARE = MT * TILE_ROWS / FEW_WARPS;
    uint32_t block = blockIdx.x;
    const MatmulJob &job = find_job(args, block);
    uint32_t first = block * MT * TILE_ROWS + threadIdx.x / WARP * SHARE;
    if (threadIdx.x % WARP == 0) prefetch_rows<F>(job.w, first, SHARE);
}

// 16 MT rows of the weight times 8 NT of activations.
template <class F, int MT, int NT> __device__ __forceinline__ void matmul_few(const MatmulArgs &args) {
    constexpr int ROWS = MT * TILE_ROWS;
    using Sums = Shares<FEW_WARPS, ROWS, NT * TILE_COLS>;
    SHARED(float, shares, Sums::LEN);
    Sums sums = {shares, {}};
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t block = blockIdx.x;
    const MatmulJob &job = find_job(args, block);
    uint32_t units = job.w.units, first_row = block * ROWS, first_col = blockIdx.y * NT * TILE_COLS;
    // In units, of which there are no more than 32 bits count. Beyond the edges the last row stands in; what it gives is
    // not written.
    uint32_t rows[MT][2], cols[NT], out_cols[NT][2];
    UNROLL
    for (int i = 0; i < MT * 2; i++) {
        uint32_t row = first_row + i / 2 * TILE_ROWS + i % 2 * 8 + g;
        rows[i / 2][i % 2] = (row < job.w.n ? row : job.w.n - 1) * units;
    }
    UNROLL
    for (int c = 0; c < NT; c++) {
        uint32_t col = first_col + c * TILE_COLS + g;
        cols[c] = (col < args.rows ? col : args.rows - 1) * units;
        UNROLL
        for (int i = 0; i < 2; i++) {
            col = first_col + c * TILE_COLS + 2 * t + i;
            out_cols[c][i] = (col < args.rows ? col : args.rows - 1) * units;
        }
    }
    for (uint32_t first = 0; first < units; first += FEW_WARPS) {
        bool inside = first + warp < units;
        uint32_t unit = inside ? first + warp : 0;
        Tile<F> tiles[MT][NT];
        UNROLL
        for (int i = 0; i < MT * NT; i++) tiles[i / NT][i % NT].clear();
        UNROLL_BY(1) // two at once do not fit into registers
        for (int group = 0; group < GROUPS; group++) {
            uint32_t quads[MT][2][LANE_QUADS];
            RowScales<F> scales[MT];
            UNROLL
            for (int i = 0; i < MT * 2; i++) {
                uint32_t at = rows[i / 2][i % 2] + unit;
                Decoder<F>::all(job.w, at * GROUPS + group, t, quads[i / 2][i % 2]);
                scales[i / 2].load(i % 2, job.w.scales + at * SCALE_BYTES, job.w.d + at * F::UNIT_HALVES, group);
            }
            UNROLL
            for (int c = 0; c < NT; c++) {
                uint32_t x[LANE_QUADS];
                load_words(x, args.x.q + (cols[c] + unit) * 64 + group * 32 + t * 4);
                ColScales<F> of_cols;
                UNROLL
                for (int i = 0; i < 2; i++) {
                    uint32_t at = out_cols[c][i] + unit;
                    of_cols.load(i, args.x.d + at * (UNIT / F::SPAN), args.x.sums + at * SUM_BYTES, group);
                }
                UNROLL
                for (int m = 0; m < MT; m++) tiles[m][c].add(group, quads[m][0], quads[m][1], x, scales[m], of_cols);
            }
        }
        UNROLL
        for (int m = 0; m < MT; m++) {
            float d[2] = {}, mins_d[2] = {};
            uint32_t mins[2] = {};
            UNROLL
            for (int i = 0; i < 2; i++) {
                uint32_t at = rows[m][i] + unit;
                const uint16_t *halves = job.w.d + at * F::UNIT_HALVES;
                if (F::SPAN == UNIT) d[i] = scale_of_scales<F>(halves);
                if (F::SPAN == UNIT && F::HAS_MIN) {
                    mins_d[i] = scale_of_mins<F>(halves);
                    mins[i] = minimums<F>(job.w.scales + at * SCALE_BYTES, t);
                }
            }
            UNROLL
            for (int c = 0; c < NT; c++) {
                float dx[2] = {}, values[4];
                UNROLL
                for (int i = 0; i < 2; i++) dx[i] = F::SPAN == UNIT ? args.x.d[out_cols[c][i] + unit] : 0;
                const uint32_t *of = (const uint32_t *)(args.x.sums + (cols[c] + unit) * SUM_BYTES);
                uint32_t low = F::HAS_MIN ? of[t] : 0, high = F::HAS_MIN ? of[4 + t] : 0;
                tiles[m][c].finish(values, mins, low, high, d, mins_d, dx);
                UNROLL
                for (int i = 0; i < 4; i++) {
                    uint32_t row = m * TILE_ROWS + i / 2 * 8 + g, col = c * TILE_COLS + 2 * t + i % 2;
                    sums.share(warp, row, col) = inside ? values[i] : 0;
                }
            }
        }
        sums.add();
    }
    sums.put_all(args, job.dst, job.w.n, first_row, first_col, AsItIs());
}

#define FEW_OF(COLS, MT, NT, F)                                                          \
    KERNEL_AHEAD(matmul_##COLS##_##F, FEW_THREADS, MatmulArgs, (prefetch<F, MT>(args))) { \
        matmul_few<F, MT, NT>(args);                                                     \
    }
#define FEW_TO_32(F) FEW_OF(8, 1, 1, F) FEW_OF(16, 2, 2, F) FEW_OF(32, 2, 4, F)
FOR_EACH_FORMAT(FEW_TO_32)
// Where each run has scales of its own, 32 rows and 64 columns are more than registers hold: those take 32 twice.
#define FEW_64(F) FEW_OF(64, 2, 8, F)
FOR_EACH_UNIT_FORMAT(FEW_64)
