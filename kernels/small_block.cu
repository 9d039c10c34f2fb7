// small_block: one residual block f = bn2(conv2(relu(bn1(conv1(x))))) on small maps, as one cooperative launch: every image
// stays in one block's shared memory, only sums over the batch and the weights' gradients cross the grid.
//     euler_step:  x += h f(x), statistics of the batch measured, running statistics moved
//     code_step:   carry += h f(x), then its code: carry -= q, and x += q, or in a plain pass x += h f(x) (code.cuh)
//     inverse_vjp: x~ = x - h f(x), then grad_x = g + h df/dx(x~)^T g and grad_theta = h df/dtheta(x~)^T g, statistics given;
//                  the local error |x~ - x|^2, |x|^2, |x~ - x'|^2, |x'|^2 with x' = x - h f(x~); x becomes x~ or x'
//     decode_vjp:  x -= q of the code, then the same at x, statistics given
// x, g [N, H, W, C], C of 16 or 32, H W small; weights [3, 3, C, C]; everything else [C].
// Mapping: a block takes `images` images, 288 threads: a warp per tile of 16 pixels in the convolutions (small_map.cuh), a warp per
// tap in the gradients by weights. All blocks are resident, at most one per multiprocessor.
// Shared memory: maps of `images` H W C floats, four on the way back and three forward, both weights, a word per pixel,
// 768 + 12 C floats: 75 KB at two images of 10 x 10 x 16.
// Workspace: two times [blocks][2][C] of sums, then on the way back [blocks][2][9 C C] of the weights' gradients and [blocks][4]
// of local errors, forward [blocks][C] of the carry's squares.
// Bound: shared memory's bandwidth, latency between grid barriers.    Oracle: src/device/fused.rs on src/reference
#include <cooperative_groups.h>

#include <type_traits>

#include "code.cuh"
#include "last.cuh"
#include "small_sums.cuh"

// src/cuda/small_block.rs declares the same structs.
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
// A code and what all codes share; `rest` and the blocks' counter are of code_step alone.
struct BlockCode {
    uint32_t* packed;
    float *mean, *rstd, *rest;
    const float* grid;
    uint32_t* counter;
    uint32_t words, bits;
    // Whether the pass is the plain one.
    uint32_t plain, unused;
};
static_assert(sizeof(BlockCode) == 64, "src/cuda/small_block.rs");
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

// `use` with the number of bits as a constant.
template <class Use>
__device__ inline void with_bits(uint32_t bits, Use use) {
    if (bits == 1) use(std::integral_constant<uint32_t, 1>());
    else if (bits == 2) use(std::integral_constant<uint32_t, 2>());
    else if (bits == 4) use(std::integral_constant<uint32_t, 4>());
    else use(std::integral_constant<uint32_t, 8>());
}

// Walks the words of the block's images, a thread per word: `begin(the word's place)`, then `load(a, i)` and `use(k, a, i, at, c)` of
// code.cuh's walk, i the element's place in the block's part of a global map and `at` in one in shared memory, then `end`.
template <uint32_t C, uint32_t B, class Begin, class Load, class Use, class End>
__device__ inline void each_word(const Rows& rows, uint32_t area, uint32_t words, Begin begin, Load load, Use use, End end) {
    for (uint32_t i = threadIdx.x; i < rows.count / area * words; i += kThreads) {
        const uint32_t image = i / words, first = image * area * C;
        begin(i);
        walk<B>(i - image * words, words, area * C, C, [&](uint32_t a, uint32_t e) { load(a, first + e); },
                [&](uint32_t k, uint32_t a, uint32_t e, uint32_t c) {
                    use(k, a, first + e, place<C>((first + e) / C, c / 4) + c % 4, c);
                },
                [] {});
        end(i);
    }
}

// f of the block's x, which stays in map 0: z2 in map 2, its norm in channel + 4 C. Statistics measured, running ones moved.
template <uint32_t C, bool TF32>
__device__ inline void evaluate(Block<C, 3>& block, const float* x, const BlockNorms& stats, const BlockNorms& running,
                                float* workspace, const BlockTheta& theta, float eps, float weight) {
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
}

