// How keys and values reach tensor cores: as halves, or as the bytes that they are kept in, which become halves where they
// are multiplied.
#pragma once
#include "cells.cuh"
#include "mma.cuh"

constexpr int CHUNK = 16; // bytes that are copied at once

// Two halves minus two, two of BF16 minus two: of whole numbers that either can tell apart, so exact.
__device__ __forceinline__ uint32_t minus_halves(uint32_t a, uint32_t b) {
#ifdef __CUDACC__
    uint32_t c;
    asm("sub.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
    return c;
#else
    return two_halves(half_to_float((uint16_t)a) - half_to_float((uint16_t)b),
                      half_to_float((uint16_t)(a >> 16)) - half_to_float((uint16_t)(b >> 16)));
#endif
}
__device__ __forceinline__ uint32_t minus_bf16(uint32_t a, uint32_t b) {
#ifdef __CUDACC__
    uint32_t c;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(c) : "r"(b), "r"(0xbf80bf80u), "r"(a)); // b times -1
    return c;
#else
    return (uint32_t)float_to_bf16(bf16_to_float((uint16_t)a) - bf16_to_float((uint16_t)b)) |
           (uint32_t)float_to_bf16(bf16_to_float((uint16_t)(a >> 16)) - bf16_to_float((uint16_t)(b >> 16))) << 16;
#endif
}

// The first and the third of four signed bytes as halves: 1152 and the byte are what 0x6480 becomes with the byte's bits
// flipped into it.
__device__ __forceinline__ uint32_t bytes_as_halves(uint32_t four) {
    return minus_halves((four & 0x00ff00ffu) ^ 0x64806480u, 0x64806480u);
}
// As BF16: 128 and the lower seven bits, without 128, or 256 where the byte is negative.
__device__ __forceinline__ uint32_t bytes_as_bf16(uint32_t four) {
    return minus_bf16((four & 0x007f007fu) | 0x43004300u, (four & 0x00800080u) | 0x43004300u);
}

// Two numbers as two pairs of halves, of which the second is what the first leaves.
__device__ __forceinline__ void cut_in_two(float a, float b, uint32_t &first, uint32_t &rest) {
    first = two_halves(a, b);
    rest = two_halves(a - half_to_float((uint16_t)first), b - half_to_float((uint16_t)(first >> 16)));
}

// Two numbers as three pairs of BF16 that add up to them exactly, the largest first: each takes the eight bits that come
// next.
__device__ __forceinline__ void cut_in_three(float a, float b, uint32_t &first, uint32_t &second, uint32_t &third) {
    uint32_t x = __float_as_uint(a), y = __float_as_uint(b);
    first = __byte_perm(x, y, 0x7632);
    a -= __uint_as_float(x & 0xffff0000u), b -= __uint_as_float(y & 0xffff0000u);
    x = __float_as_uint(a), y = __float_as_uint(b);
    second = __byte_perm(x, y, 0x7632);
    a -= __uint_as_float(x & 0xffff0000u), b -= __uint_as_float(y & 0xffff0000u);
    third = __byte_perm(__float_as_uint(a), __float_as_uint(b), 0x7632);
}

// What shared memory holds of a step.
enum class Kept { halves, bytes };

// Copied as they are.
struct HalfCells {
    static constexpr Kept KEPT = Kept::halves;
    static constexpr bool SCALED = false;
    static constexpr float UNIT = 1; // what a half of 1 stands for
};
// E4M3's bits are a half's, of 2^-8 of the value.
struct Fp8Cells {
    static constexpr Kept KEPT = Kept::bytes;
    static constexpr bool SCALED = false;
    static constexpr float UNIT = 256;
    // The first and the third of four.
    static __device__ __forceinline__ uint32_t halves(uint32_t four) {
        uint32_t magnitude = four & 0x007f007fu, nan = (magnitude + 0x00010001u) >> 7 & 0x00010001u;
        return magnitude << 7 | (four & 0x00800080u) << 8 | nan * 0x7c00u;
    }
};
// Whole numbers with a scale for each GROUP. They are multiplied as they are, which is exact. A key's scales multiply its
// products of each group, a value's the weights that it is added with.
struct Scaled8Cells {
    static constexpr Kept KEPT = Kept::bytes;
    static constexpr bool SCALED = true;
    static constexpr float UNIT = 1;
    static __device__ __forceinline__ uint32_t halves(uint32_t four) { return bytes_as_halves(four); }
};

// Chunk `chunk` of a row of DIMS halves, or of DIMS bytes. Chunks change places by rows, so that eight rows' meet in no
// bank.
template <int DIMS> __device__ __forceinline__ uint8_t *chunk_of(uint8_t *rows, uint32_t row, uint32_t chunk) {
    return rows + (row * (DIMS / 8) + (chunk ^ row % 8)) * CHUNK;
}
template <int DIMS> __device__ __forceinline__ uint8_t *byte_chunk_of(uint8_t *rows, uint32_t row, uint32_t chunk) {
    constexpr uint32_t CHUNKS = DIMS / CHUNK, ROWS = 8 / CHUNKS; // of a line of all banks
    return rows + (row * CHUNKS + (chunk ^ row / ROWS % CHUNKS)) * CHUNK;
}
