// The largest magnitudes of a map, from which a launch behind works out a scale (half.cuh).
#pragma once
#include "common.cuh"

// The largest |g| and |zhat| of a map, as bits, which compare as the numbers do; an infinity or no number is larger still.
struct Peaks {
    uint32_t *grad, *zhat;
};
static_assert(sizeof(Peaks) == 16, "src/cuda/operand.rs declares the same");

// The largest of a set is the same in whatever order they come.
__device__ inline void leave_peak(uint32_t* to, uint32_t peak) {
    peak = __reduce_max_sync(kFull, peak);
    if (threadIdx.x % kWarp == 0) atomicMax(to, peak);
}

// fmaxf would lose what is no number.
__device__ inline uint32_t peak_of(uint32_t peak, float4 v) {
    return max(max(max(peak, __float_as_uint(fabsf(v.x))), __float_as_uint(fabsf(v.y))),
               max(__float_as_uint(fabsf(v.z)), __float_as_uint(fabsf(v.w))));
}
// The power of two that brings `bound` to [2^12, 2^13).
__device__ inline float scale_for(float bound) {
    const uint32_t exponent = min(max(__float_as_uint(bound) >> 23, 14u), 253u);
    return __uint_as_float((266u - exponent) << 23);
}
