// One number's step of SGD with momentum, Nesterov's or plain, and weight decay, once for all kernels.
#pragma once
#include "common.cuh"

struct SgdRule {
    float rate, momentum;
    uint32_t nesterov;

    // Gives theta after the step and leaves the velocity in `v`: g = grad + decay theta; v = momentum v + g;
    // theta -= rate v, or with Nesterov's momentum rate (g + momentum v).
    __device__ float step(float& v, float theta, float grad, float decay) const {
        const float g = fmaf(decay, theta, grad);
        v = fmaf(momentum, v, g);
        return fmaf(-rate, nesterov ? fmaf(momentum, v, g) : v, theta);
    }
};
