// Attention in f32 without tensor cores, for heads and types of cells that attention_mma.cu does not take, and what joins
// the spans of either.
#include "attention.cuh"

// What was summed of a row: the largest score, the sum of weights, and this lane's weighted values.
template <int D> struct Sum {
    float largest, weights, values[D];

    __device__ __forceinline__ void clear() {
        largest = -INFINITY;
        weights = 0;
        for (int i = 0; i < D; i++) values[i] = 0;
    }

    // Adds what comes after.
    __device__ __forceinline__ void join(const Sum &next) {
        if (next.largest == -INFINITY) return;
        float both = fmaxf(largest, next.largest);
        float mine = power_of_two(largest - both), others = power_of_two(next.largest - both);
        largest = both;
        weights = fmaf(weights, mine, next.weights * others);
        for (int i = 0; i < D; i++) values[i] = fmaf(values[i], mine, next.values[i] * others);
    }

    __device__ __forceinline__ void write(float *dst, uint32_t head_dim) const {
        uint32_t lane = threadIdx.x % WARP;
        float times = 1.0f / weights;
        for (int i = 0; i < D; i++) {
            if (lane + i * WARP < head_dim) dst[lane + i * WARP] = values[i] * times;
        }
    }
};

// Reads the keys or the values of a step. What lies beyond all rows' positions is not read: nobody knows what
// is there.
template <class Cell, int WIDTH>
__device__ __forceinline__ void load_step(const AttentionArgs &args, Side side, uint32_t kv_head,
                                          const uint32_t *table, uint32_t first, uint32_t end, float *cells) {
    uint32_t head_dim = args.layer.head_dim;
    __syncthreads(); // until what was there has been read
    for (uint32_t at = threadIdx.x; at < STEP * head_dim; at += ATTENTION_THREADS) {
        uint32_t key = at / head_dim, i = at % head_dim, position = first + key;
        float x = 0;
        if (position < end) {
            const uint8_t *from = tile(args.layer, table[position / BLOCK_SIZE], side, kv_head);
            x = Cell::load(from, position % BLOCK_SIZE, i, head_dim);
        }
        cells[key * WIDTH + i] = x;
    }
    __syncthreads();
}

// Head dimensions up to 32 D, R rows for each warp.
template <class Cell, int D, int R> __device__ __forceinline__ void attend(const AttentionArgs &args) {
    constexpr int DIMS = D * WARP;
    constexpr int WIDTH = DIMS + 1; // odd, so that lanes that read a column meet in no bank
    SHARED(float, queries, WARPS * R * DIMS);
    SHARED(float, cells, STEP * WIDTH);
    Rows rows = find_rows(args);
    if (rows.count == 0) return;
    uint32_t head_dim = args.layer.head_dim, lane = threadIdx.x % WARP, first_row = threadIdx.x / WARP * R;
    uint32_t n_rows = rows.count * rows.heads, kv_head = rows.head / (args.n_heads / args.layer.n_kv_heads);

    for (uint32_t at = threadIdx.x; at < WARPS * R * head_dim; at += ATTENTION_THREADS) {
        uint32_t row = at / head_dim, i = at % head_dim;
        float q = row < n_rows ? args.q[rows.at(args, row) * head_dim + i] : 0;
        queries[row * DIMS + i] = q * args.scale;
    }
    uint32_t positions[R];
    for (int r = 0; r < R; r++) {
        uint32_t row = first_row + r < n_rows ? first_row + r : 0;
        positions[r] = args.positions[rows.token + row / rows.heads];
    }
    uint32_t begin = first_seen(args, args.positions[rows.token]);
    uint32_t end = args.positions[rows.token + rows.count - 1] + 1;
    const uint32_t *table = args.blocks + args.block_start[rows.seq];

    uint32_t splits = splits_of(args, rows.seq);
    if (blockIdx.z >= splits) return;

    Sum<D> sums[R];
    for (int r = 0; r < R; r++) sums[r].clear();
    for (uint32_t span = begin / SPAN + blockIdx.z; span * SPAN < end; span += splits) {
        Sum<D> part[R];
        for (int r = 0; r < R; r++) part[r].clear();
        uint32_t from = span * SPAN > begin ? span * SPAN : begin / STEP * STEP;
        uint32_t to = (span + 1) * SPAN < end ? (span + 1) * SPAN : end;
        for (uint32_t first = from; first < to; first += STEP) {
            load_step<Cell, WIDTH>(args, Side::keys, kv_head, table, first, end, cells);
            float weights[R] = {};
            for (uint32_t i = 0; i < head_dim; i++) {
                float key = cells[lane * WIDTH + i];
                for (int r = 0; r < R; r++) weights[r] = fmaf(queries[(first_row + r) * DIMS + i], key, weights[r]);
            }
            for (int r = 0; r < R; r++) {
                uint32_t position = first + lane;
                bool seen = position <= positions[r] && position >= first_seen(args, positions[r]);
                float score = seen ? weights[r] : -INFINITY;
                float largest = fmaxf(part[r].largest, warp_max(score));
                // Before a row's first key there is nothing to shrink, and no difference of infinities to take.
                float shrink = largest == part[r].largest ? 1 : power_of_two(part[r].largest - largest);
                weights[r] = seen ? power_of_two(score - largest) : 0;
                part[r].largest = largest;
                part[r].weights = fmaf(part[r].weights, shrink, warp_sum(weights[r]));
                for (int i = 0; i < D; i++) part[r].values[i] *= shrink;
            }
            load_step<Cell, WIDTH>(args, Side::values, kv_head, table, first, end, cells);
            for (uint32_t key = 0; key < STEP; key++) {
                float weight[R];
                for (int r = 0; r < R; r++) weight[r] = __shfl_sync(ALL_LANES, weights[r], key);
                for (int i = 0; i < D; i++) {
                    uint32_t at = lane + i * WARP;
                    float value = at < head_dim ? cells[key * WIDTH + at] : 0;
                    for (int r = 0; r < R; r++) part[r].values[i] = fmaf(weight[r], value, part[r].values[i]);
                }
            }
        }
        for (int r = 0; r < R; r++) {
            if (splits == 1) {
                sums[r].join(part[r]);
            } else if (first_row + r < n_rows) {
                float *to_part = part_of(args, rows.at(args, first_row + r), span);
                if (lane == 0) {
                    to_part[0] = part[r].largest;
                    to_part[1] = part[r].weights;
                }
                for (int i = 0; i < D; i++) {
                    if (lane + i * WARP < head_dim) to_part[2 + lane + i * WARP] = part[r].values[i];
                }
            }
        }
    }
    for (int r = 0; r < R && splits == 1; r++) {
        if (first_row + r < n_rows) sums[r].write(args.dst + rows.at(args, first_row + r) * head_dim, head_dim);
    }
}

