// Cuts rows of activations into parts of 16 bits: a block for each row. halves.cuh says what for.
#include "halves.cuh"

constexpr int CUT_THREADS = 256;

struct CutArgs {
    uint16_t *to;   // [parts, rows, chunks, 32]
    float *d;       // [rows]
    const float *x; // [rows, k]
    uint32_t rows, k, chunks, unused;
};

// What brings a row's largest value to just below 2^15, and back: powers of two.
struct Powers {
    float up, down;
};
__device__ __forceinline__ Powers powers_of(const float *x, uint32_t k) {
    SHARED(uint32_t, all, CUT_THREADS / WARP);
    uint32_t largest = 0;
    for (uint32_t j = threadIdx.x; j < k; j += CUT_THREADS) {
        uint32_t magnitude = __float_as_uint(x[j]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    for (int with = 1; with < WARP; with *= 2) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
        largest = other > largest ? other : largest;
    }
    if (threadIdx.x % WARP == 0) all[threadIdx.x / WARP] = largest;
    __syncthreads();
    for (int warp = 0; warp < CUT_THREADS / WARP; warp++) largest = all[warp] > largest ? all[warp] : largest;
    // What holds anything but finite numbers becomes no number; what is tiny stays small.
    uint32_t exponent = largest >> 23 > 15 ? largest >> 23 : 15;
    float up = __uint_as_float(exponent == 255 ? 0x7fc00000u : (268 - exponent) << 23);
    return {up, __uint_as_float((exponent - 14) << 23)};
}

template <class T> __device__ __forceinline__ void cut(const CutArgs &args) {
    uint32_t row = blockIdx.x, len = args.chunks * HALF_CHUNK;
    const float *x = args.x + (size_t)row * args.k;
    uint16_t *to = args.to + (size_t)row * len;
    float up = 1;
    if constexpr (Cut<T>::SCALED) {
        Powers powers = powers_of(x, args.k);
        up = powers.up;
        if (threadIdx.x == 0) args.d[row] = powers.down;
    }
    for (uint32_t j = threadIdx.x; j < len; j += CUT_THREADS) {
        float rest = j < args.k ? x[j] * up : 0;
        UNROLL
        for (int p = 0; p < Cut<T>::PARTS; p++) {
            uint16_t part = T::narrow(rest);
            to[(size_t)p * args.rows * len + j] = part;
            rest -= T::load(part);
        }
    }
}

KERNEL(cut_F16, CUT_THREADS, CutArgs) { cut<F16>(args); }
KERNEL(cut_BF16, CUT_THREADS, CutArgs) { cut<BF16>(args); }
