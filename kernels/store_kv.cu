// Writes keys and values [tokens, n_kv_heads, head_dim] to their slots: a warp for each token, head and side.
#include "cells.cuh"

struct StoreKvArgs {
    LayerArgs layer;
    const float *k, *v;    // [tokens, n_kv_heads, head_dim]
    const uint32_t *slots; // [tokens]
};

template <class Cell> __device__ __forceinline__ void store_kv(const StoreKvArgs &args) {
    uint32_t token = blockIdx.x, head = blockIdx.y, head_dim = args.layer.head_dim, slot = args.slots[token];
    Side side = blockIdx.z == 0 ? Side::keys : Side::values;
    const float *x =
        (side == Side::keys ? args.k : args.v) + ((size_t)token * args.layer.n_kv_heads + head) * head_dim;
    uint8_t *to = tile(args.layer, slot / BLOCK_SIZE, side, head);
    for (uint32_t first = 0; first < head_dim; first += WARP) {
        uint32_t i = first + threadIdx.x;
        Cell::store(to, slot % BLOCK_SIZE, i, head_dim, i < head_dim ? x[i] : 0);
    }
}

#define STORE_KV(name, Cell...) \
    KERNEL(store_kv_##name, WARP, StoreKvArgs) { store_kv<Cell>(args); }
FOR_EACH_CELL(STORE_KV)
