// The convolutions of `--math fp16` and `bf16`: 3x3, stride 1, padding 1, channels in multiples of 64 on both sides, or 16 or 32 on both;
// operands rounded to f16, which keeps TF32's 11 bits at half the bytes, or to bf16, which keeps 8, sums in f32. One convolution core, and what the gradient by weights shares.
//
// How a tile goes. A block makes 64 channels of 192 pixels that follow each other in memory, whatever rows and images they are
// in, and of several such tiles, one after the other.
//   1. The pixels that the tile's taps touch are a range too, from W + 1 before to W + 1 behind it: its patch. Each element of
//      it is read once from memory, goes through what stands before the product (batch norm and ReLU, or batch norm's gradient
//      from g and z) once, is rounded once, and serves all nine taps.
//   2. Row r of the patch is 64 channels, 128 bytes; its 16-byte chunks change places by r % 8, so that the eight rows that a
//      matrix of ldmatrix takes, wherever a tap lets them start, meet all banks once.
//   3. A tap moves all rows by ky W + kx. Where that leaves the image a lane names a row of zeros instead: nine bits per pixel say
//      where, worked out once per tile. So any height and width goes, without a border and without a tile that is half empty.
//   4. The weights come by rows of taps, [3][64][64] of 16 bits: while one row is multiplied the next is fetched and rounded, two
//      quads a thread in each step of 16 channels. All three rows stay for all tiles where one slice is all and shared memory
//      has room for two such blocks: 73,728 bytes against 49,152.
//   5. A warp makes 48 pixels x 64 channels: a step of 16 channels takes 7 ldmatrix for 24 products.
//      With 16 or 32 channels a row is 32 or 64 bytes, places change every 4 or 2 rows, and all weights stay: 4,608 or 18,432 bytes.
//   6. The sums go back through the patch's place, 64 pixels at a time, 16 of each warp, so that what stands behind the product
//      reads and writes whole rows.
// More than 64 channels before the product go in slices: patch and weights again for each, the sums stay.
//
// f16's range. Gradients can be tiny: they are scaled by a power of two that brings a bound of the largest to 2^12 to 2^13, worked out on the
// device from the peaks of g and zhat that the launch before left, and undone behind the product; both are exact. Weights are
// scaled by 2^6. What leaves f16's range all the same becomes an infinity, and so a loss that is no number, which a run reports.
#pragma once
#include "epilogue.cuh"
#include "peaks.cuh"

// Pixels of a tile, of which a warp has kParts times 16; bytes of a row of taps' weights.
constexpr uint32_t kParts = 3, kHalfPixels = kParts * kTilePixels, kTaps = 9;
template <uint32_t C>
constexpr uint32_t kRowBytes = 2 * C;
template <uint32_t C>
constexpr uint32_t kTapsBytes = 3 * C * kRowBytes<C>;
// Bytes of a row of zeros: as far as banks reach.
constexpr uint32_t kZeros = 128;

// How a launch is cut: tiles of a block, and whether it keeps all weights, as it may where 64 channels are all, and does where there are less.
struct HalfCut {
    uint32_t each, keeps;
};
static_assert(sizeof(HalfCut) == 8, "src/cuda/half.rs declares the same");

// What chunk numbers of a row of C channels are turned by; where chunk `chunk` (8 channels) of row `row` lies from the rows' first byte, and
// where channels 4 `quad` .. of it.
template <uint32_t C>
__device__ inline uint32_t turn_of(uint32_t row) { return row / (64 / C) % (C / 8); }
template <uint32_t C>
__device__ inline uint32_t by_chunk(uint32_t row, uint32_t chunk) { return row * kRowBytes<C> + ((chunk ^ turn_of<C>(row)) << 4); }
template <uint32_t C>
__device__ inline uint32_t by_quad(uint32_t row, uint32_t quad) { return by_chunk<C>(row, quad / 2) + quad % 2 * 8; }
// Where a lane reads chunk `chunk` of row `row` of the patch, or zeros in its banks where that `exists` not.
template <uint32_t C>
__device__ inline uint32_t row_or_zeros(uint32_t patch, uint32_t zeros, bool exists, uint32_t row, uint32_t chunk) {
    const uint32_t at = row * kRowBytes<C>;
    return (exists ? patch + at : zeros + at % kZeros) + ((chunk ^ turn_of<C>(row)) << 4);
}

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

