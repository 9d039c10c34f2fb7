// small_block: one residual block f = bn2(conv2(relu(bn1(conv1(x))))) on small maps, as one cooperative launch: every image
// stays in one block's shared memory, only sums over the batch and the weights' gradients cross the grid.
//     euler_step:  x += h f(x), statistics of the batch measured, running statistics moved
//     inverse_vjp: x~ = x - h f(x), then grad_x = g + h df/dx(x~)^T g and grad_theta = h df/dtheta(x~)^T g, statistics given
// x, g [N, H, W, C], C of 16 or 32, H W small; weights [3, 3, C, C]; everything else [C].
// Mapping: a block takes `images` images, 288 threads: a warp a tile of 16 pixels in the convolutions (small_map.cuh), a warp a
// tap in the gradients by weights. All blocks are resident, at most one a multiprocessor.
// Shared memory: maps of `images` H W C floats, four in inverse_vjp and three in euler_step, both weights, a word a pixel,
// 768 + 12 C floats: 75 KB at two images of 10 x 10 x 16.
// Workspace: two times [blocks][2][C] of sums, then in inverse_vjp [blocks][2][9 C C] of the weights' gradients.
// Bound: shared memory's bandwidth, latency between grid barriers.    Oracle: src/fused.rs on src/reference
#include <cooperative_groups.h>

#include "small_sums.cuh"

// src/cuda/small_block.rs declares the same three structs.
struct BlockTheta {
    float *conv1, *gamma1, *beta1, *conv2, *gamma2, *beta2;
};
// Mean and rstd, or running mean and variance, of both norms.
struct BlockNorms {
    float *mean1, *scale1, *mean2, *scale2;
};
struct SmallShape {
    uint32_t n, h, w, images;
};
static_assert(sizeof(BlockTheta) == 48 && sizeof(BlockNorms) == 32 && sizeof(SmallShape) == 16, "src/cuda/small_block.rs");

// The shared memory, and the block's share of the batch.
template <uint32_t C, uint32_t MAPS>
struct Block {
    float *map[MAPS], *weight1, *weight2, *scratch, *channel;
    uint32_t first;    // element of x where the block's images begin
    Rows rows;
    float rows_each, rows_last, pixels;    // pixels of a block, of the last block, of the batch

    __device__ Block(float* memory, const SmallShape& shape) {
        const uint32_t area = shape.h * shape.w, begin = blockIdx.x * shape.images;
        const uint32_t each = shape.images * area;
#pragma unroll
        for (uint32_t m = 0; m < MAPS; m++) map[m] = memory + m * each * C;
        weight1 = memory + MAPS * each * C;
        weight2 = weight1 + 9 * C * C;
        scratch = weight2 + 9 * C * C;
        channel = scratch + kScratch;
        uint32_t* taps = reinterpret_cast<uint32_t*>(channel + 12 * C);
        first = begin * area * C;
        rows = {min(shape.images, shape.n - begin) * area, int32_t(shape.w), taps};
        rows_each = each, rows_last = (shape.n - (gridDim.x - 1) * shape.images) * area, pixels = shape.n * area;
        fill_taps(taps, rows.count, shape.h, shape.w);
    }
};

// A batch norm on four channels.
struct QuadNorm {
    Quad mean, rstd, scale, beta;

    __device__ float normalised(float z, uint32_t e) const { return fmaf(scale.v[e], z - mean.v[e], beta.v[e]); }
    __device__ float zhat(float z, uint32_t e) const { return (z - mean.v[e]) * rstd.v[e]; }
};

// A batch norm on the channels 16 j + 4 q .. + 3 of a lane: kept in registers at 16 channels, read again from shared memory at 32,
// where the products need the registers. channel: mean, rstd, gamma rstd, beta, [4][C].
template <uint32_t C>
struct LaneNorm {
    const float* at;
    QuadNorm first;

    __device__ explicit LaneNorm(const float* channel) : at(channel + 4 * (threadIdx.x % 4)), first(read(0)) {}
    __device__ QuadNorm read(uint32_t j) const {
        auto four = [&](uint32_t k) { return *reinterpret_cast<const float4*>(at + k * C + 16 * j); };
        return {four(0), four(1), four(2), four(3)};
    }
    __device__ QuadNorm quad(uint32_t j) const { return C == 16 ? first : read(j); }
};

// Thread c puts down a norm as LaneNorm reads it.
template <uint32_t C>
__device__ inline void put_norm(float* channel, float mean, float rstd, float gamma, float beta) {
    float* at = channel + threadIdx.x;
    at[0] = mean, at[C] = rstd, at[2 * C] = gamma * rstd, at[3 * C] = beta;
}

