// small_step.cuh: blocks' steps forward, one after another, and the same with codes.
#pragma once
#include "small_block.cuh"

// What a step holds in shared memory. In f32 relu(bn1(z1)) takes z1's place; in 16 bits it takes that of x's factors, and z2 z1's.
// The state stays there from block to block.
template <uint32_t C, Math A>
struct Step {
    static constexpr bool kApart = kInShort<A>;
    Block<C, A, kApart ? 2 : 3, kApart ? 1 : 0> block;
    float *state, *z1, *z2;
    Factors<C, A> x, a;

    __device__ Step(float* memory, const SmallShape& shape) : block(memory, shape) {
        state = block.map[0], z1 = block.map[1];
        if constexpr (kApart) z2 = z1, x = a = {block.half[0]};
        else z2 = block.map[2], x = {state}, a = {z1};
    }
};

// f of each block's x, which is in `state`: z2, and its norm in channel + 4 C. Statistics measured, running ones moved. `between(i)`
// after the first of a block's two barriers; `advance(i, theta)` takes the state, and its factors where they lie apart, to the next
// block. The weights of the next block come while the grid waits.
template <uint32_t C, Math A, class Between, class Advance>
__device__ inline void forward(Step<C, A>& on, const float* x, const ForwardRun& run, float* workspace, float eps, float weight,
                               const SmallShape& shape, Between between, Advance advance) {
    auto& block = on.block;
    float* channel = block.channel;
    load_map<C>(on.state, x + block.first, block.rows.count);
    block.template load_weights<false>(run.theta);
    if constexpr (on.kApart) clear_border<C>(on.x.base(), shape.images, shape.h, shape.w);
    copies_wait_all();
    __syncthreads();
    if constexpr (on.kApart) {
        put_factors<C>(block.rows, on.x, on.state);
        __syncthreads();
    }

#pragma unroll 1
    for (uint32_t i = 0; i < run.blocks; i++) {
        const BlockTheta theta = moved(run.theta, i * run.theta_step);
        const BlockNorms stats = moved(run.stats, i * run.stats_step), running = moved(run.running, i * run.running_step);
        const bool more = i + 1 < run.blocks;
        LaneSums<C, 1> sums = {};
        auto keep = [&](float* z) {
            return [&, z](uint32_t row, uint32_t j, Quad v) {
                put_quad<C>(z, row, 4 * j + threadIdx.x % 4, v);
#pragma unroll
                for (uint32_t e = 0; e < 4; e++) sums[0][j][e] += v.v[e];
            };
        };
        block.convolve(on.state, on.x, block.weight1, keep(on.z1));
        measure<C>(block, sums, on.z1, workspace, channel, stats.mean1, stats.scale1, running.mean1, running.scale1, theta.gamma1,
                   theta.beta1, eps, weight,
                   [&] { if (more) block.template load<false>(block.weight1, theta.conv1 + run.theta_step); });
        between(i);
        {
            const LaneNorm<C> norm(channel);
            each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
                Quad v = quad_of<C>(on.z1, row, quad);
#pragma unroll
                for (uint32_t e = 0; e < 4; e++) v.v[e] = relu(norm.quad(j).normalised(v.v[e], e));
                on.a.put(block.rows, row, quad, v);
            });
        }
        __syncthreads();

#pragma unroll
        for (uint32_t j = 0; j < C / 16; j++)
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) sums[0][j][e] = 0.0f;
        block.convolve(on.a, block.weight2, 1.0f, keep(on.z2));
        measure<C>(block, sums, on.z2, workspace + 2 * gridDim.x * C, channel + 4 * C, stats.mean2, stats.scale2, running.mean2,
                   running.scale2, theta.gamma2, theta.beta2, eps, weight,
                   [&] { if (more) block.template load<false>(block.weight2, theta.conv2 + run.theta_step); });
        advance(i, theta);
        __syncthreads();
    }
}

template <uint32_t C, Math A>
__device__ inline void euler_step(float* x, const ForwardRun& run, float* workspace, float h, float eps, float weight,
                                  const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Step<C, A> on(reinterpret_cast<float*>(memory), shape);
    auto nothing = [](uint32_t) {};
    forward<C, A>(on, x, run, workspace, eps, weight, shape, nothing, [&](uint32_t i, const BlockTheta&) {
        const LaneNorm<C> norm(on.block.channel + 4 * C);
        each_quad<C>(on.block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
            const Quad z = quad_of<C>(on.z2, row, quad);
            Quad v = quad_of<C>(on.state, row, quad);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(h, norm.quad(j).normalised(z.v[e], e), v.v[e]);
            if (i + 1 == run.blocks) {
                put_global(x + on.block.first + row * C + 4 * quad, v);
            } else {
                put_quad<C>(on.state, row, quad, v);
                if constexpr (on.kApart) on.x.put(on.block.rows, row, quad, v);
            }
        });
    });
}

