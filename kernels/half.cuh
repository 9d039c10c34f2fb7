// The convolutions of `--math fp16` and `bf16`: 3x3, stride 1, padding 1, channels in multiples of 64 on both sides; operands rounded to
// f16, which keeps TF32's 11 bits at half the bytes, or to bf16, which keeps 8, sums in f32. One convolution core, and what the gradient by weights shares.
//
// How a tile goes. A block makes 64 channels of 128 pixels that follow each other in memory, whatever rows and images they are
// in, and of several such tiles, one after the other.
//   1. All nine taps' weights for the tile's channels are brought once: [9][64][64] of 16 bits, 73,728 bytes.
//   2. The pixels that the tile's taps touch are a range too, from W + 1 before to W + 1 behind it: its patch. Each element of
//      it is read once from memory, goes through what stands before the product (batch norm and ReLU, or batch norm's gradient
//      from g and z) once, is rounded once, and serves all nine taps.
//   3. Row r of the patch is 64 channels, 128 bytes; its 16-byte chunks change places by r % 8, so that the eight rows that a
//      matrix of ldmatrix takes, wherever a tap lets them start, meet all banks once.
//   4. A tap moves all rows by ky W + kx. Where that leaves the image a lane names a row of zeros instead: nine bits per pixel say
//      where, worked out once per tile. So any height and width goes, without a border and without a tile that is half empty.
//   5. A warp makes 32 pixels x 64 channels: a step of 16 channels takes 6 ldmatrix for 16 products.
//   6. The sums go back through the patch's place, 64 pixels at a time, so that what stands behind the product reads and writes
//      whole rows.
// More than 64 channels before the product go in slices: weights and patch again for each, the sums stay.
//
// f16's range. Gradients can be tiny: they are scaled by a power of two that brings a bound of the largest to 2^12 to 2^13, worked out on the
// device from the peaks of g and zhat that the launch before left, and undone behind the product; both are exact. Weights are
// scaled by 2^6. What leaves f16's range all the same becomes an infinity, and so a loss that is no number, which a run reports.
#pragma once
#include "epilogue.cuh"
#include "peaks.cuh"

constexpr uint32_t kHalfPixels = 128, kSide = 64, kTaps = 9, kRowBytes = 2 * kSide;
constexpr uint32_t kHalfWeights = kTaps * kSide * kRowBytes;

// Where chunk `chunk` (8 channels) of row `row` lies from the rows' first byte, and where channels 4 `quad` .. of it.
__device__ inline uint32_t by_chunk(uint32_t row, uint32_t chunk) { return row * kRowBytes + ((chunk ^ row % 8) << 4); }
__device__ inline uint32_t by_quad(uint32_t row, uint32_t quad) { return by_chunk(row, quad / 2) + quad % 2 * 8; }

// Which of a pixel's nine neighbours exist, bit 3 (dy + 1) + dx + 1.
__device__ inline uint32_t neighbours(const ConvGeometry& g, uint32_t pixel) {
    const Pixel p = pixel_at(pixel, g.n, g.h, g.w);
    if (!p.inside) return 0;
    const uint32_t columns = (p.x > 0 ? 1u : 0u) | 2u | (p.x + 1 < int32_t(g.w) ? 4u : 0u);
    return (p.y > 0 ? columns : 0u) | columns << 3 | (p.y + 1 < int32_t(g.h) ? columns << 6 : 0u);
}

// Fills batch norm's gradient's numbers of `count` channels from `first` on into four arrays of `stride`, scaled; gives what
// undoes the scale, which is the same for all channels of the map. `scratch`: 32 floats. Ends with a barrier.
__device__ inline float fill_scaled_gradient(float* parameters, uint32_t stride, const Operand& from, uint32_t first,
                                             uint32_t count, uint32_t channels, float pixels, const Peaks& peaks, float* scratch) {
    const float grad = __uint_as_float(*peaks.grad), zhat = __uint_as_float(*peaks.zhat);
    float bound = 0.0f;
    for (uint32_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const BnGradient p = bn_gradient(from, c, pixels);
        bound = fmaxf(bound, fmaf(fabsf(p.scale), grad, fmaf(fabsf(p.slope) / from.norm.rstd[c], zhat, fabsf(p.offset))));
    }
    const uint32_t largest = __reduce_max_sync(kFull, __float_as_uint(bound));
    if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = __uint_as_float(largest);
    __syncthreads();
    for (uint32_t w = 0; w < blockDim.x / kWarp; w++) bound = fmaxf(bound, scratch[w]);
    const float scale = scale_for(bound);
    for (uint32_t c = threadIdx.x; c < count; c += blockDim.x) {
        const BnGradient p = bn_gradient(from, first + c, pixels);
        parameters[c] = p.mean;
        parameters[stride + c] = scale * p.scale;
        parameters[2 * stride + c] = scale * p.slope;
        parameters[3 * stride + c] = scale * p.offset;
    }
    __syncthreads();
    return 1.0f / scale;
}

