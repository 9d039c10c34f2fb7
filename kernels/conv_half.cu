// conv_half: the convolutions of a block, forward and back, with operands in f16 or bf16 (half.cuh), for channels that are
// multiples of 64, or 16 or 32.
// The same kernels as conv.cu and conv_block.cu have by TF32, with the same operands and results:
//   conv_half                 z = conv(x, w); statistics of z where asked for
//   norm_relu_conv_half       z = conv(relu(bn(x)), w); statistics where asked for
//   norm_relu_conv_step_half  y = x + h bn2(z2), z2 = conv(relu(bn1(z1)), w), never stored; |y - x|^2 and |x|^2
//   norm_relu_conv_sums_half  z2; batch norm 2's gradient sums of (g, z2), the peaks of |g| and |zhat2|; the next pass
//   bn_grad_conv_relu_half    grad_u = conv^T(bn2's gradient, w) where bn1(z1) > 0; sums of (grad_u, z1) and the peaks
//   bn_grad_conv_acc_half     grad_x += conv^T(bn1's gradient, w)
// Mapping: grid (shares of the pixel tiles, tiles of 64 channels), 128 threads; tiles of 192 pixels.
// Shared, dynamic: half.cuh's 49,152 bytes of weights, or 73,728 where they stay, 4,608 and 18,432 at 16 and 32 channels; 2 min(C, 64)
// (192 + 2 W + 2) of patch, 128 of zeros, 0, 12 or 16 C of parameters.
// Bound: tensor cores.    Oracle: src/reference/conv.rs, src/device/fused.rs
#include "half.cuh"
#include "instances.cuh"

extern __shared__ __align__(128) unsigned char dynamic[];

// Blocks that are to find registers in a multiprocessor.
template <uint32_t C>
constexpr uint32_t kBlocks = C == 64 ? 2 : 3;

// Moments of the rows so far with those of 64 more.
struct Measured {
    float count = 0.0f;
    float4 mean = {}, m2 = {};

    __device__ static void merge(float count, float& mean, float& m2, float more, float other_mean, float other_m2) {
        const Moments all = merged({count, mean, m2}, {more, other_mean, other_m2});
        mean = all.mean, m2 = all.m2;
    }
    __device__ void add(float more, float4 other, float4 other_m2) {
        merge(count, mean.x, m2.x, more, other.x, other_m2.x), merge(count, mean.y, m2.y, more, other.y, other_m2.y);
        merge(count, mean.z, m2.z, more, other.z, other_m2.z), merge(count, mean.w, m2.w, more, other.w, other_m2.w);
        count += more;
    }
};

template <Load L, Short S, uint32_t C>
__device__ void forward(float* __restrict__ y, const Operand& from, const float* __restrict__ w, const ConvGeometry& g,
                        HalfCut cut, const Reduction& r, const Statistics& to) {
    __shared__ float warps[kThreads / kWarp][C];
    __shared__ Moments rows[kThreads];
    const HalfPlaces at = half_places<C>(dynamic, g, cut);
    fill_parameters<L>(at.parameters, from, g.c_in, 0.0f);
    __syncthreads();
    Measured all;
    half_tiles<L, false, S, C>(at, from, w, g, cut, 1.0f, [&](const TilePlace<C>& place, const float (*out)[C + 8]) {
        float4 sum = {}, m2 = {};
        place.rows(out, [&](uint32_t, float4 v, uint64_t i) {
            store4(y + i, v);
            sum = add4(sum, v);
        });
        if (to.mean == nullptr || place.inside == 0) return;
        const float4 total = sum_rows<C>(sum, warps);
        const float count = place.inside;
        const float4 mean = {total.x / count, total.y / count, total.z / count, total.w / count};
        place.rows(out, [&](uint32_t, float4 v, uint64_t) {
            m2 = {fmaf(v.x - mean.x, v.x - mean.x, m2.x), fmaf(v.y - mean.y, v.y - mean.y, m2.y),
                  fmaf(v.z - mean.z, v.z - mean.z, m2.z), fmaf(v.w - mean.w, v.w - mean.w, m2.w)};
        });
        all.add(count, mean, sum_rows<C>(m2, warps));
    });
    if (to.mean == nullptr) return;
    const MomentShares shares{g.n * g.h * g.w, cut.each * kHalfPixels};
    finish_tiles<C>(shares, all.mean, all.m2, r, g.c_out, blockIdx.y * C, rows,
                        [&](uint32_t c, Moments total) { finish_statistics(to, c, total); });
}

