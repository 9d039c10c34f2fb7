// grad_w_half: the gradient by weights of one or two 3x3 convolutions of a block, with operands in f16 or bf16 (half.cuh has their range and
// how a patch lies), for channels that are multiples of 64.
//     grad_w[ky,kx,i,o] = sum_p load_x(x[p + (ky - 1) W + kx - 1, i]) grad_z[p, o]     (+= where `keep`)
// load_x: the value, or relu(bn(value)); grad_z: batch norm's gradient from g and z.
//   grad_w_half    a block makes all nine taps of 64 input x 32 output channels over its share of the pixels, 128 at a time:
//                  each element of x's patch and of grad_z is read, changed and rounded once and serves all nine. A warp
//                  has 16 x 16 channels of each tap: 72 sums per thread; 10 ldmatrix for 18 products.
//   grad_w_total   the shares added in order. No atomics on numbers.
// grad_w_half: grid (tiles of 64 x 32 channels, splits, convolutions), 256 threads; partial [convolutions][tiles][splits][9][64][32].
// Shared, dynamic: 128 (128 + 2 W + 2) bytes of patch, 8,192 of grad_z, 128 of zeros.
// grad_w_total: a thread for four weights.
// Bound: shared memory and tensor cores alike.    Oracle: src/reference/conv.rs
#include "half.cuh"
#include "instances.cuh"

constexpr uint32_t kWeightThreads = 256, kOutputs = 32, kShareSize = kTaps * kSide * kOutputs;
constexpr uint32_t kGradBytes = kHalfPixels * 2 * kOutputs, kGradQuads = kOutputs / 4, kGradRows = kWeightThreads / kGradQuads;

struct WeightJob {
    Operand x, grad;
    float* grad_w;
};
static_assert(sizeof(WeightJob) == 152, "src/cuda/operand.rs declares the same");

// Where chunk `chunk` of grad_z's row lies: rows of 64 bytes, two of which share a line of the banks.
__device__ inline uint32_t by_half_line(uint32_t row, uint32_t chunk) { return row * 2 * kOutputs + ((chunk ^ row / 2 % 4) << 4); }

template <Short S>
__device__ inline void grad_w(const WeightJob& one, const WeightJob& two, const Peaks& one_peaks, const Peaks& two_peaks,
                              const ConvGeometry& g, float* partial) {
    extern __shared__ __align__(128) unsigned char dynamic[];
    __shared__ __align__(16) float x_parameters[3][kSide], g_parameters[4][kOutputs];
    __shared__ float scratch[kWarp];
    __shared__ uint16_t exist[kHalfPixels];
    const Operand x = blockIdx.z ? two.x : one.x, grad = blockIdx.z ? two.grad : one.grad;
    const uint32_t t = threadIdx.x, lane = t % kWarp, warp = t / kWarp;
    const uint32_t tiles_o = g.c_out / kOutputs, i0 = blockIdx.x / tiles_o * kSide, o0 = blockIdx.x % tiles_o * kOutputs;
    const uint32_t pixels = g.n * g.h * g.w, chunks = (pixels + kHalfPixels - 1) / kHalfPixels;
    const auto [begin, end] = Split(chunks, gridDim.y, blockIdx.y);
    const uint32_t patch = shared_address(dynamic), grads = patch + patch_rows(g) * kRowBytes, zeros = grads + kGradBytes;
    const bool normed = x.norm.mean != nullptr;

    if (t < kRowBytes / 8) store8(zeros + 8 * t, 0, 0);
    if (normed && t < kSide) {
        const uint32_t c = i0 + t;
        x_parameters[0][t] = x.norm.mean[c];
        x_parameters[1][t] = x.norm.gamma[c] * x.norm.rstd[c];
        x_parameters[2][t] = x.norm.beta[c];
    }
    const float unscale =
        fill_scaled_gradient(g_parameters[0], kOutputs, grad, o0, kOutputs, g.c_out, pixels, blockIdx.z ? two_peaks : one_peaks, scratch);

    float sums[kTaps][2][4] = {};
    const uint32_t k = lane % 8 + lane / 16 * 8, inputs = warp % 4 * 2 + lane / 8 % 2, outputs = warp / 4 * 2 + lane / 16;
#pragma unroll 1
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t first = chunk * kHalfPixels;
        if (t < kHalfPixels) exist[t] = uint16_t(neighbours(g, first + t));
        const int32_t before = int32_t(first) - int32_t(g.w + 1);
        if (normed)
            bring_patch<Load::NormRelu, kWeightThreads, S>(patch, x, x_parameters[0], kSide, before, patch_rows(g), pixels, g.c_in, i0);
        else
            bring_patch<Load::Plain, kWeightThreads, S>(patch, x, nullptr, 0, before, patch_rows(g), pixels, g.c_in, i0);
#pragma unroll 2
        for (uint32_t i = 0; i < kHalfPixels / kGradRows; i++) {
            const uint32_t row = t / kGradQuads + i * kGradRows, quad = t % kGradQuads;
            const uint64_t at = uint64_t(first + row) * g.c_out + o0 + 4 * quad;
            float4 v = {};
            if (first + row < pixels)
                v = bn_grad4(load4(grad.map + at), load4(grad.z + at), load4(&g_parameters[0][4 * quad]), load4(&g_parameters[1][4 * quad]),
                             load4(&g_parameters[2][4 * quad]), load4(&g_parameters[3][4 * quad]));
            store_shorts<S>(grads + by_half_line(row, quad / 2) + quad % 2 * 8, v);
        }
        __syncthreads();
        // worked out anew for each chunk: the taps' places would take registers from the copies
        const uint32_t row0 = kept(k);
#pragma unroll 1
        for (uint32_t step = 0; step < kHalfPixels / 16; step++) {
            uint32_t b[4];
            matrices<true>(b, grads + by_half_line(16 * step + lane % 16, outputs));
            const uint32_t there = exist[16 * step + k];
#pragma unroll
            for (uint32_t ky = 0; ky < 3; ky++)
#pragma unroll
                for (uint32_t kx = 0; kx < 3; kx++) {
                    const uint32_t tap = 3 * ky + kx, row = 16 * step + row0 + ky * g.w + kx;
                    uint32_t a[4];
                    matrices<true>(a, (there >> tap & 1 ? patch + row * kRowBytes : zeros) + ((inputs ^ row % 8) << 4));
                    mma_short<S>(sums[tap][0], a, b[0], b[1]);
                    mma_short<S>(sums[tap][1], a, b[2], b[3]);
                }
        }
        __syncthreads();
    }

    float* to = partial + (uint64_t(blockIdx.z * gridDim.x + blockIdx.x) * gridDim.y + blockIdx.y) * kShareSize;
