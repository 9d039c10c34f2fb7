// Batch normalisation over N, H, W; P = N H W pixels, c fastest: maps [P, C], everything else [C].
// Statistics: each block's share by Chan's merge, then the shares in order.  Oracle: src/reference/batch_norm.rs
#include "common.cuh"

// Threads of a block along channels: a warp covers 32 consecutive channels where there are as many.
__device__ inline uint32_t channel_lanes(uint32_t channels) {
    uint32_t lanes = 1;
    while (lanes < channels && lanes < kWarp) lanes *= 2;
    return lanes;
}

// Moments of the block's pixels, a channel: moments[(b C + c) 3 ..] = count, mean, M2 of block b.
// Mapping: threads are (pixel row, channel); grid (pixel blocks, channel tiles).   Shared: 3 KiB.
extern "C" __global__ void __launch_bounds__(256)
bn_moments(float* __restrict__ moments, const float* __restrict__ z, uint32_t pixels, uint32_t channels) {
    __shared__ Moments rows[256];
    uint32_t lanes = channel_lanes(channels), height = blockDim.x / lanes;
    uint32_t row = threadIdx.x / lanes, c = blockIdx.y * lanes + threadIdx.x % lanes;
    uint32_t share = (pixels + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * share, end = min(pixels, begin + share);
    Moments mine = {0.0f, 0.0f, 0.0f};
    if (c < channels)
        for (uint32_t p = begin + row; p < end; p += height) {
            // One more number: Welford's step.
            float v = z[uint64_t(p) * channels + c], delta = v - mine.mean;
            mine.count += 1.0f;
            mine.mean += delta / mine.count;
            mine.m2 = fmaf(delta, v - mine.mean, mine.m2);
        }
    rows[threadIdx.x] = mine;
    for (uint32_t half = height / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) rows[threadIdx.x] = merged(rows[threadIdx.x], rows[threadIdx.x + half * lanes]);
    }
    if (row == 0 && c < channels) {
        float* out = moments + (uint64_t(blockIdx.x) * channels + c) * 3;
        out[0] = rows[threadIdx.x].count, out[1] = rows[threadIdx.x].mean, out[2] = rows[threadIdx.x].m2;
    }
}

// mean, rstd = 1/sqrt(M2 / count + eps); running (where given) moves by `weight`, its variance unbiased.
// One warp a channel merges the parts in order.
extern "C" __global__ void __launch_bounds__(256)
bn_finalize(float* __restrict__ mean, float* __restrict__ rstd, float* __restrict__ running_mean, float* __restrict__ running_var,
            const float* __restrict__ moments, uint32_t parts, uint32_t channels, float eps, float weight) {
    uint32_t c = global_id() / kWarp, lane = threadIdx.x % kWarp;
    if (c >= channels) return;
    Moments mine = {0.0f, 0.0f, 0.0f};
    for (uint32_t b = lane; b < parts; b += kWarp) {
        const float* part = moments + (uint64_t(b) * channels + c) * 3;
        mine = merged(mine, {part[0], part[1], part[2]});
    }
    Moments all = warp_merged(mine);
    if (lane != 0) return;
    float variance = all.m2 / all.count;
    mean[c] = all.mean;
    rstd[c] = rsqrtf(variance + eps);
    if (running_mean) {
        float unbiased = all.count > 1.0f ? all.m2 / (all.count - 1.0f) : variance;
        running_mean[c] += weight * (all.mean - running_mean[c]);
        running_var[c] += weight * (unbiased - running_var[c]);
    }
}

// mean = running mean, rstd = 1/sqrt(running variance + eps).
extern "C" __global__ void __launch_bounds__(256)
bn_running_stats(float* __restrict__ mean, float* __restrict__ rstd, const float* __restrict__ running_mean,
                 const float* __restrict__ running_var, uint32_t channels, float eps) {
    for (uint64_t c = global_id(); c < channels; c += grid_size()) {
        mean[c] = running_mean[c];
        rstd[c] = rsqrtf(running_var[c] + eps);
    }
}

// The normalised value of one element.
__device__ inline float normalised(float z, uint32_t c, const float* mean, const float* rstd, const float* gamma, const float* beta) {
    return fmaf(gamma[c] * rstd[c], z - mean[c], beta[c]);
}

// y = gamma (z - mean) rstd + beta
extern "C" __global__ void __launch_bounds__(256)
bn_apply(float* __restrict__ y, const float* __restrict__ z, const float* __restrict__ mean, const float* __restrict__ rstd,
         const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len, uint32_t channels) {
    for (uint64_t i = global_id(); i < len; i += grid_size())
        y[i] = normalised(z[i], i % channels, mean, rstd, gamma, beta);
}

