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