template <uint32_t C, bool TF32>
__device__ inline void euler_step(float* x, const BlockNorms& stats, const BlockNorms& running, float* workspace,
                                  const BlockTheta& theta, float h, float eps, float weight, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Block<C, 3> block(reinterpret_cast<float*>(memory), shape);
    evaluate<C, TF32>(block, x, stats, running, workspace, theta, eps, weight);
    const float *state = block.map[0], *z2 = block.map[2];
    const LaneNorm<C> norm(block.channel + 4 * C);
    each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad z = quad_of<C>(z2, row, quad);
        Quad v = quad_of<C>(state, row, quad);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(h, norm.quad(j).normalised(z.v[e], e), v.v[e]);
        put_global(x + block.first + row * C + 4 * quad, v);
    });
}

template <uint32_t C, bool TF32>
__device__ inline void code_step(float* x, float* carry, const BlockNorms& stats, const BlockNorms& running, const BlockCode& code,
                                 float* workspace, const BlockTheta& theta, double h, float eps, float weight,
                                 const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Block<C, 3> block(reinterpret_cast<float*>(memory), shape);
    evaluate<C, TF32>(block, x, stats, running, workspace, theta, eps, weight);
    const float* state = block.map[0];
    float *z2 = block.map[2], *norm = block.channel + 4 * C, *quantiser = block.channel + 8 * C;
    if (const uint32_t c = threadIdx.x; c < C) {
        // The block that writes the rest does so after all have read it.
        const Quantiser of = quantiser_of(h, theta.beta2[c], fabsf(theta.gamma2[c]), code.rest[c]);
        quantiser[c] = of.mean, quantiser[C + c] = of.rstd, quantiser[2 * C + c] = of.sigma;
        if (blockIdx.x == 0) code.mean[c] = of.mean, code.rstd[c] = of.rstd;
    }
    __syncthreads();
    const float big = rounding(*code.grid), step = h;
    float *x_block = x + block.first, *carry_block = carry + block.first;
    uint32_t* packed = code.packed + blockIdx.x * shape.images * code.words;
    with_bits(code.bits, [&](auto bits) {
        constexpr uint32_t B = decltype(bits)::value;
        float carries[kAhead<B>];
        uint32_t word;
        // What is left takes z2's place, for the sums.
        each_word<C, B>(block.rows, shape.h * shape.w, code.words, [&](uint32_t) { word = 0; },
                        [&](uint32_t a, uint32_t i) { carries[a] = carry_block[i]; },
                        [&](uint32_t k, uint32_t a, uint32_t i, int32_t at, uint32_t c) {
                            const Quantiser of = {quantiser[c], quantiser[C + c], quantiser[2 * C + c]};
                            const float f = fmaf(norm[2 * C + c], z2[at] - norm[c], norm[3 * C + c]);
                            const float w = fmaf(step, f, carries[a]);
                            const uint32_t index = code_of<B>(of, w);
                            const float q = value_of<B>(of, index, big), left = __fsub_rn(w, q);
                            word |= index << (B * k);
                            x_block[i] = code.plain ? fmaf(step, f, state[at]) : __fadd_rn(state[at], q);
                            carry_block[i] = z2[at] = left;
                        },
                        [&](uint32_t i) { packed[i] = word; });
    });
    __syncthreads();
    LaneSums<C, 1> squares = {};
    each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad left = quad_of<C>(z2, row, quad);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) squares[0][j][e] = fmaf(left.v[e], left.v[e], squares[0][j][e]);
    });
    const float sum = block_sums<C, 1>(squares, block.scratch);
    float* shares = workspace + 4 * gridDim.x * C;
    if (threadIdx.x < C) shares[blockIdx.x * C + threadIdx.x] = sum;
    if (!last_to_come(code.counter, gridDim.x)) return;
    merge_rows(shares, 0, gridDim.x, C, block.scratch, [&](uint32_t c, float sum) { code.rest[c] = sum / block.pixels; });
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

// What both ways back hold in shared memory. What a map holds changes: x, then z2, then its gradient | x~ or x_n |
// relu(bn1(z1)), then its gradient, then z1's | z1.
template <uint32_t C>
struct Vjp {
    Block<C, 4> block;
    float *state, *x_n, *a, *z1, *channel1, *channel2, *sums1, *sums2, *grad;

