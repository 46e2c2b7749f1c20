// A kernel that errs as it is told, for the tests of the emulator. No GPU runs it.
#include "mma.cuh"

struct MistakeArgs {
    uint32_t *to; // [64]
    uint64_t number;
};

KERNEL(mistake, 64, MistakeArgs) {
    uint32_t thread = threadIdx.x, lane = thread % WARP;
    SHARED(uint32_t, sums, 2);
    switch (args.number) {
    case 1: // a lane that a shuffle waits for has ended
        if (thread == 7) return;
        break;
    case 2: // a warp that a barrier waits for has ended
        if (thread >= WARP) return;
        break;
    case 3: // a lane in a meeting of others
        if (thread == 33) __shfl_sync(1u, thread, 0);
        break;
    case 4: // a value from nobody
        if (lane < 4) args.to[thread] = __shfl_sync(0xfu, thread, 5);
        break;
    case 5: sums[2] = 1; break;
    case 6: args.to[64] = 1; break;
    case 7: args.to[-1] = 1; break;
    case 8: {
        SHARED(uint32_t, all, 13000);
        all[thread] = 1;
        break;
    }
    case 9: // one thread more often than the others, in the second block
        if (blockIdx.x == 1 && thread == 40) __syncthreads();
        break;
    case 11:   // a copy that is read before it is waited for
    case 12:   // one that nobody waits for
    case 13:   // one from beside a multiple of 16
    case 14:   // two to one place
    case 15: { // and as it should be
        SHARED(uint32_t, copied, 64 * 4);
        uint32_t *to = copied + thread * 4, at = args.number == 14 && thread == 9 ? 8 : thread;
        args.to[thread] = thread;
        __syncthreads();
        COPY_ASYNC(copied + at * 4, args.to + thread / 4 * 4 + (args.number == 13 ? 1 : 0));
        COPY_COMMIT();
        if (args.number == 12) return;
        if (args.number == 14) __syncthreads();
        if (args.number != 11) COPY_WAIT(0);
        uint32_t sum = to[0] + to[1] + to[2] + to[3];
        COPY_WAIT(0);
        __syncthreads();
        if (thread == 4) args.to[0] = sum;
        return;
    }
    case 16:   // a matrix from what is not shared
    case 17:   // one from beside a multiple of 16
    case 18: { // and as it should be: element (row, col) of matrix i is 64 i + 8 row + col
        SHARED(uint16_t, matrices, 4 * 64 + 8);
        for (uint32_t i = thread; i < 4 * 64; i += 64) matrices[i] = (uint16_t)i;
        __syncthreads();
        const void *from = matrices + lane * 8 + (args.number == 17 ? 1 : 0);
        uint32_t plain[4], turned[4];
        LOAD_MATRICES(plain, (args.number == 16 ? (const void *)args.to : from));
        LOAD_MATRICES_TURNED(turned, from);
        // Of matrix i, row g, columns 2 t and 2 t + 1; rows 2 t and 2 t + 1, column g.
        uint32_t g = lane / 4, t = lane % 4, wrong = 0;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = 64 * i + 8 * g + 2 * t, column = 64 * i + 16 * t + g;
            if (plain[i] != (row | (row + 1) << 16) || turned[i] != (column | (column + 8) << 16)) wrong++;
        }
        wrong = (uint32_t)__reduce_add_sync(ALL_LANES, wrong);
        if (thread == 0) args.to[0] = wrong;
        return;
    }
    case 10: args.to[thread] = sums[lane % 2]; return;
    default: break;
    }
    uint32_t sum = lane;
    for (int with = 1; with < WARP; with *= 2) sum += __shfl_xor_sync(ALL_LANES, sum, with);
    if (lane == 0) sums[thread / WARP] = sum;
    __syncthreads();
    if (thread == 0) args.to[0] = sums[0] + sums[1];
}
