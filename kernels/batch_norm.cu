// Batch normalisation over N, H, W; P = N H W pixels, c fastest: maps [P, C], everything else [C].
// Statistics: each block's share by Chan's merge, then the shares in order, by the block of a channel tile that comes last (last.cuh).
// Oracle: src/reference/batch_norm.rs, and src/device/fused.rs of norm_relu_grad_sums
//
// Sums over pixels.  Mapping: grid (pixel blocks, channel tiles); a block's threads are (row, lane), a lane being W = 4
// channels where C is a multiple of 4 and else one: a warp's request is consecutive. A thread takes every height-th pixel of
// the block's share, kFlight of them at a time. Shared: 3 W KiB for moments, 2 W KiB for gradient sums.
// Everything else goes over the elements of a map (elements.cuh). All are bandwidth-bound.
#include "drift.cuh"
#include "elements.cuh"
#include "peaks.cuh"

// Pixels that a thread has in flight.
constexpr int kFlight = 4;
// Shares that a thread has in flight where one block reads all.
constexpr uint32_t kTogether = 8;

// Threads of a block along channels, for `groups` lanes' worth of them: a warp's, where there are as many.
__device__ inline uint32_t channel_lanes(uint32_t groups) {
    uint32_t lanes = 1;
    while (lanes < groups && lanes < kWarp) lanes *= 2;
    return lanes;
}

// What a thread of such a block does.
template <int W>
struct Share {
    uint32_t lanes, height, lane, row, channel, begin, end;
    bool active;
    __device__ Share(uint32_t pixels, uint32_t channels) {
        lanes = channel_lanes((channels + W - 1) / W), height = blockDim.x / lanes;
        lane = threadIdx.x % lanes, row = threadIdx.x / lanes;
        channel = (blockIdx.y * lanes + lane) * W, active = channel < channels;
        const Split split(pixels, gridDim.x, blockIdx.x);
        begin = split.begin, end = split.end;
    }
};

// The block's sums of `mine` over its rows, in shared memory: channel W lane + k at results[256 k + lane], by a tree that is
// the same in every run. One array a k, so that neighbouring threads meet neighbouring banks.
template <int W, typename Sum, typename Merge>
__device__ inline void over_rows(const Share<W>& share, const Sum (&mine)[W], Sum* results, Merge merge) {
    Sum* own = results + threadIdx.x;
#pragma unroll
    for (int k = 0; k < W; k++) own[k * 256] = mine[k];
    for (uint32_t half = share.height / 2; half > 0; half /= 2) {
        __syncthreads();
        if (share.row < half)
#pragma unroll
            for (int k = 0; k < W; k++) own[k * 256] = merge(own[k * 256], own[k * 256 + half * share.lanes]);
    }
    __syncthreads();
}

// Writes the block's results, the floats of [C] structs, as a run of consecutive ones for each field: [fields][C].
template <int W, typename Sum>
__device__ inline void write_results(const Share<W>& share, const Sum* results, float* out, uint32_t channels) {
    constexpr uint32_t kFloats = sizeof(Sum) / sizeof(float);
    const uint32_t first = blockIdx.y * share.lanes * W, count = min(channels - first, share.lanes * W);
    float* to = out + uint64_t(blockIdx.x) * kFloats * channels + first;
    const float* from = reinterpret_cast<const float*>(results);
    for (uint32_t i = threadIdx.x; i < count * kFloats; i += blockDim.x) {
        const uint32_t field = i / count, c = i - field * count, place = c % W * 256 + c / W;
        to[uint64_t(field) * channels + c] = from[place * kFloats + field];
    }
}

// put(c, total) once for each channel c of the block's tile, `width` channels a lane, by the block of the tile that comes last: all
// blocks' results, [blocks][fields][C]. Threads are (row, lane) as above with a channel a lane, a row merging every
// height-th block's in order. `none` is what adds nothing.
template <typename Sum, typename Merge, typename Put>
__device__ inline void finish_tile(const float* parts, uint32_t* counters, uint32_t channels, uint32_t width, Sum none, Sum* results,
                                   Merge merge, Put put) {
    constexpr uint32_t kFloats = sizeof(Sum) / sizeof(float);
    if (!last_to_come(counters + blockIdx.y, gridDim.x)) return;
    const uint32_t tile = channel_lanes((channels + width - 1) / width) * width, first = blockIdx.y * tile;
    const uint32_t end = min(channels, first + tile);
    Share<1> share(gridDim.x, channels);
    for (share.channel = first + share.lane; share.channel - share.lane < end; share.channel += share.lanes) {
        share.active = share.channel < end;
        Sum mine[1] = {none};
        if (share.active)
            for (uint32_t b = share.row; b < gridDim.x; b += kTogether * share.height) {
                Sum some[kTogether];
#pragma unroll
                for (uint32_t i = 0; i < kTogether; i++) {
                    const uint32_t part = b + i * share.height;
                    some[i] = none;
                    // Past the first-level cache.
                    if (part < gridDim.x)
#pragma unroll
                        for (uint32_t k = 0; k < kFloats; k++)
                            reinterpret_cast<float*>(&some[i])[k] = __ldcg(parts + (uint64_t(part) * kFloats + k) * channels + share.channel);
                }
#pragma unroll
                for (uint32_t i = 0; i < kTogether; i++) mine[0] = merge(mine[0], some[i]);
            }
        over_rows<1>(share, mine, results, merge);
        if (share.row == 0 && share.active) put(share.channel, results[share.lane]);
        __syncthreads();
    }
}

