// Writes keys and values [tokens, n_kv_heads, head_dim] to their slots: a warp for each token, head and side. Keys may
// be turned first, as rope.cu does it, to the bit.
#include "cells.cuh"

struct StoreKvArgs {
    LayerArgs layer;
    const float *k, *v;    // [tokens, n_kv_heads, head_dim]
    const uint32_t *slots; // [tokens]
    const float *angles;   // [tokens, pairs, 2]
    uint32_t pairs;        // of a head, that turn; 0 if keys are stored as they are
    uint32_t stride;       // from pair to pair: 2 where neighbours turn together, 1 where halves do
    uint32_t apart;        // from the first of a pair to the second: 1, or `pairs`
    uint32_t unused;
};

// Value `i` of a head, turned.
__device__ __forceinline__ float turned(const StoreKvArgs &args, const float *x, const float *angles, uint32_t i) {
    if (i >= 2 * args.pairs) return x[i];
    uint32_t pair = args.stride == 2 ? i / 2 : i % args.pairs;
    bool first = args.stride == 2 ? i % 2 == 0 : i < args.pairs;
    float a = x[pair * args.stride], b = x[pair * args.stride + args.apart];
    float cosine = angles[2 * pair], sine = angles[2 * pair + 1];
    return first ? fmaf(a, cosine, -(b * sine)) : fmaf(a, sine, b * cosine);
}

template <class Cell> __device__ __forceinline__ void store_kv(const StoreKvArgs &args) {
    uint32_t token = blockIdx.x, head = blockIdx.y, head_dim = args.layer.head_dim, slot = args.slots[token];
    Side side = blockIdx.z == 0 ? Side::keys : Side::values;
    const float *x =
        (side == Side::keys ? args.k : args.v) + ((size_t)token * args.layer.n_kv_heads + head) * head_dim;
    const float *angles = args.angles + (size_t)token * args.pairs * 2;
    bool turns = side == Side::keys && args.pairs != 0;
    uint8_t *to = tile(args.layer, slot / BLOCK_SIZE, side, head);
    for (uint32_t first = 0; first < head_dim; first += WARP) {
        uint32_t i = first + threadIdx.x;
        float value = 0;
        if (i < head_dim) value = turns ? turned(args, x, angles, i) : x[i];
        Cell::store(to, slot % BLOCK_SIZE, i, head_dim, value);
    }
}

#define STORE_KV(name, Cell...) \
    KERNEL(store_kv_##name, WARP, StoreKvArgs) { store_kv<Cell>(args); }
FOR_EACH_CELL(STORE_KV)
