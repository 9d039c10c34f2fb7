// grad_w_half: the gradient by weights of one or two 3x3 convolutions of a block, with operands in f16 or bf16 (half.cuh has their range and
// how a patch lies), for channels that are multiples of 64, or 16 or 32.
//     grad_w[ky,kx,i,o] = sum_p load_x(x[p + (ky - 1) W + kx - 1, i]) grad_z[p, o]     (+= where `keep`)
// load_x: the value, or relu(bn(value)); grad_z: batch norm's gradient from g and z.
//   grad_w_half    a block makes all nine taps of 64 x 64 channels over its share of the pixels, 128 at a time: each element of
//                  x's patch and of grad_z is read, changed and rounded once and serves all nine; while one 128 are multiplied
//                  the next are fetched, a step of 16 pixels three quads a thread. A warp has 16 x 32 channels of each tap: 144 sums per
//                  thread; 11 ldmatrix for 36 products. With 16 or 32 channels one or two warps have all of them: eight or four such groups
//                  take steps in turn, and their sums come together in shared memory, half to half.
//   grad_w_total   the shares added in order. No atomics on numbers.
// grad_w_half: grid (tiles of 64 x 64 channels, splits, convolutions), 256 threads; partial [convolutions][tiles][splits][9][64][64], or as
// many channels as there are.
// Shared, dynamic: twice 128 (128 + 2 W + 2) bytes of patch and 16,384 of grad_z, with 32 and 16 channels a half and a quarter, and then at
// least 73,728 and 36,864; 128 of zeros. One block to a multiprocessor.
// grad_w_total: a thread for four weights.
// Bound: tensor cores.    Oracle: src/reference/conv.rs
#include "half.cuh"
#include "instances.cuh"

constexpr uint32_t kWeightThreads = 256, kWeightPixels = 128;

struct WeightJob {
    Operand x, grad;
    float* grad_w;
};
static_assert(sizeof(WeightJob) == 152, "src/cuda/operand.rs declares the same");

// How the warps share C channels: tiles of 16 inputs, tiles of outputs, 8 `outputs` each; groups of warps that have all of them, and
// that take steps of 16 pixels in turn.
template <uint32_t C>
struct Warps {
    static constexpr uint32_t kInputs = C / 16, kOutputs = C / 8 < 4 ? C / 8 : 4, kTilesOut = C / 8 / kOutputs;
    static constexpr uint32_t kGroup = kInputs * kTilesOut, kGroups = kWeightThreads / kWarp / kGroup;
    static constexpr uint32_t kSteps = kWeightPixels / 16 / kGroups;
    // Rows that the threads bring at a time, and how often they do in a step.
    static constexpr uint32_t kQuads = C / 4, kRowsApart = kWeightThreads / kQuads, kFetches = kWeightPixels / kRowsApart / kSteps;
};

// A thread's quads of one fetch: two rows of x, one of the gradient.
struct Fetched {
    float4 x[2], grad, z;
};

// The groups' sums together, in the first group: half of them to the other half, until one is left. `memory` takes half of all.
template <uint32_t C>
__device__ inline void add_groups(float (&sums)[kTaps][Warps<C>::kOutputs][4], float* memory) {
    using W = Warps<C>;
    constexpr uint32_t kEach = kTaps * W::kOutputs;
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, group = warp / W::kGroup;
#pragma unroll
    for (uint32_t half = W::kGroups / 2; half > 0; half /= 2) {
        const uint32_t slot = group % half * W::kGroup + warp % W::kGroup;
        float* at = memory + 4 * (slot * kEach * kWarp + lane);
        __syncthreads();
        if (group >= half && group < 2 * half)
#pragma unroll
            for (uint32_t i = 0; i < kEach; i++) {
                const float(&d)[4] = sums[i / W::kOutputs][i % W::kOutputs];
                store4(at + 4 * i * kWarp, {d[0], d[1], d[2], d[3]});
            }
        __syncthreads();
        if (group < half)
#pragma unroll
            for (uint32_t i = 0; i < kEach; i++) {
                float(&d)[4] = sums[i / W::kOutputs][i % W::kOutputs];
                const float4 v = load4(at + 4 * i * kWarp);
                d[0] += v.x, d[1] += v.y, d[2] += v.z, d[3] += v.w;
            }
    }
}

