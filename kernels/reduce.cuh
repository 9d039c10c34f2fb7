// Totals over all tiles of a launch, finished in the same launch by the blocks that come last, in an order that does not
// depend on which those are: the last block of each group of tiles merges the group's shares by index, the last group's
// merges the groups'. Two levels, so that no block reads more than about sqrt(tiles) shares.
// grid (tiles, channel tiles of NT), 128 threads. Two numbers a share and channel: partial [tiles + groups][2][C].
// A counter for each group and one for the groups, of each channel tile: zero before the launch and after it.
#pragma once
#include "conv_tile.cuh"
#include "last.cuh"

struct Reduction {
    float* partial;
    uint32_t* counters;
    // Tiles a group.
    uint32_t group;
};
static_assert(sizeof(Reduction) == 24, "src/cuda/operand.rs declares the same");

// Mean and M2 of tiles; how many numbers went into them follows from the tiles' range.
struct MomentShares {
    using Total = Moments;
    uint32_t pixels;
    // Pixels of a tile.
    uint32_t each = kTilePixels;

    __device__ Moments load(float mean, float m2, uint32_t first_tile, uint32_t end_tile) const {
        return {float(min(pixels, end_tile * each) - first_tile * each), mean, m2};
    }
    __device__ static Moments none() { return {0.0f, 0.0f, 0.0f}; }
    __device__ static Moments merge(Moments a, Moments b) { return merged(a, b); }
    __device__ static float2 stored(Moments m) { return {m.mean, m.m2}; }
};

// Two plain sums.
struct SumShares {
    using Total = float2;

    __device__ static float2 load(float a, float b, uint32_t, uint32_t) { return {a, b}; }
    __device__ static float2 none() { return {0.0f, 0.0f}; }
    __device__ static float2 merge(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
    __device__ static float2 stored(float2 v) { return v; }
};

// Shares [begin, end) of one level, each of `width` tiles, merged for channel o0 + t % NT; threads t < NT get the total.
template <uint32_t NT, class Shares>
__device__ typename Shares::Total merge_shares(const Shares& shares, const float* partial, uint32_t begin, uint32_t end,
                                               uint32_t width, uint32_t channels, uint32_t o0,
                                               typename Shares::Total* rows) {
    constexpr uint32_t kParts = kThreads / NT;
    const uint32_t c = threadIdx.x % NT, part = threadIdx.x / NT;
    auto total = Shares::none();
    for (uint32_t i = begin + part; i < end; i += kParts) {
        // Another block wrote them in this launch: past the first-level cache.
        const float* at = partial + uint64_t(i) * 2 * channels + o0 + c;
        total = Shares::merge(total, shares.load(__ldcg(at), __ldcg(at + channels), i * width, (i + 1) * width));
    }
    rows[threadIdx.x] = total;
    __syncthreads();
    if (part == 0)
#pragma unroll
        for (uint32_t p = 1; p < kParts; p++) total = Shares::merge(total, rows[p * NT + c]);
    __syncthreads();
    return total;
}

// Merges the shares of all tiles. Threads t < NT / 4 hand in this tile's, for channels o0 + 4 t ..; `finish(c, total)` is
// called once per channel of the map. `rows` holds 128 totals in shared memory, free after a barrier.
template <uint32_t NT, class Shares, class Finish>
__device__ void finish_tiles(const Shares& shares, float4 first, float4 second, const Reduction& r, uint32_t channels,
                             uint32_t o0, typename Shares::Total* rows, Finish finish) {
    const uint32_t t = threadIdx.x, tiles = gridDim.x, groups = (tiles + r.group - 1) / r.group;
    const uint32_t group = blockIdx.x / r.group, begin = group * r.group, end = min(tiles, begin + r.group);
    uint32_t* counters = r.counters + blockIdx.y * (groups + 1);
    if (t < NT / 4) {
        float* to = r.partial + uint64_t(blockIdx.x) * 2 * channels + o0 + 4 * t;
        store4(to, first);
        store4(to + channels, second);
    }
    if (!last_to_come(&counters[group], end - begin)) return;
    auto total = merge_shares<NT>(shares, r.partial, begin, end, 1, channels, o0, rows);
    if (groups > 1) {
        float* second_level = r.partial + uint64_t(tiles) * 2 * channels;
        if (t < NT) {
            const float2 v = Shares::stored(total);
            float* to = second_level + uint64_t(group) * 2 * channels + o0 + t;
            to[0] = v.x, to[channels] = v.y;
        }
        if (!last_to_come(&counters[groups], groups)) return;
        total = merge_shares<NT>(shares, second_level, 0, groups, r.group, channels, o0, rows);
    }
    if (t < NT) finish(o0 + t, total);
}

__device__ inline float4 add4(float4 a, float4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }

// The sum over a tile's rows of channels 4 (t % (NT / 4)) .., in every thread of those channels. `warps` is shared memory.
template <uint32_t NT>
__device__ inline float4 sum_rows(float4 v, float (*warps)[NT]) {
    const uint32_t t = threadIdx.x;
#pragma unroll
    for (uint32_t step = NT / 4; step < kWarp; step *= 2)
        v = add4(v, {__shfl_xor_sync(kFull, v.x, step), __shfl_xor_sync(kFull, v.y, step), __shfl_xor_sync(kFull, v.z, step),
                     __shfl_xor_sync(kFull, v.w, step)});
    const uint32_t column = t % (NT / 4) * 4;
    if (t % kWarp < NT / 4) store4(&warps[t / kWarp][column], v);
    __syncthreads();
    const float4 total = add4(add4(load4(&warps[0][column]), load4(&warps[1][column])),
                              add4(load4(&warps[2][column]), load4(&warps[3][column])));
    __syncthreads();
    return total;
}

// Where a batch's statistics go; running ones may be null.
struct Statistics {
    float *mean, *rstd, *running_mean, *running_var;
    float eps, weight;
};
static_assert(sizeof(Statistics) == 40, "src/cuda/operand.rs declares the same");

// mean, rstd = 1/sqrt(M2 / count + eps); running (where given) moves by `weight`, its variance unbiased.
__device__ inline void finish_statistics(const Statistics& to, uint32_t c, Moments all) {
    const float variance = all.m2 / all.count;
    to.mean[c] = all.mean;
    to.rstd[c] = rsqrtf(variance + to.eps);
    if (to.running_mean) move_running(to.running_mean, to.running_var, c, all, variance, to.weight);
}

// Where batch norm's gradient sums go, scaled; and the affine map's gradient, null where it is not asked for: `keep` adds to
// what it holds.
struct GradSums {
    float *gamma, *beta, *grad_gamma, *grad_beta;
    float scale;
    uint32_t keep;
};
static_assert(sizeof(GradSums) == 40, "src/cuda/operand.rs declares the same");

__device__ inline void finish_sums(const GradSums& to, uint32_t c, float2 all) {
    const float gamma = to.scale * all.x, beta = to.scale * all.y;
    to.gamma[c] = gamma, to.beta[c] = beta;
    if (to.grad_gamma) {
        to.grad_gamma[c] = to.keep ? to.grad_gamma[c] + gamma : gamma;
        to.grad_beta[c] = to.keep ? to.grad_beta[c] + beta : beta;
    }
}