__device__ inline float relu(float v) { return v < 0.0f ? 0.0f : v; }

// `use(row, quad, j)` for each quad of the block's maps that the lane holds after a product too, so that what it leaves in
// registers and memory belongs together.
template <uint32_t C, class Use>
__device__ inline void each_quad(const Rows& rows, Use use) {
    const uint32_t g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
    for (uint32_t row = threadIdx.x / kWarp * 8 + g; row < rows.count; row += 8 * kWarps)
#pragma unroll
        for (uint32_t j = 0; j < C / 16; j++) use(row, 4 * j + q, j);
}

// Measures the map z over the batch: `channel` receives the norm, block 0 writes the statistics and moves the running ones.
template <uint32_t C, class B>
__device__ inline void measure(B& block, LaneSums<C, 1>& sums, float* z, float* shares, float* channel, float* mean, float* rstd,
                               float* running_mean, float* running_var, const float* gamma, const float* beta, float eps,
                               float weight) {
    const uint32_t t = threadIdx.x;
    const float sum = block_sums<C, 1>(sums, block.scratch);
    if (t < C) channel[t] = sum / float(block.rows.count);
    __syncthreads();
    // The second pass over the block's own numbers: exact enough for any mean.
    LaneSums<C, 1> squares = {};
    each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad v = quad_of<C>(z, row, quad);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            const float delta = v.v[e] - channel[4 * quad + e];
            squares[0][j][e] = fmaf(delta, delta, squares[0][j][e]);
        }
    });
    const float m2 = block_sums<C, 1>(squares, block.scratch);
    if (t < C) {
        float* share = shares + 2 * blockIdx.x * C + t;
        share[0] = channel[t], share[C] = m2;
    }
    cooperative_groups::this_grid().sync();
    const Moments all = grid_moments<C>(shares, block.rows_each, block.rows_last, block.scratch);
    if (t < C) {
        const float variance = all.m2 / all.count, root = rsqrtf(variance + eps);
        put_norm<C>(channel, all.mean, root, gamma[t], beta[t]);
        if (blockIdx.x == 0) {
            mean[t] = all.mean, rstd[t] = root;
            if (running_mean) {
                const float unbiased = all.count > 1.0f ? all.m2 / (all.count - 1.0f) : variance;
                running_mean[t] += weight * (all.mean - running_mean[t]);
                running_var[t] += weight * (unbiased - running_var[t]);
            }
        }
    }
    __syncthreads();
}

template <uint32_t C, bool TF32>
__device__ inline void euler_step(float* x, const BlockNorms& stats, const BlockNorms& running, float* workspace,
                                  const BlockTheta& theta, float h, float eps, float weight, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Block<C, 3> block(reinterpret_cast<float*>(memory), shape);
    float *state = block.map[0], *a = block.map[1], *z2 = block.map[2], *channel = block.channel;
    load_map<C>(state, x + block.first, block.rows.count);
    load_weight<C, TF32, false>(block.weight1, theta.conv1);
    load_weight<C, TF32, false>(block.weight2, theta.conv2);
    copies_wait_all();
    __syncthreads();

    LaneSums<C, 1> sums = {};
    auto keep = [&](float* z) {
        return [&, z](uint32_t row, uint32_t j, Quad v) {
            put_quad<C>(z, row, 4 * j + threadIdx.x % 4, v);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) sums[0][j][e] += v.v[e];
        };
    };
    product<C, TF32, true>(state, block.weight1, block.rows, keep(a));
    measure<C>(block, sums, a, workspace, channel, stats.mean1, stats.scale1, running.mean1, running.scale1, theta.gamma1,
               theta.beta1, eps, weight);
    {
        const LaneNorm<C> norm(channel);
        each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
            Quad v = quad_of<C>(a, row, quad);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) v.v[e] = factor<TF32>(relu(norm.quad(j).normalised(v.v[e], e)));
            put_quad<C>(a, row, quad, v);
        });
    }
    __syncthreads();

#pragma unroll
    for (uint32_t j = 0; j < C / 16; j++)
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) sums[0][j][e] = 0.0f;
    product<C, TF32, false>(a, block.weight2, block.rows, keep(z2));
    measure<C>(block, sums, z2, workspace + 2 * gridDim.x * C, channel + 4 * C, stats.mean2, stats.scale2, running.mean2,
               running.scale2, theta.gamma2, theta.beta2, eps, weight);
    const LaneNorm<C> norm(channel + 4 * C);
    each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad z = quad_of<C>(z2, row, quad);
        Quad v = quad_of<C>(state, row, quad);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(h, norm.quad(j).normalised(z.v[e], e), v.v[e]);
        put_global(x + block.first + row * C + 4 * quad, v);
    });
}

