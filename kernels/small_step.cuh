// small_step.cuh: one block's step forward, and the same with a code.
#pragma once
#include "small_block.cuh"

// What a step holds in shared memory. In f32 relu(bn1(z1)) takes z1's place; in f16 it takes that of x's factors, and z2 z1's.
template <uint32_t C, Math A>
struct Step {
    static constexpr bool kApart = A == Math::Fp16;
    Block<C, A, kApart ? 2 : 3, kApart ? 1 : 0> block;
    float *state, *z1, *z2;
    Factors<C, A> x, a;

    __device__ Step(float* memory, const SmallShape& shape) : block(memory, shape) {
        state = block.map[0], z1 = block.map[1];
        if constexpr (kApart) z2 = z1, x = a = {block.half[0]};
        else z2 = block.map[2], x = {state}, a = {z1};
    }
};

// f of the block's x, which stays in `state`: z2, and its norm in channel + 4 C. Statistics measured, running ones moved.
template <uint32_t C, Math A>
__device__ inline void evaluate(Step<C, A>& on, const float* x, const BlockNorms& stats, const BlockNorms& running, float* workspace,
                                const BlockTheta& theta, float eps, float weight, const SmallShape& shape) {
    auto& block = on.block;
    float* channel = block.channel;
    load_map<C>(on.state, x + block.first, block.rows.count);
    block.template load_weights<false>(theta);
    if constexpr (on.kApart) clear_border<C>(on.x.base(), shape.images, shape.h, shape.w);
    copies_wait_all();
    __syncthreads();
    if constexpr (on.kApart) {
        put_factors<C>(block.rows, on.x, on.state);
        __syncthreads();
    }

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
               theta.beta1, eps, weight);
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
               running.scale2, theta.gamma2, theta.beta2, eps, weight);
}

template <uint32_t C, Math A>
__device__ inline void euler_step(float* x, const BlockNorms& stats, const BlockNorms& running, float* workspace,
                                  const BlockTheta& theta, float h, float eps, float weight, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Step<C, A> on(reinterpret_cast<float*>(memory), shape);
    evaluate<C, A>(on, x, stats, running, workspace, theta, eps, weight, shape);
    const LaneNorm<C> norm(on.block.channel + 4 * C);
    each_quad<C>(on.block.rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad z = quad_of<C>(on.z2, row, quad);
        Quad v = quad_of<C>(on.state, row, quad);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(h, norm.quad(j).normalised(z.v[e], e), v.v[e]);
        put_global(x + on.block.first + row * C + 4 * quad, v);
    });
}

template <uint32_t C, Math A>
__device__ inline void code_step(float* x, float* carry, const BlockNorms& stats, const BlockNorms& running, const BlockCode& code,
                                 float* workspace, const BlockTheta& theta, double h, float eps, float weight,
                                 const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Step<C, A> on(reinterpret_cast<float*>(memory), shape);
    evaluate<C, A>(on, x, stats, running, workspace, theta, eps, weight, shape);
    auto& block = on.block;
    const float* state = on.state;
    float *z2 = on.z2, *norm = block.channel + 4 * C, *quantiser = block.channel + 8 * C;
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
                        [&](uint32_t k, uint32_t a, uint32_t i, uint32_t row, uint32_t c) {
                            const int32_t at = place<C>(row, c / 4) + int32_t(c % 4);
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
