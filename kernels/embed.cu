// dst[i, :] = table[tokens[i], :], for each type a table can have. A block for each row.
#include "values.cuh"

constexpr int EMBED_THREADS = 128;

struct EmbedArgs {
    float *dst;             // [rows, k]
    const uint32_t *tokens; // [rows]
    WeightArgs table;
    uint64_t k;
};

// Writes values to a row of `k`.
struct ToRow {
    float *row;
    uint64_t k;
    __device__ __forceinline__ void operator()(uint32_t first, const float (&four)[4]) const {
        if (first >= k) return;
        for (int j = 0; j < 4; j++) row[first + j] = four[j];
    }
};

template <class F> __device__ __forceinline__ void embed(const EmbedArgs &args) {
    ToRow to = {args.dst + blockIdx.x * args.k, args.k};
    for (uint32_t lane = threadIdx.x; lane < args.table.units * GROUPS * 4; lane += EMBED_THREADS) {
        take_values<F>(args.table, args.tokens[blockIdx.x], lane, to);
    }
}

#define EMBED(F) \
    KERNEL(embed_##F, EMBED_THREADS, EmbedArgs) { embed<F>(args); }
FOR_EACH_FORMAT(EMBED)

struct EmbedFloatArgs {
    float *dst;             // [rows, k]
    const uint32_t *tokens; // [rows]
    const void *table;      // [.., stride]
    uint64_t k, stride;
};

template <class T> __device__ __forceinline__ void embed_float(const EmbedFloatArgs &args) {
    const typename T::Stored *row = (const typename T::Stored *)args.table + args.tokens[blockIdx.x] * args.stride;
    float *dst = args.dst + blockIdx.x * args.k;
    for (size_t j = threadIdx.x; j < args.k; j += EMBED_THREADS) dst[j] = T::load(row[j]);
}

KERNEL(embed_F32, EMBED_THREADS, EmbedFloatArgs) { embed_float<F32>(args); }
KERNEL(embed_F16, EMBED_THREADS, EmbedFloatArgs) { embed_float<F16>(args); }
KERNEL(embed_BF16, EMBED_THREADS, EmbedFloatArgs) { embed_float<BF16>(args); }