#pragma unroll
    for (uint32_t tap = 0; tap < kTaps; tap++)
#pragma unroll
        for (uint32_t n = 0; n < 2; n++) {
            const uint32_t i = warp % 4 * 16 + lane / 4, o = warp / 4 * 16 + 8 * n + 2 * (lane % 4);
            const float(&d)[4] = sums[tap][n];
            float* at = to + (tap * kSide + i) * kOutputs + o;
            *reinterpret_cast<float2*>(at) = {unscale * d[0], unscale * d[1]};
            *reinterpret_cast<float2*>(at + 8 * kOutputs) = {unscale * d[2], unscale * d[3]};
        }
}

#define GRAD_W_HALF(NAME, S)                                                                                                \
    extern "C" __global__ void __launch_bounds__(kWeightThreads, 2)                                                       \
    grad_w_##NAME(WeightJob one, WeightJob two, Peaks one_peaks, Peaks two_peaks, ConvGeometry g, float* partial) {       \
        grad_w<S>(one, two, one_peaks, two_peaks, g, partial);                                                            \
    }
FOR_EACH_SHORT(GRAD_W_HALF)

// Weights [9][C_in][C_out] of `convolutions` from their shares.
extern "C" __global__ void __launch_bounds__(256)
grad_w_total(float* __restrict__ one, float* __restrict__ two, const float* __restrict__ partial, uint32_t splits, uint32_t c_in,
             uint32_t c_out, uint32_t convolutions, uint32_t keep) {
    const uint64_t each = uint64_t(kTaps) * c_in * c_out / 4, all = convolutions * each;
    for (uint64_t i = global_id(); i < all; i += grid_size()) {
        const uint32_t which = i >= each, quad = uint32_t(i - which * each), o = quad % (c_out / 4) * 4;
        const uint32_t row = quad / (c_out / 4), in = row % c_in, tap = row / c_in;
        const uint32_t tiles_o = c_out / kOutputs, tiles = c_in / kSide * tiles_o;
        const uint64_t tile = which * tiles + in / kSide * tiles_o + o / kOutputs;
        const float* at = partial + tile * splits * kShareSize + (tap * kSide + in % kSide) * kOutputs + o % kOutputs;
        float4 sum = {};
#pragma unroll 8
        for (uint32_t s = 0; s < splits; s++) sum = add4(sum, load4(at + uint64_t(s) * kShareSize));
        float* to = (which ? two : one) + 4ull * quad;
        store4(to, keep ? add4(load4(to), sum) : sum);
    }
}
