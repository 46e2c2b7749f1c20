// Attention on tensor cores, over keys and values that are halves, or become halves without loss.
//
// Queries and weights are cut into two halves each, of which the second is what the first leaves: so products have the
// 22 bits that attention in f32 has nearly, for twice the work of tensor cores, which are not what is short. What a row
// comes to is fixed: keys in steps of 32, of each step the products of 16 dimensions, then of 16 keys, in order. So
// prompts and single tokens, which are cut differently, get the same bits:
// - a prompt's block has 64 rows, 16 for each warp, which computes all of theirs;
// - where few rows share keys a block has 16. Each warp scores a quarter of a step's keys, and sums a quarter of the
//   dimensions.
// While a step's keys are computed with, its values are copied, and the next keys while values are.
#include "attention.cuh"
#include "mma.cuh"

constexpr int MMA_ROWS = 16;
constexpr int KEY_TILES = STEP / 8;
constexpr int CHUNK = 16;                                 // bytes, of eight halves
constexpr uint32_t SCORE_STRIDE = STEP + 8;               // so that half a warp's pairs meet in no bank
constexpr uint32_t SCORE_BYTES = MMA_ROWS * SCORE_STRIDE * sizeof(float);
constexpr uint32_t NOBODY = 0xffffffffu;
constexpr float WEIGHT_BITS = 14;                         // the largest weight is 2^14: small ones stay normal halves

// How eight cells become a chunk of halves in shared memory.
struct HalfCells {
    static constexpr uint32_t BYTES = 2;
    static constexpr float UNIT = 1; // what a half of 1 stands for
    static __device__ __forceinline__ void copy(uint8_t *to, const uint8_t *from) { COPY_ASYNC(to, from); }
};
// E4M3's bits are a half's, of 2^-8 of the value.
struct Fp8Cells {
    static constexpr uint32_t BYTES = 1;
    static constexpr float UNIT = 256;
    static __device__ __forceinline__ uint32_t widen(uint32_t two) {
        uint32_t codes = __byte_perm(two, 0, 0x4140), magnitude = codes & 0x007f007fu;
        uint32_t nan = (magnitude + 0x00010001u) >> 7 & 0x00010001u;
        return magnitude << 7 | (codes & 0x00800080u) << 8 | nan * 0x7c00u;
    }
    static __device__ __forceinline__ void copy(uint8_t *to, const uint8_t *from) {
        uint2 x = *(const uint2 *)from;
        *(uint4 *)to = uint4{widen(x.x), widen(x.x >> 16), widen(x.y), widen(x.y >> 16)};
    }
};

// Chunk `chunk` of a row of DIMS halves. Chunks change places by rows, so that eight rows' meet in no bank.
template <int DIMS> __device__ __forceinline__ uint8_t *chunk_of(uint8_t *rows, uint32_t row, uint32_t chunk) {
    return rows + (row * (DIMS / 8) + (chunk ^ row % 8)) * CHUNK;
}

// What was summed of a lane's two rows: of TILES tiles of eight dimensions, columns 2 t and 2 t + 1.
template <int TILES> struct TileSum {
    float largest[2], weights[2], values[TILES][4];

    __device__ __forceinline__ void clear() {
        UNROLL
        for (int r = 0; r < 2; r++) largest[r] = -INFINITY, weights[r] = 0;
        UNROLL
        for (int i = 0; i < TILES * 4; i++) values[i / 4][i % 4] = 0;
    }

    // Adds what comes after.
    __device__ __forceinline__ void join(const TileSum &next) {
        UNROLL
        for (int r = 0; r < 2; r++) {
            if (next.largest[r] == -INFINITY) continue;
            float both = fmaxf(largest[r], next.largest[r]);
            float mine = power_of_two(largest[r] - both), others = power_of_two(next.largest[r] - both);
            largest[r] = both;
            weights[r] = fmaf(weights[r], mine, next.weights[r] * others);
            UNROLL
            for (int i = 0; i < TILES * 2; i++) {
                float &value = values[i / 2][2 * r + i % 2];
                value = fmaf(value, mine, next.values[i / 2][2 * r + i % 2] * others);
            }
        }
    }
};

