// What every kernel uses: indices, sums over a warp and a block in a fixed order, Chan's merge of statistics.
// No float atomics anywhere: two runs give the same bits.
#pragma once
#include <cstdint>

constexpr uint32_t kWarp = 32;
constexpr uint32_t kFull = 0xffffffffu;

// Extents of a convolution; src/cuda/conv.rs declares the same struct. x [n, h, w, c_in], y [n, oh, ow, c_out],
// weights [kernel, kernel, c_in, c_out].
struct ConvGeometry {
    uint32_t n, h, w, c_in;
    uint32_t oh, ow, c_out;
    uint32_t kernel, stride, padding;
};
static_assert(sizeof(ConvGeometry) == 40, "src/cuda/conv.rs declares ten u32");

__device__ inline uint64_t global_id() { return uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline uint64_t grid_size() { return uint64_t(gridDim.x) * blockDim.x; }

// What is no number stays so; fmaxf would give 0.
__device__ inline float relu(float v) { return v < 0.0f ? 0.0f : v; }

// The share of `count` things that part `index` of `parts` takes: [begin, end).
struct Split {
    uint32_t begin, end;
    __device__ Split(uint32_t count, uint32_t parts, uint32_t index) {
        const uint32_t share = (count + parts - 1) / parts;
        begin = min(count, index * share), end = min(count, begin + share);
    }
};

// Sum over a warp; every lane gets it. The tree is the same in every run.
__device__ inline float warp_sum(float v) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(kFull, v, step);
    return v;
}

// Sum over a block of at most 1024 threads, a multiple of 32; thread 0 gets it. `partial` holds 32 floats.
__device__ inline float block_sum(float v, float* partial) {
    v = warp_sum(v);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = v;
    __syncthreads();
    if (threadIdx.x < kWarp) {
        v = threadIdx.x < blockDim.x / kWarp ? partial[threadIdx.x] : 0.0f;
        v = warp_sum(v);
    }
    __syncthreads();
    return v;
}

// Count, mean and sum of squared distances from the mean of a set of numbers.
struct Moments {
    float count, mean, m2;
};

// The moments of two sets together (Chan, Golub and LeVeque 1983): no difference of large sums.
__device__ inline Moments merged(Moments a, Moments b) {
    float count = a.count + b.count;
    if (count == 0.0f) return a;
    float delta = b.mean - a.mean, part = b.count / count;
    return {count, a.mean + delta * part, a.m2 + b.m2 + delta * delta * a.count * part};
}

// Running mean and variance move by `weight` towards a batch's, whose variance is `biased` and here taken unbiased.
__device__ inline void move_running(float* mean, float* variance, uint32_t c, Moments batch, float biased, float weight) {
    const float unbiased = batch.count > 1.0f ? batch.m2 / (batch.count - 1.0f) : biased;
    mean[c] += weight * (batch.mean - mean[c]);
    variance[c] += weight * (unbiased - variance[c]);
}

// The moments of a whole warp, in every lane: the tree is the same in every run.
__device__ inline Moments warp_merged(Moments m) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        Moments other = {__shfl_xor_sync(kFull, m.count, step), __shfl_xor_sync(kFull, m.mean, step),
                         __shfl_xor_sync(kFull, m.m2, step)};
        // Both partners must compute the same: the lower lane's set comes first.
        m = (threadIdx.x & step) ? merged(other, m) : merged(m, other);
    }
    return m;
}

template <typename... Pointers>
__device__ inline bool on_16_bytes(const Pointers*... p) {
    return ((reinterpret_cast<uintptr_t>(p) | ...) & 15) == 0;
}