// Batch norm's two sums over the grid, scaled; block 0 writes them as the affine map's gradients. `channel` has them as [2][C]:
// gamma's, then beta's. The next use of `channel` and `scratch` is after a barrier.
template <uint32_t C, class B>
__device__ inline void gradient_sums(B& block, LaneSums<C, 2>& sums, float scale, float* shares, float* channel, float* grad_gamma,
                                     float* grad_beta) {
    const uint32_t t = threadIdx.x;
    const float sum = block_sums<C, 2>(sums, block.scratch);
    if (t < 2 * C) shares[2 * blockIdx.x * C + t] = sum;
    cooperative_groups::this_grid().sync();
    const float2 all = grid_sums<C>(shares, block.scratch);
    if (t < C) {
        channel[t] = scale * all.x, channel[C + t] = scale * all.y;
        if (blockIdx.x == 0) grad_gamma[t] = scale * all.x, grad_beta[t] = scale * all.y;
    }
    __syncthreads();
}

// grad_z = gamma rstd (scale grad - sums.beta / P - zhat sums.gamma / P) as a factor, into `to`, which may be z or grad.
template <uint32_t C, bool TF32, class Grad>
__device__ inline void normalised_gradient(const Rows& rows, float* to, const float* z, Grad grad, float scale, float pixels,
                                           const LaneNorm<C>& norm, const float* sums) {
    const float per_pixel = 1.0f / pixels;
    each_quad<C>(rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad g = grad(row, quad), at = quad_of<C>(z, row, quad);
        Quad v;
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            const uint32_t c = 4 * quad + e;
            const float centred = fmaf(scale, g.v[e], -per_pixel * fmaf(norm.quad(j).zhat(at.v[e], e), sums[c], sums[C + c]));
            v.v[e] = factor<TF32>(norm.quad(j).scale.v[e] * centred);
        }
        put_quad<C>(to, row, quad, v);
    });
    __syncthreads();
}

