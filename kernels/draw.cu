// Draws a token from each row of logits: biases, penalties, bans and a grammar's mask, then the largest, or
// temperature, top-k, top-p, min-p and a draw. A block for each row.
//
// The float operations are those of the engine's own sampler, in its order, so that both draw the same token from the
// same logits. Nothing is sorted. Each restriction ends as a border, the worst token that it keeps, in the order
// "larger logit first, lower id first"; what a token weighs is computed again wherever it is needed. Sums that find
// borders are integers, so that the order in which threads add does not matter.
#include "common.cuh"

constexpr int DRAW_THREADS = 512;
constexpr uint32_t NO_TOKEN = 0xffffffffu;
constexpr uint32_t SUM_BLOCK = 256;  // weights that are summed before they are added to others
constexpr uint32_t SUM_LANES = 16;   // sums within a block, each of every 16th weight
constexpr uint32_t MAX_BLOCKS = 1024;
constexpr uint32_t BUCKETS = 1024;   // by distance from the largest logit
constexpr uint32_t READ_AHEAD = 8;   // logits that a thread reads before it writes any
constexpr float PER_NAT = 64.0f;     // buckets
constexpr float FIXED = 0x1p45f;     // weights of 0 to 1 as integers, of which 2^18 do not overflow

struct DrawRow {
    uint32_t row; // of the logits
    // Where the row's edits begin and end: biases, in the order of their tokens; tokens seen; tokens banned.
    uint32_t biases, seen, banned, end;
    uint32_t mask; // which, from 1 on; 0 for none
    float scale;   // one over the temperature; 0 to take the largest
    uint32_t top_k;
    float top_p, min_p;
    float repetition, frequency, presence;
    uint32_t unused;
    double uniform; // what is drawn with, in [0, 1)
};

struct DrawEdit {
    uint32_t token;
    uint32_t value; // a bias's bits; or twice the times in the output, and one if it is in the prompt
};

struct DrawArgs {
    uint32_t *dst;         // [rows]
    float *logits;         // [.., vocab]
    const DrawRow *rows;   // [rows]
    const DrawEdit *edits; // of all rows
    const uint32_t *masks; // [masks, ceil(vocab / 32)]
    uint32_t vocab;
    uint32_t unused;
};

// NaN can never be chosen, infinity is the largest number, and there is one zero.
__device__ __forceinline__ float comparable(float x) {
    if (!(x == x)) return -INFINITY;
    return (x < 3.402823466e+38f ? x : 3.402823466e+38f) + 0.0f;
}

// exp of what is not positive, 0 below -87: the engine's, to the bit.
__device__ __forceinline__ float exp_down(float x) {
    const float shift = 12582912.0f;
    float clamped = x > -87.0f ? x : -87.0f;
    float shifted = clamped * 1.44269504f + shift;
    float n = shifted - shift;
    float r = clamped - n * 0.6933594f - n * -2.1219444e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 0.16666665f;
    p = p * r + 0.5f;
    float mantissa = p * r * r + r + 1.0f;
    uint32_t exponent = (__float_as_uint(shifted) - __float_as_uint(shift) + 127u) << 23;
    return x > -87.0f ? mantissa * __uint_as_float(exponent) : 0.0f;
}

