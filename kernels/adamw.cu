// AdamW, Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019), step number t, as PyTorch computes it:
//     m += (1 - beta1) (grad - m)        s = beta2 s + (1 - beta2) grad^2
//     theta = (1 - lr decay) theta - lr / (1 - beta1^t) m / (sqrt(s) / sqrt(1 - beta2^t) + eps)
// theta, m, s, grad [len].    Mapping: grid-stride, four elements per thread, a row of the grid per tensor.    Shared: none.
// Traffic: reads four tensors, writes three; bandwidth-bound.    Oracle: src/reference/adamw.rs
#include "elements.cuh"

// A parameter tensor, its two means, its gradient and its weight decay; src/cuda/adamw.rs declares the same structs.
struct AdamWTensor {
    float *theta, *mean, *square;
    const float* grad;
    uint64_t len;
    float decay;
    uint32_t unused;
};
static_assert(sizeof(AdamWTensor) == 48, "src/cuda/adamw.rs declares five u64 and two words");

// Six of them: a residual block's, or fewer.
struct AdamWBlock {
    AdamWTensor tensor[6];
};
// 1 - beta is rounded once: of a beta near 1 that is f32 it would have few digits.
struct AdamWRule {
    float take1, keep2, take2, eps;
};
static_assert(sizeof(AdamWRule) == 16, "src/cuda/adamw.rs declares four f32");

// count = [t, 1 - beta1^t, 1 - beta2^t] of the next step, from the betas' logarithms; nothing where loss[0] is not finite.
extern "C" __global__ void __launch_bounds__(1)
count_step(float* __restrict__ count, const float* __restrict__ loss, float log1, float log2) {
    if (!isfinite(*loss)) return;
    const float t = count[0] + 1.0f;
    count[0] = t, count[1] = -expm1f(t * log1), count[2] = -expm1f(t * log2);
}

// As many tensors as there are rows of the grid, up to six; nothing where loss[0] is not finite.
extern "C" __global__ void __launch_bounds__(256)
adamw_block(AdamWBlock block, const float* __restrict__ lr, const float* __restrict__ count, const float* __restrict__ loss, AdamWRule rule) {
    if (!isfinite(*loss)) return;
    // chosen by comparison: indexing a parameter by a variable would copy it to local memory
    AdamWTensor t = block.tensor[0];
#pragma unroll
    for (uint32_t k = 1; k < 6; k++)
        if (blockIdx.y == k) t = block.tensor[k];
    const float rate = *lr / count[1], root = sqrtf(count[2]), stays = fmaf(-*lr, t.decay, 1.0f);
    each_element(t.len, on_16_bytes(t.theta, t.mean, t.square, t.grad), [&](auto at) {
        const auto thetas = at.load(t.theta), means = at.load(t.mean), squares = at.load(t.square), grads = at.load(t.grad);
        const auto mean = at.make([&](int k) { return fmaf(rule.take1, grads.v[k] - means.v[k], means.v[k]); });
        const auto square = at.make([&](int k) { return fmaf(rule.take2 * grads.v[k], grads.v[k], rule.keep2 * squares.v[k]); });
        at.store(t.mean, mean);
        at.store(t.square, square);
        at.store(t.theta, at.make([&](int k) {
            return fmaf(-rate, mean.v[k] / (sqrtf(square.v[k]) / root + rule.eps), stays * thetas.v[k]);
        }));
    });
}
