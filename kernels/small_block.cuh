// small_block.cuh: what the kernels of small_block.cu hold in shared memory and registers, whatever way they go.
#pragma once
#include <cooperative_groups.h>

#include <type_traits>
#include <utility>

#include "code.cuh"
#include "judge.cuh"
#include "last.cuh"
#include "peaks.cuh"
#include "sgd.cuh"
#include "small_half.cuh"
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
// The blocks that a launch passes, in that order: the first one's tensors, and how many floats further on the next one's lie, which
// on the way back is less than none.
struct ForwardRun {
    BlockTheta theta;
    BlockNorms stats, running;
    int64_t theta_step, stats_step, running_step, code_step;
    uint32_t blocks, unused;
};
// The same on the way back. Weights move where there is a `rate`; `verdict` says whether they may, and learns what the
// reconstructions were worth. `decay` is the weight decay of convolutions, `norm_decay` that of batch norms. `held`: whether x and g
// lie in shared memory from block to block.
struct BackRun {
    BlockTheta theta, velocity, grad;
    BlockNorms stats;
    int64_t theta_step, velocity_step, grad_step, stats_step, code_step, errors_step;
    const float* rate;
    float* verdict;
    float momentum, decay, norm_decay;
    uint32_t nesterov, blocks, held;
};
static_assert(sizeof(BlockCode) == 64, "src/cuda/small_block.rs");
static_assert(sizeof(BlockTheta) == 48 && sizeof(BlockNorms) == 32 && sizeof(SmallShape) == 16, "src/cuda/small_block.rs");
static_assert(sizeof(ForwardRun) == 152 && sizeof(BackRun) == 264, "src/cuda/small_block.rs");

__device__ inline BlockTheta moved(const BlockTheta& t, int64_t by) {
    return {t.conv1 + by, t.gamma1 + by, t.beta1 + by, t.conv2 + by, t.gamma2 + by, t.beta2 + by};
}
__device__ inline BlockNorms moved(const BlockNorms& n, int64_t by) {
    return {n.mean1 + by, n.scale1 + by, n.mean2 + by, n.scale2 + by};
}

// Waits for all blocks of the grid. `meanwhile` runs between a block's coming and its going: all that the block did before is
// done by then, and what it does there hides behind the others' coming.
template <class Meanwhile>
__device__ inline void meet(Meanwhile meanwhile) {
    const auto grid = cooperative_groups::this_grid();
    auto token = grid.barrier_arrive();
    meanwhile();
    grid.barrier_wait(std::move(token));
}

// How a block multiplies.
enum class Math { Fp32, Tf32, Fp16, Bf16 };

// Whether factors have 16 bits, and which.
template <Math A>
constexpr bool kInShort = A == Math::Fp16 || A == Math::Bf16;
template <Math A>
constexpr Short kShort = A == Math::Bf16 ? Short::Bf16 : Short::F16;

// A map of factors: of f32 as `put_quad` lays it, each rounded where it is put, or of 16 bits as small_half.cuh does.
template <uint32_t C, Math A, bool SHORT = kInShort<A>>
struct Factors {
    float* map;

    __device__ void put(const Rows&, uint32_t row, uint32_t quad, float4 v) const {
        put_quad<C>(map, row, quad, factor<A == Math::Tf32>(v));
    }
    __device__ void put(const Rows&, uint32_t row, uint32_t c, float v) const {
        map[place<C>(row, c / 4) + c % 4] = factor<A == Math::Tf32>(v);
    }
};
template <uint32_t C, Math A>
struct Factors<C, A, true> {
    float* map;

    __device__ uint32_t base() const { return shared_address(map); }
    __device__ void put(const Rows& rows, uint32_t row, uint32_t quad, float4 v) const {
        store_shorts<kShort<A>>(base() + rows.taps[row] + 8 * quad, v);
    }
    __device__ void put(const Rows& rows, uint32_t row, uint32_t c, float v) const { store_short<kShort<A>>(base() + rows.taps[row] + 2 * c, v); }
};

// The shared memory, and the block's share of the batch: MAPS of f32, weights, sums, norms, a word per pixel, and in 16 bits HALVES of factors.
template <uint32_t C, Math A, uint32_t MAPS, uint32_t HALVES>
struct Block {
    static constexpr uint32_t kWeight = (kInShort<A> ? 9 : 18) * C * C / 2;    // floats
    float *map[MAPS], *half[HALVES + (HALVES == 0)], *weight1, *weight2, *scratch, *channel, *end;
    uint32_t first;    // element of x where the block's images begin
    Rows rows;
    float rows_each, rows_last, pixels;    // pixels of a block, of the last block, of the batch

    __device__ Block(float* memory, const SmallShape& shape) {
        const uint32_t area = shape.h * shape.w, begin = blockIdx.x * shape.images;
        const uint32_t each = shape.images * area;
#pragma unroll
        for (uint32_t m = 0; m < MAPS; m++) map[m] = memory + m * each * C;
        weight1 = memory + MAPS * each * C;
        weight2 = weight1 + kWeight;
        scratch = weight2 + kWeight;
        channel = scratch + kScratch;
        uint32_t* taps = reinterpret_cast<uint32_t*>(channel + 12 * C);
        end = reinterpret_cast<float*>(taps + (each + 15) / 16 * 16);
        first = begin * area * C;
        rows = {min(shape.images, shape.n - begin) * area, int32_t(shape.w), taps};
        rows_each = each, rows_last = (shape.n - (gridDim.x - 1) * shape.images) * area, pixels = shape.n * area;
        if constexpr (kInShort<A>) {
            fill_half_rows<C>(taps, rows.count, shape.h, shape.w);
            const uint32_t floats = half_map<C>(shape.images, shape.h, shape.w) / 4;
#pragma unroll
            for (uint32_t m = 0; m < HALVES; m++) half[m] = end + m * floats;
            // The last map may be one of f32 at first.
            end = half[HALVES - 1] + max(floats, each * C);
        } else {
            fill_taps(taps, rows.count, shape.h, shape.w);
        }
    }