// Larger for larger numbers.
__device__ __forceinline__ uint32_t key_of(float x) {
    uint32_t bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A row on its way to a token. The same in each thread.
struct Choice {
    const float *logits;
    uint32_t vocab;
    float max, scale, min_p;
    uint32_t border_key, border_id; // the worst token that is kept

    __device__ __forceinline__ bool keeps(float x, uint32_t id) const {
        uint32_t key = key_of(x);
        return key > border_key || (key == border_key && id <= border_id);
    }
    __device__ __forceinline__ float raw_weight(float x) const { return exp_down((x - max) * scale); }
    __device__ __forceinline__ float weight(uint32_t id) const {
        float x = logits[id], weight = keeps(x, id) ? raw_weight(x) : 0.0f;
        return weight >= min_p ? weight : 0.0f;
    }
    // Monotonic, so a better logit is never in a worse bucket.
    __device__ __forceinline__ uint32_t bucket(float x) const {
        float at = (max - x) * (scale * PER_NAT);
        return at < (float)(BUCKETS - 1) ? (uint32_t)at : BUCKETS - 1;
    }
};

// Biases, penalties and bans, each token by one thread.
__device__ __forceinline__ void edit(const DrawArgs &args, const DrawRow &row, float *logits) {
    for (uint32_t i = row.biases + threadIdx.x; i < row.seen; i += DRAW_THREADS) {
        uint32_t token = args.edits[i].token;
        if (i > row.biases && args.edits[i - 1].token == token) continue; // whoever has the first has all of them
        float x = comparable(logits[token]);
        for (uint32_t at = i; at < row.seen && args.edits[at].token == token; at++) {
            x = comparable(x + __uint_as_float(args.edits[at].value));
        }
        logits[token] = x;
    }
    __syncthreads();
    for (uint32_t i = row.seen + threadIdx.x; i < row.banned; i += DRAW_THREADS) {
        DrawEdit seen = args.edits[i];
        float x = comparable(logits[seen.token]);
        uint32_t in_output = seen.value / 2;
        x = x > 0.0f ? x / row.repetition : x * row.repetition;
        if (in_output > 0) x -= row.frequency * (float)in_output + row.presence;
        logits[seen.token] = comparable(x);
    }
    __syncthreads();
    for (uint32_t i = row.banned + threadIdx.x; i < row.end; i += DRAW_THREADS) {
        logits[args.edits[i].token] = -INFINITY;
    }
    __syncthreads();
}

// Makes logits comparable and leaves only the mask's tokens possible; the best, as its key and then the complement of
// its id.
__device__ __forceinline__ uint64_t settle(const DrawArgs &args, const DrawRow &row, float *logits) {
    SHARED(uint64_t, bests, DRAW_THREADS / WARP);
    const uint32_t *mask = args.masks + (size_t)(row.mask - 1) * ((args.vocab + 31) / 32);
    uint64_t best = 0;
    for (uint32_t first = threadIdx.x; first < args.vocab; first += READ_AHEAD * DRAW_THREADS) {
        float x[READ_AHEAD];
        UNROLL
        for (uint32_t i = 0; i < READ_AHEAD; i++) {
            uint32_t id = first + i * DRAW_THREADS;
            x[i] = id < args.vocab ? logits[id] : 0;
        }
        UNROLL
        for (uint32_t i = 0; i < READ_AHEAD; i++) {
            uint32_t id = first + i * DRAW_THREADS;
            if (id >= args.vocab) break;
            x[i] = comparable(x[i]);
            if (row.mask != 0 && !(mask[id / 32] >> (id % 32) & 1)) x[i] = -INFINITY;
            logits[id] = x[i];
            uint64_t own = (uint64_t)key_of(x[i]) << 32 | (uint32_t)~id;
            best = own > best ? own : best;
        }
    }
    for (int with = 1; with < WARP; with *= 2) {
        uint32_t high = __shfl_xor_sync(ALL_LANES, (uint32_t)(best >> 32), with);
        uint32_t low = __shfl_xor_sync(ALL_LANES, (uint32_t)best, with);
        uint64_t other = (uint64_t)high << 32 | low;
        best = other > best ? other : best;
    }
    if (threadIdx.x % WARP == 0) bests[threadIdx.x / WARP] = best;
    __syncthreads(); // what was written is there for all, too
    best = 0;
    for (int warp = 0; warp < DRAW_THREADS / WARP; warp++) best = bests[warp] > best ? bests[warp] : best;
    return best;
}

// What a token counts for: one, or its weight.
enum class Counting { tokens, weights };

template <Counting BY> __device__ __forceinline__ uint64_t count_of(const Choice &choice, float x) {
    return BY == Counting::tokens ? 1 : (uint64_t)(choice.raw_weight(x) * FIXED);
}

// Fills counts[digit(id, x)] with what tokens count for; `digit` is BUCKETS for those that do not. The last of `n`
// counts is gathered by each thread on its own, since most tokens may be there.
template <Counting BY, class Digit>
__device__ __forceinline__ void fill(const Choice &choice, uint64_t *counts, uint32_t n, Digit digit) {
    __syncthreads(); // until what was there has been read
    for (uint32_t i = threadIdx.x; i < n; i += DRAW_THREADS) counts[i] = 0;
    __syncthreads();
    uint64_t last = 0;
    for (uint32_t id = threadIdx.x; id < choice.vocab; id += DRAW_THREADS) {
        float x = choice.logits[id];
        uint32_t at = choice.keeps(x, id) ? digit(id, x) : BUCKETS;
        if (at >= n) continue;
        uint64_t count = count_of<BY>(choice, x);
        if (at == n - 1) last += count;
        else if (count != 0) add_atomically(&counts[at], count);
    }
    if (last != 0) add_atomically(&counts[n - 1], last);
    __syncthreads();
}

// The first of `n` counts, in order, with which they reach `target`, which is left with what is wanted of it; `n` if
// they never do. Each thread finds the same.
__device__ __forceinline__ uint32_t reach(const uint64_t *counts, uint32_t n, bool backwards, uint64_t &target) {
    UNROLL_BY(4)
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = backwards ? n - 1 - i : i;
        if (counts[at] >= target) return at;
        target -= counts[at];
    }
    return n;
}

