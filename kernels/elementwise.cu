// Element by element: y = value, y = x, y = a x + b y, ReLU, GELU, SiLU and their gradients, |x - y|^2, finiteness, SGD.
// x, y [len].    Mapping: grid-stride, four elements per thread (elements.cuh).    Shared: 128 bytes where a block sums.
// Traffic: every operand once; bandwidth-bound.    Oracle: src/reference
#include "drift.cuh"
#include "elements.cuh"
#include "sgd.cuh"

extern "C" __global__ void __launch_bounds__(256) fill(float* __restrict__ y, float value, uint64_t len) {
    each_element(len, on_16_bytes(y), [&](auto at) { at.store(y, at.make([&](int) { return value; })); });
}

extern "C" __global__ void __launch_bounds__(256) copy(float* __restrict__ y, const float* __restrict__ x, uint64_t len) {
    each_element(len, on_16_bytes(y, x), [&](auto at) { at.store(y, at.load(x)); });
}

// y = a x + b y; with b = 0 what y held does not matter.
extern "C" __global__ void __launch_bounds__(256)
axpby(float* __restrict__ y, const float* __restrict__ x, float a, float b, uint64_t len) {
    const bool quads = on_16_bytes(y, x);
    if (b == 0.0f)
        each_element(len, quads, [&](auto at) {
            const auto xs = at.load(x);
            at.store(y, at.make([&](int k) { return a * xs.v[k]; }));
        });
    else
        each_element(len, quads, [&](auto at) {
            const auto xs = at.load(x), ys = at.load(y);
            at.store(y, at.make([&](int k) { return fmaf(a, xs.v[k], b * ys.v[k]); }));
        });
}

// NaN stays NaN, as in PyTorch.
extern "C" __global__ void __launch_bounds__(256) relu(float* __restrict__ y, uint64_t len) {
    each_element(len, on_16_bytes(y), [&](auto at) {
        const auto ys = at.load(y);
        at.store(y, at.make([&](int k) { return ys.v[k] < 0.0f ? 0.0f : ys.v[k]; }));
    });
}

extern "C" __global__ void __launch_bounds__(256)
relu_grad(float* __restrict__ grad, const float* __restrict__ y, uint64_t len) {
    each_element(len, on_16_bytes(grad, y), [&](auto at) {
        const auto ys = at.load(y), grads = at.load(grad);
        at.store(grad, at.make([&](int k) { return ys.v[k] > 0.0f ? grads.v[k] : 0.0f; }));
    });
}

// As src/cuda/elementwise.rs numbers them.
enum Activation : uint32_t { kGelu, kSilu };

// Phi, the standard normal law's distribution function.
__device__ float phi(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
__device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ float act(uint32_t kind, float x) {
    return x * (kind == kGelu ? phi(x) : sigmoid(x));
}

__device__ float act_slope(uint32_t kind, float x) {
    // phi' is the density, exp(-x^2/2) / sqrt(2 pi)
    if (kind == kGelu) return fmaf(x * 0.39894228f, expf(-0.5f * x * x), phi(x));
    const float s = sigmoid(x);
    return s * fmaf(x, 1.0f - s, 1.0f);
}

// y = act(y).
extern "C" __global__ void __launch_bounds__(256) activate(float* __restrict__ y, uint32_t kind, uint64_t len) {
    each_element(len, on_16_bytes(y), [&](auto at) {
        const auto ys = at.load(y);
        at.store(y, at.make([&](int k) { return act(kind, ys.v[k]); }));
    });
}

// grad = act'(x) grad.
extern "C" __global__ void __launch_bounds__(256)
activate_grad(float* __restrict__ grad, const float* __restrict__ x, uint32_t kind, uint64_t len) {
    each_element(len, on_16_bytes(grad, x), [&](auto at) {
        const auto xs = at.load(x), grads = at.load(grad);
        at.store(grad, at.make([&](int k) { return act_slope(kind, xs.v[k]) * grads.v[k]; }));
    });
}

// out = [sum (x - y)^2, sum y^2], see drift.cuh; by the block that comes last.
extern "C" __global__ void __launch_bounds__(256)
squared_distance(Drift drift, const float* __restrict__ y, uint64_t len) {
    __shared__ float scratch[kWarp];
    DriftSums sums(drift);
    each_element(len, on_16_bytes(drift.x, y), [&](auto at) {
        const auto xs = at.load(drift.x), ys = at.load(y);
#pragma unroll
        for (int k = 0; k < at.width; k++) sums.add(xs.v[k], ys.v[k]);
    });
    sums.finish(drift, scratch);
}

// flag = 1 if any element is infinite or NaN; the host clears it first. All who write it write the same.
extern "C" __global__ void __launch_bounds__(256)
any_not_finite(uint32_t* __restrict__ flag, const float* __restrict__ x, uint64_t len) {
    bool bad = false;
    each_element(len, on_16_bytes(x), [&](auto at) {
        const auto xs = at.load(x);
#pragma unroll
        for (int k = 0; k < at.width; k++) bad |= !isfinite(xs.v[k]);
    });
    if (__syncthreads_or(bad) && threadIdx.x == 0) atomicOr(flag, 1u);
}

// A parameter tensor, its velocity, its gradient and its weight decay; src/cuda/sgd.rs declares the same structs.
struct SgdTensor {
    float* theta;
    float* velocity;
    const float* grad;
    uint64_t len;
    float decay;
    uint32_t unused;
};
static_assert(sizeof(SgdTensor) == 40, "src/cuda/sgd.rs declares four u64 and two words");

// Six of them: a residual block's, or fewer.
struct SgdBlock {
    SgdTensor tensor[6];
};

// As sgd.cuh says, with the rate lr[0]; nothing where loss[0] is not finite.
__device__ inline void sgd_step(SgdTensor t, const float* lr, const float* loss, float momentum, uint32_t nesterov) {
    if (!isfinite(*loss)) return;
    const SgdRule rule = {*lr, momentum, nesterov};
    each_element(t.len, on_16_bytes(t.theta, t.velocity, t.grad), [&](auto at) {
        const auto thetas = at.load(t.theta), grads = at.load(t.grad);
        auto velocities = at.load(t.velocity);
        const auto moved = at.make([&](int k) { return rule.step(velocities.v[k], thetas.v[k], grads.v[k], t.decay); });
        at.store(t.velocity, velocities);
        at.store(t.theta, moved);
    });
}

extern "C" __global__ void __launch_bounds__(256)
sgd(SgdTensor tensor, const float* __restrict__ lr, const float* __restrict__ loss, float momentum, uint32_t nesterov) {
    sgd_step(tensor, lr, loss, momentum, nesterov);
}

// As many tensors as there are rows of the grid, up to six.
extern "C" __global__ void __launch_bounds__(256)
sgd_block(SgdBlock block, const float* __restrict__ lr, const float* __restrict__ loss, float momentum, uint32_t nesterov) {
    // chosen by comparison: indexing a parameter by a variable would copy it to local memory
    SgdTensor tensor = block.tensor[0];
#pragma unroll
    for (uint32_t k = 1; k < 6; k++)
        if (blockIdx.y == k) tensor = block.tensor[k];
    sgd_step(tensor, lr, loss, momentum, nesterov);
}
