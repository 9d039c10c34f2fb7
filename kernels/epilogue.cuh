// What becomes of a finished tile: a thread takes whole quads of channels, always the same channels, row by row, so that
// global accesses are of 16 bytes and consecutive, and sums over rows stay in registers.
#pragma once
#include "reduce.cuh"

template <uint32_t NT, Load L>
union Memory {
    TileMemory<NT, L> stages;
    TileResult<NT> result;
};

// Where a block's tile lies in the map that it makes.
template <uint32_t NT>
struct TilePlace {
    uint32_t first, o0, inside, channels, column;

    __device__ TilePlace(uint32_t pixels, uint32_t channels)
        : first(blockIdx.x * kTilePixels), o0(blockIdx.y * NT), inside(min(kTilePixels, pixels - first)), channels(channels),
          column(threadIdx.x % (NT / 4) * 4) {}
    // A tile that begins at this pixel, which may lie behind the map, and this channel.
    __device__ TilePlace(uint32_t first, uint32_t o0, uint32_t pixels, uint32_t channels)
        : first(first), o0(o0), inside(first < pixels ? min(kTilePixels, pixels - first) : 0), channels(channels),
          column(threadIdx.x % (NT / 4) * 4) {}

    // The thread's first channel.
    __device__ uint32_t channel() const { return o0 + column; }

    // Calls visit(i, sums, offset into the map) for each of the thread's rows.
    template <class Visit>
    __device__ void rows(const float (*out)[NT + 8], Visit visit) const {
        constexpr uint32_t kRows = kThreads / (NT / 4);
        // Where 8 lanes read two rows, those are two apart: 48 numbers, so that they meet all banks.
        const uint32_t turn = threadIdx.x / (NT / 4), first_row = NT == 16 ? (turn & ~3u) | (turn & 1) << 1 | (turn >> 1 & 1) : turn;
#pragma unroll
        for (uint32_t i = 0; i < kTilePixels / kRows; i++) {
            const uint32_t row = first_row + i * kRows;
            if (row < inside) visit(i, load4(&out[row][column]), uint64_t(first + row) * channels + channel());
        }
    }
};

// The reverse step's next pass x' = x + h bn2(z2), with its distance from the reconstruction `rec`; x becomes x' where `correct`
// says so, and else rec. No x: no pass.
struct NextPass {
    float* x;
    const float* rec;
    float h;
    uint32_t correct;
    PairSum left;
};
static_assert(sizeof(NextPass) == 48, "src/cuda/operand.rs declares the same");

// sum + |v|^2, and sum + |a - b|^2
__device__ inline float add_square(float4 v, float sum) { return fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, sum)))); }
__device__ inline float add_distance(float4 a, float4 b, float sum) {
    return add_square({a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w}, sum);
}

// Stores the tile; then the statistics of the whole map, where asked for. Two passes over the tile's own values: exact
// enough for any mean.
template <uint32_t NT>
__device__ void store_and_measure(const TilePlace<NT>& at, TileResult<NT>& tile, float* __restrict__ y, uint32_t pixels,
                                  const Reduction& r, const Statistics& to, Moments* rows) {
    float4 sum = {}, m2 = {};
    at.rows(tile.out, [&](uint32_t, float4 v, uint64_t i) {
        store4(y + i, v);
        sum = add4(sum, v);
    });
    if (to.mean == nullptr) return;
    const float4 total = sum_rows<NT>(sum, tile.warps);
    const float count = at.inside;
    const float4 mean = {total.x / count, total.y / count, total.z / count, total.w / count};
    at.rows(tile.out, [&](uint32_t, float4 v, uint64_t) {
        m2 = {fmaf(v.x - mean.x, v.x - mean.x, m2.x), fmaf(v.y - mean.y, v.y - mean.y, m2.y),
              fmaf(v.z - mean.z, v.z - mean.z, m2.z), fmaf(v.w - mean.w, v.w - mean.w, m2.w)};
    });
    m2 = sum_rows<NT>(m2, tile.warps);
    finish_tiles<NT>(MomentShares{pixels}, mean, m2, r, at.channels, at.o0, rows,
                     [&](uint32_t c, Moments all) { finish_statistics(to, c, all); });
}

// A norm's numbers for the thread's four channels.
struct Norm4 {
    float4 mean, rstd, scaled, beta;

    __device__ Norm4(const Norm& n, uint32_t c) : mean(load4(n.mean + c)), rstd(load4(n.rstd + c)), beta(load4(n.beta + c)) {
        const float4 gamma = load4(n.gamma + c);
        scaled = {gamma.x * rstd.x, gamma.y * rstd.y, gamma.z * rstd.z, gamma.w * rstd.w};
    }
    __device__ float4 value(float4 z) const {
        return {bn_value(z.x, mean.x, scaled.x, beta.x), bn_value(z.y, mean.y, scaled.y, beta.y),
                bn_value(z.z, mean.z, scaled.z, beta.z), bn_value(z.w, mean.w, scaled.w, beta.w)};
    }
    // x + h bn(z)
    __device__ float4 step(float4 x, float h, float4 z) const {
        const float4 v = value(z);
        return {fmaf(h, v.x, x.x), fmaf(h, v.y, x.y), fmaf(h, v.z, x.z), fmaf(h, v.w, x.w)};
    }
    __device__ float4 zhat(float4 z) const {
        return {(z.x - mean.x) * rstd.x, (z.y - mean.y) * rstd.y, (z.z - mean.z) * rstd.z, (z.w - mean.w) * rstd.w};
    }
    // sum + g zhat
    __device__ float4 times_zhat(float4 g, float4 z, float4 sum) const {
        return {fmaf(g.x, (z.x - mean.x) * rstd.x, sum.x), fmaf(g.y, (z.y - mean.y) * rstd.y, sum.y),
                fmaf(g.z, (z.z - mean.z) * rstd.z, sum.z), fmaf(g.w, (z.w - mean.w) * rstd.w, sum.w)};
    }
};