// Moves the border to where the best tokens reach `target`. With a `share` the target is that part of all weights.
template <Counting BY> __device__ __forceinline__ void move_border(Choice &choice, uint64_t target, float share) {
    SHARED(uint64_t, counts, BUCKETS);
    fill<BY>(choice, counts, BUCKETS, [&](uint32_t, float x) { return choice.bucket(x); });
    if (BY == Counting::weights) {
        uint64_t all = 0;
        UNROLL_BY(8)
        for (uint32_t i = 0; i < BUCKETS; i++) all += counts[i];
        double wanted = (double)share * (double)all;
        target = (uint64_t)wanted + ((double)(uint64_t)wanted < wanted ? 1 : 0);
    }
    if (target == 0) target = 1;
    uint32_t bucket = reach(counts, BUCKETS, false, target);
    if (bucket == BUCKETS) return; // all of them are kept
    uint32_t key = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint32_t known = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
        fill<BY>(choice, counts, 257, [&](uint32_t, float x) {
            uint32_t own = key_of(x);
            return choice.bucket(x) == bucket && (own & known) == key ? own >> shift & 255 : BUCKETS;
        });
        // There are no tokens in the last place; it is there because the last is gathered apart.
        uint32_t digit = reach(counts, 256, true, target);
        if (digit == 256) return;
        key |= digit << shift;
    }
    // Of equals those with the lowest ids, as many as are wanted.
    float x = __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
    uint64_t each = count_of<BY>(choice, x);
    uint64_t wanted = each == 0 ? 1 : (target + each - 1) / each;
    uint32_t id = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        uint32_t known = shift == 16 ? 0 : 0xffffffffu << (shift + 8);
        fill<Counting::tokens>(choice, counts, 257, [&](uint32_t own, float y) {
            return key_of(y) == key && (own & known) == id ? own >> shift & 255 : BUCKETS;
        });
        uint32_t digit = reach(counts, 256, false, wanted);
        if (digit == 256) return;
        id |= digit << shift;
    }
    __syncthreads(); // until all threads have read the counts
    choice.border_key = key;
    choice.border_id = id;
}