// Brings rows [0, rows) of the patch that begins at pixel `first`, which may lie before the map, to shared memory: 64 channels
// from `c0` on. Rows outside the map are left as they are: no tap that exists reads them. `parameters` begin at channel c0.
template <Load L, uint32_t THREADS, Short S>
__device__ inline void bring_patch(uint32_t patch, const Operand& from, const float* parameters, uint32_t stride, int32_t first,
                                   uint32_t rows, uint32_t pixels, uint32_t channels, uint32_t c0) {
    // Consecutive lanes take consecutive quads, so that a request is of whole rows. As many rows in flight as registers allow:
    // beside the gradient by weights' sums two.
    constexpr uint32_t kAhead = THREADS > kThreads ? 2 : L == Load::BnGrad ? 4 : 8, kQuads = kSide / 4, kApart = THREADS / kQuads;
    const uint32_t quad = threadIdx.x % kQuads;
    float4 p[4] = {};
    if constexpr (L != Load::Plain)
#pragma unroll
        for (uint32_t i = 0; i < (L == Load::NormRelu ? 3u : 4u); i++) p[i] = load4(parameters + i * stride + 4 * quad);
#pragma unroll 1
    for (uint32_t row = threadIdx.x / kQuads; row < rows; row += kAhead * kApart) {
        float4 v[kAhead], z[kAhead];
#pragma unroll
        for (uint32_t a = 0; a < kAhead; a++) {
            const uint32_t r = row + a * kApart, q = uint32_t(first + int32_t(r));
            if (r >= rows || q >= pixels) continue;
            const uint64_t at = uint64_t(q) * channels + c0 + 4 * quad;
            v[a] = load4(from.map + at);
            if constexpr (L == Load::BnGrad) z[a] = load4(from.z + at);
        }
#pragma unroll
        for (uint32_t a = 0; a < kAhead; a++) {
            const uint32_t r = row + a * kApart, q = uint32_t(first + int32_t(r));
            if (r >= rows || q >= pixels) continue;
            if constexpr (L == Load::NormRelu) v[a] = norm_relu4(v[a], p[0], p[1], p[2]);
            if constexpr (L == Load::BnGrad) v[a] = bn_grad4(v[a], z[a], p[0], p[1], p[2], p[3]);
            store_shorts<S>(patch + by_quad(r, quad), v[a]);
        }
    }
}

// Where a block's shared memory lies: the dynamic part begins at a multiple of 128.
struct HalfPlaces {
    uint32_t weights, patch, zeros;
    float (*result)[kSide + 8];
    float* parameters;
};

__device__ inline uint32_t patch_rows(const ConvGeometry& g) { return kHalfPixels + 2 * g.w + 2; }
// The patch's place also takes 64 rows of results.
__device__ inline uint32_t patch_bytes(const ConvGeometry& g) {
    return max(patch_rows(g) * kRowBytes, uint32_t(kTilePixels * (kSide + 8) * sizeof(float)));
}

__device__ inline HalfPlaces half_places(unsigned char* dynamic, const ConvGeometry& g) {
    const uint32_t base = shared_address(dynamic), patch = base + kHalfWeights, zeros = patch + patch_bytes(g);
    return {base, patch, zeros, reinterpret_cast<float(*)[kSide + 8]>(dynamic + kHalfWeights),
            reinterpret_cast<float*>(dynamic + kHalfWeights + patch_bytes(g) + kRowBytes)};
}

// Weights [tap][input channels from i0][output channels from o0], 64 of each, to rows (tap, input).
template <Short S>
__device__ inline void bring_weights(uint32_t to, const float* __restrict__ w, const ConvGeometry& g, uint32_t i0, uint32_t o0) {
    constexpr uint32_t kQuads = kSide / 4;
#pragma unroll 8
    for (uint32_t i = threadIdx.x; i < kTaps * kSide * kQuads; i += kThreads) {
        const uint32_t row = i / kQuads, quad = i % kQuads;
        const float4 v = load4(w + (uint64_t(row / kSide) * g.c_in + i0 + row % kSide) * g.c_out + o0 + 4 * quad);
        store_shorts<S>(to + by_quad(row, quad), {kWeightScale * v.x, kWeightScale * v.y, kWeightScale * v.z, kWeightScale * v.w});
    }
}

