// conv_grad_w: the convolution's gradient by its weights, a matrix product summed over pixels; of one convolution or of two
// in one launch, each operand behind what stands before it in a block (grad_w_tile.cuh).
//     grad_w[ky,kx,i,o] = sum_p load_x(x[gather(p, ky, kx), i]) load_g(grad_y[p, o])     (+= where `keep`)
// x [N, H, W, C_in], grad_y [N, OH, OW, C_out], grad_w [K, K, C_in, C_out]; partial [convolutions, tiles, splits, T, T].
// No atomics on numbers: each split of the pixels leaves its share, and the last block of a tile adds them in order.
// Mapping: grid (taps x tiles of T input channels x tiles of T output channels, splits, convolutions), 128 threads.
// `any`: channels that are no multiples of 16, plain operands; tiles of 16 x 16, element by element.
// Shared memory: 24,576 bytes; `any` 24,576 too.    Bound: L2 at 16 channels, tensor cores or FMA at 64.
// Oracle: src/reference/conv.rs
#include "grad_w_tile.cuh"

struct WeightJob {
    Operand x, grad;
    float* grad_w;
};
static_assert(sizeof(WeightJob) == 152, "src/cuda/operand.rs declares the same");

template <uint32_t T, bool TF32>
__device__ void grad_w_kernel(const WeightJob& job, const ConvGeometry& g, float* partial, uint32_t* counters, uint32_t keep) {
    using Tile = WeightTile<T, TF32>;
    __shared__ typename Tile::Memory memory;
    const uint32_t tiles_o = g.c_out / T, tiles_i = g.c_in / T;
    const uint32_t o0 = blockIdx.x % tiles_o * T, i0 = blockIdx.x / tiles_o % tiles_i * T;
    const uint32_t tap = blockIdx.x / tiles_o / tiles_i, ky = tap / g.kernel, kx = tap % g.kernel;
    const uint32_t pixels = g.n * g.oh * g.ow, chunks = (pixels + Tile::kPixels - 1) / Tile::kPixels, splits = gridDim.y;
    const uint32_t share = (chunks + splits - 1) / splits;
    const uint32_t begin = min(chunks, blockIdx.y * share), end = min(chunks, begin + share);
    grad_w_tile<T, TF32>(memory, job.x, job.grad, g, ky, kx, i0, o0, begin, end);

    constexpr uint32_t kQuads = T * T / 4;
    auto own = [&](uint32_t i) {
        const uint32_t r = i / (T / 4), c = i % (T / 4) * 4;
        float4 sum = load4(&memory.sums[0][r][c]);
#pragma unroll
        for (uint32_t p = 1; p < Tile::kParts; p++) sum = add4(sum, load4(&memory.sums[p][r][c]));
        return sum;
    };
    auto leave = [&](uint32_t i, float4 sum) {
        float* to = job.grad_w + (uint64_t(tap) * g.c_in + i0 + i / (T / 4)) * g.c_out + o0 + i % (T / 4) * 4;
        store4(to, keep ? add4(load4(to), sum) : sum);
    };
    if (splits == 1) {
        for (uint32_t i = threadIdx.x; i < kQuads; i += kThreads) leave(i, own(i));
        return;
    }
    const uint32_t tile = blockIdx.z * gridDim.x + blockIdx.x;
    float* shares = partial + uint64_t(tile) * splits * T * T;
    for (uint32_t i = threadIdx.x; i < kQuads; i += kThreads) store4(shares + blockIdx.y * T * T + 4 * i, own(i));
    if (!last_to_come(&counters[tile], splits)) return;
    for (uint32_t i = threadIdx.x; i < kQuads; i += kThreads) {
        float4 sum = {};
        // Other blocks wrote them in this launch: past the first-level cache.
#pragma unroll 4
        for (uint32_t s = 0; s < splits; s++) sum = add4(sum, __ldcg(reinterpret_cast<const float4*>(shares + s * T * T + 4 * i)));
        leave(i, sum);
    }
}

constexpr uint32_t kStagePixels = 32, kAny = 16;