// sums[b] of each block of weights: 16 sums of every 16th weight, added in order, then what is left over.
__device__ __forceinline__ void sum_blocks(const Choice &choice, double *sums) {
    constexpr uint32_t HALVES = DRAW_THREADS / SUM_LANES;
    SHARED(double, lanes, DRAW_THREADS);
    uint32_t half = threadIdx.x / SUM_LANES, lane = threadIdx.x % SUM_LANES;
    uint32_t blocks = (choice.vocab + SUM_BLOCK - 1) / SUM_BLOCK;
    for (uint32_t first = half / 2 * 2; first < blocks; first += HALVES) {
        uint32_t block = first + half % 2, begin = block * SUM_BLOCK;
        uint32_t end = begin + SUM_BLOCK < choice.vocab ? begin + SUM_BLOCK : choice.vocab;
        uint32_t whole = begin < end ? begin + (end - begin) / SUM_LANES * SUM_LANES : begin;
        double sum = 0;
        for (uint32_t id = begin + lane; id < whole; id += SUM_LANES) sum += (double)choice.weight(id);
        lanes[threadIdx.x] = sum;
        __syncwarp();
        if (lane == 0 && block < blocks) {
            double all = 0, rest = 0;
            for (uint32_t i = 0; i < SUM_LANES; i++) all += lanes[threadIdx.x + i];
            for (uint32_t id = whole; id < end; id++) rest += (double)choice.weight(id);
            sums[block] = all + rest;
        }
        __syncwarp();
    }
    __syncthreads();
}

// The token that `uniform` falls on: walks blocks, then the block's weights.
__device__ __forceinline__ uint32_t walk(const Choice &choice, double uniform) {
    SHARED(double, sums, MAX_BLOCKS);
    SHARED(float, weights, SUM_BLOCK);
    sum_blocks(choice, sums);
    uint32_t blocks = (choice.vocab + SUM_BLOCK - 1) / SUM_BLOCK, block = 0;
    double all = 0;
    for (uint32_t i = 0; i < blocks; i++) all += sums[i];
    double left = uniform * all;
    while (block + 1 < blocks && left >= sums[block]) left -= sums[block++];
    uint32_t begin = block * SUM_BLOCK;
    uint32_t end = begin + SUM_BLOCK < choice.vocab ? begin + SUM_BLOCK : choice.vocab;
    for (uint32_t id = begin + threadIdx.x; id < end; id += DRAW_THREADS) weights[id - begin] = choice.weight(id);
    __syncthreads();
    for (uint32_t id = begin; id < end; id++) {
        left -= (double)weights[id - begin];
        if (left < 0) return id;
    }
    // Rounding left nothing to fall on: the last token that has any weight.
    for (uint32_t id = end; id > 0; id--) {
        if (choice.weight(id - 1) > 0) return id - 1;
    }
    return 0;
}

KERNEL(draw, DRAW_THREADS, DrawArgs) {
    DrawRow row = args.rows[blockIdx.x];
    float *logits = args.logits + (size_t)row.row * args.vocab;
    edit(args, row, logits);
    uint64_t best = settle(args, row, logits);
    uint32_t token = ~(uint32_t)best;
    float max = logits[token];
    if (max == -INFINITY) {
        token = NO_TOKEN;
    } else if (row.scale != 0) {
        Choice choice = {logits, args.vocab, max, row.scale, row.min_p, 0, NO_TOKEN};
        if (row.top_k > 0 && row.top_k < args.vocab) move_border<Counting::tokens>(choice, row.top_k, 0);
        if (row.top_p < 1.0f) move_border<Counting::weights>(choice, 0, row.top_p);
        token = walk(choice, row.uniform);
    }
    if (threadIdx.x == 0) args.dst[blockIdx.x] = token;
}

// What was drawn, as the tokens of the step after. Where nothing could be drawn any token does: it is not used.
struct HandOnArgs {
    uint32_t *dst;         // [n]
    const uint32_t *drawn;
    const uint32_t *rows;  // [n], of `drawn`
    uint32_t n, vocab;
};

constexpr int HAND_ON_THREADS = 128;

KERNEL(hand_on, HAND_ON_THREADS, HandOnArgs) {
    uint32_t i = blockIdx.x * HAND_ON_THREADS + threadIdx.x;
    if (i >= args.n) return;
    uint32_t token = args.drawn[args.rows[i]];
    args.dst[i] = token < args.vocab ? token : 0;
}
