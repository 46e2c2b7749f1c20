// Products of the same activations with one to three weights in one launch.
#pragma once
#include "common.cuh"

constexpr int MAX_JOBS = 3;

// The job of a block of rows, which comes back as the block's number within it. Args has `jobs` and their `count`.
template <class Args> __device__ __forceinline__ const auto &find_job(const Args &args, uint32_t &block) {
    uint32_t job = 0;
    while (job + 1 < args.count && block >= args.jobs[job + 1].first_block) job++;
    block -= args.jobs[job].first_block;
    return args.jobs[job];
}

// What comes of a product: Args says whether it is added to what is there.
template <class Args> __device__ __forceinline__ void put(const Args &args, float *dst, float x) {
    *dst = args.add ? *dst + x : x;
}

// What comes of a product as it is.
struct AsItIs {
    __device__ __forceinline__ float operator()(uint32_t, float x) const { return x; }
};

// Sums over the warps of a block that share ROWS rows of a weight and COLS of activations, and have other units each: in
// the order of the warps, then of the rounds. A thread has PER_THREAD of them.
template <int WARPS, int ROWS, int COLS> struct Shares {
    static constexpr int STRIDE = ROWS + 4; // so that lanes of different columns meet in no bank
    static constexpr int LEN = WARPS * COLS * STRIDE;
    static constexpr int THREADS = WARPS * WARP, PER_THREAD = ROWS * COLS / THREADS;
    float *shares; // [WARPS, COLS, STRIDE] shared
    float sums[PER_THREAD];

    __device__ __forceinline__ float &share(uint32_t warp, uint32_t row, uint32_t col) {
        return shares[(warp * COLS + col) * STRIDE + row];
    }
    // Adds what all warps have put into their shares.
    __device__ __forceinline__ void add() {
        __syncthreads();
        UNROLL
        for (int i = 0; i < PER_THREAD; i++) {
            uint32_t at = i * THREADS + threadIdx.x;
            UNROLL
            for (int w = 0; w < WARPS; w++) sums[i] += share(w, at % ROWS, at / ROWS);
        }
        __syncthreads();
    }
    // Puts them where `dst`, of n rows of the weight and args.rows columns, has them.
    template <class Args, class Restore>
    __device__ __forceinline__ void put_all(const Args &args, float *dst, uint32_t n, uint32_t first_row,
                                            uint32_t first_col, Restore restore) const {
        UNROLL
        for (int i = 0; i < PER_THREAD; i++) {
            uint32_t at = i * THREADS + threadIdx.x, row = first_row + at % ROWS, col = first_col + at / ROWS;
            if (row < n && col < args.rows) put(args, dst + (size_t)col * n + row, restore(col, sums[i]));
        }
    }
};
