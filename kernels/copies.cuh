// Rows that a block copies to shared memory, 16 bytes at a time.
#pragma once
#include "mma.cuh"

constexpr int CHUNK = 16; // bytes that a thread copies at once

// A thread's part of copying ROWS rows of CHUNKS chunks each. Where it reads is worked out once, and goes on by a step.
template <int ROWS, int CHUNKS, int THREADS> struct Copies {
    static constexpr int ALL = ROWS * CHUNKS, COUNT = (ALL + THREADS - 1) / THREADS, OF_ROW = CHUNKS > 0 ? CHUNKS : 1;
    static_assert(THREADS / OF_ROW % 2 == 0, "a thread's rows are all even, or all odd");
    uint32_t from[COUNT > 0 ? COUNT : 1]; // chunks from the array's beginning

    // Rows `first` on of `limit`, so many chunks apart; beyond the last it stands in.
    __device__ __forceinline__ void begin(uint32_t first, uint32_t limit, uint32_t stride) {
        if constexpr (CHUNKS > 0) {
            UNROLL
            for (int i = 0; i < COUNT; i++) {
                uint32_t at = i * THREADS + threadIdx.x, row = first + at / OF_ROW;
                from[i] = (row < limit ? row : limit - 1) * stride + at % OF_ROW;
            }
        }
    }

    // What lies `further` chunks on.
    __device__ __forceinline__ void copy(uint8_t *to, const void *array, uint32_t further) const {
        if constexpr (CHUNKS > 0) {
            // Of rows of 128 bytes every other has its halves exchanged, so that two neighbours meet in no bank.
            uint32_t place = CHUNKS == 8 ? threadIdx.x ^ threadIdx.x / OF_ROW % 2 * 4 : threadIdx.x;
            UNROLL
            for (int i = 0; i < COUNT; i++) {
                if (ALL % THREADS != 0 && i * THREADS + threadIdx.x >= ALL) continue;
                const uint8_t *chunk = (const uint8_t *)array + (size_t)(from[i] + further) * CHUNK;
                COPY_ASYNC(to + (i * THREADS + place) * CHUNK, chunk);
            }
        }
    }
};