template <int W>
__device__ inline void moments_of(float* out, const float* z, uint32_t pixels, uint32_t channels, Moments* results) {
    const Share<W> share(pixels, channels);
    Moments mine[W] = {};
    if (share.active)
        for (uint32_t p = share.begin + share.row; p < share.end; p += kFlight * share.height) {
            Pack<W> values[kFlight];
            uint32_t count = 0;
#pragma unroll
            for (int a = 0; a < kFlight; a++) {
                const uint32_t pixel = p + a * share.height;
                values[a] = pixel < share.end ? load<W>(z, uint64_t(pixel) * channels + share.channel) : Pack<W>{};
                count += pixel < share.end;
            }
            const float each = 1.0f / float(count);
#pragma unroll
            for (int k = 0; k < W; k++) {
                float sum = 0.0f, m2 = 0.0f;
#pragma unroll
                for (int a = 0; a < kFlight; a++) sum += values[a].v[k];
                const float mean = sum * each;
#pragma unroll
                for (int a = 0; a < kFlight; a++) {
                    const float delta = a < count ? values[a].v[k] - mean : 0.0f;
                    m2 = fmaf(delta, delta, m2);
                }
                mine[k] = merged(mine[k], {float(count), mean, m2});
            }
        }
    over_rows<W>(share, mine, results, [](Moments a, Moments b) { return merged(a, b); });
    write_results<W>(share, results, out, channels);
}

