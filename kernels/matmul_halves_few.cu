// Products of weights of 16 bits for one to 64 rows of activations, where weights are read once and little is computed with
// each: straight from memory to tensor cores. The four warps of a block have the same rows of the weight and a unit each
// of four, whose values they add in order.
#include "halves.cuh"

constexpr int FEW_WARPS = 4;
constexpr int FEW_THREADS = FEW_WARPS * WARP;

// The rows of a block, before anybody may read activations.
template <int MT> __device__ __forceinline__ void prefetch(const HalfArgs &args) {
    constexpr uint32_t SHARE = MT * MMA_ROWS / FEW_WARPS;
    uint32_t block = blockIdx.x;
    const HalfJob &job = find_job(args, block);
    uint32_t first = block * MT * MMA_ROWS + threadIdx.x / WARP * SHARE;
    if (threadIdx.x % WARP != 0 || first >= job.n) return;
    size_t rows = SHARE < job.n - first ? SHARE : job.n - first, row = (size_t)args.chunks * CHUNK_WORDS;
    PREFETCH(job.w + first * row, rows * row * 4);
}

// 16 MT rows of the weight times 8 NT of activations.
template <class T, int MT, int NT> __device__ __forceinline__ void matmul_few(const HalfArgs &args) {
    constexpr int ROWS = MT * MMA_ROWS, PARTS = Cut<T>::PARTS;
    using Sums = Shares<FEW_WARPS, ROWS, NT * MMA_COLS>;
    SHARED(float, shares, Sums::LEN);
    Sums sums = {shares, {}};
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t block = blockIdx.x;
    const HalfJob &job = find_job(args, block);
    uint32_t chunks = args.chunks, units = (chunks + UNIT_CHUNKS - 1) / UNIT_CHUNKS;
    uint32_t first_row = block * ROWS, first_col = blockIdx.y * NT * MMA_COLS;
    size_t part_words = (size_t)args.rows * chunks * CHUNK_WORDS;
    // Chunks before a row's. Beyond the edges the last row stands in; what it gives is not written.
    uint32_t rows[MT * 2], cols[NT];
    UNROLL
    for (int i = 0; i < MT * 2; i++) {
        uint32_t row = first_row + i * 8 + g;
        rows[i] = (row < job.n ? row : job.n - 1) * chunks;
    }
    UNROLL
    for (int c = 0; c < NT; c++) {
        uint32_t col = first_col + c * MMA_COLS + g;
        cols[c] = (col < args.rows ? col : args.rows - 1) * chunks;
    }
    for (uint32_t first = 0; first < units; first += FEW_WARPS) {
        uint32_t begin = (first + warp) * UNIT_CHUNKS, end = begin + UNIT_CHUNKS < chunks ? begin + UNIT_CHUNKS : chunks;
        float unit[MT][NT][4] = {};
        UNROLL_BY(NT > 2 ? 1 : 4)
        for (uint32_t chunk = begin; chunk < end; chunk++) {
            uint32_t w[MT * 2][LANE_WORDS];
            UNROLL
            for (int i = 0; i < MT * 2; i++) {
                load_lane(w[i], job.w + (size_t)(rows[i] + chunk) * CHUNK_WORDS + t * LANE_WORDS);
            }
            UNROLL
            for (int c = 0; c < NT; c++) {
                uint32_t x[PARTS][LANE_WORDS];
                UNROLL
                for (int p = 0; p < PARTS; p++) {
                    const uint32_t *part = args.x + p * part_words;
                    load_lane(x[p], part + (size_t)(cols[c] + chunk) * CHUNK_WORDS + t * LANE_WORDS);
                }
                UNROLL
                for (int m = 0; m < MT; m++) add_chunk<T>(unit[m][c], w[2 * m], w[2 * m + 1], x);
            }
        }
        UNROLL
        for (int i = 0; i < MT * NT * 4; i++) {
            int m = i / 4 / NT, c = i / 4 % NT, j = i % 4;
            uint32_t row = m * MMA_ROWS + j / 2 * 8 + g, col = c * MMA_COLS + 2 * t + j % 2;
            sums.share(warp, row, col) = unit[m][c][j];
        }
        sums.add();
    }
    sums.put_all(args, job.dst, job.n, first_row, first_col, Restored<T>{args});
}

#define FEW_OF(COLS, MT, NT, T)                                                       \
    KERNEL_AHEAD(matmul_##COLS##_##T, FEW_THREADS, HalfArgs, (prefetch<MT>(args))) {   \
        matmul_few<T, MT, NT>(args);                                                  \
    }
#define FEW(T) FEW_OF(8, 1, 1, T) FEW_OF(16, 2, 2, T) FEW_OF(32, 2, 4, T)
FEW(F16)
FEW(BF16)
