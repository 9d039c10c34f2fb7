// One number's step of SGD with momentum and weight decay, once for all kernels.
#pragma once
#include "common.cuh"

struct SgdRule {
    float rate, momentum, decay;

    // The velocity after the step, and theta after it.
    __device__ float velocity(float v, float theta, float grad) const { return fmaf(momentum, v, fmaf(decay, theta, grad)); }
    __device__ float theta(float theta, float velocity) const { return fmaf(-rate, velocity, theta); }
};
