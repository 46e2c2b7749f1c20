// Cuts rows of activations into parts of 16 bits: a block for each row. halves.cuh says what for.
#include "halves.cuh"

constexpr int CUT_THREADS = 256;

struct CutArgs {
    uint16_t *to;   // [parts, rows, chunks, 32]
    float *d;       // [rows]
    const float *x; // [rows, k]
    uint32_t rows, k, chunks, unused;
};

// Of a row that holds anything but finite numbers there is none left.
__device__ __forceinline__ Powers powers_of_row(const float *x, uint32_t k) {
    uint32_t largest = 0;
    for (uint32_t j = threadIdx.x; j < k; j += CUT_THREADS) {
        uint32_t magnitude = __float_as_uint(x[j]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return powers_of(largest_of_block<CUT_THREADS>(largest));
}

template <class T> __device__ __forceinline__ void cut(const CutArgs &args) {
    uint32_t row = blockIdx.x, len = args.chunks * HALF_CHUNK;
    const float *x = args.x + (size_t)row * args.k;
    uint16_t *to = args.to + (size_t)row * len;
    float up = 1;
    if constexpr (Cut<T>::SCALED) {
        Powers powers = powers_of_row(x, args.k);
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
