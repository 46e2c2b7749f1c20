// Products for many rows of activations. A block has 64 of these and 32 WM rows of the weight, a warp 32 of each; all go
// through the values in groups of 128, which copies bring to shared memory while the group before is computed with.
#include "copies.cuh"
#include "tile.cuh"

constexpr int BLOCK_COLS = 64;
constexpr int WARP_TILES = 2; // of rows, for a warp
constexpr int WARP_COLS = 4;  // tiles
constexpr int STAGES = 2;

template <class F> struct Shape {
    // Fewer rows where they take more memory.
    static constexpr int WM = F::BITS == 8 || (F::SPAN != UNIT && F::HAS_MIN) ? 2 : 4;
    static constexpr int ROWS = WM * WARP_TILES * TILE_ROWS;
    static constexpr int THREADS = WM * 2 * WARP;
    // Chunks of a row: codes, further bits, and activations of a group; of a unit, what is scaled by: integer scales,
    // or the halves of each run; sums, and the scales of each run, of activations.
    static constexpr int CODES = F::BITS, HIGH = F::HIGH, X = 8;
    static constexpr int SCALES = F::HAS_SCALES ? 1 : F::HALVES;
    static constexpr int SUMS = F::HAS_MIN ? 2 : 0;
    static constexpr int DX = F::SPAN == UNIT ? 0 : 2;
};

// A block's shared memory, each array by rows.
template <class F> struct Stage {
    using S = Shape<F>;
    uint8_t *codes, *high, *x;      // [STAGES]
    uint8_t *scales, *sums, *dx;    // [2 units]
    Copies<S::ROWS, S::CODES, S::THREADS> copy_codes;
    Copies<S::ROWS, S::HIGH, S::THREADS> copy_high;
    Copies<BLOCK_COLS, S::X, S::THREADS> copy_x;
    Copies<S::ROWS, S::SCALES, S::THREADS> copy_scales;
    Copies<BLOCK_COLS, S::SUMS, S::THREADS> copy_sums;
    Copies<BLOCK_COLS, S::DX, S::THREADS> copy_dx;

    __device__ __forceinline__ void begin(const MatmulArgs &args, const MatmulJob &job, uint32_t row, uint32_t col) {
        uint32_t units = job.w.units, groups = units * GROUPS;
        copy_codes.begin(row, job.w.n, groups * S::CODES);
        copy_high.begin(row, job.w.n, groups * S::HIGH);
        copy_x.begin(col, args.rows, groups * S::X);
        copy_scales.begin(row, job.w.n, units * S::SCALES);
        copy_sums.begin(col, args.rows, units * S::SUMS);
        copy_dx.begin(col, args.rows, units * S::DX);
    }

    // Begins to copy a group of a unit, and what the unit is scaled by with its first.
    __device__ __forceinline__ void load(const MatmulArgs &args, const MatmulJob &job, uint32_t unit, uint32_t group) {
        uint32_t step = unit * GROUPS + group, slot = step % STAGES, of_unit = unit % 2;
        copy_codes.copy(codes + slot * S::ROWS * S::CODES * CHUNK, job.w.codes, step * S::CODES);
        copy_high.copy(high + slot * S::ROWS * S::HIGH * CHUNK, job.w.high, step * S::HIGH);
        copy_x.copy(x + slot * BLOCK_COLS * S::X * CHUNK, args.x.q, step * S::X);
        if (group != 0) return;
        const void *from = F::HAS_SCALES ? (const void *)job.w.scales : (const void *)job.w.d;
        copy_scales.copy(scales + of_unit * S::ROWS * S::SCALES * CHUNK, from, unit * S::SCALES);
        copy_sums.copy(sums + of_unit * BLOCK_COLS * S::SUMS * CHUNK, args.x.sums, unit * S::SUMS);
        copy_dx.copy(dx + of_unit * BLOCK_COLS * S::DX * CHUNK, args.x.d, unit * S::DX);
    }

    // Lane t's quads of a row of the weight, and of a row of activations.
    __device__ __forceinline__ void row_quads(uint32_t slot, uint32_t row, int t, uint32_t (&quads)[LANE_QUADS]) const {
        const uint8_t *from = codes + (slot * S::ROWS + row) * S::CODES * CHUNK;
        if constexpr (F::BITS == 8) {
            load_swizzled(quads, from, row, t);
        } else {
            uint32_t words[F::BITS], more[F::HIGH ? F::HIGH : 1];
            load_words(words, (const uint32_t *)from + t * F::BITS);
            if constexpr (F::HIGH != 0) {
                load_words(more, (const uint32_t *)(high + (slot * S::ROWS + row) * S::HIGH * CHUNK) + t * F::HIGH);
            }
            UNROLL
            for (int i = 0; i < LANE_QUADS; i++) quads[i] = Decoder<F>::decode(words, more, i);
        }
    }
    __device__ __forceinline__ void col_quads(uint32_t slot, uint32_t col, int t, uint32_t (&quads)[LANE_QUADS]) const {
        load_swizzled(quads, x + (slot * BLOCK_COLS + col) * S::X * CHUNK, col, t);
    }
    static __device__ __forceinline__ void load_swizzled(uint32_t (&quads)[LANE_QUADS], const uint8_t *from,
                                                         uint32_t row, int t) {
        UNROLL
        for (int half = 0; half < 2; half++) {
            uint4 of = ((const uint4 *)from)[(half * 4 + t) ^ (row % 2 * 4)];
            quads[4 * half] = of.x, quads[4 * half + 1] = of.y, quads[4 * half + 2] = of.z, quads[4 * half + 3] = of.w;
        }
    }
};