// Brings rows [0, rows) of the patch that begins at pixel `first`, which may lie before the map, to shared memory: C channels
// from `c0` on. Rows outside the map are left as they are: no tap that exists reads them. `parameters` begin at channel c0.
template <Load L, Short S, uint32_t C>
__device__ inline void bring_patch(uint32_t patch, const Operand& from, const float* parameters, uint32_t stride, int32_t first,
                                   uint32_t rows, uint32_t pixels, uint32_t channels, uint32_t c0) {
    // Consecutive lanes take consecutive quads, so that a request is of whole rows.
    constexpr uint32_t kAhead = L == Load::BnGrad ? 4 : 8, kQuads = C / 4, kApart = kThreads / kQuads;
    const uint32_t quad = threadIdx.x % kQuads;
    float4 p[4] = {};
    if constexpr (L != Load::Plain)
#pragma unroll
        for (uint32_t i = 0; i < kParameters<L>; i++) p[i] = load4(parameters + i * stride + 4 * quad);
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
            store_shorts<S>(patch + by_quad<C>(r, quad), v[a]);
        }
    }
}

// Where a block's shared memory lies: the dynamic part begins at a multiple of 128.
template <uint32_t C>
struct HalfPlaces {
    uint32_t weights, patch, zeros;
    float (*result)[C + 8];
    float* parameters;
};

// Rows of the patch of `count` pixels, and the bytes of their place, behind which what follows has the same banks.
__device__ inline uint32_t patch_rows(const ConvGeometry& g, uint32_t count) { return count + 2 * g.w + 2; }
template <uint32_t C>
__device__ inline uint32_t patch_bytes(const ConvGeometry& g, uint32_t count) {
    return (patch_rows(g, count) * kRowBytes<C> + kZeros - 1) / kZeros * kZeros;
}

template <uint32_t C>
__device__ inline HalfPlaces<C> half_places(unsigned char* dynamic, const ConvGeometry& g, const HalfCut& cut) {
    // The patch's place also takes 64 rows of results.
    static_assert(kHalfPixels * kRowBytes<C> >= kTilePixels * (C + 8) * sizeof(float));
    const uint32_t base = shared_address(dynamic), weights = (cut.keeps ? 3 : 2) * kTapsBytes<C>;
    const uint32_t rows = patch_bytes<C>(g, kHalfPixels);
    return {base, base + weights, base + weights + rows, reinterpret_cast<float(*)[C + 8]>(dynamic + weights),
            reinterpret_cast<float*>(dynamic + weights + rows + kZeros)};
}

// A thread's part in bringing a row of taps' weights, [3][input channels][output channels], 64 of each, to rows (tap, input):
// quad t % 16 of every eighth row from t / 16 on, 24 in all.
struct Weights {
    static constexpr uint32_t kSide = 64, kQuads = kSide / 4, kRows = kThreads / kQuads, kEach = kSide / kRows;
    const float* w;
    uint32_t taps_apart, rows_apart;
    uint32_t to;

    __device__ Weights(const float* w, const ConvGeometry& g, uint32_t at)
        : w(w + uint64_t(threadIdx.x / kQuads) * g.c_out + threadIdx.x % kQuads * 4), taps_apart(g.c_in * g.c_out),
          rows_apart(kRows * g.c_out), to(at + by_quad<kSide>(threadIdx.x / kQuads, threadIdx.x % kQuads)) {}