// Rows that a warp has: two where few rows share keys, as in decoding; eight for prompts.
#define ATTEND(name, Cell...)                                                                  \
    KERNEL(attention_##name##_64_2, ATTENTION_THREADS, AttentionArgs) { attend<Cell, 2, 2>(args); }   \
    KERNEL(attention_##name##_64_8, ATTENTION_THREADS, AttentionArgs) { attend<Cell, 2, 8>(args); }   \
    KERNEL(attention_##name##_128_2, ATTENTION_THREADS, AttentionArgs) { attend<Cell, 4, 2>(args); }  \
    KERNEL(attention_##name##_128_8, ATTENTION_THREADS, AttentionArgs) { attend<Cell, 4, 8>(args); }  \
    KERNEL(attention_##name##_256_2, ATTENTION_THREADS, AttentionArgs) { attend<Cell, 8, 2>(args); }
FOR_EACH_CELL(ATTEND)

// The sequence of a token.
__device__ __forceinline__ uint32_t seq_of(const AttentionArgs &args, uint32_t token) {
    if (args.one_each) return token;
    uint32_t seq = 0;
    while (seq + 1 < args.seqs && args.q_start[seq + 1] <= token) seq++;
    return seq;
}

constexpr uint32_t JOINED = 4; // spans that are read at once

// Joins the spans of each row: a warp for each.
KERNEL(attention_join, WARP, AttentionArgs) {
    uint32_t head_dim = args.layer.head_dim, lane = threadIdx.x, token = blockIdx.x;
    if (splits_of(args, seq_of(args, token)) == 1) return;
    size_t row = (size_t)token * args.n_heads + blockIdx.y;
    uint32_t position = args.positions[token], last = position / SPAN;
    Sum<8> sum;
    sum.clear();
    for (uint32_t first = first_seen(args, position) / SPAN; first <= last; first += JOINED) {
        Sum<8> next[JOINED];
        UNROLL
        for (uint32_t j = 0; j < JOINED; j++) {
            const float *part = part_of(args, row, first + j < last ? first + j : last);
            next[j].largest = part[0];
            next[j].weights = part[1];
            UNROLL
            for (int i = 0; i < 8; i++) {
                next[j].values[i] = lane + i * WARP < head_dim ? part[2 + lane + i * WARP] : 0;
            }
        }
        UNROLL
        for (uint32_t j = 0; j < JOINED; j++) {
            if (first + j <= last) sum.join(next[j]);
        }
    }
    sum.write(args.dst + row * head_dim, head_dim);
}