// A warp's sums.
template <class F> struct Warp {
    using S = Shape<F>;
    uint32_t row, col; // of the block's, the first of the warp's
    uint32_t g, t;
    Tile<F> tiles[WARP_TILES][WARP_COLS];
    float acc[WARP_TILES][WARP_COLS][4];

    __device__ __forceinline__ void add_group(const Stage<F> &stage, uint32_t step) {
        uint32_t slot = step % STAGES, of_unit = step / GROUPS % 2;
        int group = step % GROUPS;
        uint32_t quads[WARP_TILES][2][LANE_QUADS];
        RowScales<F> scales[WARP_TILES];
        UNROLL
        for (int i = 0; i < WARP_TILES * 2; i++) {
            uint32_t own = row + i / 2 * TILE_ROWS + i % 2 * 8 + g;
            stage.row_quads(slot, own, t, quads[i / 2][i % 2]);
            const uint8_t *of = stage.scales + (of_unit * S::ROWS + own) * S::SCALES * CHUNK;
            scales[i / 2].load(i % 2, of, (const uint16_t *)of, group);
        }
        UNROLL
        for (int c = 0; c < WARP_COLS; c++) {
            uint32_t x[LANE_QUADS];
            stage.col_quads(slot, col + c * TILE_COLS + g, t, x);
            ColScales<F> cols;
            UNROLL
            for (int i = 0; i < 2; i++) {
                uint32_t own = of_unit * BLOCK_COLS + col + c * TILE_COLS + 2 * t + i;
                const float *dx = (const float *)(stage.dx + own * S::DX * CHUNK);
                cols.load(i, dx, stage.sums + own * S::SUMS * CHUNK, group);
            }
            UNROLL
            for (int m = 0; m < WARP_TILES; m++) {
                tiles[m][c].add(group, quads[m][0], quads[m][1], x, scales[m], cols);
            }
        }
    }

    __device__ __forceinline__ void finish_unit(const MatmulArgs &args, const MatmulJob &job, const Stage<F> &stage,
                                                uint32_t unit, uint32_t first_row, uint32_t first_col) {
        float d[WARP_TILES][2] = {}, mins_d[WARP_TILES][2] = {};
        uint32_t mins[WARP_TILES][2] = {};
        UNROLL
        for (int i = 0; i < WARP_TILES * 2; i++) {
            uint32_t own = row + i / 2 * TILE_ROWS + i % 2 * 8 + g, at = first_row + own;
            if (F::SPAN != UNIT) continue;
            uint32_t in_plane = (at < job.w.n ? at : job.w.n - 1) * job.w.units + unit;
            const uint16_t *halves = job.w.d + in_plane * F::HALVES;
            d[i / 2][i % 2] = scale_of_scales<F>(halves);
            if (!F::HAS_MIN) continue;
            mins_d[i / 2][i % 2] = scale_of_mins<F>(halves);
            mins[i / 2][i % 2] = minimums<F>(stage.scales + (unit % 2 * S::ROWS + own) * S::SCALES * CHUNK, t);
        }
        UNROLL
        for (int c = 0; c < WARP_COLS; c++) {
            float dx[2] = {};
            UNROLL
            for (int i = 0; i < 2; i++) {
                uint32_t at = first_col + col + c * TILE_COLS + 2 * t + i;
                uint32_t in_plane = (at < args.rows ? at : args.rows - 1) * job.w.units + unit;
                if (F::SPAN == UNIT) dx[i] = args.x.d[in_plane];
            }
            uint32_t own = unit % 2 * BLOCK_COLS + col + c * TILE_COLS + g, low = 0, high = 0;
            const uint32_t *of = (const uint32_t *)(stage.sums + own * S::SUMS * CHUNK);
            if (F::SPAN == UNIT && F::HAS_MIN) low = of[t], high = of[4 + t];
            UNROLL
            for (int m = 0; m < WARP_TILES; m++) {
                float values[4];
                tiles[m][c].finish(values, mins[m], low, high, d[m], mins_d[m], dx);
                tiles[m][c].clear();
                UNROLL
                for (int i = 0; i < 4; i++) acc[m][c][i] += values[i];
            }
        }
    }
};