// A block: TILES tiles of 16 rows, heads of up to DIMS dimensions.
template <class Cells, int DIMS, int TILES> struct Block {
    static constexpr int SHARERS = WARPS / TILES; // warps of a tile
    static constexpr int ROWS = TILES * MMA_ROWS;
    static constexpr int OWN_KEYS = KEY_TILES / SHARERS;
    static constexpr int OUT_TILES = DIMS / 8 / SHARERS;
    static constexpr uint32_t QUERY_BYTES = ROWS * DIMS * 2, STEP_BYTES = STEP * DIMS * 2;

    const AttentionArgs &args;
    uint8_t *queries; // [2, ROWS, DIMS] halves: the first, then the rest
    uint8_t *keys;    // [STEP, DIMS] halves
    uint8_t *values;  // [STEP, DIMS] halves
    float *scores;    // [16, SCORE_STRIDE] where warps share a tile
    uint32_t tile, sharer, lane; // which warp of which tile
    uint32_t kv_head, end;
    const uint32_t *table;
    // Of the lane's two rows: which they are of all, their positions, and what their products are multiplied by.
    uint32_t out[2], positions[2];
    float factors[2];
    TileSum<OUT_TILES> part, sum;

    // Cuts queries into halves. Every warp sees all rows of its tile, for their factors, and writes its share of them.
    __device__ __forceinline__ void load_queries(const Rows &rows) {
        UNROLL
        for (int half = 0; half < 2; half++) {
            for (uint32_t r = 0; r < 8; r++) {
                float factor = load_query(rows, tile * MMA_ROWS + half * 8 + r, r % SHARERS == sharer);
                if (r == lane / 4) factors[half] = factor;
            }
        }
    }

    // A row, first multiplied by the power of two that brings its largest just below 2^15; what its products are to be
    // multiplied by.
    __device__ __forceinline__ float load_query(const Rows &rows, uint32_t at, bool own) {
        uint32_t head_dim = args.layer.head_dim, n_rows = rows.count * rows.heads, largest = 0;
        const float *q = args.q + rows.at(args, at < n_rows ? at : 0) * head_dim;
        float x[DIMS / WARP];
        UNROLL
        for (uint32_t i = 0; i < DIMS / WARP; i++) {
            x[i] = at < n_rows && i * WARP + lane < head_dim ? q[i * WARP + lane] : 0;
            uint32_t magnitude = __float_as_uint(x[i]) & 0x7fffffffu;
            largest = magnitude > largest ? magnitude : largest;
        }
        for (int with = 1; with < WARP; with *= 2) {
            uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
            largest = other > largest ? other : largest;
        }
        // What holds anything but finite numbers becomes no number; what is tiny stays small.
        uint32_t exponent = largest >> 23 > 15 ? largest >> 23 : 15;
        float up = __uint_as_float(exponent == 255 ? 0x7fc00000u : (268 - exponent) << 23);
        float down = __uint_as_float((exponent - 14) << 23);
        UNROLL
        for (uint32_t i = 0; i < DIMS / WARP; i++) {
            uint32_t dim = i * WARP + lane;
            float scaled = x[i] * up;
            uint16_t first = float_to_half(scaled), rest = float_to_half(scaled - half_to_float(first));
            uint8_t *place = chunk_of<DIMS>(queries, at, dim / 8) + dim % 8 * 2;
            if (!own) continue;
            *(uint16_t *)place = first;
            *(uint16_t *)(place + QUERY_BYTES) = rest;
        }
        return down * args.scale * Cells::UNIT;
    }

    // Begins to copy the keys or values of a step. What lies beyond all rows' positions is not read: nobody knows what
    // is there.
    __device__ __forceinline__ void load_step(Side side, uint32_t first) {
        constexpr uint32_t AT_ONCE = ATTENTION_THREADS / (DIMS / 8); // keys
        static_assert(AT_ONCE % 8 == 0, "chunks of a thread are in one place of their rows");
        uint32_t head_dim = args.layer.head_dim, key = threadIdx.x / (DIMS / 8), chunk = threadIdx.x % (DIMS / 8);
        uint8_t *place = chunk_of<DIMS>(side == Side::keys ? keys : values, key, chunk);
        UNROLL
        for (uint32_t i = 0; i < STEP; i += AT_ONCE) {
            uint32_t position = first + key + i;
            if (position < end && chunk * 8 < head_dim) {
                const uint8_t *of = ::tile(args.layer, table[position / BLOCK_SIZE], side, kv_head);
                Cells::copy(place + i * DIMS * 2, of + (position % BLOCK_SIZE * head_dim + chunk * 8) * Cells::BYTES);
            } else {
                *(uint4 *)(place + i * DIMS * 2) = uint4{0, 0, 0, 0};
            }
        }
        COPY_COMMIT();
    }

    // Products of the tile's queries with the warp's keys.
    __device__ __forceinline__ void score(float (&products)[OWN_KEYS][4]) {
        UNROLL
        for (int i = 0; i < OWN_KEYS * 4; i++) products[i / 4][i % 4] = 0;
        uint32_t k[OWN_KEYS > 1 ? OWN_KEYS : 2][2]; // of 16 dimensions; of one tile of keys, of twice as many
        UNROLL
        for (int step = 0; step < DIMS / 16; step++) {
            UNROLL
            for (int n = 0; n < OWN_KEYS; n += 2) {
                uint32_t four[4];
                if (OWN_KEYS > 1) {
                    uint32_t key = (n + lane / 16) * 8 + lane % 8;
                    LOAD_MATRICES(four, chunk_of<DIMS>(keys, key, step * 2 + lane / 8 % 2));
                } else if (step % 2 == 0) {
                    LOAD_MATRICES(four, chunk_of<DIMS>(keys, sharer * 8 + lane % 8, step * 2 + lane / 8));
                } else {
                    continue;
                }
                k[n][0] = four[0], k[n][1] = four[1], k[n + 1][0] = four[2], k[n + 1][1] = four[3];
            }
            UNROLL
            for (int i = 0; i < 2; i++) {
                // What the halves leave first, since it is smaller.
                uint32_t q[4], chunk = step * 2 + lane / 16;
                LOAD_MATRICES(q, chunk_of<DIMS>(queries, tile * MMA_ROWS + lane % 16, chunk) + (1 - i) * QUERY_BYTES);
                UNROLL
                for (int n = 0; n < OWN_KEYS; n++) MMA_F16_K16(products[n], q, (k[OWN_KEYS > 1 ? n : step % 2]));
            }
        }
    }

    // Hands products on, where warps share a tile.
    __device__ __forceinline__ void put_scores(const float (&products)[OWN_KEYS][4]) {
        if constexpr (SHARERS > 1) {
            float *to = scores + lane / 4 * SCORE_STRIDE + sharer * 8 + lane % 4 * 2;
            *(float2 *)to = float2{products[0][0], products[0][1]};
            *(float2 *)(to + 8 * SCORE_STRIDE) = float2{products[0][2], products[0][3]};
        }
    }

    // All scores of a step: -infinity for keys that a row does not see.
    __device__ __forceinline__ void take_scores(const float (&products)[OWN_KEYS][4], uint32_t first,
                                                float (&all)[KEY_TILES][4]) {
        uint32_t t = lane % 4;
        UNROLL
        for (int i = 0; i < KEY_TILES * 4; i++) {
            int n = i / 4, r = i / 2 % 2;
            uint32_t key = n * 8 + 2 * t + i % 2, position = first + key;
            float product;
            if constexpr (SHARERS > 1) product = scores[(lane / 4 + 8 * r) * SCORE_STRIDE + key];
            else product = products[n][i % 4];
            bool seen = position <= positions[r] && positions[r] - position < args.window;
            all[n][i % 4] = seen ? product * factors[r] : -INFINITY;
        }
    }

    // Scores become weights, and what was summed shrinks if there is a larger one.
    __device__ __forceinline__ void weigh(float (&all)[KEY_TILES][4]) {
        UNROLL
        for (int r = 0; r < 2; r++) {
            float largest = part.largest[r];
            UNROLL
            for (int i = 0; i < KEY_TILES * 2; i++) largest = fmaxf(largest, all[i / 2][2 * r + i % 2]);
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
            // Before a row's first key there is nothing to shrink, and no difference of infinities to take.
            float shrink = largest == part.largest[r] ? 1 : power_of_two(part.largest[r] - largest), weights = 0;
            UNROLL
            for (int i = 0; i < KEY_TILES * 2; i++) {
                float &score = all[i / 2][2 * r + i % 2];
                score = score == -INFINITY ? 0 : power_of_two(score - (largest - WEIGHT_BITS));
                weights += score;
            }
            weights += __shfl_xor_sync(ALL_LANES, weights, 1);
            weights += __shfl_xor_sync(ALL_LANES, weights, 2);
            part.largest[r] = largest;
            part.weights[r] = fmaf(part.weights[r], shrink, weights);
            // Most steps have no larger one, for any row of the warp.
            if (__ballot_sync(ALL_LANES, shrink != 1) == 0) continue;
            UNROLL
            for (int i = 0; i < OUT_TILES * 2; i++) part.values[i / 2][2 * r + i % 2] *= shrink;
        }
    }

    // Adds the step's values, by weight. A product's result lies as the next one's first factor does.
    __device__ __forceinline__ void add_values(const float (&weights)[KEY_TILES][4]) {
        UNROLL
        for (int k = 0; k < KEY_TILES / 2; k++) {
            uint32_t upper[4], rest[4];
            UNROLL
            for (int i = 0; i < 4; i++) {
                float a = weights[2 * k + i / 2][i % 2 * 2], b = weights[2 * k + i / 2][i % 2 * 2 + 1];
                upper[i] = two_halves(a, b);
                rest[i] = two_halves(a - half_to_float((uint16_t)upper[i]), b - half_to_float((uint16_t)(upper[i] >> 16)));
            }
            UNROLL
            for (int o = 0; o < OUT_TILES; o += 2) {
                uint32_t v[4];
                LOAD_MATRICES_TURNED(v, chunk_of<DIMS>(values, k * 16 + lane % 16, sharer * OUT_TILES + o + lane / 16));
                MMA_F16_K16(part.values[o], rest, v);
                MMA_F16_K16(part.values[o + 1], rest, (v + 2));
                MMA_F16_K16(part.values[o], upper, v);
                MMA_F16_K16(part.values[o + 1], upper, (v + 2));
            }
        }
    }

    // Writes a row's values, so many times, from `to` on.
    __device__ __forceinline__ void put(float *to, const TileSum<OUT_TILES> &of, int r, float times) const {
        UNROLL
        for (int o = 0; o < OUT_TILES; o++) {
            uint32_t dim = (sharer * OUT_TILES + o) * 8 + lane % 4 * 2;
            float first = of.values[o][2 * r] * Cells::UNIT * times, second = of.values[o][2 * r + 1] * Cells::UNIT * times;
            if (dim < args.layer.head_dim) *(float2 *)(to + dim) = float2{first, second};
        }
    }

    // What came of a span: joined to those before, or handed on.
    __device__ __forceinline__ void finish_span(uint32_t span, uint32_t splits) {
        if (splits == 1) sum.join(part);
        UNROLL
        for (int r = 0; r < 2; r++) {
            if (splits == 1 || out[r] == NOBODY) continue;
            float *to_part = part_of(args, out[r], span);
            if (sharer == 0 && lane % 4 == 0) {
                to_part[0] = part.largest[r];
                to_part[1] = part.weights[r];
            }
            put(to_part + 2, part, r, 1);
        }
        part.clear();
    }

    __device__ __forceinline__ void run(const Rows &rows) {
        uint32_t splits = splits_of(args, rows.seq);
        uint32_t begin = first_seen(args, args.positions[rows.token]), first = (begin / SPAN + blockIdx.z) * SPAN;
        first = first > begin ? first : begin / STEP * STEP;
        if (blockIdx.z >= splits || first >= end) return;
        load_step(Side::keys, first);
        load_queries(rows);
        UNROLL
        for (int r = 0; r < 2; r++) {
            uint32_t row = tile * MMA_ROWS + lane / 4 + 8 * r;
            bool is_one = row < rows.count * rows.heads;
            out[r] = is_one ? (uint32_t)rows.at(args, row) : NOBODY;
            positions[r] = args.positions[rows.token + (is_one ? row / rows.heads : 0)];
        }
        part.clear();
        sum.clear();
        while (first < end) {
            float products[OWN_KEYS][4], weights[KEY_TILES][4];
            COPY_WAIT(0);
            __syncthreads(); // keys are there, and nobody needs the values of before
            load_step(Side::values, first);
            score(products);
            put_scores(products);
            COPY_WAIT(0);
            __syncthreads(); // values and scores are there, and nobody needs the keys
            uint32_t next = first + STEP;
            if (next % SPAN == 0) next += (splits - 1) * SPAN;
            if (next < end) load_step(Side::keys, next);
            take_scores(products, first, weights);
            weigh(weights);
            add_values(weights);
            if (next / SPAN != first / SPAN || next >= end) finish_span(first / SPAN, splits);
            first = next;
        }
        UNROLL
        for (int r = 0; r < 2; r++) {
            if (splits != 1 || out[r] == NOBODY) continue;
            put(args.dst + (size_t)out[r] * args.layer.head_dim, sum, r, 1.0f / sum.weights[r]);
        }
    }
};

