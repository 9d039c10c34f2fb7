// Sums over a block and over the grid of a cooperative launch, per channel, each in one fixed order: a lane's own rows, the
// lanes of a warp, the warps of a block, then all blocks. Every block merges all blocks' shares itself, so that all of them
// have the same bits without a further exchange.
#pragma once
#include "small_map.cuh"

constexpr uint32_t kScratch = 3 * 256;    // floats that these sums need in shared memory
static_assert(kScratch >= kWarps * 2 * 32, "a warp's two sums of 32 channels");
static_assert(kScratch >= kMapThreads, "shares of the gradient by weights");

// A lane's sums of its channels 16 j + 4 q .. + 3.
template <uint32_t C, uint32_t K>
using LaneSums = float[K][C / 16][4];

// Thread k C + c receives sum k of channel c over the block. Ends before all have read `scratch`.
template <uint32_t C, uint32_t K>
__device__ inline float block_sums(LaneSums<C, K>& mine, float* scratch) {
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (uint32_t k = 0; k < K; k++)
#pragma unroll
        for (uint32_t j = 0; j < C / 16; j++) {
#pragma unroll
            for (uint32_t e = 0; e < 4; e++)
#pragma unroll
                for (uint32_t step = 16; step >= 4; step /= 2) mine[k][j][e] += __shfl_xor_sync(kFull, mine[k][j][e], step);
            if (lane < 4) {
                const float* v = mine[k][j];
                put_shared(scratch + (warp * K + k) * C + 16 * j + 4 * lane, make_float4(v[0], v[1], v[2], v[3]));
            }
        }
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x < K * C)
        for (uint32_t w = 0; w < kWarps; w++) sum += scratch[w * K * C + threadIdx.x];
    return sum;
}

// The moments of every channel over all blocks, in thread c. shares: [blocks][2][C], mean and M2; block b holds `rows` pixels,
// the last one `last`. Begins and ends with all threads free to use `scratch` after a barrier.
template <uint32_t C>
__device__ inline Moments grid_moments(const float* shares, float rows, float last, float* scratch) {
    constexpr uint32_t S = 256 / C;
    Moments* all = reinterpret_cast<Moments*>(scratch);
    const uint32_t t = threadIdx.x, c = t % C, s = t / C;
    Moments mine = {0.0f, 0.0f, 0.0f};
    if (s < S) {
        for (uint32_t b = s; b < gridDim.x; b += S) {
            // Not the cache that a block keeps to itself: other blocks wrote these.
            const float mean = __ldcg(shares + (2 * b) * C + c), m2 = __ldcg(shares + (2 * b + 1) * C + c);
            mine = merged(mine, {b + 1 < gridDim.x ? rows : last, mean, m2});
        }
        all[t] = mine;
    }
    for (uint32_t half = S / 2; half > 0; half /= 2) {
        __syncthreads();
        if (s < half) all[t] = mine = merged(mine, all[t + half * C]);
    }
    return mine;
}

// The two sums of every channel over all blocks, in thread c: shares [blocks][2][C].
template <uint32_t C>
__device__ inline float2 grid_sums(const float* shares, float* scratch) {
    constexpr uint32_t S = 256 / C;
    float2* all = reinterpret_cast<float2*>(scratch);
    const uint32_t t = threadIdx.x, c = t % C, s = t / C;
    float2 mine = {0.0f, 0.0f};
    if (s < S) {
        for (uint32_t b = s; b < gridDim.x; b += S)
            mine.x += __ldcg(shares + (2 * b) * C + c), mine.y += __ldcg(shares + (2 * b + 1) * C + c);
        all[t] = mine;
    }
    for (uint32_t half = S / 2; half > 0; half /= 2) {
        __syncthreads();
        if (s < half) {
            const float2 other = all[t + half * C];
            mine.x += other.x, mine.y += other.y;
            all[t] = mine;
        }
    }
    return mine;
}

// total[i] = sum over blocks of shares[b][i], i < len, cut in slices of whole sectors, one per block; `put(i, total)` once each.
// Threads of a slice's element add every S-th block's share in order, then the S sums are added in order.
template <class Put>
__device__ inline void grid_totals(const float* shares, uint32_t len, float* scratch, Put put) {
    const uint32_t slice = ((len + gridDim.x - 1) / gridDim.x + 7) / 8 * 8;
    const uint32_t begin = min(len, blockIdx.x * slice), end = min(len, begin + slice), width = min(slice, kMapThreads);
    const uint32_t S = kMapThreads / width, e = threadIdx.x % width, s = threadIdx.x / width;
    for (uint32_t first = begin; first < end; first += width) {
        const uint32_t i = first + e;
        float sum = 0.0f;
        if (s < S && i < end)
            for (uint32_t b = s; b < gridDim.x; b += S) sum += __ldcg(shares + b * len + i);
        scratch[threadIdx.x] = sum;
        __syncthreads();
        if (s == 0 && i < end) {
            for (uint32_t k = 1; k < S; k++) sum += scratch[k * width + e];
            put(i, sum);
        }
        __syncthreads();
    }
}
