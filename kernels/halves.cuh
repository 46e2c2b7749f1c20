// Products of weights of 16 bits a value with activations in f32, on tensor cores: what all kernels compute, bit for bit.
//
// Activations are cut into parts of the weight's type, which add up to them: two halves of F16 have 22 bits of a row's
// largest value, once that was brought to 2^15, three of BF16 have all that f32 has. The sum over a row of the weight is
// that of its units of 256 values, in order, and a unit's is one chain of products of 16 values, of which the smallest
// part comes first. So a row's result depends neither on the kernel nor on how many rows there are.
//
// Rows of the weight, and of each part, are filled up with zeros to whole chunks of 32 values. Of a chunk lane t of four
// has values 8 t to 8 t + 7, which are two products' fragments as they lie: which of a chunk's values a product takes
// for its own is the same on both sides, and so of no matter.
#pragma once
#include "jobs.cuh"
#include "mma.cuh"

constexpr int HALF_CHUNK = 32;  // values
constexpr int CHUNK_WORDS = 16; // of 32 bits
constexpr int UNIT_CHUNKS = 8;
constexpr int LANE_WORDS = 4; // of a lane in a chunk
constexpr int MMA_ROWS = 16, MMA_COLS = 8;

// A weight, and where its product goes.
struct HalfJob {
    float *dst;        // [rows, n]
    const uint32_t *w; // [n, chunks, 16]
    uint32_t n;
    uint32_t first_block; // of rows, counted through all jobs
};

// Products of the same activations with one to three weights of a type.
struct HalfArgs {
    const uint32_t *x; // [parts, rows, chunks, 16]
    const float *d;    // [rows] what products with F16's parts are multiplied by
    HalfJob jobs[MAX_JOBS];
    uint32_t count; // of jobs
    uint32_t rows;
    uint32_t add; // whether products are added to what is there
    uint32_t chunks;
};

// What activations become parts of, and the product of parts with weights.
template <class T> struct Cut;
template <> struct Cut<F16> {
    static constexpr int PARTS = 2;
    static constexpr bool SCALED = true;
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        MMA_F16_K16(c, a, b);
    }
};
template <> struct Cut<BF16> {
    static constexpr int PARTS = 3;
    static constexpr bool SCALED = false;
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        MMA_BF16_K16(c, a, b);
    }
};

// Adds a chunk's products: `upper` and `lower` are a lane's words of rows g and g + 8, `x` of column g in each part.
template <class T>
__device__ __forceinline__ void add_chunk(float (&c)[4], const uint32_t (&upper)[LANE_WORDS],
                                          const uint32_t (&lower)[LANE_WORDS],
                                          const uint32_t (&x)[Cut<T>::PARTS][LANE_WORDS]) {
    UNROLL
    for (int s = 0; s < LANE_WORDS; s += 2) {
        uint32_t a[4] = {upper[s], lower[s], upper[s + 1], lower[s + 1]};
        UNROLL
        for (int p = Cut<T>::PARTS - 1; p >= 0; p--) {
            uint32_t b[2] = {x[p][s], x[p][s + 1]};
            Cut<T>::mma(c, a, b);
        }
    }
}

__device__ __forceinline__ void load_lane(uint32_t (&to)[LANE_WORDS], const void *from) {
    uint4 x = *(const uint4 *)from;
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}

// What a product of column `col` is in the end.
template <class T> struct Restored {
    const HalfArgs &args;
    __device__ __forceinline__ float operator()(uint32_t col, float x) const {
        return Cut<T>::SCALED ? x * args.d[col] : x;
    }
};

// What brings magnitudes up to one of these bits to just below 2^15, and back: powers of two.
struct Powers {
    float up, down;
};
__device__ __forceinline__ Powers powers_of(uint32_t largest) {
    // What is no finite number becomes no number; what is tiny stays small.
    uint32_t exponent = largest >> 23 > 15 ? largest >> 23 : 15;
    float up = __uint_as_float(exponent == 255 ? 0x7fc00000u : (268 - exponent) << 23);
    return {up, __uint_as_float((exponent - 14) << 23)};
}

// The largest that any thread of a block has, in each.
template <int THREADS> __device__ __forceinline__ uint32_t largest_of_block(uint32_t largest) {
    SHARED(uint32_t, all, THREADS / WARP);
    for (int with = 1; with < WARP; with *= 2) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
        largest = other > largest ? other : largest;
    }
    if (threadIdx.x % WARP == 0) all[threadIdx.x / WARP] = largest;
    __syncthreads();
    for (int warp = 0; warp < THREADS / WARP; warp++) largest = all[warp] > largest ? all[warp] : largest;
    return largest;
}