    template <bool TRANSPOSED>
    __device__ void load(float* weight, const float* from) const {
        if constexpr (kInShort<A>) load_weight_half<C, TRANSPOSED, kShort<A>>(weight, from);
        else load_weight<C, A == Math::Tf32, TRANSPOSED>(weight, from);
    }
    template <bool TRANSPOSED>
    __device__ void load_weights(const BlockTheta& theta) const {
        load<TRANSPOSED>(weight1, theta.conv1);
        load<TRANSPOSED>(weight2, theta.conv2);
    }

    // The convolution of a map of factors by one of the weights; `use` as in small_map.cuh. `scale`: that of the factors.
    template <class Use>
    __device__ void convolve(const Factors<C, A>& in, const float* weight, float scale, Use use) const {
        if constexpr (kInShort<A>) product_half<C, kShort<A>>(in.base(), weight, rows, 1.0f / scale / kWeightScale, use);
        else product<C, A == Math::Tf32, false>(in.map, weight, rows, use);
    }
    // The same of a map of f32 that `in` has the factors of, if factors are kept apart.
    template <class Use>
    __device__ void convolve(const float* map, const Factors<C, A>& in, const float* weight, Use use) const {
        if constexpr (kInShort<A>) convolve(in, weight, 1.0f, use);
        else product<C, A == Math::Tf32, true>(map, weight, rows, use);
    }
    // A convolution's gradient by its weights, from the factors before it and those of its result's gradient.
    __device__ void weight_gradient(float* share, const Factors<C, A>& in, const Factors<C, A>& grad, float scale) const {
        if constexpr (kInShort<A>) weight_product_half<C, kShort<A>>(share, in.base(), grad.base(), rows, 1.0f / scale);
        else weight_product<C, A == Math::Tf32>(share, in.map, grad.map, rows);
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

// `use(row, quad, j)` for each quad of the block's maps, in the order of memory. Which lane has which is not as after a product.
template <uint32_t C, class Use>
__device__ inline void each_quad(const Rows& rows, Use use) {
    const uint32_t g = threadIdx.x % kWarp / 4, q = threadIdx.x % 4;
    for (uint32_t row = threadIdx.x / kWarp * 8 + g; row < rows.count; row += 8 * kWarps)
#pragma unroll
        for (uint32_t j = 0; j < C / 16; j++) use(row, 4 * j + q, j);
}

// Measures the map z over the batch: `channel` receives the norm, block 0 writes the statistics and moves the running ones.
// `meanwhile`: see meet.
template <uint32_t C, class B, class Meanwhile>
__device__ inline void measure(B& block, LaneSums<C, 1>& sums, float* z, float* shares, float* channel, float* mean, float* rstd,
                               float* running_mean, float* running_var, const float* gamma, const float* beta, float eps,
                               float weight, Meanwhile meanwhile) {
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
    meet(meanwhile);
    const Moments all = grid_moments<C>(shares, block.rows_each, block.rows_last, block.scratch);
    if (t < C) {
        const float variance = all.m2 / all.count, root = rsqrtf(variance + eps);
        put_norm<C>(channel, all.mean, root, gamma[t], beta[t]);
        if (blockIdx.x == 0) {
            mean[t] = all.mean, rstd[t] = root;
            if (running_mean) move_running(running_mean, running_var, t, all, variance, weight);
        }
    }
    __syncthreads();
}

// The factors of a map of f32.
template <uint32_t C, Math A>
__device__ inline void put_factors(const Rows& rows, const Factors<C, A>& to, const float* map) {
    each_quad<C>(rows, [&](uint32_t row, uint32_t quad, uint32_t) { to.put(rows, row, quad, quad_of<C>(map, row, quad)); });
}

// `use` with the number of bits as a constant.
template <class Use>
__device__ inline void with_bits(uint32_t bits, Use use) {
    if (bits == 1) use(std::integral_constant<uint32_t, 1>());
    else if (bits == 2) use(std::integral_constant<uint32_t, 2>());
    else if (bits == 4) use(std::integral_constant<uint32_t, 4>());
    else use(std::integral_constant<uint32_t, 8>());
}

// Walks the words of the block's images, a thread per word: `begin(the word's place)`, then `load(a, i)` and `use(k, a, i, row, c)` of
// code.cuh's walk, i the element's place in the block's part of a global map and `row` its pixel, then `end`.
template <uint32_t C, uint32_t B, class Begin, class Load, class Use, class End>
__device__ inline void each_word(const Rows& rows, uint32_t area, uint32_t words, Begin begin, Load load, Use use, End end) {
    for (uint32_t i = threadIdx.x; i < rows.count / area * words; i += kMapThreads) {
        const uint32_t image = i / words, first = image * area * C;
        begin(i);
        walk<B>(i - image * words, words, area * C, C, [&](uint32_t a, uint32_t e) { load(a, first + e); },
                [&](uint32_t k, uint32_t a, uint32_t e, uint32_t c) {
                    use(k, a, first + e, (first + e) / C, c);
                },
                [] {});
        end(i);
    }
}

