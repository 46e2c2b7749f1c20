// How keys and values are kept. A block of the cache has for keys, then for values, for each head a tile:
// cells [BLOCK_SIZE, head_dim], then, where there are any, a half as scale for each 32 of them
// [BLOCK_SIZE, groups]. So a block is one stretch of memory, which is copied as a whole.
#pragma once
#include "common.cuh"

constexpr uint32_t BLOCK_SIZE = 16;
constexpr uint32_t GROUP = 32; // values of a head that share a scale

struct LayerArgs {
    uint8_t *data;
    uint64_t block_bytes; // keys and values of all heads
    uint32_t tile_bytes;
    uint32_t n_kv_heads, head_dim;
    uint32_t unused;
};

// Which of the two a tile holds.
enum class Side : uint32_t { keys, values };

__device__ __forceinline__ uint8_t *tile(const LayerArgs &layer, uint32_t block, Side side, uint32_t head) {
    return layer.data + block * layer.block_bytes +
           (size_t)((uint32_t)side * layer.n_kv_heads + head) * layer.tile_bytes;
}

// E4M3 (Micikevicius et al. 2022): four bits of exponent, three of fraction, no infinities.
struct Fp8 {
    using Stored = uint8_t;
    static __device__ __forceinline__ float load(uint8_t code) {
        uint32_t magnitude = code & 0x7f;
        // As the exponent and fraction of a half, which are 2^-8 of what they should be.
        float value = half_to_float((uint16_t)(magnitude << 7)) * 256.0f;
        if (magnitude == 0x7f) value = __uint_as_float(0x7fc00000u);
        return code & 0x80 ? -value : value;
    }
    // The nearest, ties to even; the largest, 448, for all that are larger.
    static __device__ __forceinline__ uint8_t narrow(float x) {
        uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80;
        if (magnitude > 0x7f800000u) return 0x7f;
        if (magnitude < 0x3c800000u) { // below 2^-6 steps are 2^-9, as those of f32 are from 2^14 on
            float shifted = __uint_as_float(magnitude) + 16384.0f;
            return (uint8_t)(sign | (__float_as_uint(shifted) - 0x46800000u));
        }
        uint32_t code = ((magnitude + 0x7ffffu + (magnitude >> 20 & 1)) >> 20) - ((127 - 7) << 3);
        return (uint8_t)(sign | (code < 0x7e ? code : 0x7e));
    }
};

// A type of cell: value `i` of token `token` in a tile. Types of plain numbers.
template <class T> struct Plain {
    static __device__ __forceinline__ float load(const uint8_t *tile, uint32_t token, uint32_t i, uint32_t head_dim) {
        return T::load(((const typename T::Stored *)tile)[token * head_dim + i]);
    }
    // By a warp, a group at a time: lane `i % GROUP` has x, or nothing if `i` is beyond.
    static __device__ __forceinline__ void store(uint8_t *tile, uint32_t token, uint32_t i, uint32_t head_dim, float x) {
        if (i < head_dim) ((typename T::Stored *)tile)[token * head_dim + i] = T::narrow(x);
    }
};

// Whole numbers of -127 to 127, with a scale for each group.
struct Scaled8 {
    static __device__ __forceinline__ uint16_t *scale(uint8_t *tile, uint32_t token, uint32_t i, uint32_t head_dim) {
        return (uint16_t *)(tile + BLOCK_SIZE * head_dim) + token * ((head_dim + GROUP - 1) / GROUP) + i / GROUP;
    }
    static __device__ __forceinline__ float load(const uint8_t *tile, uint32_t token, uint32_t i, uint32_t head_dim) {
        return (float)(int8_t)tile[token * head_dim + i] * half_to_float(*scale((uint8_t *)tile, token, i, head_dim));
    }
    static __device__ __forceinline__ void store(uint8_t *tile, uint32_t token, uint32_t i, uint32_t head_dim, float x) {
        uint32_t largest = i < head_dim ? __float_as_uint(x) & 0x7fffffffu : 0;
        for (int with = 1; with < WARP; with *= 2) {
            uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
            largest = other > largest ? other : largest;
        }
        StepSize step = step_size<32>(largest);
        if (i < head_dim) {
            int q = step.factor == 0 ? 0 : __float2int_rn(x * step.factor);
            tile[token * head_dim + i] = (uint8_t)q;
        }
        if (i % GROUP == 0) *scale(tile, token, i, head_dim) = float_to_half(step.d);
    }
};

#define FOR_EACH_CELL(X) X(F16, Plain<F16>) X(BF16, Plain<BF16>) X(F32, Plain<F32>) X(Q8_0, Scaled8) X(F8E4M3, Plain<Fp8>)
