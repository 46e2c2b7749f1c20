// Attention on tensor cores, over keys and values that are halves, or become halves without loss, or are whole numbers
// with scales.
//
// Queries and weights are cut into two halves each, of which the second is what the first leaves: so products have the
// 22 bits that attention in f32 has nearly, for twice the work of tensor cores, which are not what is short. Weights that
// were multiplied by values' scales are of any size, and so are three of BF16, which has all exponents that f32 has.
// What a row comes to is fixed: keys in steps of 32, of each step the products of 16 dimensions, then of 16 keys, in
// order. So prompts and single tokens, which are cut differently, get the same bits:
// - a prompt's block has 64 rows, 16 for each warp, which computes all of theirs;
// - where few rows share keys a block has 16. Each warp scores a quarter of a step's keys, and sums a quarter of the
//   dimensions.
// While a step's keys are computed with, its values are copied, and the next keys while values are.
#include "attention.cuh"
#include "mma_cells.cuh"

constexpr int MMA_ROWS = 16;
constexpr int KEY_TILES = STEP / 8;
constexpr uint32_t SCORE_STRIDE = STEP + 8;               // so that half a warp's pairs meet in no bank
constexpr uint32_t SCORE_BYTES = MMA_ROWS * SCORE_STRIDE * sizeof(float);
constexpr uint32_t NOBODY = 0xffffffffu;
constexpr float WEIGHT_BITS = 14;                         // the largest weight is 2^14: small ones stay normal halves

// What was summed of a lane's two rows: of TILES tiles of eight dimensions, columns 2 t and 2 t + 1.
template <int TILES> struct TileSum {
    float largest[2], weights[2], values[TILES][4];

    __device__ __forceinline__ void clear() {
        UNROLL
        for (int r = 0; r < 2; r++) largest[r] = -INFINITY, weights[r] = 0;
        UNROLL
        for (int i = 0; i < TILES * 4; i++) values[i / 4][i % 4] = 0;
    }
};