// mean, rstd = 1/sqrt(M2 / count + eps); running (where given) moves by `weight`, its variance unbiased. Shares:
// moments[b] = count, mean, M2 of block b's pixels, [3][C].
extern "C" __global__ void __launch_bounds__(256)
bn_stats(float* __restrict__ mean, float* __restrict__ rstd, float* __restrict__ running_mean, float* __restrict__ running_var,
         float* moments, uint32_t* counters, const float* __restrict__ z, uint32_t pixels, uint32_t channels, float eps, float weight) {
    __shared__ Moments results[4 * 256];
    const bool fours = channels % 4 == 0 && on_16_bytes(z);
    if (fours)
        moments_of<4>(moments, z, pixels, channels, results);
    else
        moments_of<1>(moments, z, pixels, channels, results);
    finish_tile(moments, counters, channels, fours ? 4 : 1, Moments{0.0f, 0.0f, 0.0f}, results,
                [](Moments a, Moments b) { return merged(a, b); },
                [&](uint32_t c, Moments all) {
                    const float variance = all.m2 / all.count;
                    mean[c] = all.mean;
                    rstd[c] = rsqrtf(variance + eps);
                    if (running_mean) move_running(running_mean, running_var, c, all, variance, weight);
                });
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

// The normalised values of a place: gamma (z - mean) rstd + beta.
template <typename At>
__device__ inline auto normalised(At at, const float* z, const float* mean, const float* rstd, const float* gamma,
                                  const float* beta) {
    const auto zs = at.load(z);
    const auto means = at.per_channel(mean), rstds = at.per_channel(rstd);
    const auto gammas = at.per_channel(gamma), betas = at.per_channel(beta);
    return at.make([&](int k) { return fmaf(gammas.v[k] * rstds.v[k], zs.v[k] - means.v[k], betas.v[k]); });
}

// y = gamma (z - mean) rstd + beta
extern "C" __global__ void __launch_bounds__(256)
bn_apply(float* __restrict__ y, const float* __restrict__ z, const float* __restrict__ mean, const float* __restrict__ rstd,
         const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len, uint32_t channels) {
    each_channel_element(len, channels, on_16_bytes(y, z, mean, rstd, gamma, beta),
                         [&](auto at) { at.store(y, normalised(at, z, mean, rstd, gamma, beta)); });
}

// y = max(0, bn(z))
extern "C" __global__ void __launch_bounds__(256)
norm_relu(float* __restrict__ y, const float* __restrict__ z, const float* __restrict__ mean, const float* __restrict__ rstd,
          const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len, uint32_t channels) {
    each_channel_element(len, channels, on_16_bytes(y, z, mean, rstd, gamma, beta), [&](auto at) {
        const auto values = normalised(at, z, mean, rstd, gamma, beta);
        at.store(y, at.make([&](int k) { return relu(values.v[k]); }));
    });
}

// y = x + h bn(z): the residual Euler step, forward or reverse by the sign of h. y may be x.
extern "C" __global__ void __launch_bounds__(256)
norm_step(float* y, const float* x, float h, const float* __restrict__ z, const float* __restrict__ mean,
          const float* __restrict__ rstd, const float* __restrict__ gamma, const float* __restrict__ beta, uint64_t len,
          uint32_t channels) {
    each_channel_element(len, channels, on_16_bytes(y, x, z, mean, rstd, gamma, beta), [&](auto at) {
        const auto xs = at.load(x), values = normalised(at, z, mean, rstd, gamma, beta);
        at.store(y, at.make([&](int k) { return fmaf(h, values.v[k], xs.v[k]); }));
    });
}

// The block's share of sum g zhat and sum g, a channel: partial[b], [2][C]. zhat = (z - mean) rstd. `through(at, grads, values)`
// takes the thread's W gradients of a pixel, which lie at `at`, to those that are summed.
template <int W, typename Through>
__device__ inline void grad_sums_of(float* out, const float* grad_y, const float* z, const float* mean, const float* rstd,
                                    uint32_t pixels, uint32_t channels, float2* results, Through through) {
    const Share<W> share(pixels, channels);
    float2 mine[W] = {};
    if (share.active) {
        const Pack<W> means = load<W>(mean, share.channel), rstds = load<W>(rstd, share.channel);
        for (uint32_t p = share.begin + share.row; p < share.end; p += kFlight * share.height) {
            Pack<W> grads[kFlight], values[kFlight];
#pragma unroll
            for (int a = 0; a < kFlight; a++) {
                const uint32_t pixel = p + a * share.height;
                const uint64_t at = uint64_t(pixel) * channels + share.channel;
                // a gradient of 0 adds nothing
                grads[a] = pixel < share.end ? load<W>(grad_y, at) : Pack<W>{};
                values[a] = pixel < share.end ? load<W>(z, at) : means;
            }
#pragma unroll
            for (int a = 0; a < kFlight; a++) {
                const uint32_t pixel = p + a * share.height;
                if (pixel < share.end) through(At<W>{uint64_t(pixel) * channels + share.channel, share.channel}, grads[a], values[a]);
#pragma unroll
                for (int k = 0; k < W; k++) {
                    const float g = grads[a].v[k], zhat = (values[a].v[k] - means.v[k]) * rstds.v[k];
                    mine[k] = {fmaf(g, zhat, mine[k].x), mine[k].y + g};
                }
            }
        }
    }
    over_rows<W>(share, mine, results, [](float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); });
    write_results<W>(share, results, out, channels);
}

// sums_gamma = scale sum g zhat, sums_beta = scale sum g, of all blocks.
__device__ inline void finish_grad_sums(float* sums_gamma, float* sums_beta, const float* partial, uint32_t* counters, float scale,
                                        uint32_t channels, uint32_t width, float2* results) {
    finish_tile(partial, counters, channels, width, make_float2(0.0f, 0.0f), results,
                [](float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); },
                [&](uint32_t c, float2 all) { sums_gamma[c] = scale * all.x, sums_beta[c] = scale * all.y; });
}

// sums_gamma = scale sum g zhat, sums_beta = scale sum g; and where asked for the largest |g| and |zhat|.
extern "C" __global__ void __launch_bounds__(256)
bn_grad_sums(float* __restrict__ sums_gamma, float* __restrict__ sums_beta, float* partial, uint32_t* counters,
             const float* __restrict__ grad_y, const float* __restrict__ z, const float* __restrict__ mean,
             const float* __restrict__ rstd, float scale, uint32_t pixels, uint32_t channels, Peaks peaks) {
    __shared__ float2 results[4 * 256];
    const bool fours = channels % 4 == 0 && on_16_bytes(grad_y, z, mean, rstd);
    uint32_t largest_grad = 0, largest_zhat = 0;
    auto through = [&](auto at, auto& grads, const auto& values) {
        const auto means = at.per_channel(mean), rstds = at.per_channel(rstd);
#pragma unroll
        for (int k = 0; k < at.width; k++) {
            largest_grad = max(largest_grad, __float_as_uint(fabsf(grads.v[k])));
            largest_zhat = max(largest_zhat, __float_as_uint(fabsf((values.v[k] - means.v[k]) * rstds.v[k])));
        }
    };
    if (fours)
        grad_sums_of<4>(partial, grad_y, z, mean, rstd, pixels, channels, results, through);
    else
        grad_sums_of<1>(partial, grad_y, z, mean, rstd, pixels, channels, results, through);
    if (peaks.grad) leave_peak(peaks.grad, largest_grad), leave_peak(peaks.zhat, largest_zhat);
    finish_grad_sums(sums_gamma, sums_beta, partial, counters, scale, channels, fours ? 4 : 1, results);
}

