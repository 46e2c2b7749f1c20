// Rotary embeddings: the angles of a step once, in f64 (an f32 product is off by more than a slow dimension
// turns between two tokens), and the rotation for each layer.
#include "common.cuh"

constexpr int ROPE_THREADS = 128;

struct RopeAnglesArgs {
    float *dst;                // [rows, pairs, 2] cosine and sine
    const uint32_t *positions; // [rows]
    const float *inv_freq;     // [pairs]
    uint32_t pairs;
    float magnitude;
};

KERNEL(rope_angles, ROPE_THREADS, RopeAnglesArgs) {
    double position = args.positions[blockIdx.x];
    for (uint32_t i = threadIdx.x; i < args.pairs; i += ROPE_THREADS) {
        double angle = position * (double)args.inv_freq[i];
        float *dst = args.dst + ((size_t)blockIdx.x * args.pairs + i) * 2;
        dst[0] = (float)(cos(angle) * (double)args.magnitude);
        dst[1] = (float)(sin(angle) * (double)args.magnitude);
    }
}

struct RopeArgs {
    float *x;            // [rows, n_heads, head_dim]
    const float *angles; // [rows, pairs, 2]
    uint32_t n_heads, head_dim, pairs;
    uint32_t stride; // from pair to pair: 2 where neighbours turn together, 1 where halves do
    uint32_t apart;  // from the first of a pair to the second: 1, or `pairs`
    uint32_t unused;
};

// A block for each row.
KERNEL(rope, ROPE_THREADS, RopeArgs) {
    const float *angles = args.angles + (size_t)blockIdx.x * args.pairs * 2;
    float *row = args.x + (size_t)blockIdx.x * args.n_heads * args.head_dim;
    for (uint32_t at = threadIdx.x; at < args.n_heads * args.pairs; at += ROPE_THREADS) {
        uint32_t head = at / args.pairs, i = at % args.pairs;
        float *x = row + head * args.head_dim + i * args.stride;
        float a = x[0], b = x[args.apart], cosine = angles[2 * i], sine = angles[2 * i + 1];
        x[0] = fmaf(a, cosine, -(b * sine));
        x[args.apart] = fmaf(a, sine, b * cosine);
    }
}
