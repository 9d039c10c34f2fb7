// conv_grad_w: the convolution's gradient by its weights, a matrix product summed over pixels; of one convolution or of two
// in one launch, each operand behind what stands before it in a block (grad_w_tile.cuh).
//     grad_w[ky,kx,i,o] = sum_p load_x(x[gather(p, ky, kx), i]) load_g(grad_y[p, o])     (+= where `keep`)
// x [N, H, W, C_in], grad_y [N, OH, OW, C_out], grad_w [K, K, C_in, C_out]; partial [convolutions, tiles, splits, T, T].
// No atomics on numbers: each split of the pixels leaves its share, and the last block of a tile adds them in order.
// Mapping: grid (taps x tiles of T input channels x tiles of T output channels, splits, convolutions), 128 threads.
// `any`: channels that are no multiples of 16, plain operands (grad_w_any.cuh).
// Shared memory: 24,576 bytes; `any` 16,384 at 16 outputs, 34,816 at 64.    Bound: L2 at 16 channels, tensor cores or FMA at 64.
// Oracle: src/reference/conv.rs
#include "grad_w_any.cuh"
#include "instances.cuh"

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
    const Split split(chunks, splits, blockIdx.y);
    grad_w_tile<T, TF32>(memory, job.x, job.grad, g, ky, kx, i0, o0, split.begin, split.end);

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

#define CONV_GRAD_W(NAME, T, TF32)                                                                                        \
    extern "C" __global__ void __launch_bounds__(kThreads, 4)                                                              \
    conv_grad_w_##NAME(WeightJob first, WeightJob second, ConvGeometry g, float* partial, uint32_t* counters,             \
                       uint32_t keep) {                                                                                   \
        grad_w_kernel<T, TF32>(blockIdx.z ? second : first, g, partial, counters, keep);                                  \
    }
#define CONV_GRAD_W_ANY(NAME, T, TF32)                                                                                    \
    extern "C" __global__ void __launch_bounds__(kThreads, T == 16 ? 4 : 3)                                                \
    conv_grad_w_##NAME(float* grad_w, const float* x, const float* grad_y, ConvGeometry g, float* partial,                \
                       uint32_t* counters, uint32_t group) {                                                              \
        any_kernel<T, TF32>(grad_w, x, grad_y, g, partial, counters, group);                                              \
    }
FOR_EACH_TILE(CONV_GRAD_W)
FOR_EACH_ANY(CONV_GRAD_W_ANY)
