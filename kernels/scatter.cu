// Spreads what came as one copy: word `i` of part `p` to parts[p].to[i]. A row of blocks for each part.
#include "common.cuh"

constexpr int SCATTER_THREADS = 256;
constexpr int MAX_PARTS = 12;

struct ScatterArgs {
    const uint32_t *from;
    struct {
        uint32_t *to;        // [len]
        uint32_t first, len; // in `from`
    } parts[MAX_PARTS];
};

KERNEL(scatter, SCATTER_THREADS, ScatterArgs) {
    const auto &part = args.parts[blockIdx.y];
    for (uint32_t i = blockIdx.x * SCATTER_THREADS + threadIdx.x; i < part.len; i += gridDim.x * SCATTER_THREADS) {
        part.to[i] = args.from[part.first + i];
    }
}
