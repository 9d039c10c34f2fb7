// Convolution for any channels: the general form, and that of a stem, whose three channels would fill little of a step for each tap.
//     y[p, o] = sum_m x[gather(p, m), m % C_in] w[m, o],  m = (ky K + kx) C_in + i: all K K C_in rows of the weights in one
// A tile is 64 pixels by T outputs, summed 32 rows at a time; warp w makes pixels 16 w .. and gathers them, lane m row m's number of
// one pixel after the other, so that it reads the few runs of memory that a pixel's window has. What comes next is on its way to
// registers while this stage is multiplied.
// grid (tiles of pixels, tiles of T outputs), 128 threads. Shared memory: 24,576 bytes at 16 outputs, 36,864 at 64.
#pragma once
#include "conv_tile.cuh"

constexpr uint32_t kAnyRows = 32;

// The four numbers at `from`, of which `count` exist, or more; zeros for the others. `fours`: whether sixteen bytes are in one piece.
__device__ inline float4 load_quad(const float* from, uint32_t count, bool fours) {
    if (fours && count >= 4) return load4(from);
    return {count > 0 ? from[0] : 0.0f, count > 1 ? from[1] : 0.0f, count > 2 ? from[2] : 0.0f, count > 3 ? from[3] : 0.0f};
}

template <uint32_t T>
struct AnyStage {
    // Rows that far apart: fragments meet each bank once.
    float input[kTilePixels][kAnyRows + 4], weight[kAnyRows][T + 8];
};

template <uint32_t T, bool TF32>
__device__ void conv_any_kernel(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ weight,
                                const ConvGeometry& g) {
    constexpr uint32_t kOwn = kTilePixels * kWarp / kThreads, kQuads = kAnyRows * T / 4 / kThreads;
    __shared__ AnyStage<T> memory[2];
    const uint32_t t = threadIdx.x, lane = t % kWarp, row0 = t / kWarp * kOwn, rows = g.kernel * g.kernel * g.c_in;
    const uint32_t pixels = g.n * g.oh * g.ow, first = blockIdx.x * kTilePixels + row0, o0 = blockIdx.y * T;
    const bool fours = g.c_out % 4 == 0 && on_16_bytes(weight);
    const Pixel mine = pixel_at(first + lane % kOwn, g.n, g.oh, g.ow);

    float input[kOwn];
    float4 quads[kQuads];
    auto bring = [&](uint32_t m0) {
        const uint32_t m = m0 + lane, tap = m / g.c_in, channel = m % g.c_in;
#pragma unroll
        for (uint32_t i = 0; i < kOwn; i++) {
            const Pixel at = {__shfl_sync(kFull, mine.n, i), __shfl_sync(kFull, mine.y, i), __shfl_sync(kFull, mine.x, i),
                              first + i < pixels};
            uint64_t offset;
            const bool valid = gathered<Gather::Forward>(g, at, tap / g.kernel, tap % g.kernel, offset);
            input[i] = valid && m < rows ? x[offset + channel] : 0.0f;
        }
#pragma unroll
        for (uint32_t i = 0; i < kQuads; i++) {
            const uint32_t at = t + i * kThreads, k = m0 + at / (T / 4), o = o0 + at % (T / 4) * 4;
            quads[i] = load_quad(weight + uint64_t(k) * g.c_out + o, k < rows && o < g.c_out ? g.c_out - o : 0, fours);
        }
    };
    auto put = [&](AnyStage<T>& stage) {
#pragma unroll
        for (uint32_t i = 0; i < kOwn; i++) stage.input[row0 + i][lane] = input[i];
#pragma unroll
        for (uint32_t i = 0; i < kQuads; i++) {
            const uint32_t at = t + i * kThreads;
            store4(&stage.weight[at / (T / 4)][at % (T / 4) * 4], quads[i]);
        }
    };
    // TF32: rows lane / 4 and 8 further, outputs 8 n + 2 (lane % 4) ..; FP32: rows lane / 8 * 4 .., output 8 n + lane % 8.
    float sums[T / 8][4] = {};
    auto multiply = [&](const AnyStage<T>& stage) {
        if constexpr (TF32) {
#pragma unroll
            for (uint32_t k0 = 0; k0 < kAnyRows; k0 += 8) {
                const uint32_t k = k0 + lane % 4, r = row0 + lane / 4;
                const uint32_t a[4] = {to_tf32(stage.input[r][k]), to_tf32(stage.input[r + 8][k]), to_tf32(stage.input[r][k + 4]),
                                       to_tf32(stage.input[r + 8][k + 4])};
#pragma unroll
                for (uint32_t n = 0; n < T / 8; n++) {
                    const uint32_t o = 8 * n + lane / 4;
                    const uint32_t b[2] = {to_tf32(stage.weight[k][o]), to_tf32(stage.weight[k + 4][o])};
                    mma_tf32(sums[n], a, b);
                }
            }
        } else {
#pragma unroll 4
            for (uint32_t k = 0; k < kAnyRows; k++) {
                float a[4];
#pragma unroll
                for (uint32_t i = 0; i < 4; i++) a[i] = stage.input[row0 + lane / 8 * 4 + i][k];
#pragma unroll
                for (uint32_t n = 0; n < T / 8; n++) {
                    const float b = stage.weight[k][8 * n + lane % 8];
#pragma unroll
                    for (uint32_t i = 0; i < 4; i++) sums[n][i] = fmaf(a[i], b, sums[n][i]);
                }
            }
        }
    };

    bring(0);
    put(memory[0]);
    uint32_t buffer = 0;
    for (uint32_t m0 = 0; m0 < rows; m0 += kAnyRows, buffer ^= 1) {
        __syncthreads();
        if (m0 + kAnyRows < rows) bring(m0 + kAnyRows);
        multiply(memory[buffer]);
        if (m0 + kAnyRows < rows) put(memory[buffer ^ 1]);
    }
#pragma unroll
    for (uint32_t n = 0; n < T / 8; n++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t p = first + (TF32 ? lane / 4 + i / 2 * 8 : lane / 8 * 4 + i);
            const uint32_t o = o0 + 8 * n + (TF32 ? 2 * (lane % 4) + i % 2 : lane % 8);
            if (p < pixels && o < g.c_out) y[uint64_t(p) * g.c_out + o] = sums[n][i];
        }
}