template <Short S, uint32_t C>
__device__ inline void grad_w(const WeightJob& one, const WeightJob& two, const Peaks& one_peaks, const Peaks& two_peaks,
                              const ConvGeometry& g, float* partial) {
    extern __shared__ __align__(128) unsigned char dynamic[];
    using W = Warps<C>;
    constexpr uint32_t kQuads = W::kQuads, kRowsApart = W::kRowsApart;
    __shared__ __align__(16) float g_parameters[4][C];
    __shared__ float scratch[kWarp];
    __shared__ uint16_t exist[2][kWeightPixels];
    const Operand x = blockIdx.z ? two.x : one.x, grad = blockIdx.z ? two.grad : one.grad;
    const uint32_t t = threadIdx.x, lane = t % kWarp, warp = t / kWarp, quad = t % kQuads;
    const uint32_t tiles_o = g.c_out / C, i0 = blockIdx.x / tiles_o * C, o0 = blockIdx.x % tiles_o * C;
    const uint32_t pixels = g.n * g.h * g.w, chunks = (pixels + kWeightPixels - 1) / kWeightPixels;
    const auto [begin, end] = Split(chunks, gridDim.y, blockIdx.y);
    const uint32_t rows = patch_rows(g, kWeightPixels), to_grad = patch_bytes<C>(g, kWeightPixels);
    const uint32_t bytes = to_grad + kWeightPixels * kRowBytes<C>;
    const uint32_t base = shared_address(dynamic), zeros = base + 2 * bytes;
    const bool normed = x.norm.mean != nullptr;

    if (t < kZeros / 8) store8(zeros + 8 * t, 0, 0);
    const float unscale =
        fill_scaled_gradient(g_parameters[0], C, grad, o0, C, g.c_out, pixels, blockIdx.z ? two_peaks : one_peaks, scratch);
    // A thread always has the same channels.
    float4 p[3] = {}, q[4];
    if (normed) {
        const uint32_t c = i0 + 4 * quad;
        const float4 gamma = load4(x.norm.gamma + c), rstd = load4(x.norm.rstd + c);
        p[0] = load4(x.norm.mean + c), p[2] = load4(x.norm.beta + c);
        p[1] = {gamma.x * rstd.x, gamma.y * rstd.y, gamma.z * rstd.z, gamma.w * rstd.w};
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) q[i] = load4(&g_parameters[i][4 * quad]);

    // Row `row` of the patch of the chunk that begins at pixel `first`: whether it is one and a pixel of the map.
    auto inside = [&](uint32_t first, uint32_t row) { return row < rows && first - (g.w + 1) + row < pixels; };
    auto fetch_x = [&](uint32_t first, uint32_t row) {
        return inside(first, row) ? load4(x.map + uint64_t(first - (g.w + 1) + row) * g.c_in + i0 + 4 * quad) : float4{};
    };
    auto put_x = [&](uint32_t to, uint32_t first, uint32_t row, float4 v) {
        if (inside(first, row)) store_shorts<S>(to + by_quad<C>(row, quad), normed ? norm_relu4(v, p[0], p[1], p[2]) : v);
    };
    const uint32_t row0 = t / kQuads;
    auto fetch = [&](uint32_t first, uint32_t n) {
        Fetched f = {};
        for (uint32_t i = 0; i < 2; i++) f.x[i] = fetch_x(first, (2 * n + i) * kRowsApart + row0);
        const uint32_t pixel = first + n * kRowsApart + row0;
        const uint64_t at = uint64_t(pixel) * g.c_out + o0 + 4 * quad;
        if (pixel < pixels) f.grad = load4(grad.map + at), f.z = load4(grad.z + at);
        return f;
    };
    auto put = [&](uint32_t to, uint32_t first, uint32_t n, const Fetched& f) {
        for (uint32_t i = 0; i < 2; i++) put_x(to, first, (2 * n + i) * kRowsApart + row0, f.x[i]);
        const uint32_t row = n * kRowsApart + row0;
        const bool there = first + row < pixels;
        store_shorts<S>(to + to_grad + by_quad<C>(row, quad), there ? bn_grad4(f.grad, f.z, q[0], q[1], q[2], q[3]) : float4{});
    };
    // What the steps do not bring: rows of the widest patches, and which neighbours exist.
    auto bring_rest = [&](uint32_t buffer, uint32_t first) {
        for (uint32_t row = 2 * kWeightPixels + row0; row < rows; row += kRowsApart)
            put_x(base + buffer * bytes, first, row, fetch_x(first, row));
        if (t < kWeightPixels) exist[buffer][t] = uint16_t(neighbours(g, first + t));
    };

    constexpr uint32_t kFetches = W::kFetches, kOutputs = W::kOutputs;
    float sums[kTaps][kOutputs][4] = {};
    const uint32_t group = warp / W::kGroup, k = lane % 8 + lane / 16 * 8, tile_i = warp % W::kInputs;
    const uint32_t tile_o = warp / W::kInputs % W::kTilesOut, inputs = tile_i * 2 + lane / 8 % 2;
    const uint32_t outputs = tile_o * kOutputs + lane / 16;
    if (begin < end) {
        for (uint32_t n = 0; n < W::kSteps * kFetches; n++) put(base, begin * kWeightPixels, n, fetch(begin * kWeightPixels, n));
        bring_rest(0, begin * kWeightPixels);
    }
#pragma unroll 1
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t buffer = (chunk - begin) % 2, next = (chunk + 1) * kWeightPixels;
        const uint32_t patch = base + buffer * bytes, other = base + (buffer ^ 1) * bytes;
        const bool more = chunk + 1 < end;
        // Everybody's part of this chunk is there, and the one before it is read.
        __syncthreads();
#pragma unroll 1
        for (uint32_t step = 0; step < W::kSteps; step++) {
            Fetched fetched[kFetches];
            if (more)
#pragma unroll
                for (uint32_t n = 0; n < kFetches; n++) fetched[n] = fetch(next, step * kFetches + n);
            const uint32_t first = 16 * (step * W::kGroups + group);
            uint32_t b[kOutputs / 2][4];
#pragma unroll
            for (uint32_t j = 0; j < kOutputs / 2; j++)
                matrices<true>(b[j], patch + to_grad + by_chunk<C>(first + lane % 16, outputs + 2 * j));
            const uint32_t there = exist[buffer][first + k];
#pragma unroll
            for (uint32_t tap = 0; tap < kTaps; tap++) {
                uint32_t a[4];
                matrices<true>(a, row_or_zeros<C>(patch, zeros, there >> tap & 1, first + k + tap / 3 * g.w + tap % 3, inputs));
#pragma unroll
                for (uint32_t n = 0; n < kOutputs; n++) mma_short<S>(sums[tap][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
            }
            if (more)
#pragma unroll
                for (uint32_t n = 0; n < kFetches; n++) put(other, next, step * kFetches + n, fetched[n]);
        }
        if (more) bring_rest(buffer ^ 1, next);
    }

    if constexpr (W::kGroups > 1) add_groups<C>(sums, reinterpret_cast<float*>(dynamic));
    if (group > 0) return;
    float* to = partial + (uint64_t(blockIdx.z * gridDim.x + blockIdx.x) * gridDim.y + blockIdx.y) * kTaps * C * C;
#pragma unroll
    for (uint32_t tap = 0; tap < kTaps; tap++)
#pragma unroll
        for (uint32_t n = 0; n < kOutputs; n++) {
            const uint32_t i = tile_i * 16 + lane / 4, o = 8 * (tile_o * kOutputs + n) + 2 * (lane % 4);
            const float(&d)[4] = sums[tap][n];
            float* at = to + (tap * C + i) * C + o;
            *reinterpret_cast<float2*>(at) = {unscale * d[0], unscale * d[1]};
            *reinterpret_cast<float2*>(at + 8 * C) = {unscale * d[2], unscale * d[3]};
        }
}

#define GRAD_W_HALF(NAME, C, S)                                                                                     \
    extern "C" __global__ void __launch_bounds__(kWeightThreads, 1)                                                 \
    grad_w_##NAME(WeightJob one, WeightJob two, Peaks one_peaks, Peaks two_peaks, ConvGeometry g, float* partial) { \
        grad_w<S, C>(one, two, one_peaks, two_peaks, g, partial);                                                   \
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
        const uint32_t side = min(c_in, 64u), share = kTaps * side * side, tiles_o = c_out / side, tiles = c_in / side * tiles_o;
        const uint64_t tile = which * tiles + in / side * tiles_o + o / side;
        const float* at = partial + tile * splits * share + (tap * side + in % side) * side + o % side;
        float4 sum = {};
#pragma unroll 8
        for (uint32_t s = 0; s < splits; s++) sum = add4(sum, load4(at + uint64_t(s) * share));
        float* to = (which ? two : one) + 4ull * quad;
        store4(to, keep ? add4(load4(to), sum) : sum);
    }
}