template <Short S, uint32_t C>
__device__ inline void norm_relu_conv_step(float* __restrict__ y, const float* __restrict__ x, float h, Norm norm2,
                                           const float* __restrict__ z1, Norm norm1, const float* __restrict__ w,
                                           ConvGeometry g, HalfCut cut, PairSum moved) {
    __shared__ float scratch[kWarp];
    const HalfPlaces at = half_places<C>(dynamic, g, cut);
    const Operand from = {z1, nullptr, norm1, nullptr, nullptr, 1.0f};
    fill_parameters<Load::NormRelu>(at.parameters, from, g.c_in, 0.0f);
    __syncthreads();
    float distance = 0.0f, size = 0.0f;
    half_tiles<Load::NormRelu, false, S, C>(at, from, w, g, cut, 1.0f, [&](const TilePlace<C>& place, const float (*out)[C + 8]) {
        const Norm4 norm(norm2, place.channel());
        place.rows(out, [&](uint32_t, float4 z2, uint64_t i) {
            const float4 before = load4(x + i), after = norm.step(before, h, z2);
            store4(y + i, after);
            distance = add_distance(after, before, distance), size = add_square(before, size);
        });
    });
    finish_pair(moved, distance, size, scratch);
}

template <Short S, uint32_t C>
__device__ inline void norm_relu_conv_sums(float* __restrict__ z2, NextPass next, const float* __restrict__ grad, Norm norm2,
                                           const float* __restrict__ z1, Norm norm1, const float* __restrict__ w,
                                           ConvGeometry g, HalfCut cut, Reduction r, GradSums to, Peaks peaks) {
    __shared__ float warps[kThreads / kWarp][C];
    __shared__ float2 rows[kThreads];
    const HalfPlaces at = half_places<C>(dynamic, g, cut);
    const Operand from = {z1, nullptr, norm1, nullptr, nullptr, 1.0f};
    fill_parameters<Load::NormRelu>(at.parameters, from, g.c_in, 0.0f);
    __syncthreads();
    float4 gamma = {}, beta = {};
    float distance = 0.0f, size = 0.0f;
    uint32_t largest_grad = 0, largest_zhat = 0;
    half_tiles<Load::NormRelu, false, S, C>(at, from, w, g, cut, 1.0f, [&](const TilePlace<C>& place, const float (*out)[C + 8]) {
        const Norm4 norm(norm2, place.channel());
        place.rows(out, [&](uint32_t, float4 z, uint64_t i) {
            const float4 d = load4(grad + i);
            store4(z2 + i, z);
            if (next.x) {
                const float4 rec = load4(next.rec + i), pass = norm.step(load4(next.x + i), next.h, z);
                store4(next.x + i, next.correct ? pass : rec);
                distance = add_distance(rec, pass, distance), size = add_square(pass, size);
            }
            gamma = norm.times_zhat(d, z, gamma);
            beta = add4(beta, d);
            largest_grad = peak_of(largest_grad, d), largest_zhat = peak_of(largest_zhat, norm.zhat(z));
        });
    });
    leave_peak(peaks.grad, largest_grad), leave_peak(peaks.zhat, largest_zhat);
    if (next.x) finish_pair(next.left, distance, size, warps[0]);
    gamma = sum_rows<C>(gamma, warps);
    beta = sum_rows<C>(beta, warps);
    finish_tiles<C>(SumShares{}, gamma, beta, r, g.c_out, blockIdx.y * C, rows,
                        [&](uint32_t c, float2 all) { finish_sums(to, c, all); });
}

