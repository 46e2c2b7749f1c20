// Products for one to four rows of activations: a warp for each row of the weight, a run for each lane.
#include "matmul.cuh"

constexpr int MATVEC_THREADS = 128;

template <class F, int M> __device__ __forceinline__ void matvec(const MatmulArgs &args) {
    uint32_t row = blockIdx.x * (MATVEC_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.w.n) return;
    uint32_t runs = args.w.runs;
    float acc[M] = {};
    for (uint32_t first = 0; first < runs; first += WARP) {
        uint32_t run = first + lane;
        bool inside = run < runs;
        Run<F> w(args.w, row, inside ? run : 0);
        float d = w.scale_of_scales(), m = F::HAS_MIN ? w.scale_of_mins() : 0;
        uint32_t quads[QUADS];
        w.all(quads);
        UNROLL
        for (int r = 0; r < M; r++) {
            size_t at = (size_t)r * runs + (inside ? run : 0);
            uint32_t x[QUADS];
            load_words(x, args.x.q + at * QUADS);
            const int16_t *sums = args.x.sums + at * 2;
            int dots[2] = {};
            UNROLL
            for (int q = 0; q < QUADS; q++) dots[q / 4] = __dp4a((int)quads[q], (int)x[q], dots[q / 4]);
            int dot = dots[0] * w.scale(0) + dots[1] * w.scale(1);
            int minimum = F::HAS_MIN ? sums[0] * w.min(0) + sums[1] * w.min(1) : 0;
            dot = inside ? dot : 0;
            minimum = inside ? minimum : 0;
            int with = 1;
            if (F::SPAN == 256) {
                for (; with < 8; with *= 2) {
                    dot += __shfl_xor_sync(ALL_LANES, dot, with);
                    if (F::HAS_MIN) minimum += __shfl_xor_sync(ALL_LANES, minimum, with);
                }
            }
            float dx = args.x.d[at * RUN / F::SPAN];
            float sum = inside ? scaled<F>(d, m, dx, dot, minimum) : 0;
            for (; with < WARP; with *= 2) sum += __shfl_xor_sync(ALL_LANES, sum, with);
            acc[r] += sum;
        }
    }
    for (int r = 0; r < M; r++) {
        if (lane == 0) args.dst[(size_t)r * args.w.n + row] = acc[r];
    }
}

#define MATVEC(F)                                                           \
    KERNEL(matvec_1_##F, MATVEC_THREADS, MatmulArgs) { matvec<F, 1>(args); } \
    KERNEL(matvec_2_##F, MATVEC_THREADS, MatmulArgs) { matvec<F, 2>(args); } \
    KERNEL(matvec_3_##F, MATVEC_THREADS, MatmulArgs) { matvec<F, 3>(args); } \
    KERNEL(matvec_4_##F, MATVEC_THREADS, MatmulArgs) { matvec<F, 4>(args); }
FOR_EACH_FORMAT(MATVEC)