    // The row's first weight of input channel i0 and output channel o0.
    __device__ const float* row(const ConvGeometry& g, uint32_t ky, uint32_t i0, uint32_t o0) const {
        return w + uint64_t(3 * ky) * taps_apart + i0 * g.c_out + o0;
    }
    __device__ float4 fetch(const float* row, uint32_t kx, uint32_t i) const { return load4(row + kx * taps_apart + i * rows_apart); }
    template <Short S>
    __device__ void put(uint32_t place, uint32_t kx, uint32_t i, float4 v) const {
        store_shorts<S>(to + place + (kx * kSide + i * kRows) * kRowBytes<kSide>,
                        {kWeightScale * v.x, kWeightScale * v.y, kWeightScale * v.z, kWeightScale * v.w});
    }
    // All of a row at once.
    template <Short S>
    __device__ void bring(const float* row, uint32_t place) const {
#pragma unroll 1
        for (uint32_t kx = 0; kx < 3; kx++) {
            float4 v[kEach];
#pragma unroll
            for (uint32_t i = 0; i < kEach; i++) v[i] = fetch(row, kx, i);
#pragma unroll
            for (uint32_t i = 0; i < kEach; i++) put<S>(place, kx, i, v[i]);
        }
    }
};

// Brings all weights of C channels, [9][C][C], to rows (tap, input).
template <Short S, uint32_t C>
__device__ inline void bring_all(const float* __restrict__ w, uint32_t place) {
    constexpr uint32_t kQuads = C / 4, kAll = kTaps * C * kQuads, kAhead = 6;
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < kAll; i += kAhead * kThreads) {
        float4 v[kAhead];
#pragma unroll
        for (uint32_t a = 0; a < kAhead; a++)
            if (i + a * kThreads < kAll) v[a] = load4(w + 4 * (i + a * kThreads));
#pragma unroll
        for (uint32_t a = 0; a < kAhead; a++) {
            const uint32_t q = i + a * kThreads;
            if (q >= kAll) continue;
            store_shorts<S>(place + by_quad<C>(q / kQuads, q % kQuads),
                            {kWeightScale * v[a].x, kWeightScale * v[a].y, kWeightScale * v[a].z, kWeightScale * v[a].w});
        }
    }
}

// A warp's sums of one slice and row of taps: kParts times 16 pixels x C channels. BACK: the transposed convolution, by the
// gradient of y. `weights`: the row's; `next`: the row to bring to `place` meanwhile, or null.
template <bool BACK, Short S, uint32_t C>
__device__ inline void multiply_taps(float (&sums)[kParts][C / 8][4], const HalfPlaces<C>& at, const uint32_t (&exist)[kParts],
                                     uint32_t ky, uint32_t width, uint32_t weights, const Weights& bring, const float* next,
                                     uint32_t place) {
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, high = lane / 16;
    const uint32_t from = weights + (BACK ? by_chunk<C>(lane % 8 + 8 * high, lane / 8 % 2) : by_chunk<C>(lane % 16, high));
#pragma unroll 1
    for (uint32_t kx = 0; kx < 3; kx++) {
        const uint32_t tap = (BACK ? 2 - kx : kx) * C * kRowBytes<C>;
        uint32_t rows[kParts];
#pragma unroll
        for (uint32_t m = 0; m < kParts; m++) {
            const uint32_t row = kTilePixels * m + 16 * warp + lane % 16 + ky * width + kx;
            rows[m] = row_or_zeros<C>(at.patch, at.zeros, exist[m] >> (3 * ky + kx) & 1, row, high);
        }
#pragma unroll
        for (uint32_t k = 0; k < C / 16; k++) {
            float4 fetched[2];
            if (next)
#pragma unroll
                for (uint32_t i = 0; i < 2; i++) fetched[i] = bring.fetch(next, kx, 2 * k + i);
            uint32_t a[kParts][4];
#pragma unroll
            for (uint32_t m = 0; m < kParts; m++) matrices<false>(a[m], rows[m] ^ k << 5);
#pragma unroll
            for (uint32_t j = 0; j < C / 16; j++) {
                uint32_t b[4];
                if constexpr (BACK) matrices<false>(b, (from ^ k << 5) + tap + j * 16 * kRowBytes<C>);
                else matrices<true>(b, (from ^ j << 5) + tap + k * 16 * kRowBytes<C>);
#pragma unroll
                for (uint32_t m = 0; m < kParts; m++) {
                    mma_short<S>(sums[m][2 * j], a[m], b[0], b[1]);
                    mma_short<S>(sums[m][2 * j + 1], a[m], b[2], b[3]);
                }
            }
            if (next)
#pragma unroll
                for (uint32_t i = 0; i < 2; i++) bring.put<S>(place, kx, 2 * k + i, fetched[i]);
        }
    }
}