// y = max(0, bn(z))
extern "C" __global__ void __launch_bounds__(256)
norm_relu(float* __restrict__ y, const float* __restrict__ z, const float* __restrict__ mean, const float* __restrict__ rstd,
          const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len, uint32_t channels) {
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        float v = normalised(z[i], i % channels, mean, rstd, gamma, beta);
        y[i] = v < 0.0f ? 0.0f : v;
    }
}

// y = x + h bn(z): the residual Euler step, forward or reverse by the sign of h. y may be x.
extern "C" __global__ void __launch_bounds__(256)
norm_step(float* y, const float* x, float h, const float* __restrict__ z, const float* __restrict__ mean,
          const float* __restrict__ rstd, const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len,
          uint32_t channels) {
    for (uint64_t i = global_id(); i < len; i += grid_size())
        y[i] = fmaf(h, normalised(z[i], i % channels, mean, rstd, gamma, beta), x[i]);
}

// The block's share of sum g zhat and sum g, a channel: partial[(b C + c) 2 ..]. zhat = (z - mean) rstd.
// Mapping and shared memory as bn_moments.
extern "C" __global__ void __launch_bounds__(256)
bn_grad_sums_partial(float* __restrict__ partial, const float* __restrict__ grad_y, const float* __restrict__ z,
                     const float* __restrict__ mean, const float* __restrict__ rstd, uint32_t pixels, uint32_t channels) {
    __shared__ float2 rows[256];
    uint32_t lanes = channel_lanes(channels), height = blockDim.x / lanes;
    uint32_t row = threadIdx.x / lanes, c = blockIdx.y * lanes + threadIdx.x % lanes;
    uint32_t share = (pixels + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * share, end = min(pixels, begin + share);
    float2 mine = {0.0f, 0.0f};
    if (c < channels)
        for (uint32_t p = begin + row; p < end; p += height) {
            uint64_t i = uint64_t(p) * channels + c;
            float g = grad_y[i];
            mine.x = fmaf(g, (z[i] - mean[c]) * rstd[c], mine.x);
            mine.y += g;
        }
    rows[threadIdx.x] = mine;
    for (uint32_t half = height / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) {
            float2 other = rows[threadIdx.x + half * lanes];
            rows[threadIdx.x].x += other.x, rows[threadIdx.x].y += other.y;
        }
    }
    if (row == 0 && c < channels) {
        float* out = partial + (uint64_t(blockIdx.x) * channels + c) * 2;
        out[0] = rows[threadIdx.x].x, out[1] = rows[threadIdx.x].y;
    }
}

// sums_gamma = scale sum g zhat, sums_beta = scale sum g; one warp a channel adds the parts in order.
extern "C" __global__ void __launch_bounds__(256)
bn_grad_sums_total(float* __restrict__ sums_gamma, float* __restrict__ sums_beta, const float* __restrict__ partial,
                   uint32_t parts, uint32_t channels, float scale) {
    uint32_t c = global_id() / kWarp, lane = threadIdx.x % kWarp;
    if (c >= channels) return;
    float gamma = 0.0f, beta = 0.0f;
    for (uint32_t b = lane; b < parts; b += kWarp) {
        const float* part = partial + (uint64_t(b) * channels + c) * 2;
        gamma += part[0], beta += part[1];
    }
    gamma = warp_sum(gamma), beta = warp_sum(beta);
    if (lane == 0) sums_gamma[c] = scale * gamma, sums_beta[c] = scale * beta;
}

// grad_z = gamma rstd (scale grad_y - sums_beta / P - zhat sums_gamma / P): the exact VJP through the statistics.
extern "C" __global__ void __launch_bounds__(256)
bn_grad_z(float* __restrict__ grad_z, const float* __restrict__ grad_y, const float* __restrict__ z,
          const float* __restrict__ mean, const float* __restrict__ rstd, const float* __restrict__ gamma,
          const float* __restrict__ sums_gamma, const float* __restrict__ sums_beta, float scale, uint64_t len,
          uint32_t channels) {
    float per_pixel = float(channels) / float(len);
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        uint32_t c = i % channels;
        float zhat = (z[i] - mean[c]) * rstd[c];
        float centred = fmaf(scale, grad_y[i], -per_pixel * fmaf(zhat, sums_gamma[c], sums_beta[c]));
        grad_z[i] = gamma[c] * rstd[c] * centred;
    }
}