template <class F> __device__ __forceinline__ void matmul(const MatmulArgs &args) {
    using S = Shape<F>;
    SHARED(uint8_t, codes, STAGES * S::ROWS * S::CODES * CHUNK);
    SHARED(uint8_t, high, STAGES * S::ROWS * S::HIGH * CHUNK + CHUNK);
    SHARED(uint8_t, x, STAGES * BLOCK_COLS * S::X * CHUNK);
    SHARED(uint8_t, scales, 2 * S::ROWS * S::SCALES * CHUNK);
    SHARED(uint8_t, sums, 2 * BLOCK_COLS * S::SUMS * CHUNK + CHUNK);
    SHARED(uint8_t, dx, 2 * BLOCK_COLS * S::DX * CHUNK + CHUNK);
    Stage<F> stage = {codes, high, x, scales, sums, dx, {}, {}, {}, {}, {}, {}};
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint32_t block = blockIdx.y;
    const MatmulJob &job = find_job(args, block);
    uint32_t first_row = block * S::ROWS, first_col = blockIdx.x * BLOCK_COLS;
    Warp<F> own;
    own.row = warp / 2 * WARP_TILES * TILE_ROWS, own.col = warp % 2 * WARP_COLS * TILE_COLS;
    own.g = lane / 4, own.t = lane % 4;
    UNROLL
    for (int i = 0; i < WARP_TILES * WARP_COLS; i++) {
        own.tiles[i / WARP_COLS][i % WARP_COLS].clear();
        UNROLL
        for (int j = 0; j < 4; j++) own.acc[i / WARP_COLS][i % WARP_COLS][j] = 0;
    }

    stage.begin(args, job, first_row, first_col);
    stage.load(args, job, 0, 0);
    COPY_COMMIT();
    for (uint32_t unit = 0; unit < job.w.units; unit++) {
        UNROLL
        for (uint32_t group = 0; group < GROUPS; group++) {
            if (group + 1 < GROUPS) stage.load(args, job, unit, group + 1);
            else if (unit + 1 < job.w.units) stage.load(args, job, unit + 1, 0);
            COPY_COMMIT();
            COPY_WAIT(1); // for all but the one that has just begun
            __syncthreads();
            own.add_group(stage, unit * GROUPS + group);
            if (group == GROUPS - 1) own.finish_unit(args, job, stage, unit, first_row, first_col);
            __syncthreads(); // until all have read what is copied over next
        }
    }
    COPY_WAIT(0);

    UNROLL
    for (int i = 0; i < WARP_TILES * WARP_COLS * 4; i++) {
        int m = i / 4 / WARP_COLS, c = i / 4 % WARP_COLS, j = i % 4;
        uint32_t row = first_row + own.row + m * TILE_ROWS + j / 2 * 8 + own.g;
        uint32_t col = first_col + own.col + c * TILE_COLS + 2 * own.t + j % 2;
        if (row < job.w.n && col < args.rows) put(args, job.dst + (size_t)col * job.w.n + row, own.acc[m][c][j]);
    }
}

#define MATMUL(F) \
    KERNEL(matmul_##F, Shape<F>::THREADS, MatmulArgs) { matmul<F>(args); }
FOR_EACH_FORMAT(MATMUL)
