// CUDA on the host: what kernels/*.cu need of the language, so that the very same sources compile with a
// C++ compiler and run one thread after another, where every mistake can be seen.
//
// A thread of a block is a fiber. It runs until it meets others (a barrier, a shuffle, a matrix product) or
// ends, and goes on when all that it waits for are there. Whoever never comes is an error that names the
// kernel, the block and the thread, never a hang. Shared memory is full of NaN when a block begins and
// has guard bands between its arrays.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict

struct dim3 {
    uint32_t x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

namespace emulator {

// A kernel as the driver finds it, by its symbol's name.
struct Kernel {
    const char *name;
    uint32_t args_size;
    uint32_t threads;
    void (*body)(const void *args);
};

// Why a fiber waits.
enum class Meet : uint8_t { none, block, sync, shuffle, vote, sum, mma_s8_k16, mma_s8_k32, mma_f16_k16, mma_bf16_k16, matrices, matrices_turned };

// What a lane brings to where it meets others. Stays on its stack until it goes on.
struct Request {
    Meet meet;
    int line;
    uint32_t mask;
    uint32_t from; // lane whose value is wanted
    uint32_t value;
    void *c;           // of a matrix product: what is added to, and the two factors; of matrices: where they go,
    const void *a;     // and a row
    const uint32_t *b;
};

struct Thread {
    dim3 index;
};

struct State {
    Thread *thread;
    dim3 block, grid, block_dim;
};

extern thread_local State *state __attribute__((tls_model("initial-exec")));

// Waits until all that `request` names are there; the result of the meeting.
uint32_t meet(Request &request);
// Copies 16 bytes to shared memory: until they are waited for there is no number where they will be, and nobody may
// look.
void copy_async(int line, void *to, const void *from);
void copy_commit();
void copy_wait(uint32_t left);
// The next shared array of this thread: the same memory for each thread of a block.
void *shared(size_t bytes, int line);

inline uint32_t bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
}
inline float from_bits(uint32_t u) {
    float x;
    std::memcpy(&x, &u, 4);
    return x;
}

inline uint32_t meet_warp(Meet meet_at, int line, uint32_t mask, uint32_t value, uint32_t from) {
    Request r{meet_at, line, mask, from, value, nullptr, nullptr, nullptr};
    return meet(r);
}

inline uint32_t lane() { return state->thread->index.x % 32; }

inline float shuffle(int line, uint32_t mask, float x, uint32_t from) {
    return from_bits(meet_warp(Meet::shuffle, line, mask, bits(x), from));
}
inline int shuffle(int line, uint32_t mask, int x, uint32_t from) {
    return (int)meet_warp(Meet::shuffle, line, mask, (uint32_t)x, from);
}
inline uint32_t shuffle(int line, uint32_t mask, uint32_t x, uint32_t from) {
    return meet_warp(Meet::shuffle, line, mask, x, from);
}

inline void mma(Meet kind, int line, void *c, const uint32_t *a, const uint32_t *b) {
    Request r{kind, line, 0xffffffffu, 0, 0, c, a, b};
    meet(r);
}
inline void load_matrices(Meet kind, int line, uint32_t (&to)[4], const void *from) {
    Request r{kind, line, 0xffffffffu, 0, 0, to, from, nullptr};
    meet(r);
}
// Looks at both ends of what a kernel asks for ahead of time, as sanitizers see.
inline void prefetch(const void *from, size_t bytes) {
    const volatile uint8_t *at = static_cast<const uint8_t *>(from);
    if (bytes != 0) (void)at[0], (void)at[bytes - 1];
}

float half_to_float(uint16_t half);
uint16_t float_to_half(float x);

} // namespace emulator

#define threadIdx (emulator::state->thread->index)
#define blockIdx (emulator::state->block)
#define gridDim (emulator::state->grid)
#define blockDim (emulator::state->block_dim)

#define __syncthreads() ((void)emulator::meet_warp(emulator::Meet::block, __LINE__, 0, 0, 0))
#define __syncwarp() ((void)emulator::meet_warp(emulator::Meet::sync, __LINE__, 0xffffffffu, 0, 0))
#define __shfl_sync(mask, x, from) emulator::shuffle(__LINE__, mask, x, (from) % 32)
#define __shfl_xor_sync(mask, x, with) emulator::shuffle(__LINE__, mask, x, emulator::lane() ^ (with))
#define __ballot_sync(mask, yes) emulator::meet_warp(emulator::Meet::vote, __LINE__, mask, (yes) ? 1 : 0, 0)
#define __reduce_add_sync(mask, x) \
    ((int)emulator::meet_warp(emulator::Meet::sum, __LINE__, mask, (uint32_t)(x), 0))

inline int __dp4a(int a, int b, int c) {
    uint32_t sum = (uint32_t)c;
    for (int i = 0; i < 4; i++) {
        sum += (uint32_t)((int8_t)((uint32_t)a >> (8 * i)) * (int8_t)((uint32_t)b >> (8 * i)));
    }
    return (int)sum;
}

inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selectors) {
    uint64_t bytes = (uint64_t)y << 32 | x;
    uint32_t out = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t s = selectors >> (4 * i) & 15;
        uint32_t byte = (uint32_t)(bytes >> (8 * (s & 7))) & 0xff;
        // The fourth bit of a selector asks for the sign, eight times.
        if (s & 8) byte = byte & 0x80 ? 0xff : 0;
        out |= byte << (8 * i);
    }
    return out;
}

inline int __float2int_rn(float x) { return (int)std::nearbyintf(x); }
inline uint32_t __float_as_uint(float x) { return emulator::bits(x); }
inline float __uint_as_float(uint32_t x) { return emulator::from_bits(x); }

#define PREFETCH(from, bytes) emulator::prefetch(from, bytes)

// Two kernels of one name do not link.
#define KERNEL(name, max_threads, Args) KERNEL_AHEAD(name, max_threads, Args, )
#define KERNEL_AHEAD(name, max_threads, Args, early)                                                                     \
    static void body_##name(const Args &args);                                                              \
    extern "C" {                                                                                            \
    extern const emulator::Kernel kernel_##name;                                                            \
    const emulator::Kernel kernel_##name = {                                                                \
        #name, sizeof(Args), max_threads, [](const void *p) {                                               \
            const Args &args = *static_cast<const Args *>(p);                                               \
            early;                                                                                          \
            body_##name(args);                                                                              \
        }};                                                                                                 \
    }                                                                                                       \
    static void body_##name(const Args &args)

#define SHARED(type, name, count) type *name = static_cast<type *>(emulator::shared(sizeof(type) * (count), __LINE__))
