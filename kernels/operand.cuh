// What stands before a product: batch norm and ReLU, or batch norm's gradient, four channels at a time.
#pragma once
#include "staging.cuh"

__device__ inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }

// batch norm's value and ReLU, in the one form that prologues and masks share: `scaled` is gamma rstd.
__device__ inline float bn_value(float z, float mean, float scaled, float beta) { return fmaf(scaled, z - mean, beta); }

// A batch norm: statistics and affine map.
struct Norm {
    const float *mean, *rstd, *gamma, *beta;
};

// What a tile's operand is made of. NormRelu takes norm; BnGrad takes z, scale, norm without beta, and the two sums.
struct Operand {
    const float *map, *z;
    Norm norm;
    const float *sums_gamma, *sums_beta;
    float scale;
};
static_assert(sizeof(Norm) == 32 && sizeof(Operand) == 72, "src/cuda/operand.rs declares the same");

// Batch norm's gradient as scale' g + slope (z - mean) + offset, a channel:
//     grad_z = gamma rstd (scale g - sums_beta / M - (z - mean) rstd sums_gamma / M)
struct BnGradient {
    float mean, scale, slope, offset;
};

__device__ inline BnGradient bn_gradient(const Operand& from, uint32_t c, float pixels) {
    const float rstd = from.norm.rstd[c], scaled = from.norm.gamma[c] * rstd;
    return {from.norm.mean[c], scaled * from.scale, -scaled * rstd * from.sums_gamma[c] / pixels,
            -scaled * from.sums_beta[c] / pixels};
}

__device__ inline float4 rounded4(float4 v) {
    return {__uint_as_float(to_tf32(v.x)), __uint_as_float(to_tf32(v.y)), __uint_as_float(to_tf32(v.z)),
            __uint_as_float(to_tf32(v.w))};
}

__device__ inline float4 norm_relu4(float4 v, float4 mean, float4 scaled, float4 beta) {
    return {relu(bn_value(v.x, mean.x, scaled.x, beta.x)), relu(bn_value(v.y, mean.y, scaled.y, beta.y)),
            relu(bn_value(v.z, mean.z, scaled.z, beta.z)), relu(bn_value(v.w, mean.w, scaled.w, beta.w))};
}

__device__ inline float4 bn_grad4(float4 g, float4 z, float4 mean, float4 scale, float4 slope, float4 offset) {
    return {fmaf(scale.x, g.x, fmaf(slope.x, z.x - mean.x, offset.x)), fmaf(scale.y, g.y, fmaf(slope.y, z.y - mean.y, offset.y)),
            fmaf(scale.z, g.z, fmaf(slope.z, z.z - mean.z, offset.z)), fmaf(scale.w, g.w, fmaf(slope.w, z.w - mean.w, offset.w))};
}