    __device__ Vjp(float* memory, float* grad_x, const SmallShape& shape) : block(memory, shape) {
        state = block.map[0], x_n = block.map[1], a = block.map[2], z1 = block.map[3];
        channel1 = block.channel, channel2 = channel1 + 4 * C, sums1 = channel2 + 4 * C, sums2 = sums1 + 2 * C;
        grad = grad_x + block.first;
    }
    // Weights and norms; a barrier must follow.
    template <bool TF32>
    __device__ void load(const BlockTheta& theta, const BlockNorms& stats) {
        load_weight<C, TF32, false>(block.weight1, theta.conv1);
        load_weight<C, TF32, false>(block.weight2, theta.conv2);
        if (const uint32_t c = threadIdx.x; c < C) {
            put_norm<C>(channel1, stats.mean1[c], stats.scale1[c], theta.gamma1[c], theta.beta1[c]);
            put_norm<C>(channel2, stats.mean2[c], stats.scale2[c], theta.gamma2[c], theta.beta2[c]);
        }
    }
    __device__ static float* at(float* map, uint32_t row, uint32_t quad) { return map + row * C + 4 * quad; }
    __device__ float4 grad_of(uint32_t row, uint32_t quad) const { return *reinterpret_cast<const float4*>(at(grad, row, quad)); }
};

// a = relu(bn1(v)) of one quad, as a factor.
template <uint32_t C, bool TF32>
__device__ inline void put_a(const Vjp<C>& on, const LaneNorm<C>& norm1, uint32_t row, uint32_t j, Quad v) {
#pragma unroll
    for (uint32_t e = 0; e < 4; e++) v.v[e] = factor<TF32>(relu(norm1.quad(j).normalised(v.v[e], e)));
    put_quad<C>(on.a, row, 4 * j + threadIdx.x % 4, v);
}

// f at x_n, which leaves z1, a and z2, and batch norm 2's gradient sums; `outcome(row, j, z2)` before z2 takes x's place. ROUND: x_n
// holds f32 values that are still to be rounded.
template <uint32_t C, bool TF32, bool ROUND, class Outcome>
__device__ inline void evaluate_at_x_n(const Vjp<C>& on, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2, LaneSums<C, 2>& sums,
                                       Outcome outcome) {
    const uint32_t q = threadIdx.x % 4;
    product<C, TF32, ROUND>(on.x_n, on.block.weight1, on.block.rows, [&](uint32_t row, uint32_t j, Quad v) {
        put_quad<C>(on.z1, row, 4 * j + q, v);
        put_a<C, TF32>(on, norm1, row, j, v);
    });
    __syncthreads();
    product<C, TF32, false>(on.a, on.block.weight2, on.block.rows, [&](uint32_t row, uint32_t j, Quad z) {
        const Quad g = on.grad_of(row, 4 * j + q);
        outcome(row, j, z);
        put_quad<C>(on.state, row, 4 * j + q, z);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            sums[0][j][e] = fmaf(g.v[e], norm2.quad(j).zhat(z.v[e], e), sums[0][j][e]);
            sums[1][j][e] += g.v[e];
        }
    });
}

// Back through f at x_n, whose factors x_n now holds, with batch norm 2's gradient sums of the lane.
template <uint32_t C, bool TF32>
__device__ inline void pull_back(Vjp<C>& on, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2, LaneSums<C, 2>& sums2,
                                 const BlockTheta& grad_theta, float* workspace, const BlockTheta& theta, float h) {
    Block<C, 4>& block = on.block;
    const Rows& rows = block.rows;
    const uint32_t q = threadIdx.x % 4;
    float *state = on.state, *a = on.a, *z1 = on.z1;
    __syncthreads();
    load_weight<C, TF32, true>(block.weight1, theta.conv1);
    load_weight<C, TF32, true>(block.weight2, theta.conv2);
    gradient_sums<C>(block, sums2, h, workspace, on.sums2, grad_theta.gamma2, grad_theta.beta2);

    // Back through bn2, conv2, ReLU.
    auto grad_of = [&](uint32_t row, uint32_t quad) { return on.grad_of(row, quad); };
    normalised_gradient<C, TF32>(rows, state, state, grad_of, h, block.pixels, norm2, on.sums2);
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
        gradient_sums<C>(block, sums, 1.0f, workspace + 2 * gridDim.x * C, on.sums1, grad_theta.gamma1, grad_theta.beta1);
    }

    // Back through bn1 and conv1.
    auto grad_u = [&](uint32_t row, uint32_t quad) { return quad_of<C>(a, row, quad); };
    normalised_gradient<C, TF32>(rows, a, z1, grad_u, 1.0f, block.pixels, norm1, on.sums1);
    weight_product<C, TF32>(share, on.x_n, a, rows);
    product<C, TF32, false>(a, block.weight1, rows, [&](uint32_t row, uint32_t j, Quad v) {
        Quad g = on.grad_of(row, 4 * j + q);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) g.v[e] += v.v[e];
        put_global(on.at(on.grad, row, 4 * j + q), g);
    });
    cooperative_groups::this_grid().sync();
    grid_totals(shares, 18 * C * C, block.scratch, [&](uint32_t i, float total) {
        if (i < 9 * C * C) grad_theta.conv1[i] = total;
        else grad_theta.conv2[i - 9 * C * C] = total;
    });
}

