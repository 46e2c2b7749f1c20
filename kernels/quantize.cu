// Activations as the integer kernels want them: 8 bits, a scale for each 256 or 32 values, and sums of 16.
// A warp for each 256 values of a row.
#include "common.cuh"

constexpr int QUANTIZE_THREADS = 128;

struct QuantizeArgs {
    const float *x; // [rows, k]
    uint32_t *q;    // [rows, k / 4] four values to a word
    float *d;       // [rows, k / LEN]
    int16_t *sums;  // [rows, k / 16]
    uint32_t k;     // a multiple of LEN
    uint32_t unused;
};

template <int LEN> __device__ __forceinline__ void quantize(const QuantizeArgs &args) {
    constexpr int VALUES = 8; // of a lane
    uint32_t chunk = blockIdx.x * (QUANTIZE_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint32_t first = chunk * WARP * VALUES + lane * VALUES;
    bool inside = first < args.k;
    size_t row = blockIdx.y;

    float x[VALUES];
    uint32_t largest = 0;
    for (int i = 0; i < VALUES; i++) {
        x[i] = inside ? args.x[row * args.k + first + i] : 0;
        // Of bits, so that no number is larger than all.
        uint32_t magnitude = __float_as_uint(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    for (int with = 1; with < LEN / VALUES; with *= 2) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, largest, with);
        largest = other > largest ? other : largest;
    }
    StepSize step = step_size<LEN>(largest);

    int sum = 0;
    uint32_t words[VALUES / 4] = {};
    for (int i = 0; i < VALUES; i++) {
        int q = step.factor == 0 ? 0 : __float2int_rn(x[i] * step.factor);
        sum += q;
        words[i / 4] |= ((uint32_t)q & 0xff) << (8 * (i % 4));
    }
    sum += (int)__shfl_xor_sync(ALL_LANES, sum, 1);
    if (!inside) return;
    size_t at = row * args.k + first;
    args.q[at / 4] = words[0];
    args.q[at / 4 + 1] = words[1];
    if (lane % 2 == 0) args.sums[at / 16] = (int16_t)sum;
    if (first % LEN == 0) args.d[at / LEN] = step.d;
}

KERNEL(quantize_256, QUANTIZE_THREADS, QuantizeArgs) { quantize<256>(args); }
KERNEL(quantize_32, QUANTIZE_THREADS, QuantizeArgs) { quantize<32>(args); }
