// Element by element: y = value, y = x, y = a x + b y, ReLU and its gradient, |x - y|^2, finiteness.
// x, y [len].    Mapping: grid-stride, one element a thread.    Traffic: bandwidth-bound.    Oracle: src/reference
#include "common.cuh"

// Runs `one` on every element.
template <typename Each>
__device__ void each_element(uint64_t len, Each one) {
    for (uint64_t i = global_id(); i < len; i += grid_size()) one(i);
}

extern "C" __global__ void __launch_bounds__(256) fill(float* __restrict__ y, float value, uint64_t len) {
    each_element(len, [&](uint64_t i) { y[i] = value; });
}

extern "C" __global__ void __launch_bounds__(256) copy(float* __restrict__ y, const float* __restrict__ x, uint64_t len) {
    each_element(len, [&](uint64_t i) { y[i] = x[i]; });
}

// y = a x + b y; with b = 0 what y held does not matter.
extern "C" __global__ void __launch_bounds__(256)
axpby(float* __restrict__ y, const float* __restrict__ x, float a, float b, uint64_t len) {
    if (b == 0.0f)
        each_element(len, [&](uint64_t i) { y[i] = a * x[i]; });
    else
        each_element(len, [&](uint64_t i) { y[i] = fmaf(a, x[i], b * y[i]); });
}

// NaN stays NaN, as in PyTorch.
extern "C" __global__ void __launch_bounds__(256) relu(float* __restrict__ y, uint64_t len) {
    each_element(len, [&](uint64_t i) { y[i] = y[i] < 0.0f ? 0.0f : y[i]; });
}

extern "C" __global__ void __launch_bounds__(256)
relu_grad(float* __restrict__ grad, const float* __restrict__ y, uint64_t len) {
    each_element(len, [&](uint64_t i) { grad[i] = y[i] > 0.0f ? grad[i] : 0.0f; });
}

// partial[2 b], partial[2 b + 1] = block b's share of sum (x - y)^2 and of sum y^2.
extern "C" __global__ void __launch_bounds__(256)
squared_distance_partial(float* __restrict__ partial, const float* __restrict__ x, const float* __restrict__ y, uint64_t len) {
    __shared__ float sums[kWarp];
    float distance = 0.0f, norm = 0.0f;
    each_element(len, [&](uint64_t i) {
        float d = x[i] - y[i];
        distance = fmaf(d, d, distance);
        norm = fmaf(y[i], y[i], norm);
    });
    distance = block_sum(distance, sums);
    norm = block_sum(norm, sums);
    if (threadIdx.x == 0) partial[2 * blockIdx.x] = distance, partial[2 * blockIdx.x + 1] = norm;
}

// out[k] = sum over blocks of partial[2 b + k], k = 0, 1. One block.
extern "C" __global__ void __launch_bounds__(256)
squared_distance_total(float* __restrict__ out, const float* __restrict__ partial, uint32_t blocks) {
    __shared__ float sums[kWarp];
    float distance = 0.0f, norm = 0.0f;
    for (uint32_t b = threadIdx.x; b < blocks; b += blockDim.x) distance += partial[2 * b], norm += partial[2 * b + 1];
    distance = block_sum(distance, sums);
    norm = block_sum(norm, sums);
    if (threadIdx.x == 0) out[0] = distance, out[1] = norm;
}

// flag = 1 if any element is infinite or NaN; the host clears it first. All who write it write the same.
extern "C" __global__ void __launch_bounds__(256)
any_not_finite(uint32_t* __restrict__ flag, const float* __restrict__ x, uint64_t len) {
    bool bad = false;
    each_element(len, [&](uint64_t i) { bad |= !isfinite(x[i]); });
    if (__syncthreads_or(bad) && threadIdx.x == 0) atomicOr(flag, 1u);
}

// v = momentum v + grad + weight_decay theta; theta -= lr[0] v; nothing where loss[0] is not finite.
extern "C" __global__ void __launch_bounds__(256)
sgd(float* __restrict__ theta, float* __restrict__ velocity, const float* __restrict__ grad, const float* __restrict__ lr,
    const float* __restrict__ loss, float momentum, float decay, uint64_t len) {
    if (!isfinite(*loss)) return;
    const float rate = *lr;
    each_element(len, [&](uint64_t i) {
        float v = fmaf(momentum, velocity[i], fmaf(decay, theta[i], grad[i]));
        velocity[i] = v;
        theta[i] = fmaf(-rate, v, theta[i]);
    });
}
