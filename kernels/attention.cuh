// Causal attention of each token over its own sequence's cached keys and values: what both of its kernels share.
//
// The softmax is taken in tiles (Dao et al. 2022, FlashAttention) and long contexts are split (Flash-Decoding). A block
// has the rows (query heads of tokens) of one tile of tokens and one KV head, and goes through keys in steps of 32,
// counted from position 0. Every SPAN positions what was summed is joined to the spans before it, in order. So a row's
// bits depend neither on the tile it is in nor on whether spans were computed by one block or by several, whose results
// a second kernel joins. Scores are taken times log2(e), so that weights are powers of two.
#pragma once
#include "cells.cuh"

constexpr int ATTENTION_THREADS = 128;
constexpr int WARPS = ATTENTION_THREADS / WARP;
constexpr uint32_t STEP = 32; // keys, one for each lane
constexpr uint32_t SPAN = 256;

struct AttentionArgs {
    float *dst;     // [tokens, n_heads, head_dim], of the tokens that are computed
    const float *q; // [tokens, n_heads, head_dim]
    LayerArgs layer;
    const uint32_t *positions;   // [tokens]
    const uint32_t *q_start;     // [seqs + 1]
    const uint32_t *blocks;      // all block tables
    const uint32_t *block_start; // [seqs + 1]
    float *parts;                // [tokens, n_heads, max_spans, 2 + head_dim] where spans are split
    uint32_t one_each; // whether each sequence has one of the tokens
    uint32_t seqs, n_heads, window;
    uint32_t tile_tokens; // of a block
    uint32_t tile_heads;  // of a block, of those that share a KV head
    uint32_t max_spans;   // of a context that is split; a longer one is not
    uint32_t splits;      // blocks that share a context at most
    float scale;          // of scores, times log2(e)
    uint32_t unused;
};

// 2^x for what is not positive, or little more; 0 where that is no normal number.
__device__ __forceinline__ float power_of_two(float x) {
#ifdef __CUDACC__
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
#else
    float power = exp2f(x);
    return power < 1.17549435e-38f ? 0 : power;
#endif
}

// The rows of a block: `heads` heads from `head` on of each of `count` tokens from `token` on.
struct Rows {
    uint32_t seq, token, count, head, heads;

    __device__ __forceinline__ size_t at(const AttentionArgs &args, uint32_t row) const {
        return (size_t)(token + row / heads) * args.n_heads + head + row % heads;
    }
};

// None where there is no such tile.
__device__ __forceinline__ Rows find_rows(const AttentionArgs &args) {
    uint32_t group = args.n_heads / args.layer.n_kv_heads;
    uint32_t tiles_of_group = (group + args.tile_heads - 1) / args.tile_heads;
    uint32_t skipped = blockIdx.y % tiles_of_group * args.tile_heads;
    uint32_t heads = group - skipped < args.tile_heads ? group - skipped : args.tile_heads;
    // The last tiles first: they see the most keys.
    uint32_t head = blockIdx.y / tiles_of_group * group + skipped, tile = gridDim.x - 1 - blockIdx.x;
    if (args.one_each) return {tile, tile, 1, head, heads};
    for (uint32_t seq = 0; seq < args.seqs; seq++) {
        uint32_t first = args.q_start[seq], end = args.q_start[seq + 1];
        uint32_t tiles = (end - first + args.tile_tokens - 1) / args.tile_tokens;
        if (tile < tiles) {
            first += tile * args.tile_tokens;
            return {seq, first, end - first < args.tile_tokens ? end - first : args.tile_tokens, head, heads};
        }
        tile -= tiles;
    }
    return {0, 0, 0, head, heads};
}

// How many blocks share the context of a sequence: as many as the grid has, or one where there is no room for parts.
__device__ __forceinline__ uint32_t splits_of(const AttentionArgs &args, uint32_t seq) {
    uint32_t held = (args.block_start[seq + 1] - args.block_start[seq]) * BLOCK_SIZE;
    return (held + SPAN - 1) / SPAN <= args.max_spans ? args.splits : 1;
}

// The first position that a query at `position` sees.
__device__ __forceinline__ uint32_t first_seen(const AttentionArgs &args, uint32_t position) {
    return position >= args.window ? position - args.window + 1 : 0;
}

// Where the spans of a row lie that blocks hand on.
__device__ __forceinline__ float *part_of(const AttentionArgs &args, size_t row, uint32_t span) {
    return args.parts + (row * args.max_spans + span) * (2 + args.layer.head_dim);
}