// A block: TILES tiles of 16 rows, heads of up to DIMS dimensions.
template <class Cells, int DIMS, int TILES> struct Block {
    static constexpr int SHARERS = WARPS / TILES; // warps of a tile
    static constexpr int ROWS = TILES * MMA_ROWS;
    static constexpr int OWN_KEYS = KEY_TILES / SHARERS;
    static constexpr int OUT_TILES = DIMS / 8 / SHARERS;
    static constexpr bool IN_REGISTERS = SHARERS > 1;
    static constexpr bool HALVES = Cells::KEPT == Kept::halves;
    static constexpr uint32_t QUERY_BYTES = ROWS * DIMS * 2, STEP_BYTES = STEP * DIMS * (HALVES ? 2 : 1);
    static constexpr int GROUPS = DIMS / GROUP;
    static constexpr uint32_t SCALE_BYTES = Cells::SCALED ? 2 * GROUPS * STEP * sizeof(float) : 0;

    const AttentionArgs &args;
    uint8_t *queries; // [2, ROWS, DIMS] halves: the first, then the rest
    uint8_t *keys;    // [STEP, DIMS] halves or bytes
    uint8_t *values;  // [STEP, DIMS] halves or bytes
    float *scores;    // [16, SCORE_STRIDE] where warps share a tile
    float *scales;    // [2, GROUPS, STEP] of keys and of values, where there are any
    uint32_t tile, sharer, lane; // which warp of which tile
    uint32_t kv_head, end;
    const uint32_t *table;
    // Of the lane's two rows: which they are of all, their positions, and what their products are multiplied by.
    uint32_t out[2], positions[2];
    float factors[2];
    float fetched; // the scale that this thread has of the step that is being copied
    TileSum<OUT_TILES> part;
    // Of the spans before: where a warp has many values, these are where the result goes.
    float largest[2], weights_sum[2];
    float2 earlier[IN_REGISTERS ? OUT_TILES : 1][2];

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
            uint32_t column = column_of(i * WARP + lane);
            float scaled = x[i] * up;
            uint16_t first = float_to_half(scaled), rest = float_to_half(scaled - half_to_float(first));
            uint8_t *place = chunk_of<DIMS>(queries, at, column / 8) + column % 8 * 2;
            if (!own) continue;
            *(uint16_t *)place = first;
            *(uint16_t *)(place + QUERY_BYTES) = rest;
        }
        return down * args.scale * Cells::UNIT;
    }

    // Where a dimension of queries lies. Of sixteen keys' bytes a lane has four that are neighbours, and of these every
    // other one in a register: which of a product's dimensions are which is the same on both sides.
    static __device__ __forceinline__ uint32_t column_of(uint32_t dim) {
        return HALVES ? dim : dim / 16 * 16 + dim % 2 * 8 + dim % 16 / 4 * 2 + dim % 4 / 2;
    }

    // Begins to copy the keys or values of a step. What lies beyond all rows' positions is not read: nobody knows what
    // is there.
    __device__ __forceinline__ void load_step(Side side, uint32_t first) {
        if constexpr (HALVES) load_halves(side, first);
        else load_bytes(side, first);
        COPY_COMMIT();
    }

    __device__ __forceinline__ void load_halves(Side side, uint32_t first) {
        constexpr uint32_t AT_ONCE = ATTENTION_THREADS / (DIMS / 8); // keys
        static_assert(AT_ONCE % 8 == 0, "chunks of a thread are in one place of their rows");
        uint32_t head_dim = args.layer.head_dim, key = threadIdx.x / (DIMS / 8), chunk = threadIdx.x % (DIMS / 8);
        uint8_t *place = chunk_of<DIMS>(side == Side::keys ? keys : values, key, chunk);
        UNROLL
        for (uint32_t i = 0; i < STEP; i += AT_ONCE) {
            uint32_t position = first + key + i;
            if (position < end && chunk * 8 < head_dim) {
                const uint8_t *of = ::tile(args.layer, table[position / BLOCK_SIZE], side, kv_head);
                COPY_ASYNC(place + i * DIMS * 2, of + (position % BLOCK_SIZE * head_dim + chunk * 8) * 2);
            } else {
                *(uint4 *)(place + i * DIMS * 2) = uint4{0, 0, 0, 0};
            }
        }
    }

    __device__ __forceinline__ void load_bytes(Side side, uint32_t first) {
        constexpr uint32_t CHUNKS = DIMS / CHUNK, AT_ONCE = ATTENTION_THREADS / CHUNKS; // keys
        uint32_t head_dim = args.layer.head_dim, key = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        UNROLL
        for (uint32_t i = 0; i < STEP; i += AT_ONCE) {
            uint32_t position = first + key + i;
            uint8_t *place = byte_chunk_of<DIMS>(side == Side::keys ? keys : values, key + i, chunk);
            if (position < end && chunk * CHUNK < head_dim) {
                const uint8_t *of = ::tile(args.layer, table[position / BLOCK_SIZE], side, kv_head);
                COPY_ASYNC(place, of + position % BLOCK_SIZE * head_dim + chunk * CHUNK);
            } else {
                *(uint4 *)place = uint4{0, 0, 0, 0};
            }
        }
        if (Cells::SCALED) fetch_scale(side, first);
    }

    __device__ __forceinline__ void fetch_scale(Side side, uint32_t first) {
        uint32_t head_dim = args.layer.head_dim, position = first + threadIdx.x / GROUPS;
        uint32_t dim = threadIdx.x % GROUPS * GROUP;
        fetched = 0;
        if (threadIdx.x < STEP * GROUPS && position < end && dim < head_dim) {
            uint8_t *of = ::tile(args.layer, table[position / BLOCK_SIZE], side, kv_head);
            fetched = half_to_float(*Scaled8::scale(of, position % BLOCK_SIZE, dim, head_dim));
        }
    }

    // Scales come when they are needed, so that nobody waits for them before.
    __device__ __forceinline__ void put_scales(Side side) {
        if constexpr (Cells::SCALED) {
            if (threadIdx.x >= STEP * GROUPS) return;
            scales[((uint32_t)side * GROUPS + threadIdx.x % GROUPS) * STEP + threadIdx.x / GROUPS] = fetched;
        }
    }
    // Those of keys 2 t and 2 t + 1 of a tile.
    __device__ __forceinline__ float2 two_scales(Side side, uint32_t group, uint32_t key_tile) const {
        return *(const float2 *)(scales + ((uint32_t)side * GROUPS + group) * STEP + key_tile * 8 + lane % 4 * 2);
    }

    // Products of the tile's queries with the warp's keys.
    __device__ __forceinline__ void score(float (&products)[OWN_KEYS][4]) {
        UNROLL
        for (int i = 0; i < OWN_KEYS * 4; i++) products[i / 4][i % 4] = 0;
        if constexpr (HALVES) score_halves(products);
        else score_bytes(products);
    }

    // The queries' parts of a product of 16 dimensions: what the halves leave, then the halves.
    __device__ __forceinline__ void query(uint32_t (&q)[4], int step, int part) {
        uint32_t chunk = step * 2 + lane / 16;
        LOAD_MATRICES(q, chunk_of<DIMS>(queries, tile * MMA_ROWS + lane % 16, chunk) + (1 - part) * QUERY_BYTES);
    }

    // Of whole numbers a group's products are scaled, and added in order.
    __device__ __forceinline__ void score_bytes(float (&products)[OWN_KEYS][4]) {
        uint32_t words[4]; // of 16 dimensions each: of two tiles of keys two, or of one tile four, for two groups
        UNROLL
        for (int group = 0; group < GROUPS; group++) {
            uint32_t q[2][2][4];
            UNROLL
            for (int i = 0; i < 4; i++) query(q[i / 2][i % 2], group * 2 + i / 2, i % 2);
            UNROLL
            for (int n = 0; n < OWN_KEYS; n++) {
                if (OWN_KEYS == 1 && group % 2 == 0) {
                    LOAD_MATRICES(words, byte_chunk_of<DIMS>(keys, sharer * 8 + lane % 8, group * 2 + lane / 8));
                } else if (OWN_KEYS > 1 && n % 2 == 0) {
                    uint32_t key = (n + lane / 16) * 8 + lane % 8;
                    LOAD_MATRICES(words, byte_chunk_of<DIMS>(keys, key, group * 2 + lane / 8 % 2));
                }
                float scaled[4] = {}, (&sum)[4] = Cells::SCALED ? scaled : products[n];
                UNROLL
                for (int step = 0; step < 2; step++) {
                    uint32_t word = words[(OWN_KEYS > 1 ? n : group) % 2 * 2 + step];
                    uint32_t k[2] = {Cells::halves(word), Cells::halves(word >> 8)};
                    MMA_F16_K16(sum, q[step][0], k);
                    MMA_F16_K16(sum, q[step][1], k);
                }
                if (!Cells::SCALED) continue;
                float2 scale = two_scales(Side::keys, group, OWN_KEYS > 1 ? n : sharer);
                UNROLL
                for (int i = 0; i < 4; i++) {
                    products[n][i] = fmaf(scaled[i], i % 2 == 0 ? scale.x : scale.y, products[n][i]);
                }
            }
        }
    }

    __device__ __forceinline__ void score_halves(float (&products)[OWN_KEYS][4]) {
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
                uint32_t q[4];
                query(q, step, i);
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
        if constexpr (HALVES) add_halves(weights);
        else add_bytes(weights);
    }

    // Matrices of pairs of bytes, turned, are of two keys the pairs of each of 16 dimensions: a tile of the even ones, and
    // one of the odd ones.
    __device__ __forceinline__ void add_bytes(const float (&weights)[KEY_TILES][4]) {
        constexpr int TILES_AT_ONCE = OUT_TILES < 4 ? OUT_TILES : 4; // of a group, or half of one
        UNROLL
        for (int first = 0; first < OUT_TILES; first += TILES_AT_ONCE) {
            uint32_t chunk = (sharer * OUT_TILES + first) / 2;
            UNROLL
            for (int k = 0; k < KEY_TILES / 2; k++) {
                uint32_t parts[3][4]; // the smallest first
                UNROLL
                for (int i = 0; i < 4; i++) {
                    int key_tile = 2 * k + i / 2;
                    float a = weights[key_tile][i % 2 * 2], b = weights[key_tile][i % 2 * 2 + 1];
                    if constexpr (Cells::SCALED) {
                        float2 scale = two_scales(Side::values, chunk / 2, key_tile);
                        cut_in_three(a * scale.x, b * scale.y, parts[2][i], parts[1][i], parts[0][i]);
                    } else {
                        cut_in_two(a, b, parts[1][i], parts[0][i]);
                    }
                }
                uint32_t pairs[4];
                uint32_t of_lane = TILES_AT_ONCE == 4 ? chunk + lane / 16 : chunk;
                LOAD_MATRICES_TURNED(pairs, byte_chunk_of<DIMS>(values, k * 16 + lane % 16, of_lane));
                UNROLL
                for (int o = 0; o < TILES_AT_ONCE; o++) {
                    uint32_t v[2];
                    UNROLL
                    for (int i = 0; i < 2; i++) {
                        uint32_t four = pairs[o / 2 * 2 + i] >> (o % 2 * 8);
                        v[i] = Cells::SCALED ? bytes_as_bf16(four) : Cells::halves(four);
                    }
                    UNROLL
                    for (int i = 0; i < (Cells::SCALED ? 3 : 2); i++) {
                        if (Cells::SCALED) MMA_BF16_K16(part.values[first + o], parts[i], v);
                        else MMA_F16_K16(part.values[first + o], parts[i], v);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void add_halves(const float (&weights)[KEY_TILES][4]) {
        UNROLL
        for (int k = 0; k < KEY_TILES / 2; k++) {
            uint32_t upper[4], rest[4];
            UNROLL
            for (int i = 0; i < 4; i++) {
                float a = weights[2 * k + i / 2][i % 2 * 2], b = weights[2 * k + i / 2][i % 2 * 2 + 1];
                cut_in_two(a, b, upper[i], rest[i]);
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

    // Of a row, two neighbours among what was summed, and which dimensions these are.
    __device__ __forceinline__ float2 two_values(int o, int r) const {
        if (HALVES) return float2{part.values[o][2 * r], part.values[o][2 * r + 1]};
        // A lane has four neighbours, of which two tiles have every other one.
        return float2{part.values[o / 2 * 2][2 * r + o % 2], part.values[o / 2 * 2 + 1][2 * r + o % 2]};
    }
    __device__ __forceinline__ uint32_t dim_of(int o) const {
        if (HALVES) return (sharer * OUT_TILES + o) * 8 + lane % 4 * 2;
        return (sharer * OUT_TILES + o / 2 * 2) * 8 + lane % 4 * 4 + o % 2 * 2;
    }

    // What came of a span, handed on.
    __device__ __forceinline__ void hand_on(int r, uint32_t span) const {
        float *to = part_of(args, out[r], span);
        if (sharer == 0 && lane % 4 == 0) {
            to[0] = part.largest[r];
            to[1] = part.weights[r];
        }
        UNROLL
        for (int o = 0; o < OUT_TILES; o++) {
            float2 two = two_values(o, r);
            uint32_t dim = dim_of(o);
            if (dim < args.layer.head_dim) *(float2 *)(to + 2 + dim) = float2{two.x * Cells::UNIT, two.y * Cells::UNIT};
        }
    }

    // Joins a span to those before; what the last one leaves is the result.
    __device__ __forceinline__ void join(int r, bool is_last) {
        bool is_seen = part.largest[r] != -INFINITY, has_begun = largest[r] != -INFINITY;
        float both = fmaxf(largest[r], part.largest[r]);
        float mine = has_begun ? power_of_two(largest[r] - both) : 0;
        float others = is_seen ? power_of_two(part.largest[r] - both) : 0;
        largest[r] = both;
        weights_sum[r] = fmaf(weights_sum[r], mine, is_seen ? part.weights[r] * others : 0);
        float times = 1.0f / weights_sum[r], *to = args.dst + (size_t)out[r] * args.layer.head_dim;
        UNROLL
        for (int o = 0; o < OUT_TILES; o++) {
            float2 two = two_values(o, r), before = {0, 0};
            uint32_t dim = dim_of(o);
            if (dim >= args.layer.head_dim) continue;
            if (has_begun) before = IN_REGISTERS ? earlier[IN_REGISTERS ? o : 0][r] : *(const float2 *)(to + dim);
            two.x = fmaf(before.x, mine, is_seen ? two.x * others : 0);
            two.y = fmaf(before.y, mine, is_seen ? two.y * others : 0);
            if (IN_REGISTERS) earlier[IN_REGISTERS ? o : 0][r] = two;
            if (is_last) two = float2{two.x * Cells::UNIT * times, two.y * Cells::UNIT * times};
            if (is_last || !IN_REGISTERS) *(float2 *)(to + dim) = two;
        }
    }

    __device__ __forceinline__ void finish_span(uint32_t span, uint32_t splits, bool is_last) {
        UNROLL
        for (int r = 0; r < 2; r++) {
            if (out[r] == NOBODY) continue;
            if (splits == 1) join(r, is_last);
            else hand_on(r, span);
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
        UNROLL
        for (int r = 0; r < 2; r++) largest[r] = -INFINITY, weights_sum[r] = 0;
        while (first < end) {
            float products[OWN_KEYS][4], weights[KEY_TILES][4];
            COPY_WAIT(0);
            put_scales(Side::keys);
            __syncthreads(); // keys are there, and nobody needs the values of before
            load_step(Side::values, first);
            score(products);
            put_scores(products);
            COPY_WAIT(0);
            put_scales(Side::values);
            __syncthreads(); // values and scores are there, and nobody needs the keys
            uint32_t next = first + STEP;
            if (next % SPAN == 0) next += (splits - 1) * SPAN;
            if (next < end) load_step(Side::keys, next);
            take_scores(products, first, weights);
            weigh(weights);
            add_values(weights);
            if (next / SPAN != first / SPAN || next >= end) finish_span(first / SPAN, splits, next >= end);
            first = next;
        }
    }
};

template <class Cells, int DIMS, int TILES> __device__ __forceinline__ void attend(const AttentionArgs &args) {
    using B = Block<Cells, DIMS, TILES>;
    SHARED(uint8_t, queries, 2 * B::QUERY_BYTES);
    SHARED(uint8_t, keys, B::STEP_BYTES + (B::SHARERS > 1 ? SCORE_BYTES : 0));
    SHARED(uint8_t, values, B::STEP_BYTES + B::SCALE_BYTES);
    Rows rows = find_rows(args);
    if (rows.count == 0) return;
    uint32_t warp = threadIdx.x / WARP;
    B block = {args, queries, keys, values, (float *)(keys + B::STEP_BYTES), (float *)(values + B::STEP_BYTES),
               warp / B::SHARERS, warp % B::SHARERS, threadIdx.x % WARP,
               rows.head / (args.n_heads / args.layer.n_kv_heads),
               args.positions[rows.token + rows.count - 1] + 1,
               args.blocks + args.block_start[rows.seq], {}, {}, {}, {}, {}, {}, {}, {}};
    block.run(rows);
}

#define ATTEND(name, Cells)                                                                                     \
    KERNEL(attention_mma_##name##_64_16, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 64, 1>(args); }       \
    KERNEL(attention_mma_##name##_64_64, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 64, 4>(args); }       \
    KERNEL(attention_mma_##name##_128_16, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 128, 1>(args); }     \
    KERNEL(attention_mma_##name##_128_64, ATTENTION_THREADS, AttentionArgs) { attend<Cells, 128, 4>(args); }
ATTEND(F16, HalfCells)
ATTEND(F8E4M3, Fp8Cells)
ATTEND(Q8_0, Scaled8Cells)
