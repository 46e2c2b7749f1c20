// Quantizes rows of activations: a warp for each unit of a row.
#include "quantize.cuh"
#include "silu.cuh"

constexpr int QUANTIZE_THREADS = 128;

struct QuantizeArgs {
    const float *x; // [rows, k]
    QuantizedArgs to;
    uint64_t k; // what is beyond it in the last unit is zero
};

KERNEL(quantize, QUANTIZE_THREADS, QuantizeArgs) {
    uint32_t unit = blockIdx.x * (QUANTIZE_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (unit >= args.to.units) return;
    size_t row = blockIdx.y, first = (size_t)unit * 256 + lane * LANE_VALUES;
    float x[LANE_VALUES];
    for (int i = 0; i < LANE_VALUES; i++) x[i] = first < args.k ? args.x[row * args.k + first + i] : 0;
    quantize_unit(args.to, row, unit, x);
}

// silu(gate) * up, quantized at once; as values, too, where somebody wants those.
struct QuantizeSiluArgs {
    const float *gate; // [rows, k]
    const float *up;   // [rows, k]
    float *values;     // [rows, k]
    QuantizedArgs to;
    uint64_t k;
};

KERNEL(quantize_silu, QUANTIZE_THREADS, QuantizeSiluArgs) {
    uint32_t unit = blockIdx.x * (QUANTIZE_THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (unit >= args.to.units) return;
    size_t row = blockIdx.y, first = (size_t)unit * 256 + lane * LANE_VALUES;
    float x[LANE_VALUES];
    for (int i = 0; i < LANE_VALUES; i++) {
        size_t at = row * args.k + first + i;
        x[i] = first < args.k ? silu_times(args.gate[at], args.up[at]) : 0;
        if (first < args.k) args.values[at] = x[i];
    }
    quantize_unit(args.to, row, unit, x);
}
