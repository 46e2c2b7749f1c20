// dst[i, :] = table[tokens[i], :], for each type a table can have. A block for each row.
#include "formats.cuh"

constexpr int EMBED_THREADS = 128;

struct EmbedArgs {
    float *dst;             // [rows, k]
    const uint32_t *tokens; // [rows]
    WeightArgs table;
    uint64_t k;
};

// The float operations of the file's definition, in their order. A thread has what a lane has of a group.
template <class F> __device__ __forceinline__ void embed(const EmbedArgs &args) {
    float *dst = args.dst + blockIdx.x * args.k;
    uint32_t row = args.tokens[blockIdx.x] * args.table.units;
    for (uint32_t at = threadIdx.x; at < args.table.units * GROUPS * 4; at += EMBED_THREADS) {
        uint32_t unit = at / (GROUPS * 4), group = at / 4 % GROUPS, t = at % 4;
        uint32_t quads[LANE_QUADS];
        Decoder<F>::all(args.table, row * GROUPS + at / 4, t, quads);
        const uint8_t *scales = args.table.scales + (row + unit) * SCALE_BYTES;
        for (int i = 0; i < LANE_QUADS; i++) {
            int run = group * GROUP_RUNS + i / 2, half = i % 2;
            size_t first = unit * UNIT + run * RUN + half * 16 + t * 4;
            if (first >= args.k) continue;
            int span = F::SPAN == UNIT ? 0 : run;
            const uint16_t *d = args.table.d + ((row + unit) * (UNIT / F::SPAN) + span) * F::HALVES;
            float scale = scale_of_scales<F>(d), min = F::HAS_MIN ? scale_of_mins<F>(d) : 0;
            if (F::HAS_SCALES) scale = scale * (float)scale_of<F>(scales[F::HALF_RUNS ? 2 * run + half : run]);
            if (F::HAS_MIN && F::HAS_SCALES) {
                int m = F::SCALES == Scales::nibbles ? scales[2 * run + half] >> 4 : scales[UNIT_RUNS + run];
                min = min * (float)m;
            }
            for (int j = 0; j < 4; j++) dst[first + j] = scale * (float)(int8_t)(quads[i] >> (8 * j)) + min;
        }
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