template <uint32_t C, bool TF32>
__device__ inline void inverse_vjp(float* x, float* grad_x, const BlockTheta& grad_theta, float* workspace, const BlockTheta& theta,
                                   const BlockNorms& stats, float h, uint32_t correct, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Block<C, 4> block(reinterpret_cast<float*>(memory), shape);
    const Rows& rows = block.rows;
    const uint32_t q = threadIdx.x % 4;
    float *channel1 = block.channel, *channel2 = channel1 + 4 * C, *sums1 = channel2 + 4 * C, *sums2 = sums1 + 2 * C;
    // What a map holds changes: x, then z2, then its gradient | x~ | relu(bn1(z1)), then its gradient, then z1's | z1.
    float *state = block.map[0], *x_rec = block.map[1], *a = block.map[2], *z1 = block.map[3];
    float *x_block = x + block.first, *grad_block = grad_x + block.first;
    auto at = [](float* map, uint32_t row, uint32_t quad) { return map + row * C + 4 * quad; };
    auto grad_of = [&](uint32_t row, uint32_t quad) { return *reinterpret_cast<const float4*>(at(grad_block, row, quad)); };

    load_map<C>(state, x_block, rows.count);
    load_weight<C, TF32, false>(block.weight1, theta.conv1);
    load_weight<C, TF32, false>(block.weight2, theta.conv2);
    if (const uint32_t c = threadIdx.x; c < C) {
        put_norm<C>(channel1, stats.mean1[c], stats.scale1[c], theta.gamma1[c], theta.beta1[c]);
        put_norm<C>(channel2, stats.mean2[c], stats.scale2[c], theta.gamma2[c], theta.beta2[c]);
    }
    copies_wait_all();
    __syncthreads();
    const LaneNorm<C> norm1(channel1), norm2(channel2);

    // x~ = x - h f(x)
    auto put_a = [&](uint32_t row, uint32_t j, Quad v) {
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = factor<TF32>(relu(norm1.quad(j).normalised(v.v[e], e)));
        put_quad<C>(a, row, 4 * j + q, v);
    };
    product<C, TF32, true>(state, block.weight1, rows, put_a);
    __syncthreads();
    auto stepped = [&](uint32_t row, uint32_t j, const Quad& z) {
        Quad v = quad_of<C>(state, row, 4 * j + q);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(-h, norm2.quad(j).normalised(z.v[e], e), v.v[e]);
        return v;
    };
    product<C, TF32, false>(a, block.weight2, rows, [&](uint32_t row, uint32_t j, Quad z) {
        const Quad v = stepped(row, j, z);
        put_quad<C>(x_rec, row, 4 * j + q, factor<TF32>(float4(v)));
        if (!correct) put_global(at(x_block, row, 4 * j + q), v);
    });
    __syncthreads();

    // f again, at x~; its value gives the corrected x.
    product<C, TF32, false>(x_rec, block.weight1, rows, [&](uint32_t row, uint32_t j, Quad v) {
        put_quad<C>(z1, row, 4 * j + q, v);
        put_a(row, j, v);
    });
    __syncthreads();
    {
        LaneSums<C, 2> sums = {};
        product<C, TF32, false>(a, block.weight2, rows, [&](uint32_t row, uint32_t j, Quad z) {
            const Quad g = grad_of(row, 4 * j + q);
            if (correct) put_global(at(x_block, row, 4 * j + q), stepped(row, j, z));
            put_quad<C>(state, row, 4 * j + q, z);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) {
                sums[0][j][e] = fmaf(g.v[e], norm2.quad(j).zhat(z.v[e], e), sums[0][j][e]);
                sums[1][j][e] += g.v[e];
            }
        });
        __syncthreads();
        load_weight<C, TF32, true>(block.weight1, theta.conv1);
        load_weight<C, TF32, true>(block.weight2, theta.conv2);
        gradient_sums<C>(block, sums, h, workspace, sums2, grad_theta.gamma2, grad_theta.beta2);
    }

    // Back through bn2, conv2, ReLU.
    normalised_gradient<C, TF32>(rows, state, state, grad_of, h, block.pixels, norm2, sums2);
    float* shares = workspace + 4 * gridDim.x * C;
    float* share = shares + blockIdx.x * 18 * C * C;
    weight_product<C, TF32>(share + 9 * C * C, a, state, rows);
    __syncthreads();
    {
        LaneSums<C, 2> sums = {};
        product<C, TF32, false>(state, block.weight2, rows, [&](uint32_t row, uint32_t j, Quad v) {
            const Quad z = quad_of<C>(z1, row, 4 * j + q);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) {
                // The forward's own formula, to the bit: where it gave zero, nothing passes.
                if (!(norm1.quad(j).normalised(z.v[e], e) > 0.0f)) v.v[e] = 0.0f;
                sums[0][j][e] = fmaf(v.v[e], norm1.quad(j).zhat(z.v[e], e), sums[0][j][e]);
                sums[1][j][e] += v.v[e];
            }
            put_quad<C>(a, row, 4 * j + q, v);
        });
        gradient_sums<C>(block, sums, 1.0f, workspace + 2 * gridDim.x * C, sums1, grad_theta.gamma1, grad_theta.beta1);
    }

    // Back through bn1 and conv1.
    auto grad_u = [&](uint32_t row, uint32_t quad) { return quad_of<C>(a, row, quad); };
    normalised_gradient<C, TF32>(rows, a, z1, grad_u, 1.0f, block.pixels, norm1, sums1);
    weight_product<C, TF32>(share, x_rec, a, rows);
    product<C, TF32, false>(a, block.weight1, rows, [&](uint32_t row, uint32_t j, Quad v) {
        Quad g = grad_of(row, 4 * j + q);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) g.v[e] += v.v[e];
        put_global(at(grad_block, row, 4 * j + q), g);
    });
    cooperative_groups::this_grid().sync();
    grid_totals(shares, 18 * C * C, block.scratch, [&](uint32_t i, float total) {
        if (i < 9 * C * C) grad_theta.conv1[i] = total;
        else grad_theta.conv2[i - 9 * C * C] = total;
    });
}

#define SMALL_BLOCK(NAME, C, TF32)                                                                                        \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    euler_step_##NAME(float* x, BlockNorms stats, BlockNorms running, float* workspace, BlockTheta theta, float h,        \
                      float eps, float weight, SmallShape shape) {                                                        \
        euler_step<C, TF32>(x, stats, running, workspace, theta, h, eps, weight, shape);                                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    inverse_vjp_##NAME(float* x, float* grad_x, BlockTheta grad_theta, float* workspace, BlockTheta theta,                \
                       BlockNorms stats, float h, uint32_t correct, SmallShape shape) {                                   \
        inverse_vjp<C, TF32>(x, grad_x, grad_theta, workspace, theta, stats, h, correct, shape);                          \
    }
SMALL_BLOCK(tf32_16, 16, true)
SMALL_BLOCK(tf32_32, 32, true)
SMALL_BLOCK(fp32_16, 16, false)
SMALL_BLOCK(fp32_32, 32, false)
