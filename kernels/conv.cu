// conv: convolution and its gradient by the input, as tiled matrix products (conv_tile.cuh); convolution also behind batch
// norm and ReLU; with batch norm's statistics of the output where asked for, finished in the same launch (reduce.cuh).
//     y[n,oy,ox,o] = sum x[n, oy s + ky - pad, ox s + kx - pad, i] w[ky,kx,i,o]
// x [N, H, W, C_in], w [K, K, C_in, C_out], y [N, OH, OW, C_out]; mean, rstd [C_out]; to.mean null: no statistics.
// Mapping: grid (pixel tiles, channel tiles of 16, 32 or 64), 128 threads. `any`: channels that are no multiples of 16
// (conv_any.cuh).
// Shared: conv_tile.cuh's, and 1,536 bytes for the statistics; 12 C_in bytes for norm_relu_conv, dynamic.
// Bound: tensor cores or FMA at 64 channels and more, L2 and shared memory at 16.    Oracle: src/reference/conv.rs
#include "conv_any.cuh"
#include "epilogue.cuh"
#include "instances.cuh"

template <uint32_t NT, bool TF32, Load L>
__device__ void conv_kernel(float* __restrict__ y, const Operand& from, const float* __restrict__ weight,
                            const ConvGeometry& g, const Reduction& r, const Statistics& to) {
    extern __shared__ float4 dynamic[];
    __shared__ Memory<NT, L> memory;
    __shared__ Moments rows[kThreads];
    float* parameters = reinterpret_cast<float*>(dynamic);
    const uint32_t pixels = g.n * g.oh * g.ow;
    const TilePlace<NT> at(pixels, g.c_out);
    fill_parameters<L>(parameters, from, g.c_in, 0.0f);
    conv_tile<NT, TF32, Gather::Forward, L, true>(memory.result.out, memory.stages, parameters, from, weight, g, at.first, at.o0);
    store_and_measure(at, memory.result, y, pixels, r, to, rows);
}

template <uint32_t NT, bool TF32>
__device__ void conv_grad_x_kernel(float* __restrict__ grad_x, const float* __restrict__ grad_y,
                                   const float* __restrict__ weight, const ConvGeometry& g) {
    __shared__ Memory<NT, Load::Plain> memory;
    const Operand from = {grad_y, nullptr, {}, nullptr, nullptr, 1.0f};
    const TilePlace<NT> at(g.n * g.h * g.w, g.c_in);
    conv_tile<NT, TF32, Gather::GradX, Load::Plain, true>(memory.result.out, memory.stages, nullptr, from, weight, g, at.first, at.o0);
    at.rows(memory.result.out, [&](uint32_t, float4 v, uint64_t i) { store4(grad_x + i, v); });
}

// The gradient by the input for any channels: element by element.
template <bool TF32>
__device__ void any_grad_x_kernel(float* __restrict__ grad_x, const float* __restrict__ grad_y, const float* __restrict__ weight,
                                  const ConvGeometry& g) {
    constexpr uint32_t NT = 16;
    __shared__ Memory<NT, Load::Plain> memory;
    const Operand from = {grad_y, nullptr, {}, nullptr, nullptr, 1.0f};
    const TilePlace<NT> at(g.n * g.h * g.w, g.c_in);
    conv_tile<NT, TF32, Gather::GradX, Load::Plain, false>(memory.result.out, memory.stages, nullptr, from, weight, g, at.first, at.o0);
    for (uint32_t i = threadIdx.x; i < at.inside * NT; i += kThreads) {
        const uint32_t row = i / NT, o = i % NT;
        if (at.o0 + o < g.c_in) grad_x[uint64_t(at.first + row) * g.c_in + at.o0 + o] = memory.result.out[row][o];
    }
}

#define CONV(NAME, NT, TF32)                                                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    conv_##NAME(float* y, const float* x, const float* w, ConvGeometry g, Reduction r, Statistics to) {                   \
        conv_kernel<NT, TF32, Load::Plain>(y, {x, nullptr, {}, nullptr, nullptr, 1.0f}, w, g, r, to);                     \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    norm_relu_conv_##NAME(float* y, const float* z, Norm norm, const float* w, ConvGeometry g, Reduction r,               \
                          Statistics to) {                                                                                \
        conv_kernel<NT, TF32, Load::NormRelu>(y, {z, nullptr, norm, nullptr, nullptr, 1.0f}, w, g, r, to);                \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    conv_grad_x_##NAME(float* grad_x, const float* grad_y, const float* w, ConvGeometry g) {                              \
        conv_grad_x_kernel<NT, TF32>(grad_x, grad_y, w, g);                                                               \
    }
#define CONV_ANY(NAME, T, TF32)                                                                                           \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                             \
    conv_##NAME(float* y, const float* x, const float* w, ConvGeometry g) {                                               \
        conv_any_kernel<T, TF32>(y, x, w, g);                                                                             \
    }
#define CONV_GRAD_X_ANY(NAME, TF32)                                                                                       \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                             \
    conv_grad_x_##NAME(float* grad_x, const float* grad_y, const float* w, ConvGeometry g) {                              \
        any_grad_x_kernel<TF32>(grad_x, grad_y, w, g);                                                                    \
    }
FOR_EACH_TILE(CONV)
FOR_EACH_ANY(CONV_ANY)
FOR_EACH_MATH(CONV_GRAD_X_ANY)
