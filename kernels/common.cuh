// What all kernels share: how one is declared, sums over a warp, and conversions.
//
// - A kernel takes one struct, which crates/device-cuda has the twin of: KERNEL(name, threads, Args). Its
//   threads are at most as many as it says.
// - Where the GPU can (Hopper and newer) a kernel's blocks come while the kernel before it ends, and wait before they
//   read what that wrote. KERNEL_AHEAD(name, threads, Args, early) does `early` before: it may ask for weights
//   (PREFETCH), which no kernel writes, and touch nothing else.
// - Shared memory is asked for by SHARED(type, name, count), by all threads of a block alike.
// - Nothing is contracted behind our back (nvcc runs with -fmad=false): where a fused multiply-add is wanted
//   it is written, so that the host's emulation computes the same bits.
#pragma once

#ifdef __CUDACC__
#include <cstdint>
#include <cuda_fp16.h>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define LET_NEXT_COME() asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory")
#define AWAIT_EARLIER() asm volatile("griddepcontrol.wait;\n" ::: "memory")
// Brings bytes near, both a multiple of 16.
#define PREFETCH(from, bytes) \
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(from), "r"((uint32_t)(bytes)) : "memory")
#else
#define LET_NEXT_COME()
#define AWAIT_EARLIER()
#define PREFETCH(from, bytes) ((void)(from), (void)(bytes))
#endif
#define KERNEL_AHEAD(name, max_threads, Args, early)                                                            \
    static __device__ __forceinline__ void body_##name(const Args &args);                                       \
    extern "C" __global__ void __launch_bounds__(max_threads) kernel_##name(const __grid_constant__ Args args) { \
        LET_NEXT_COME();                                                                                        \
        early;                                                                                                  \
        AWAIT_EARLIER();                                                                                        \
        body_##name(args);                                                                                      \
    }                                                                                                           \
    static __device__ __forceinline__ void body_##name(const Args &args)
#define KERNEL(name, max_threads, Args) KERNEL_AHEAD(name, max_threads, Args, )
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA(unroll n)
#else
#include "host/shim.h"
#define UNROLL
#define UNROLL_BY(n)
#endif

constexpr int WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float half_to_float(uint16_t half) {
#ifdef __CUDACC__
    return __half2float(__ushort_as_half(half));
#else
    return emulator::half_to_float(half);
#endif
}

// To nearest, ties to even.
__device__ __forceinline__ uint16_t float_to_half(float x) {
#ifdef __CUDACC__
    return __half_as_ushort(__float2half_rn(x));
#else
    return emulator::float_to_half(x);
#endif
}

// The first in the lower half of the word.
__device__ __forceinline__ uint32_t two_halves(float first, float second) {
#ifdef __CUDACC__
    __half2 two = __floats2half2_rn(first, second);
    return (uint32_t)__half_as_ushort(__low2half(two)) | (uint32_t)__half_as_ushort(__high2half(two)) << 16;
#else
    return float_to_half(first) | (uint32_t)float_to_half(second) << 16;
#endif
}

__device__ __forceinline__ float bf16_to_float(uint16_t bits) { return __uint_as_float((uint32_t)bits << 16); }

// To nearest, ties to even.
__device__ __forceinline__ uint16_t float_to_bf16(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40); // stays no number
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// The sum over a warp, in each lane: always the same tree.
__device__ __forceinline__ float warp_sum(float x) {
    for (int with = WARP / 2; with > 0; with /= 2) x += __shfl_xor_sync(ALL_LANES, x, with);
    return x;
}

// The largest of a warp, in each lane.
__device__ __forceinline__ float warp_max(float x) {
    for (int with = WARP / 2; with > 0; with /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, with));
    return x;
}

// Integers, so that it does not matter who adds first.
__device__ __forceinline__ void add_atomically(uint64_t *to, uint64_t x) {
#ifdef __CUDACC__
    atomicAdd((unsigned long long *)to, (unsigned long long)x);
#else
    *to += x; // fibers do not interrupt each other
#endif
}

// Plain numbers, as weights and caches store them.
struct F32 {
    using Stored = float;
    static __device__ __forceinline__ float load(float x) { return x; }
    static __device__ __forceinline__ float narrow(float x) { return x; }
};
struct F16 {
    using Stored = uint16_t;
    static __device__ __forceinline__ float load(uint16_t x) { return half_to_float(x); }
    static __device__ __forceinline__ uint16_t narrow(float x) { return float_to_half(x); }
};
struct BF16 {
    using Stored = uint16_t;
    static __device__ __forceinline__ float load(uint16_t x) { return bf16_to_float(x); }
    static __device__ __forceinline__ uint16_t narrow(float x) { return float_to_bf16(x); }
};

// The scale of a block of 8-bit activations whose largest magnitude has these bits, and the factor that
// brings values to -127..=127, as device-cpu defines them: what holds anything but finite numbers becomes
// no number.
struct StepSize {
    float d, factor;
};
template <int LEN> __device__ __forceinline__ StepSize step_size(uint32_t largest) {
    if (largest >= 0x7f800000u) return {__uint_as_float(0x7fc00000u), 0};
    float amax = __uint_as_float(largest), factor = 127.0f / amax;
    if (__float_as_uint(factor) >= 0x7f800000u) return {0, 0}; // all zeros, or too small to tell from them
    if (LEN == 256) return {1.0f / factor, factor};
    float d = amax / 127.0f;
    uint16_t half = float_to_half(d);
    uint32_t exponent = half >> 10 & 31;
    return {exponent > 0 && exponent < 31 ? half_to_float(half) : d, factor};
}