// All tiles of a block. `each(place, result)` gets every 64 finished pixels, behind a barrier and before one. `unscale` undoes
// the scale of the operand. `parameters` are filled, before a barrier.
// grid (shares of the tiles, tiles of C channels), 128 threads.
template <Load L, bool BACK, Short S, uint32_t C, class Each>
__device__ inline void half_tiles(const HalfPlaces<C>& at, const Operand& from, const float* __restrict__ weight,
                                  const ConvGeometry& g, const HalfCut& cut, float unscale, Each each) {
    const uint32_t pixels = g.n * g.h * g.w, tiles = (pixels + kHalfPixels - 1) / kHalfPixels;
    const uint32_t begin = blockIdx.x * cut.each, end = min(tiles, begin + cut.each);
    const uint32_t reduced = BACK ? g.c_out : g.c_in, made = BACK ? g.c_in : g.c_out, o0 = blockIdx.y * C;
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const Weights weights(weight, g, at.weights);
    auto row = [&](uint32_t ky, uint32_t c0) { return weights.row(g, BACK ? 2 - ky : ky, BACK ? o0 : c0, BACK ? c0 : o0); };
    unscale /= kWeightScale;
    if (threadIdx.x < kZeros / 8) store8(at.zeros + 8 * threadIdx.x, 0, 0);
    if constexpr (C < 64) bring_all<S, C>(weight, at.weights);
    else
        for (uint32_t ky = 0; ky < (cut.keeps ? 3 : 1); ky++) weights.bring<S>(row(ky, 0), ky * kTapsBytes<C>);
    uint32_t turn = 0;
#pragma unroll 1
    for (uint32_t tile = begin; tile < end; tile++) {
        const uint32_t first = tile * kHalfPixels;
        uint32_t exist[kParts];
#pragma unroll
        for (uint32_t m = 0; m < kParts; m++) exist[m] = neighbours(g, first + kTilePixels * m + 16 * warp + lane % 16);
        float sums[kParts][C / 8][4] = {};
#pragma unroll 1
        for (uint32_t c0 = 0; c0 < reduced; c0 += C) {
            bring_patch<L, S, C>(at.patch, from, at.parameters + c0, reduced, int32_t(first) - int32_t(g.w + 1),
                              patch_rows(g, kHalfPixels), pixels, reduced, c0);
#pragma unroll 1
            for (uint32_t ky = 0; ky < 3; ky++) {
                // Patch and weights are there, and nobody reads the row before this one any more.
                __syncthreads();
                if constexpr (C < 64) {
                    multiply_taps<BACK, S, C>(sums, at, exist, ky, g.w, at.weights + (BACK ? 2 - ky : ky) * kTapsBytes<C>, weights, nullptr, 0);
                    continue;
                }
                const uint32_t next = c0 + (ky == 2 ? C : 0), back = next == reduced ? 0 : next;
                const bool brings = !cut.keeps && (next < reduced || tile + 1 < end);
                multiply_taps<BACK, S, C>(sums, at, exist, ky, g.w, at.weights + (cut.keeps ? ky : turn) * kTapsBytes<C>, weights,
                                          brings ? row(ky == 2 ? 0 : ky + 1, back) : nullptr, (turn ^ 1) * kTapsBytes<C>);
                turn ^= 1;
            }
            __syncthreads();
        }
#pragma unroll
        for (uint32_t m = 0; m < kParts; m++) {
#pragma unroll
            for (uint32_t n = 0; n < C / 8; n++) {
                const uint32_t r = 16 * warp + lane / 4, c = 8 * n + 2 * (lane % 4);
                const float(&d)[4] = sums[m][n];
                *reinterpret_cast<float2*>(&at.result[r][c]) = {unscale * d[0], unscale * d[1]};
                *reinterpret_cast<float2*>(&at.result[r + 8][c]) = {unscale * d[2], unscale * d[3]};
            }
            __syncthreads();
            each(TilePlace<C>(first + m * kTilePixels, o0, pixels, made), at.result);
            __syncthreads();
        }
    }
}