template <uint32_t C, bool TF32>
__device__ inline void inverse_vjp(float* x, float* errors, float* grad_x, const BlockTheta& grad_theta, float* workspace,
                                   const BlockTheta& theta, const BlockNorms& stats, float h, uint32_t correct,
                                   const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C> on(reinterpret_cast<float*>(memory), grad_x, shape);
    const Block<C, 4>& block = on.block;
    const uint32_t q = threadIdx.x % 4, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    float* x_block = x + block.first;
    load_map<C>(on.state, x_block, block.rows.count);
    on.template load<TF32>(theta, stats);
    copies_wait_all();
    __syncthreads();
    const LaneNorm<C> norm1(on.channel1), norm2(on.channel2);

    // The local error's four sums, of the lane.
    float2 moved = {}, left = {};
    auto measured = [](const Quad& from, const Quad& to, float2 sums) {
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            const float d = from.v[e] - to.v[e];
            sums = {fmaf(d, d, sums.x), fmaf(to.v[e], to.v[e], sums.y)};
        }
        return sums;
    };
    // x~ = x - h f(x), unrounded until its own f is known.
    product<C, TF32, true>(on.state, block.weight1, block.rows,
                           [&](uint32_t row, uint32_t j, Quad v) { put_a<C, TF32>(on, norm1, row, j, v); });
    __syncthreads();
    auto stepped = [&](const Quad& from, uint32_t j, const Quad& z) {
        Quad v;
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(-h, norm2.quad(j).normalised(z.v[e], e), from.v[e]);
        return v;
    };
    product<C, TF32, false>(on.a, block.weight2, block.rows, [&](uint32_t row, uint32_t j, Quad z) {
        const Quad from = quad_of<C>(on.state, row, 4 * j + q), v = stepped(from, j, z);
        moved = measured(v, from, moved);
        put_quad<C>(on.x_n, row, 4 * j + q, v);
    });
    __syncthreads();

    LaneSums<C, 2> sums = {};
    evaluate_at_x_n<C, TF32, true>(on, norm1, norm2, sums, [&](uint32_t row, uint32_t j, const Quad& z) {
        const uint32_t quad = 4 * j + q;
        const Quad rec = quad_of<C>(on.x_n, row, quad), next = stepped(quad_of<C>(on.state, row, quad), j, z);
        left = measured(rec, next, left);
        put_quad<C>(on.x_n, row, quad, factor<TF32>(float4(rec)));
        if (correct) put_global(on.at(x_block, row, quad), next);
        else put_global(on.at(x_block, row, quad), rec);
    });
    // The block's share goes where no other sum uses the scratch, and is there for all after the barriers of pull_back.
    float *scratch = block.scratch + kWarps * 2 * 32, *shares = workspace + gridDim.x * (4 * C + 18 * C * C);
    const float4 error = {warp_sum(moved.x), warp_sum(moved.y), warp_sum(left.x), warp_sum(left.y)};
    if (lane == 0) put_shared(scratch + warp * 4, error);
    __syncthreads();
    if (threadIdx.x < 4) {
        float sum = 0.0f;
        for (uint32_t w = 0; w < kWarps; w++) sum += scratch[w * 4 + threadIdx.x];
        shares[blockIdx.x * 4 + threadIdx.x] = sum;
    }
    pull_back<C, TF32>(on, norm1, norm2, sums, grad_theta, workspace, theta, h);
    if (blockIdx.x == 0 && warp < 4) {
        float sum = 0.0f;
        for (uint32_t b = lane; b < gridDim.x; b += kWarp) sum += __ldcg(shares + b * 4 + warp);
        sum = warp_sum(sum);
        if (lane == 0) errors[warp] = sum;
    }
}