template <Short S, uint32_t C>
__device__ inline void bn_grad_conv_relu(float* __restrict__ grad_u, Operand from, Peaks before, const float* __restrict__ w,
                                         const float* __restrict__ z1, Norm norm1, ConvGeometry g, HalfCut cut, Reduction r,
                                         GradSums to, Peaks peaks) {
    __shared__ float warps[kThreads / kWarp][C];
    __shared__ float2 rows[kThreads];
    const HalfPlaces at = half_places<C>(dynamic, g, cut);
    const float unscale = fill_scaled_gradient(at.parameters, g.c_out, from, 0, g.c_out, g.c_out, g.n * g.h * g.w, before, warps[0]);
    float4 gamma = {}, beta = {};
    uint32_t largest_grad = 0, largest_zhat = 0;
    half_tiles<Load::BnGrad, true, S, C>(at, from, w, g, cut, unscale, [&](const TilePlace<C>& place, const float (*out)[C + 8]) {
        const Norm4 norm(norm1, place.channel());
        place.rows(out, [&](uint32_t, float4 d, uint64_t i) {
            const float4 z = load4(z1 + i), u = norm.value(z);
            d = {u.x > 0.0f ? d.x : 0.0f, u.y > 0.0f ? d.y : 0.0f, u.z > 0.0f ? d.z : 0.0f, u.w > 0.0f ? d.w : 0.0f};
            store4(grad_u + i, d);
            gamma = norm.times_zhat(d, z, gamma);
            beta = add4(beta, d);
            largest_grad = peak_of(largest_grad, d), largest_zhat = peak_of(largest_zhat, norm.zhat(z));
        });
    });
    leave_peak(peaks.grad, largest_grad), leave_peak(peaks.zhat, largest_zhat);
    gamma = sum_rows<C>(gamma, warps);
    beta = sum_rows<C>(beta, warps);
    finish_tiles<C>(SumShares{}, gamma, beta, r, g.c_in, blockIdx.y * C, rows,
                        [&](uint32_t c, float2 all) { finish_sums(to, c, all); });
}

template <Short S, uint32_t C>
__device__ inline void bn_grad_conv_acc(float* __restrict__ grad_x, Operand from, Peaks before, const float* __restrict__ w,
                                        ConvGeometry g, HalfCut cut) {
    __shared__ float scratch[kWarp];
    const HalfPlaces at = half_places<C>(dynamic, g, cut);
    const float unscale = fill_scaled_gradient(at.parameters, g.c_out, from, 0, g.c_out, g.c_out, g.n * g.h * g.w, before, scratch);
    half_tiles<Load::BnGrad, true, S, C>(at, from, w, g, cut, unscale, [&](const TilePlace<C>& place, const float (*out)[C + 8]) {
        place.rows(out, [&](uint32_t, float4 d, uint64_t i) { store4(grad_x + i, add4(load4(grad_x + i), d)); });
    });
}

#define HALF(NAME, C, S)                                                                                         \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    conv_##NAME(float* __restrict__ y, const float* x, const float* __restrict__ w, ConvGeometry g,              \
                      HalfCut cut, Reduction r, Statistics to) {                                                 \
        forward<Load::Plain, S, C>(y, {x, nullptr, {}, nullptr, nullptr, 1.0f}, w, g, cut, r, to);               \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    norm_relu_conv_##NAME(float* __restrict__ y, const float* z, Norm norm, const float* __restrict__ w,         \
                                ConvGeometry g, HalfCut cut, Reduction r, Statistics to) {                       \
        forward<Load::NormRelu, S, C>(y, {z, nullptr, norm, nullptr, nullptr, 1.0f}, w, g, cut, r, to);          \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    norm_relu_conv_step_##NAME(float* __restrict__ y, const float* __restrict__ x, float h, Norm norm2,          \
                                     const float* __restrict__ z1, Norm norm1, const float* __restrict__ w,      \
                                     ConvGeometry g, HalfCut cut, PairSum moved) {                               \
        norm_relu_conv_step<S, C>(y, x, h, norm2, z1, norm1, w, g, cut, moved);                                  \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    norm_relu_conv_sums_##NAME(float* __restrict__ z2, NextPass next, const float* __restrict__ grad,            \
                                     Norm norm2, const float* __restrict__ z1, Norm norm1,                       \
                                     const float* __restrict__ w, ConvGeometry g, HalfCut cut, Reduction r,      \
                                     GradSums to, Peaks peaks) {                                                 \
        norm_relu_conv_sums<S, C>(z2, next, grad, norm2, z1, norm1, w, g, cut, r, to, peaks);                    \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    bn_grad_conv_relu_##NAME(float* __restrict__ grad_u, Operand from, Peaks before,                             \
                                   const float* __restrict__ w, const float* __restrict__ z1, Norm norm1,        \
                                   ConvGeometry g, HalfCut cut, Reduction r, GradSums to, Peaks peaks) {         \
        bn_grad_conv_relu<S, C>(grad_u, from, before, w, z1, norm1, g, cut, r, to, peaks);                       \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(kThreads, kBlocks<C>)                                           \
    bn_grad_conv_acc_##NAME(float* __restrict__ grad_x, Operand from, Peaks before, const float* __restrict__ w, \
                                  ConvGeometry g, HalfCut cut) {                                                 \
        bn_grad_conv_acc<S, C>(grad_x, from, before, w, g, cut);                                                 \
    }
FOR_EACH_SHORT(HALF)
