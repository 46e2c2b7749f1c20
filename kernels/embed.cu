// dst[i, :] = table[tokens[i], :], for each type a table can have. A block for each row.
#include "formats.cuh"

constexpr int EMBED_THREADS = 128;

struct EmbedArgs {
    float *dst;             // [rows, runs * RUN]
    const uint32_t *tokens; // [rows]
    WeightArgs table;
};

// The float operations of the file's definition, in their order.
template <class F> __device__ __forceinline__ void embed(const EmbedArgs &args) {
    float *dst = args.dst + (size_t)blockIdx.x * args.table.runs * RUN;
    for (uint32_t run = threadIdx.x; run < args.table.runs; run += EMBED_THREADS) {
        Run<F> w(args.table, args.tokens[blockIdx.x], run);
        float d = w.scale_of_scales(), m = F::HAS_MIN ? w.scale_of_mins() : 0;
        for (int q = 0; q < QUADS; q++) {
            float scale = d * (float)w.scale(q / 4), min = F::HAS_MIN ? m * (float)w.min(q / 4) : 0;
            uint32_t quad = w.quad(q);
            for (int i = 0; i < 4; i++) {
                dst[run * RUN + 4 * q + i] = scale * (float)(int8_t)(quad >> (8 * i)) + min;
            }
        }
    }
}

#define EMBED(F) \
    KERNEL(embed_##F, EMBED_THREADS, EmbedArgs) { embed<F>(args); }
FOR_EACH_FORMAT(EMBED)

struct EmbedFloatArgs {
    float *dst;             // [rows, k]
    const uint32_t *tokens; // [rows]
    const void *table;      // [.., k]
    uint64_t k;
};

template <class T> __device__ __forceinline__ void embed_float(const EmbedFloatArgs &args) {
    const typename T::Stored *row = (const typename T::Stored *)args.table + args.tokens[blockIdx.x] * args.k;
    float *dst = args.dst + blockIdx.x * args.k;
    for (size_t j = threadIdx.x; j < args.k; j += EMBED_THREADS) dst[j] = T::load(row[j]);
}

KERNEL(embed_F32, EMBED_THREADS, EmbedFloatArgs) { embed_float<F32>(args); }
KERNEL(embed_F16, EMBED_THREADS, EmbedFloatArgs) { embed_float<F16>(args); }
KERNEL(embed_BF16, EMBED_THREADS, EmbedFloatArgs) { embed_float<BF16>(args); }