template <class Cells, int DIMS, int TILES> __device__ __forceinline__ void attend(const AttentionArgs &args) {
    using B = Block<Cells, DIMS, TILES>;
    SHARED(uint8_t, queries, 2 * B::QUERY_BYTES);
    SHARED(uint8_t, keys, B::STEP_BYTES + (B::SHARERS > 1 ? SCORE_BYTES : 0));
    SHARED(uint8_t, values, B::STEP_BYTES);
    Rows rows = find_rows(args);
    if (rows.count == 0) return;
    uint32_t warp = threadIdx.x / WARP;
    B block = {args, queries, keys, values, (float *)(keys + B::STEP_BYTES),
               warp / B::SHARERS, warp % B::SHARERS, threadIdx.x % WARP,
               rows.head / (args.n_heads / args.layer.n_kv_heads),
               args.positions[rows.token + rows.count - 1] + 1,
               args.blocks + args.block_start[rows.seq], {}, {}, {}, {}, {}};
    block.run(rows);
}

#define ATTEND(name, Cells)                                                                                     \
    KERNEL(attention_mma_##name##_64_16, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 64, 1>(args); }       \
    KERNEL(attention_mma_##name##_64_64, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 64, 4>(args); }       \
    KERNEL(attention_mma_##name##_128_16, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 128, 1>(args); }     \
    KERNEL(attention_mma_##name##_128_64, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 128, 4>(args); }
ATTEND(F16, HalfCells)
ATTEND(F8E4M3, Fp8Cells)
