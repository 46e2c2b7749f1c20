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
