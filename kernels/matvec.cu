// Products for one to four rows of activations: a warp for each row of the weight. Eight lanes have a unit of 256
// values, four a group of it, so that a warp goes through 1024 values at a time and reads 16 bytes of codes a lane.
#include "matmul.cuh"

constexpr int MATVEC_THREADS = 128;

// Sums over four lanes of what each has of four runs: run t's in lane t.
__device__ __forceinline__ int sum_runs(const int (&dots)[GROUP_RUNS], uint32_t t) {
    bool odd = t & 1, upper = t & 2;
    int first = odd ? dots[1] : dots[0], second = odd ? dots[3] : dots[2];
    first += __shfl_xor_sync(ALL_LANES, odd ? dots[0] : dots[1], 1);
    second += __shfl_xor_sync(ALL_LANES, odd ? dots[2] : dots[3], 1);
    int own = upper ? second : first;
    return own + __shfl_xor_sync(ALL_LANES, upper ? first : second, 2);
}

// What a lane's unit of row `row` of activations comes to; in each of its eight lanes.
template <class F>
__device__ __forceinline__ float unit_of(const MatmulArgs &args, uint32_t x_unit, uint32_t group, uint32_t t,
                                         const uint32_t (&quads)[LANE_QUADS], const GroupScales<F> &scales,
                                         uint32_t mins, float d, float m, bool inside) {
    uint32_t x[LANE_QUADS];
    load_words(x, args.x.q + x_unit * 64 + group * 32 + t * 4);
    int dots[GROUP_RUNS];
    UNROLL
    for (int r = 0; r < GROUP_RUNS; r++) {
        int first = __dp4a((int)quads[2 * r], (int)x[2 * r], 0);
        if (F::HALF_RUNS) {
            int second = __dp4a((int)quads[2 * r + 1], (int)x[2 * r + 1], 0);
            dots[r] = first * scales.of(r, 0) + second * scales.of(r, 1);
        } else {
            dots[r] = __dp4a((int)quads[2 * r + 1], (int)x[2 * r + 1], first);
            if (F::HAS_SCALES) dots[r] *= scales.of(r, 0);
        }
    }
    const uint8_t *sums = args.x.sums + x_unit * SUM_BYTES;
    float value;
    if (F::SPAN == UNIT) {
        int dot = dots[0] + dots[1] + dots[2] + dots[3], minimum = 0;
        if (F::HAS_MIN) {
            // One group has the low bytes of the sums, the other the high ones.
            minimum = __dp4a((int)mins, ((const int *)sums)[group * 4 + t], 0) * (group ? 128 : 1);
        }
        for (int with = 1; with < 8; with *= 2) {
            dot += __shfl_xor_sync(ALL_LANES, dot, with);
            if (F::HAS_MIN) minimum += __shfl_xor_sync(ALL_LANES, minimum, with);
        }
        value = scaled<F>(d, m, args.x.d[x_unit], dot, minimum);
    } else {
        uint32_t run = group * GROUP_RUNS + t;
        int dot = sum_runs(dots, t), minimum = 0;
        if (F::HAS_MIN) {
            int low = (int8_t)sums[2 * run] + (int8_t)sums[2 * run + 1];
            minimum = low + 128 * ((int8_t)sums[16 + 2 * run] + (int8_t)sums[16 + 2 * run + 1]);
        }
        value = scaled<F>(d, m, args.x.d[x_unit * UNIT_RUNS + run], dot, minimum);
        for (int with = 1; with < 8; with *= 2) value += __shfl_xor_sync(ALL_LANES, value, with);
    }
    return inside ? value : 0;
}

// The row of each warp, before anybody may read activations.
template <class F> __device__ __forceinline__ void prefetch(const MatmulArgs &args) {
    uint32_t block = blockIdx.x;
    const MatmulJob &job = find_job(args, block);
    if (threadIdx.x % WARP == 0) prefetch_rows<F>(job.w, block * (MATVEC_THREADS / WARP) + threadIdx.x / WARP, 1);
}

template <class F, int M> __device__ __forceinline__ void matvec(const MatmulArgs &args) {
    uint32_t block = blockIdx.x;
    const MatmulJob &job = find_job(args, block);
    uint32_t row = block * (MATVEC_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= job.w.n) return;
    uint32_t units = job.w.units, group = lane / 4 % GROUPS, t = lane % 4;
    float acc[M] = {};
    UNROLL_BY(2)
    for (uint32_t first = 0; first < units; first += 4) {
        bool inside = first + lane / 8 < units;
        uint32_t unit = inside ? first + lane / 8 : 0;
        uint32_t at = row * units + unit;
        uint32_t quads[LANE_QUADS], mins = 0;
        Decoder<F>::all(job.w, at * GROUPS + group, t, quads);
        GroupScales<F> scales;
        if (F::HAS_SCALES) scales.load(job.w.scales + at * SCALE_BYTES, group);
        if (F::HAS_MIN && F::HAS_SCALES) mins = minimums<F>(job.w.scales + at * SCALE_BYTES, t);
        uint32_t span = F::SPAN == UNIT ? 0 : group * GROUP_RUNS + t;
        const uint16_t *halves = job.w.d + (at * (UNIT / F::SPAN) + span) * F::HALVES;
        float d = scale_of_scales<F>(halves), m = F::HAS_MIN ? scale_of_mins<F>(halves) : 0;
        UNROLL
        for (int r = 0; r < M; r++) {
            float value = unit_of<F>(args, r * units + unit, group, t, quads, scales, mins, d, m, inside);
            UNROLL
            for (int u = 0; u < 4; u++) acc[r] += __shfl_sync(ALL_LANES, value, u * 8);
        }
    }
    UNROLL
    for (int r = 0; r < M; r++) {
        if (lane == 0) put(args, job.dst + (size_t)r * job.w.n + row, acc[r]);
    }
}

#define MATVEC_OF(M, F) \
    KERNEL_AHEAD(matvec_##M##_##F, MATVEC_THREADS, MatmulArgs, prefetch<F>(args)) { matvec<F, M>(args); }
#define MATVEC(F) MATVEC_OF(1, F) MATVEC_OF(2, F) MATVEC_OF(3, F) MATVEC_OF(4, F)
FOR_EACH_FORMAT(MATVEC)
