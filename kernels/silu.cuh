// silu(gate) * up, silu(x) = x / (1 + exp(-x)): as whoever computes it does.
#pragma once
#include "common.cuh"

__device__ __forceinline__ float silu_times(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }
