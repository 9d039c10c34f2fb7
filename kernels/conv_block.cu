// conv_block: the convolutions of one residual block's inverse step and VJP (src/cuda/block.rs has the chain), 3x3 and C -> C,
// with what stands before and behind each in the same launch. Maps [P, C], P = N H W; weights [3, 3, C, C]; the rest [C].
//   norm_relu_conv_step   y = x + h bn2(z2), z2 = conv(relu(bn1(z1)), w), which is never stored; |y - x|^2 and |x|^2
//   norm_relu_conv_sums   z2; batch norm 2's gradient sums of (g, z2); where x is given x' = x + h bn2(z2), |rec - x'|^2 and
//                         |x'|^2, and x becomes x' or rec
//   bn_grad_conv_relu     grad_u = conv^T(bn2's gradient from (g, z2, sums2), w) where bn1(z1) > 0; sums of (grad_u, z1)
//   bn_grad_conv_acc      grad_x += conv^T(bn1's gradient from (grad_u, z1, sums1), w)
// Mapping: grid (pixel tiles, channel tiles of 16, 32 or 64), 128 threads.
// Shared: conv_tile.cuh's; 12 C bytes (the first two) or 16 C, dynamic; 1,024 bytes where there are sums.
// Bound: tensor cores or FMA at 64 channels and more, L2 and shared memory at 16.    Oracle: src/device/fused.rs
#include "epilogue.cuh"
#include "instances.cuh"

template <uint32_t NT, bool TF32>
__device__ void norm_relu_conv_step_kernel(float* __restrict__ y, const float* __restrict__ x, float h, const Norm& norm2,
                                           const float* __restrict__ z1, const Norm& norm1, const float* __restrict__ w,
                                           const ConvGeometry& g, const PairSum& moved) {
    extern __shared__ float4 dynamic[];
    __shared__ Memory<NT, Load::NormRelu> memory;
    float* parameters = reinterpret_cast<float*>(dynamic);
    const Operand from = {z1, nullptr, norm1, nullptr, nullptr, 1.0f};
    const TilePlace<NT> at(g.n * g.h * g.w, g.c_out);
    fill_parameters<Load::NormRelu>(parameters, from, g.c_in, 0.0f);
    conv_tile<NT, TF32, Gather::Forward, Load::NormRelu, true>(memory.result.out, memory.stages, parameters, from, w, g, at.first, at.o0);
    const Norm4 norm(norm2, at.channel());
    float distance = 0.0f, size = 0.0f;
    at.rows(memory.result.out, [&](uint32_t, float4 z2, uint64_t i) {
        const float4 from = load4(x + i), to = norm.step(from, h, z2);
        store4(y + i, to);
        distance = add_distance(to, from, distance), size = add_square(from, size);
    });
    finish_pair(moved, distance, size, memory.result.warps[0]);
}

template <uint32_t NT, bool TF32>
__device__ void norm_relu_conv_sums_kernel(float* __restrict__ z2, const NextPass& next, const float* __restrict__ grad,
                                           const Norm& norm2, const float* __restrict__ z1, const Norm& norm1,
                                           const float* __restrict__ w, const ConvGeometry& g, const Reduction& r,
                                           const GradSums& to) {
    extern __shared__ float4 dynamic[];
    __shared__ Memory<NT, Load::NormRelu> memory;
    __shared__ float2 rows[kThreads];
    float* parameters = reinterpret_cast<float*>(dynamic);
    const Operand from = {z1, nullptr, norm1, nullptr, nullptr, 1.0f};
    const TilePlace<NT> at(g.n * g.h * g.w, g.c_out);
    fill_parameters<Load::NormRelu>(parameters, from, g.c_in, 0.0f);
    conv_tile<NT, TF32, Gather::Forward, Load::NormRelu, true>(memory.result.out, memory.stages, parameters, from, w, g, at.first, at.o0);
    const Norm4 norm(norm2, at.channel());
    float4 gamma = {}, beta = {};
    float distance = 0.0f, size = 0.0f;
    at.rows(memory.result.out, [&](uint32_t, float4 z, uint64_t i) {
        const float4 d = load4(grad + i);
        store4(z2 + i, z);
        if (next.x) {
            const float4 rec = load4(next.rec + i), pass = norm.step(load4(next.x + i), next.h, z);
            store4(next.x + i, next.correct ? pass : rec);
            distance = add_distance(rec, pass, distance), size = add_square(pass, size);
        }
        gamma = norm.times_zhat(d, z, gamma);
        beta = add4(beta, d);
    });
    if (next.x) finish_pair(next.left, distance, size, memory.result.warps[0]);
    gamma = sum_rows<NT>(gamma, memory.result.warps);
    beta = sum_rows<NT>(beta, memory.result.warps);
    finish_tiles<NT>(SumShares{}, gamma, beta, r, at.channels, at.o0, rows, [&](uint32_t c, float2 all) { finish_sums(to, c, all); });
}

template <uint32_t NT, bool TF32>
__device__ void bn_grad_conv_relu_kernel(float* __restrict__ grad_u, const Operand& from, const float* __restrict__ w,
                                         const float* __restrict__ z1, const Norm& norm1, const ConvGeometry& g,
                                         const Reduction& r, const GradSums& to) {
    extern __shared__ float4 dynamic[];
    __shared__ Memory<NT, Load::BnGrad> memory;
    __shared__ float2 rows[kThreads];
    float* parameters = reinterpret_cast<float*>(dynamic);
    const uint32_t pixels = g.n * g.h * g.w;
    const TilePlace<NT> at(pixels, g.c_in);
    fill_parameters<Load::BnGrad>(parameters, from, g.c_out, pixels);
    conv_tile<NT, TF32, Gather::GradX, Load::BnGrad, true>(memory.result.out, memory.stages, parameters, from, w, g, at.first, at.o0);
    const Norm4 norm(norm1, at.channel());
    float4 gamma = {}, beta = {};
    at.rows(memory.result.out, [&](uint32_t, float4 d, uint64_t i) {
        const float4 z = load4(z1 + i), u = norm.value(z);
        d = {u.x > 0.0f ? d.x : 0.0f, u.y > 0.0f ? d.y : 0.0f, u.z > 0.0f ? d.z : 0.0f, u.w > 0.0f ? d.w : 0.0f};
        store4(grad_u + i, d);
        gamma = norm.times_zhat(d, z, gamma);
        beta = add4(beta, d);
    });
    gamma = sum_rows<NT>(gamma, memory.result.warps);
    beta = sum_rows<NT>(beta, memory.result.warps);
    finish_tiles<NT>(SumShares{}, gamma, beta, r, at.channels, at.o0, rows, [&](uint32_t c, float2 all) { finish_sums(to, c, all); });
}

template <uint32_t NT, bool TF32>
__device__ void bn_grad_conv_acc_kernel(float* __restrict__ grad_x, const Operand& from, const float* __restrict__ w,
                                        const ConvGeometry& g) {
    extern __shared__ float4 dynamic[];
    __shared__ Memory<NT, Load::BnGrad> memory;
    float* parameters = reinterpret_cast<float*>(dynamic);
    const uint32_t pixels = g.n * g.h * g.w;
    const TilePlace<NT> at(pixels, g.c_in);
    fill_parameters<Load::BnGrad>(parameters, from, g.c_out, pixels);
    conv_tile<NT, TF32, Gather::GradX, Load::BnGrad, true>(memory.result.out, memory.stages, parameters, from, w, g, at.first, at.o0);
    at.rows(memory.result.out, [&](uint32_t, float4 d, uint64_t i) { store4(grad_x + i, add4(load4(grad_x + i), d)); });
}

#define CONV_BLOCK(NAME, NT, TF32)                                                                                        \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    norm_relu_conv_step_##NAME(float* y, const float* x, float h, Norm norm2, const float* z1, Norm norm1,                \
                               const float* w, ConvGeometry g, PairSum moved) {                                           \
        norm_relu_conv_step_kernel<NT, TF32>(y, x, h, norm2, z1, norm1, w, g, moved);                                     \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    norm_relu_conv_sums_##NAME(float* z2, NextPass next, const float* grad, Norm norm2, const float* z1, Norm norm1,      \
                               const float* w, ConvGeometry g, Reduction r, GradSums to) {                                \
        norm_relu_conv_sums_kernel<NT, TF32>(z2, next, grad, norm2, z1, norm1, w, g, r, to);                              \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    bn_grad_conv_relu_##NAME(float* grad_u, Operand from, const float* w, const float* z1, Norm norm1, ConvGeometry g,    \
                             Reduction r, GradSums to) {                                                                  \
        bn_grad_conv_relu_kernel<NT, TF32>(grad_u, from, w, z1, norm1, g, r, to);                                         \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    bn_grad_conv_acc_##NAME(float* grad_x, Operand from, const float* w, ConvGeometry g) {                                \
        bn_grad_conv_acc_kernel<NT, TF32>(grad_x, from, w, g);                                                            \
    }
FOR_EACH_TILE(CONV_BLOCK)
