// conv_grad_w: the convolution's gradient by its weights, a matrix product summed over pixels.
//     grad_w[ky,kx,i,o] += sum_p x[gather(p, ky, kx), i] grad_y[p, o]
// x [N, H, W, C_in], grad_y [N, OH, OW, C_out], grad_w [K, K, C_in, C_out]; partial [splits, K K C_in C_out].
// Two kernels and no atomics: each split of the pixels sums its share into `partial`, then the shares are added in order.
// Mapping: grid (taps x tiles of 16 input channels x tiles of NT output channels, splits), 128 threads: a warp takes every
// fourth chunk of 8 pixels of a stage, the four warps' sums meet in shared memory in order.
// Shared memory: two stages of 32 pixels x (16 + 8 + NT + 8) floats, 24,576 bytes at NT = 64.
// Bound: L2 at 16 channels, tensor cores or FMA at 64.    Oracle: src/reference/conv.rs
#include "conv_tile.cuh"

constexpr uint32_t kStagePixels = 32, kInputTile = 16;

template <uint32_t NT, bool TF32, bool VECTOR>
__device__ void grad_w_kernel(float* __restrict__ partial, const float* __restrict__ x, const float* __restrict__ grad_y,
                              const ConvGeometry& g) {
    __shared__ union {
        struct {
            float input[2][kStagePixels][kInputTile + 8];
            float grad[2][kStagePixels][NT + 8];
        } stages;
        float sums[4][kInputTile][NT + 4];
    } memory;
    const uint32_t t = threadIdx.x, lane = t % kWarp, warp = t / kWarp;
    const uint32_t tiles_o = (g.c_out + NT - 1) / NT, tiles_i = (g.c_in + kInputTile - 1) / kInputTile;
    const uint32_t o0 = blockIdx.x % tiles_o * NT, i0 = blockIdx.x / tiles_o % tiles_i * kInputTile;
    const uint32_t tap = blockIdx.x / tiles_o / tiles_i, ky = tap / g.kernel, kx = tap % g.kernel;
    const uint32_t pixels = g.n * g.oh * g.ow, chunks = (pixels + kStagePixels - 1) / kStagePixels;
    const uint32_t share = (chunks + gridDim.y - 1) / gridDim.y;
    const uint32_t begin = min(chunks, blockIdx.y * share), end = min(chunks, begin + share);

    auto stage = [&](uint32_t chunk, uint32_t buffer) {
        // Input: a thread brings 4 channels of one pixel.
        const uint32_t row = t / 4, quad = 4 * (t % 4);
        const Pixel at = pixel_at(chunk * kStagePixels + row, g.n, g.oh, g.ow);
        uint64_t offset;
        const bool valid = gathered<Gather::Forward>(g, at, ky, kx, offset);
        float* to = &memory.stages.input[buffer][row][quad];
        if (VECTOR) {
            copy16(to, x + offset + i0 + quad, valid);
        } else {
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                const uint32_t c = i0 + quad + j;
                to[j] = valid && c < g.c_in ? x[offset + c] : 0.0f;
            }
        }
        // The output's gradient: rows of NT channels.
        if (VECTOR) {
            for (uint32_t i = t; i < kStagePixels * NT / 4; i += kThreads) {
                const uint32_t r = i / (NT / 4), o = i % (NT / 4) * 4, p = chunk * kStagePixels + r;
                copy16(&memory.stages.grad[buffer][r][o], grad_y + uint64_t(p < pixels ? p : 0) * g.c_out + o0 + o, p < pixels);
            }
        } else {
            for (uint32_t i = t; i < kStagePixels * NT; i += kThreads) {
                const uint32_t r = i / NT, o = i % NT, p = chunk * kStagePixels + r;
                memory.stages.grad[buffer][r][o] = p < pixels && o0 + o < g.c_out ? grad_y[uint64_t(p) * g.c_out + o0 + o] : 0.0f;
            }
        }
        copies_commit();
    };

    constexpr uint32_t kTiles = NT / 8;
    // TF32: tiles of a 16 x 8 product. FP32: a lane holds input channels lane / 8 * 4 .. + 3 and outputs lane % 8 + 8 tile.
    float sums[kTiles][4] = {};
    if (begin < end) stage(begin, 0);
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t buffer = (chunk - begin) % 2;
        if (chunk + 1 < end) {
            stage(chunk + 1, buffer ^ 1);
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        const uint32_t p0 = 8 * warp;
        if constexpr (TF32) {
            const uint32_t k = p0 + lane % 4, m = lane / 4;
            const auto& in = memory.stages.input[buffer];
            const uint32_t a[4] = {to_tf32(in[k][m]), to_tf32(in[k][m + 8]), to_tf32(in[k + 4][m]), to_tf32(in[k + 4][m + 8])};
#pragma unroll
            for (uint32_t tile = 0; tile < kTiles; tile++) {
                const uint32_t o = 8 * tile + lane / 4;
                const uint32_t b[2] = {to_tf32(memory.stages.grad[buffer][k][o]), to_tf32(memory.stages.grad[buffer][k + 4][o])};
                mma_tf32(sums[tile], a, b);
            }
        } else {
#pragma unroll
            for (uint32_t p = p0; p < p0 + 8; p++)
#pragma unroll
                for (uint32_t tile = 0; tile < kTiles; tile++) {
                    const float v = memory.stages.grad[buffer][p][8 * tile + lane % 8];
#pragma unroll
                    for (uint32_t i = 0; i < 4; i++)
                        sums[tile][i] = fmaf(memory.stages.input[buffer][p][lane / 8 * 4 + i], v, sums[tile][i]);
                }
        }
        __syncthreads();
    }