// A warp's sums of one slice: 32 pixels x 64 channels, all taps. BACK: the transposed convolution, by the gradient of y.
template <bool BACK, Short S>
__device__ inline void multiply_slice(float (&sums)[2][8][4], const HalfPlaces& at, const uint32_t (&exist)[2], uint32_t width) {
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, high = lane / 16;
    uint32_t from[BACK ? 1 : 4];
    if constexpr (BACK)
        from[0] = at.weights + by_chunk(lane % 8 + 8 * high, lane / 8 % 2);
    else
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) from[j] = at.weights + by_chunk(lane % 16, 2 * j + high);
    const uint32_t first = 32 * warp + lane % 16;
#pragma unroll 1
    for (uint32_t ky = 0; ky < 3; ky++)
#pragma unroll
        for (uint32_t kx = 0; kx < 3; kx++) {
            const uint32_t step = 3 * ky + kx, shift = ky * width + kx, tap = BACK ? 8 - step : step;
            uint32_t rows[2];
#pragma unroll
            for (uint32_t m = 0; m < 2; m++) {
                const uint32_t row = first + 16 * m + shift;
                rows[m] = (exist[m] >> step & 1 ? at.patch + row * kRowBytes : at.zeros) + ((high ^ row % 8) << 4);
            }
#pragma unroll
            for (uint32_t k = 0; k < 4; k++) {
                uint32_t a[2][4];
#pragma unroll
                for (uint32_t m = 0; m < 2; m++) matrices<false>(a[m], rows[m] ^ k << 5);
#pragma unroll
                for (uint32_t j = 0; j < 4; j++) {
                    uint32_t b[4];
                    if constexpr (BACK)
                        matrices<false>(b, (from[0] ^ k << 5) + tap * (kSide * kRowBytes) + j * 16 * kRowBytes);
                    else
                        matrices<true>(b, from[j] + tap * (kSide * kRowBytes) + k * 16 * kRowBytes);
#pragma unroll
                    for (uint32_t m = 0; m < 2; m++) {
                        mma_short<S>(sums[m][2 * j], a[m], b[0], b[1]);
                        mma_short<S>(sums[m][2 * j + 1], a[m], b[2], b[3]);
                    }
                }
            }
        }
}

// All tiles of a block. `each(place, result)` gets every 64 finished pixels, behind a barrier and before one. `unscale` undoes
// the scale of the operand. `parameters` are filled, before a barrier.
// grid (shares of the tiles, tiles of 64 channels), 128 threads; `each_block`: tiles per block.
template <Load L, bool BACK, Short S, class Each>
__device__ inline void half_tiles(const HalfPlaces& at, const Operand& from, const float* __restrict__ weight,
                                  const ConvGeometry& g, uint32_t each_block, float unscale, Each each) {
    const uint32_t pixels = g.n * g.h * g.w, tiles = (pixels + kHalfPixels - 1) / kHalfPixels;
    const uint32_t begin = blockIdx.x * each_block, end = min(tiles, begin + each_block);
    const uint32_t reduced = BACK ? g.c_out : g.c_in, made = BACK ? g.c_in : g.c_out, o0 = blockIdx.y * kSide;
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    unscale /= kWeightScale;
    if (threadIdx.x < kRowBytes / 8) store8(at.zeros + 8 * threadIdx.x, 0, 0);
#pragma unroll 1
    for (uint32_t tile = begin; tile < end; tile++) {
        const uint32_t first = tile * kHalfPixels, pixel = first + 32 * warp + lane % 16;
        const uint32_t exist[2] = {neighbours(g, pixel), neighbours(g, pixel + 16)};
        float sums[2][8][4] = {};
#pragma unroll 1
        for (uint32_t c0 = 0; c0 < reduced; c0 += kSide) {
            if (tile == begin || reduced > kSide) bring_weights<S>(at.weights, weight, g, BACK ? o0 : c0, BACK ? c0 : o0);
            bring_patch<L, kThreads, S>(at.patch, from, at.parameters + c0, reduced, int32_t(first) - int32_t(g.w + 1), patch_rows(g),
                                     pixels, reduced, c0);
            __syncthreads();
            multiply_slice<BACK, S>(sums, at, exist, g.w);
            __syncthreads();
        }
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            if (warp / 2 == half)
#pragma unroll
                for (uint32_t m = 0; m < 2; m++)
#pragma unroll
                    for (uint32_t n = 0; n < 8; n++) {
                        const uint32_t r = warp % 2 * 32 + 16 * m + lane / 4, c = 8 * n + 2 * (lane % 4);
                        const float(&d)[4] = sums[m][n];
                        *reinterpret_cast<float2*>(&at.result[r][c]) = {unscale * d[0], unscale * d[1]};
                        *reinterpret_cast<float2*>(&at.result[r + 8][c]) = {unscale * d[2], unscale * d[3]};
                    }
            __syncthreads();
            each(TilePlace<kSide>(first + half * kTilePixels, o0, pixels, made), at.result);
            __syncthreads();
        }
    }
}
