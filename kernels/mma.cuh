// What is asked of the hardware by name: matrix products of a warp, and copies to shared memory.
//
// Matrix products of a warp, d = a b + c, as PTX's mma.sync.aligned.m16n8k*.row.col defines them. Of lane
// 4 g + t: `a` has rows g and g + 8, `b` column g, `c` rows g and g + 8 of columns 2 t and 2 t + 1. What products of
// halves add up to is rounded once by the emulator, and as the hardware does by GPUs; either way a row's sums depend on
// nothing but the row.
#pragma once
#include "common.cuh"

// k = 16: a[0] row g, a[1] row g + 8, four values from 4 t on; b[0] likewise.
#ifdef __CUDACC__
#define MMA_S8_K16(c, a, b)                                                                             \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "       \
                 "{%0,%1,%2,%3};\n"                                                                     \
                 : "+r"((c)[0]), "+r"((c)[1]), "+r"((c)[2]), "+r"((c)[3])                               \
                 : "r"((a)[0]), "r"((a)[1]), "r"((b)[0]))
// k = 32: a[0] and a[1] as above, a[2] and a[3] the same rows from 16 + 4 t on; b[1] likewise.
#define MMA_S8_K32(c, a, b)                                                                             \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "       \
                 "{%8,%9}, {%0,%1,%2,%3};\n"                                                            \
                 : "+r"((c)[0]), "+r"((c)[1]), "+r"((c)[2]), "+r"((c)[3])                               \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))
// Halves of either kind, k = 16, added in f32: a[0] and a[1] rows g and g + 8, two values from 2 t on, a[2] and a[3] two from 8 + 2 t on;
// b[0] and b[1] likewise.
#define MMA_F16_K16(c, a, b)                                                                            \
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "     \
        "{%0,%1,%2,%3};\n"                                                                              \
        : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                        \
        : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))
#define MMA_BF16_K16(c, a, b)                                                                           \
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "   \
        "{%0,%1,%2,%3};\n"                                                                              \
        : "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])                                        \
        : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))
// Four matrices of 8 by 8 halves from shared memory: lane l names row l % 8 of matrix l / 8, 16 bytes at a multiple of 16,
// and gets of matrix i, as to[i], the pair at columns 2 t of row g; turned, that at rows 2 t of column g.
#define LOAD_MATRICES(to, from)                                                                         \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"                      \
                 : "=r"((to)[0]), "=r"((to)[1]), "=r"((to)[2]), "=r"((to)[3])                           \
                 : "r"((uint32_t)__cvta_generic_to_shared(from))                                        \
                 : "memory")
#define LOAD_MATRICES_TURNED(to, from)                                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"                \
                 : "=r"((to)[0]), "=r"((to)[1]), "=r"((to)[2]), "=r"((to)[3])                           \
                 : "r"((uint32_t)__cvta_generic_to_shared(from))                                        \
                 : "memory")
// Copies 16 bytes to shared memory, both at multiples of 16, some time before a COPY_WAIT of this thread that says so:
// COPY_COMMIT ends a group of copies, COPY_WAIT(n) waits for all groups but the last n.
#define COPY_ASYNC(to, from)                                                                                  \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"((uint32_t)__cvta_generic_to_shared(to)), \
                 "l"(from)                                                                                    \
                 : "memory")
#define COPY_COMMIT() asm volatile("cp.async.commit_group;\n" ::: "memory")
#define COPY_WAIT(n) asm volatile("cp.async.wait_group %0;\n" ::"n"(n) : "memory")
#else
#define MMA_S8_K16(c, a, b) emulator::mma(emulator::Meet::mma_s8_k16, __LINE__, c, a, b)
#define MMA_S8_K32(c, a, b) emulator::mma(emulator::Meet::mma_s8_k32, __LINE__, c, a, b)
#define MMA_F16_K16(c, a, b) emulator::mma(emulator::Meet::mma_f16_k16, __LINE__, c, a, b)
#define MMA_BF16_K16(c, a, b) emulator::mma(emulator::Meet::mma_bf16_k16, __LINE__, c, a, b)
#define LOAD_MATRICES(to, from) emulator::load_matrices(emulator::Meet::matrices, __LINE__, to, from)
#define LOAD_MATRICES_TURNED(to, from) emulator::load_matrices(emulator::Meet::matrices_turned, __LINE__, to, from)
#define COPY_ASYNC(to, from) emulator::copy_async(__LINE__, to, from)
#define COPY_COMMIT() emulator::copy_commit()
#define COPY_WAIT(n) emulator::copy_wait(n)
#endif