#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; tile++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t m = TF32 ? lane / 4 + i / 2 * 8 : lane / 8 * 4 + i;
            const uint32_t o = TF32 ? 8 * tile + 2 * (lane % 4) + i % 2 : 8 * tile + lane % 8;
            memory.sums[warp][m][o] = sums[tile][i];
        }
    __syncthreads();
    const uint64_t weights = uint64_t(g.kernel) * g.kernel * g.c_in * g.c_out;
    for (uint32_t i = t; i < kInputTile * NT; i += kThreads) {
        const uint32_t m = i / NT, o = i % NT;
        if (i0 + m >= g.c_in || o0 + o >= g.c_out) continue;
        const float sum = (memory.sums[0][m][o] + memory.sums[1][m][o]) + (memory.sums[2][m][o] + memory.sums[3][m][o]);
        partial[blockIdx.y * weights + (uint64_t(tap) * g.c_in + i0 + m) * g.c_out + o0 + o] = sum;
    }
}

// grad_w += the splits' shares, in order.
extern "C" __global__ void __launch_bounds__(256)
conv_grad_w_total(float* __restrict__ grad_w, const float* __restrict__ partial, uint32_t splits, uint64_t len) {
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        float sum = 0.0f;
        for (uint32_t s = 0; s < splits; s++) sum += partial[s * len + i];
        grad_w[i] += sum;
    }
}

#define CONV_GRAD_W(NAME, NT, TF32, VECTOR)                                                                               \
    extern "C" __global__ void __launch_bounds__(kThreads)                                                                \
    conv_grad_w_##NAME(float* partial, const float* x, const float* grad_y, ConvGeometry g) {                             \
        grad_w_kernel<NT, TF32, VECTOR>(partial, x, grad_y, g);                                                           \
    }
CONV_GRAD_W(tf32_16, 16, true, true)
CONV_GRAD_W(tf32_32, 32, true, true)
CONV_GRAD_W(tf32_64, 64, true, true)
CONV_GRAD_W(tf32_any, 16, true, false)
CONV_GRAD_W(fp32_16, 16, false, true)
CONV_GRAD_W(fp32_32, 32, false, true)
CONV_GRAD_W(fp32_64, 64, false, true)
CONV_GRAD_W(fp32_any, 16, false, false)
