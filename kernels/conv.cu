// conv: convolution, its gradient by the input, and convolution behind batch norm and ReLU, as tiled matrix products
// (conv_tile.cuh); with the moments of the output where asked for, for batch norm's statistics.
//     y[n,oy,ox,o] = sum x[n, oy s + ky - pad, ox s + kx - pad, i] w[ky,kx,i,o]
// x [N, H, W, C_in], w [K, K, C_in, C_out], y [N, OH, OW, C_out]
// moments [tiles, C_out, 3]: count, mean and M2 of each tile's 64 pixels (batch_norm.cu's bn_finalize merges them), or null.
// Mapping: grid (pixel tiles, channel tiles of 16, 32 or 64), 128 threads.
// Bound: tensor cores or FMA at 64 channels and more, L2 and shared memory at 16.    Oracle: src/reference/conv.rs
#include "conv_tile.cuh"

template <uint32_t NT, bool TF32, Gather G, bool VECTOR, bool NORM>
__device__ void conv_kernel(float* __restrict__ y, float* __restrict__ moments, const float* __restrict__ input,
                            const float* __restrict__ weight, Prologue norm, const ConvGeometry& g) {
    __shared__ union {
        TileMemory<NT> stages;
        float out[kTilePixels][NT + 4];
    } memory;
    const uint32_t made = G == Gather::Forward ? g.c_out : g.c_in;
    const uint32_t pixels = g.n * (G == Gather::Forward ? g.oh * g.ow : g.h * g.w);
    const uint32_t first = blockIdx.x * kTilePixels, o0 = blockIdx.y * NT;
    conv_tile<NT, TF32, G, VECTOR, NORM>(memory.out, memory.stages, input, weight, g, norm, first, o0);

    const uint32_t rows = min(kTilePixels, pixels - first);
    for (uint32_t i = threadIdx.x; i < rows * NT; i += kThreads) {
        uint32_t r = i / NT, o = i % NT;
        if (o0 + o < made) y[uint64_t(first + r) * made + o0 + o] = memory.out[r][o];
    }
    if (moments == nullptr) return;
    // Two passes over the tile's own sums: exact enough for any mean.
    for (uint32_t o = threadIdx.x; o < NT && o0 + o < made; o += kThreads) {
        float sum = 0.0f, m2 = 0.0f;
        for (uint32_t r = 0; r < rows; r++) sum += memory.out[r][o];
        const float mean = sum / rows;
        for (uint32_t r = 0; r < rows; r++) m2 = fmaf(memory.out[r][o] - mean, memory.out[r][o] - mean, m2);
        float* to = moments + (uint64_t(blockIdx.x) * made + o0 + o) * 3;
        to[0] = rows, to[1] = mean, to[2] = m2;
    }
}

#define CONV(NAME, NT, TF32, VECTOR)                                                                                      \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                                \
    conv_##NAME(float* y, float* moments, const float* x, const float* w, ConvGeometry g) {                               \
        conv_kernel<NT, TF32, Gather::Forward, VECTOR, false>(y, moments, x, w, Prologue{}, g);                           \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                                \
    conv_grad_x_##NAME(float* grad_x, const float* grad_y, const float* w, ConvGeometry g) {                              \
        conv_kernel<NT, TF32, Gather::GradX, VECTOR, false>(grad_x, nullptr, grad_y, w, Prologue{}, g);                   \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                                \
    norm_relu_conv_##NAME(float* y, float* moments, const float* z, const float* mean, const float* rstd,                 \
                          const float* gamma, const float* beta, const float* w, ConvGeometry g) {                        \
        conv_kernel<NT, TF32, Gather::Forward, VECTOR, true>(y, moments, z, w, Prologue{mean, rstd, gamma, beta}, g);     \
    }
// The fast forms want channels on both sides in multiples of 16 and of their tile; `any` takes whatever comes.
CONV(tf32_16, 16, true, true)
CONV(tf32_32, 32, true, true)
CONV(tf32_64, 64, true, true)
CONV(tf32_any, 16, true, false)
CONV(fp32_16, 16, false, true)
CONV(fp32_32, 32, false, true)
CONV(fp32_64, 64, false, true)
CONV(fp32_any, 16, false, false)
