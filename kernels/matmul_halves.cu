// Products of weights of 16 bits for many rows of activations. A block has 128 rows of the weight and 64 of activations, a
// warp 64 and 32 of these; all go through the values in chunks of 32, which copies bring to shared memory while those
// before are computed with. Of a row in shared memory a chunk is 64 bytes, so that eight lanes read two whole rows.
#include "copies.cuh"
#include "halves.cuh"

constexpr int ROWS = 128, COLS = 64, THREADS = 128;
constexpr int WARP_TILES = 4; // of rows, for a warp
constexpr int WARP_COLS = 4;  // tiles
constexpr int CHUNK_BYTES = CHUNK_WORDS * 4, ROW_CHUNKS = CHUNK_BYTES / CHUNK;

template <class T> struct Stages {
    static constexpr int PARTS = Cut<T>::PARTS;
    // As many as 48 KB hold.
    static constexpr int COUNT = PARTS == 2 ? 3 : 2;
    static constexpr int X_BYTES = COLS * CHUNK_BYTES, W_BYTES = ROWS * CHUNK_BYTES;
    uint8_t *w, *x; // [COUNT, ROWS, 64], [COUNT, PARTS, COLS, 64]
    Copies<ROWS, ROW_CHUNKS, THREADS> copy_w;
    Copies<COLS, ROW_CHUNKS, THREADS> copy_x;

    // Begins to copy a chunk of each row.
    __device__ __forceinline__ void load(const HalfArgs &args, const HalfJob &job, uint32_t chunk) {
        uint32_t slot = chunk % COUNT;
        copy_w.copy(w + slot * W_BYTES, job.w, chunk * ROW_CHUNKS);
        UNROLL
        for (int p = 0; p < PARTS; p++) {
            const uint32_t *part = args.x + (size_t)p * args.rows * args.chunks * CHUNK_WORDS;
            copy_x.copy(x + (slot * PARTS + p) * X_BYTES, part, chunk * ROW_CHUNKS);
        }
    }
};

template <class T> __device__ __forceinline__ void matmul_halves(const HalfArgs &args) {
    using S = Stages<T>;
    SHARED(uint8_t, w, S::COUNT * S::W_BYTES);
    SHARED(uint8_t, x, S::COUNT * S::PARTS * S::X_BYTES);
    S stages = {w, x, {}, {}};
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t block = blockIdx.y;
    const HalfJob &job = find_job(args, block);
    uint32_t first_row = block * ROWS, first_col = blockIdx.x * COLS, chunks = args.chunks;
    uint32_t own_row = warp / 2 * WARP_TILES * MMA_ROWS, own_col = warp % 2 * WARP_COLS * MMA_COLS;
    stages.copy_w.begin(first_row, job.n, chunks * ROW_CHUNKS);
    stages.copy_x.begin(first_col, args.rows, chunks * ROW_CHUNKS);
    float acc[WARP_TILES][WARP_COLS][4] = {}, unit[WARP_TILES][WARP_COLS][4] = {};

    UNROLL
    for (int s = 0; s < S::COUNT - 1; s++) {
        if (s < (int)chunks) stages.load(args, job, s);
        COPY_COMMIT();
    }
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        COPY_WAIT(S::COUNT - 2);
        // This chunk is there for all, and all have read the one before, which is copied over next.
        __syncthreads();
        if (chunk + S::COUNT - 1 < chunks) stages.load(args, job, chunk + S::COUNT - 1);
        COPY_COMMIT();
        const uint8_t *of_w = w + chunk % S::COUNT * S::W_BYTES + t * CHUNK;
        const uint8_t *of_x = x + chunk % S::COUNT * S::PARTS * S::X_BYTES + t * CHUNK;
        uint32_t rows[WARP_TILES][2][LANE_WORDS];
        UNROLL
        for (int i = 0; i < WARP_TILES * 2; i++) {
            load_lane(rows[i / 2][i % 2], of_w + (own_row + i * 8 + g) * CHUNK_BYTES);
        }
        UNROLL
        for (int c = 0; c < WARP_COLS; c++) {
            uint32_t cols[S::PARTS][LANE_WORDS];
            UNROLL
            for (int p = 0; p < S::PARTS; p++) {
                load_lane(cols[p], of_x + p * S::X_BYTES + (own_col + c * MMA_COLS + g) * CHUNK_BYTES);
            }
            UNROLL
            for (int m = 0; m < WARP_TILES; m++) add_chunk<T>(unit[m][c], rows[m][0], rows[m][1], cols);
        }
        if (chunk % UNIT_CHUNKS != UNIT_CHUNKS - 1 && chunk + 1 < chunks) continue;
        UNROLL
        for (int i = 0; i < WARP_TILES * WARP_COLS * 4; i++) {
            float &value = unit[i / 4 / WARP_COLS][i / 4 % WARP_COLS][i % 4];
            acc[i / 4 / WARP_COLS][i / 4 % WARP_COLS][i % 4] += value;
            value = 0;
        }
    }
    COPY_WAIT(0);

    UNROLL
    for (int i = 0; i < WARP_TILES * WARP_COLS * 4; i++) {
        int m = i / 4 / WARP_COLS, c = i / 4 % WARP_COLS, j = i % 4;
        uint32_t row = first_row + own_row + m * MMA_ROWS + j / 2 * 8 + g;
        uint32_t col = first_col + own_col + c * MMA_COLS + 2 * t + j % 2;
        if (row >= job.n || col >= args.rows) continue;
        put(args, job.dst + (size_t)col * job.n + row, Restored<T>{args}(col, acc[m][c][j]));
    }
}

KERNEL(matmul_F16, THREADS, HalfArgs) { matmul_halves<F16>(args); }
KERNEL(matmul_BF16, THREADS, HalfArgs) { matmul_halves<BF16>(args); }