template <uint32_t C, Math A>
__device__ inline void code_step(float* x, float* carry, const ForwardRun& run, const BlockCode& code, float* workspace, double h,
                                 float eps, float weight, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Step<C, A> on(reinterpret_cast<float*>(memory), shape);
    auto& block = on.block;
    float *state = on.state, *z2 = on.z2, *norm = block.channel + 4 * C, *quantiser = block.channel + 8 * C, *rest = quantiser + 3 * C;
    float *x_block = x + block.first, *carry_block = carry + block.first, *shares = workspace + 4 * gridDim.x * C;
    const float big = rounding(*code.grid), step = h;
    // The carry's mean square, as the block before left it: from all blocks' shares.
    auto between = [&](uint32_t i) {
        if (i > 0) merge_rows(shares, 0, gridDim.x, C, block.scratch, [&](uint32_t c, float sum) { rest[c] = sum / block.pixels; });
        else if (threadIdx.x < C) rest[threadIdx.x] = code.rest[threadIdx.x];
    };
    forward<C, A>(on, x, run, workspace, eps, weight, shape, between, [&](uint32_t i, const BlockTheta& theta) {
        if (const uint32_t c = threadIdx.x; c < C) {
            const Quantiser of = quantiser_of(h, theta.beta2[c], fabsf(theta.gamma2[c]), rest[c]);
            quantiser[c] = of.mean, quantiser[C + c] = of.rstd, quantiser[2 * C + c] = of.sigma;
            if (blockIdx.x == 0) code.mean[i * run.code_step + c] = of.mean, code.rstd[i * run.code_step + c] = of.rstd;
        }
        __syncthreads();
        uint32_t* packed = code.packed + i * run.code_step + blockIdx.x * shape.images * code.words;
        with_bits(code.bits, [&](auto bits) {
            constexpr uint32_t B = decltype(bits)::value;
            float carries[kAhead<B>];
            uint32_t word;
            // What is left takes z2's place, for the sums.
            each_word<C, B>(block.rows, shape.h * shape.w, code.words, [&](uint32_t) { word = 0; },
                            [&](uint32_t a, uint32_t e) { carries[a] = carry_block[e]; },
                            [&](uint32_t k, uint32_t a, uint32_t e, uint32_t row, uint32_t c) {
                                const int32_t at = place<C>(row, c / 4) + int32_t(c % 4);
                                const Quantiser of = {quantiser[c], quantiser[C + c], quantiser[2 * C + c]};
                                const float f = fmaf(norm[2 * C + c], z2[at] - norm[c], norm[3 * C + c]);
                                const float w = fmaf(step, f, carries[a]);
                                const uint32_t index = code_of<B>(of, w);
                                const float q = value_of<B>(of, index, big), left = __fsub_rn(w, q);
                                const float v = code.plain ? fmaf(step, f, state[at]) : __fadd_rn(state[at], q);
                                word |= index << (B * k);
                                carry_block[e] = z2[at] = left;
                                if (i + 1 == run.blocks) {
                                    x_block[e] = v;
                                } else {
                                    state[at] = v;
                                    if constexpr (on.kApart) on.x.put(block.rows, row, c, v);
                                }
                            },
                            [&](uint32_t w) { packed[w] = word; });
        });
        __syncthreads();
        LaneSums<C, 1> squares = {};
        each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
            const Quad left = quad_of<C>(z2, row, quad);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) squares[0][j][e] = fmaf(left.v[e], left.v[e], squares[0][j][e]);
        });
        const float sum = block_sums<C, 1>(squares, block.scratch);
        if (threadIdx.x < C) shares[blockIdx.x * C + threadIdx.x] = sum;
    });
    if (!last_to_come(code.counter, gridDim.x)) return;
    merge_rows(shares, 0, gridDim.x, C, block.scratch, [&](uint32_t c, float sum) { code.rest[c] = sum / block.pixels; });
}