// grad_w += the gradient; any channels.
template <bool TF32>
__device__ void any_kernel(float* __restrict__ grad_w, const float* __restrict__ x, const float* __restrict__ grad_y,
                           const ConvGeometry& g, float* partial, uint32_t* counters) {
    __shared__ union {
        struct {
            float input[2][kStagePixels][kAny + 8], grad[2][kStagePixels][kAny + 8];
        } stages;
        float sums[4][kAny][kAny + 4];
    } memory;
    const uint32_t t = threadIdx.x, lane = t % kWarp, warp = t / kWarp;
    const uint32_t tiles_o = (g.c_out + kAny - 1) / kAny, tiles_i = (g.c_in + kAny - 1) / kAny;
    const uint32_t o0 = blockIdx.x % tiles_o * kAny, i0 = blockIdx.x / tiles_o % tiles_i * kAny;
    const uint32_t tap = blockIdx.x / tiles_o / tiles_i, ky = tap / g.kernel, kx = tap % g.kernel;
    const uint32_t pixels = g.n * g.oh * g.ow, chunks = (pixels + kStagePixels - 1) / kStagePixels, splits = gridDim.y;
    const uint32_t share = (chunks + splits - 1) / splits;
    const uint32_t begin = min(chunks, blockIdx.y * share), end = min(chunks, begin + share);

    auto stage = [&](uint32_t chunk, uint32_t buffer) {
        // A thread brings 4 channels of one pixel of the input, and 4 elements of the output's gradient.
        const uint32_t row = t / 4, quad = 4 * (t % 4);
        const Pixel at = pixel_at(chunk * kStagePixels + row, g.n, g.oh, g.ow);
        uint64_t offset;
        const bool valid = gathered<Gather::Forward>(g, at, ky, kx, offset);
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            const uint32_t c = i0 + quad + j;
            memory.stages.input[buffer][row][quad + j] = valid && c < g.c_in ? x[offset + c] : 0.0f;
        }
        for (uint32_t i = t; i < kStagePixels * kAny; i += kThreads) {
            const uint32_t r = i / kAny, o = i % kAny, p = chunk * kStagePixels + r;
            memory.stages.grad[buffer][r][o] = p < pixels && o0 + o < g.c_out ? grad_y[uint64_t(p) * g.c_out + o0 + o] : 0.0f;
        }
    };

    // TF32: two 16 x 8 products. FP32: a lane holds input channels lane / 8 * 4 .. + 3 and outputs lane % 8 + 8 tile.
    float sums[2][4] = {};
    if (begin < end) stage(begin, 0);
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t buffer = (chunk - begin) % 2, p0 = 8 * warp;
        __syncthreads();
        if (chunk + 1 < end) stage(chunk + 1, buffer ^ 1);
        const auto& in = memory.stages.input[buffer];
        const auto& out = memory.stages.grad[buffer];
        if constexpr (TF32) {
            const uint32_t k = p0 + lane % 4, m = lane / 4;
            const uint32_t a[4] = {to_tf32(in[k][m]), to_tf32(in[k][m + 8]), to_tf32(in[k + 4][m]), to_tf32(in[k + 4][m + 8])};
#pragma unroll
            for (uint32_t tile = 0; tile < 2; tile++) {
                const uint32_t o = 8 * tile + lane / 4, b[2] = {to_tf32(out[k][o]), to_tf32(out[k + 4][o])};
                mma_tf32(sums[tile], a, b);
            }
        } else {
#pragma unroll
            for (uint32_t p = p0; p < p0 + 8; p++)
#pragma unroll
                for (uint32_t tile = 0; tile < 2; tile++)
#pragma unroll
                    for (uint32_t i = 0; i < 4; i++)
                        sums[tile][i] = fmaf(in[p][lane / 8 * 4 + i], out[p][8 * tile + lane % 8], sums[tile][i]);
        }
    }
    __syncthreads();

#pragma unroll
    for (uint32_t tile = 0; tile < 2; tile++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t m = TF32 ? lane / 4 + i / 2 * 8 : lane / 8 * 4 + i;
            const uint32_t o = TF32 ? 8 * tile + 2 * (lane % 4) + i % 2 : 8 * tile + lane % 8;
            memory.sums[warp][m][o] = sums[tile][i];
        }
    __syncthreads();
    float* shares = partial + uint64_t(blockIdx.x) * splits * kAny * kAny;
    for (uint32_t i = t; i < kAny * kAny; i += kThreads) {
        const uint32_t m = i / kAny, o = i % kAny;
        const float sum = (memory.sums[0][m][o] + memory.sums[1][m][o]) + (memory.sums[2][m][o] + memory.sums[3][m][o]);
        shares[blockIdx.y * kAny * kAny + i] = sum;
    }
    if (splits > 1 && !last_to_come(&counters[blockIdx.x], splits)) return;
    for (uint32_t i = t; i < kAny * kAny; i += kThreads) {
        const uint32_t m = i / kAny, o = i % kAny;
        if (i0 + m >= g.c_in || o0 + o >= g.c_out) continue;
        float sum = 0.0f;
        for (uint32_t s = 0; s < splits; s++) sum += __ldcg(shares + s * kAny * kAny + i);
        grad_w[(uint64_t(tap) * g.c_in + i0 + m) * g.c_out + o0 + o] += sum;
    }
}

#define CONV_GRAD_W(NAME, T, TF32)                                                                                        \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    conv_grad_w_##NAME(WeightJob first, WeightJob second, ConvGeometry g, float* partial, uint32_t* counters,             \
                       uint32_t keep) {                                                                                   \
        grad_w_kernel<T, TF32>(blockIdx.z ? second : first, g, partial, counters, keep);                                  \
    }
#define CONV_GRAD_W_ANY(NAME, TF32)                                                                                       \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    conv_grad_w_##NAME(float* grad_w, const float* x, const float* grad_y, ConvGeometry g, float* partial,                \
                       uint32_t* counters) {                                                                              \
        any_kernel<TF32>(grad_w, x, grad_y, g, partial, counters);                                                        \
    }
CONV_GRAD_W(tf32_16, 16, true)
CONV_GRAD_W(tf32_32, 32, true)
CONV_GRAD_W(tf32_64, 64, true)
CONV_GRAD_W_ANY(tf32_any, true)
CONV_GRAD_W(fp32_16, 16, false)
CONV_GRAD_W(fp32_32, 32, false)
CONV_GRAD_W(fp32_64, 64, false)
CONV_GRAD_W_ANY(fp32_any, false)