// Back through y = relu(bn(z)): grad = grad where y > 0, else 0, and the sums of bn_grad_sums of it, unscaled; and where a
// reconstruction of y is given, how far that is from y (drift.cuh), which is never stored.
extern "C" __global__ void __launch_bounds__(256)
norm_relu_grad_sums(float* grad, float* __restrict__ sums_gamma, float* __restrict__ sums_beta, float* partial, uint32_t* counters,
                    const float* __restrict__ z, const float* __restrict__ mean, const float* __restrict__ rstd,
                    const float* __restrict__ gamma, const float* __restrict__ beta, uint32_t pixels, uint32_t channels, Drift drift) {
    __shared__ float2 results[4 * 256];
    __shared__ float scratch[kWarp];
    const bool fours = channels % 4 == 0 && on_16_bytes(grad, z, mean, rstd) && on_16_bytes(gamma, beta, drift.x);
    DriftSums sums(drift);
    auto through = [&](auto at, auto& grads, const auto& values) {
        const auto means = at.per_channel(mean), rstds = at.per_channel(rstd);
        const auto gammas = at.per_channel(gamma), betas = at.per_channel(beta);
        const auto ys = at.make([&](int k) { return relu(fmaf(gammas.v[k] * rstds.v[k], values.v[k] - means.v[k], betas.v[k])); });
        grads = at.make([&](int k) { return ys.v[k] > 0.0f ? grads.v[k] : 0.0f; });
        at.store(grad, grads);
        if (!drift.x) return;
        const auto xs = at.load(drift.x);
#pragma unroll
        for (int k = 0; k < at.width; k++) sums.add(xs.v[k], ys.v[k]);
    };
    if (fours)
        grad_sums_of<4>(partial, grad, z, mean, rstd, pixels, channels, results, through);
    else
        grad_sums_of<1>(partial, grad, z, mean, rstd, pixels, channels, results, through);
    if (drift.x) sums.finish(drift, scratch);
    finish_grad_sums(sums_gamma, sums_beta, partial, counters, 1.0f, channels, fours ? 4 : 1, results);
}

// grad_z = gamma rstd (scale grad_y - sums_beta / P - zhat sums_gamma / P): the exact VJP through the statistics. `cleared` numbers of
// `clear` become 0: a gradient that the next launch adds to.
extern "C" __global__ void __launch_bounds__(256)
bn_grad_z(float* __restrict__ grad_z, const float* __restrict__ grad_y, const float* __restrict__ z,
          const float* __restrict__ mean, const float* __restrict__ rstd, const float* __restrict__ gamma,
          const float* __restrict__ sums_gamma, const float* __restrict__ sums_beta, float scale, uint64_t len,
          uint32_t channels, float* __restrict__ clear, uint64_t cleared) {
    for (uint64_t i = global_id(); i < cleared; i += grid_size()) clear[i] = 0.0f;
    const float per_pixel = float(channels) / float(len);
    const bool quads = on_16_bytes(grad_z, grad_y, z, mean, rstd) && on_16_bytes(gamma, sums_gamma, sums_beta);
    each_channel_element(len, channels, quads, [&](auto at) {
        const auto grads = at.load(grad_y), zs = at.load(z);
        const auto means = at.per_channel(mean), rstds = at.per_channel(rstd), gammas = at.per_channel(gamma);
        const auto to_gamma = at.per_channel(sums_gamma), to_beta = at.per_channel(sums_beta);
        at.store(grad_z, at.make([&](int k) {
            const float zhat = (zs.v[k] - means.v[k]) * rstds.v[k];
            const float through = per_pixel * fmaf(zhat, to_gamma.v[k], to_beta.v[k]);
            return gammas.v[k] * rstds.v[k] * fmaf(scale, grads.v[k], -through);
        }));
    });
}