template <uint32_t C, bool TF32>
__device__ inline void decode_vjp(float* x, float* grad_x, const BlockTheta& grad_theta, float* workspace, const BlockTheta& theta,
                                  const BlockNorms& stats, const BlockCode& code, float h, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C> on(reinterpret_cast<float*>(memory), grad_x, shape);
    on.template load<TF32>(theta, stats);
    // bn1's sums come much later.
    float *quantiser = on.sums1, *x_block = x + on.block.first;
    if (const uint32_t c = threadIdx.x; c < C) {
        const Quantiser of = Quantiser::of(code.mean[c], code.rstd[c]);
        quantiser[c] = of.mean, quantiser[C + c] = of.sigma;
    }
    __syncthreads();
    const float big = rounding(*code.grid);
    const uint32_t* packed = code.packed + blockIdx.x * shape.images * code.words;
    with_bits(code.bits, [&](auto bits) {
        constexpr uint32_t B = decltype(bits)::value;
        float states[kAhead<B>];
        uint32_t word;
        each_word<C, B>(on.block.rows, shape.h * shape.w, code.words, [&](uint32_t i) { word = packed[i]; },
                        [&](uint32_t a, uint32_t i) { states[a] = x_block[i]; },
                        [&](uint32_t k, uint32_t a, uint32_t i, int32_t at, uint32_t c) {
                            const Quantiser of = {quantiser[c], 0.0f, quantiser[C + c]};
                            const float v = __fsub_rn(states[a], value_of<B>(of, word >> (B * k) & ((1u << B) - 1), big));
                            x_block[i] = v;
                            on.x_n[at] = factor<TF32>(v);
                        },
                        [](uint32_t) {});
    });
    __syncthreads();
    const LaneNorm<C> norm1(on.channel1), norm2(on.channel2);
    LaneSums<C, 2> sums = {};
    evaluate_at_x_n<C, TF32, false>(on, norm1, norm2, sums, [](uint32_t, uint32_t, const Quad&) {});
    pull_back<C, TF32>(on, norm1, norm2, sums, grad_theta, workspace, theta, h);
}

#define SMALL_BLOCK(NAME, C, TF32)                                                                                        \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    euler_step_##NAME(float* x, BlockNorms stats, BlockNorms running, float* workspace, BlockTheta theta, float h,        \
                      float eps, float weight, SmallShape shape) {                                                        \
        euler_step<C, TF32>(x, stats, running, workspace, theta, h, eps, weight, shape);                                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    code_step_##NAME(float* x, float* carry, BlockNorms stats, BlockNorms running, BlockCode code, float* workspace,      \
                     BlockTheta theta, double h, float eps, float weight, SmallShape shape) {                             \
        code_step<C, TF32>(x, carry, stats, running, code, workspace, theta, h, eps, weight, shape);                      \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    inverse_vjp_##NAME(float* x, float* errors, float* grad_x, BlockTheta grad_theta, float* workspace, BlockTheta theta, \
                       BlockNorms stats, float h, uint32_t correct, SmallShape shape) {                                   \
        inverse_vjp<C, TF32>(x, errors, grad_x, grad_theta, workspace, theta, stats, h, correct, shape);                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                             \
    decode_vjp_##NAME(float* x, float* grad_x, BlockTheta grad_theta, float* workspace, BlockTheta theta,                 \
                      BlockNorms stats, BlockCode code, float h, SmallShape shape) {                                      \
        decode_vjp<C, TF32>(x, grad_x, grad_theta, workspace, theta, stats, code, h, shape);                              \
    }
SMALL_BLOCK(tf32_16, 16, true)
SMALL_BLOCK(tf32_32, 32, true)
SMALL_BLOCK(fp32_16, 16, false)
SMALL_BLOCK(fp32_32, 32, false)
