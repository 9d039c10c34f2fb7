// What a reconstruction is worth, by the four sums of its local error: |x~ - x|^2, |x|^2, |x~ - x'|^2, |x'|^2.
#pragma once
#include "common.cuh"

constexpr uint32_t kNoNumber = 0x7fc00000u;    // a NaN's bits

// Whether it is worth anything: all sums are finite, and the third is at most a quarter of the fourth, and, where it is larger than
// the first, a hundredth: HOPELESS of src/operands.rs.
__device__ inline bool worth(float moved, float from, float left, float norm) {
    const bool hopeless = left > 0.25f * norm || (left > moved && left > 0.01f * norm);
    return !hopeless && isfinite(moved) && isfinite(from) && isfinite(left) && isfinite(norm);
}
