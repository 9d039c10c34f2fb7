// small_vjp.cuh: one block's way back, from a reconstruction or from a code.
#pragma once
#include "small_block.cuh"

// A lane's two sums of batch norm's gradient, by gamma and by beta, and in f16 the largest |g| and |zhat|.
template <uint32_t C, Math A>
struct GradientSums {
    LaneSums<C, 2> sums = {};
    uint32_t grad = 0, zhat = 0;

    __device__ void add(uint32_t j, uint32_t e, float g, float z) {
        sums[0][j][e] = fmaf(g, z, sums[0][j][e]);
        sums[1][j][e] += g;
        if constexpr (A == Math::Fp16) {
            grad = max(grad, __float_as_uint(fabsf(g)));
            zhat = max(zhat, __float_as_uint(fabsf(z)));
        }
    }
};

// Floats of the scratch that no sum uses: the local error's, the warps' peaks, the scale of a gradient in f16.
constexpr uint32_t kErrorsAt = kWarps * 2 * 32, kPeaksAt = kErrorsAt + 4 * kWarps, kScaleAt = kPeaksAt + 2 * kWarps;
static_assert(kScaleAt < kScratch && kPeaksAt >= 2 * 256, "beside grid_sums' and grid_totals' own");

// What both ways back hold in shared memory. What a map holds changes.
// In f32: x, then z2, then its gradient | x~ or x_n | relu(bn1(z1)), then its gradient, then z1's | z1.
// In f16: x, then z2, then the inner gradient | z1, and of factors x~ or x_n | relu(bn1(z1)) | z2's gradient, then z1's, where at
// first x~ lies in f32.
template <uint32_t C, Math A>
struct Vjp {
    static constexpr bool kApart = A == Math::Fp16;
    Block<C, A, kApart ? 2 : 4, kApart ? 3 : 0> block;
    float *state, *rec, *z1, *grad_u, *channel1, *channel2, *sums1, *sums2, *grad;
    Factors<C, A> x, a, grad_z2, grad_z1;

    __device__ Vjp(float* memory, float* grad_x, const SmallShape& shape) : block(memory, shape) {
        state = block.map[0];
        if constexpr (kApart) {
            z1 = block.map[1], grad_u = state, x = {block.half[0]}, a = {block.half[1]}, rec = block.half[2];
            grad_z2 = grad_z1 = {rec};
        } else {
            rec = block.map[1], grad_u = block.map[2], z1 = block.map[3], x = {rec}, a = {grad_u}, grad_z2 = {state}, grad_z1 = {grad_u};
        }
        channel1 = block.channel, channel2 = channel1 + 4 * C, sums1 = channel2 + 4 * C, sums2 = sums1 + 2 * C;
        grad = grad_x + block.first;
    }
    // Weights, norms and borders; a barrier must follow.
    __device__ void load(const BlockTheta& theta, const BlockNorms& stats, const SmallShape& shape) {
        block.template load_weights<false>(theta);
        if (const uint32_t c = threadIdx.x; c < C) {
            put_norm<C>(channel1, stats.mean1[c], stats.scale1[c], theta.gamma1[c], theta.beta1[c]);
            put_norm<C>(channel2, stats.mean2[c], stats.scale2[c], theta.gamma2[c], theta.beta2[c]);
        }
        if constexpr (kApart) {
            clear_border<C>(x.base(), shape.images, shape.h, shape.w);
            clear_border<C>(a.base(), shape.images, shape.h, shape.w);
        }
    }
    __device__ static float* at(float* map, uint32_t row, uint32_t quad) { return map + row * C + 4 * quad; }
    __device__ float4 grad_of(uint32_t row, uint32_t quad) const { return *reinterpret_cast<const float4*>(at(grad, row, quad)); }

    // a = relu(bn1(v)) of one quad.
    __device__ void put_a(const LaneNorm<C>& norm1, uint32_t row, uint32_t j, Quad v) const {
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = relu(norm1.quad(j).normalised(v.v[e], e));
        a.put(block.rows, row, 4 * j + threadIdx.x % 4, v);
    }
};

// Batch norm's two sums over the grid, scaled; block 0 writes them as the affine map's gradients. `channel` has them as [2][C]:
// gamma's, then beta's; `norm` is put_norm's. The next use of `channel` and `scratch` is after a barrier. Gives the scale for the
// gradient by the norm's input as a factor: in f16 the power of two for a bound of the block's largest.
template <uint32_t C, Math A, class B>
__device__ inline float gradient_sums(B& block, GradientSums<C, A>& mine, float scale, float* shares, float* channel,
                                      const float* norm, float* grad_gamma, float* grad_beta) {
    const uint32_t t = threadIdx.x, warp = t / kWarp;
    if constexpr (A == Math::Fp16) {
        const uint32_t grad = __reduce_max_sync(kFull, mine.grad), zhat = __reduce_max_sync(kFull, mine.zhat);
        if (t % kWarp == 0)
            block.scratch[kPeaksAt + 2 * warp] = __uint_as_float(grad), block.scratch[kPeaksAt + 2 * warp + 1] = __uint_as_float(zhat);
    }
    const float sum = block_sums<C, 2>(mine.sums, block.scratch);
    if (t < 2 * C) shares[2 * blockIdx.x * C + t] = sum;
    cooperative_groups::this_grid().sync();
    const float2 all = grid_sums<C>(shares, block.scratch);
    if (t < C) {
        channel[t] = scale * all.x, channel[C + t] = scale * all.y;
        if (blockIdx.x == 0) grad_gamma[t] = scale * all.x, grad_beta[t] = scale * all.y;
    }
    if constexpr (A == Math::Fp16)
        if (warp == 0) {
            uint32_t grad = 0, zhat = 0;
            for (uint32_t w = 0; w < kWarps; w++) {
                grad = max(grad, __float_as_uint(block.scratch[kPeaksAt + 2 * w]));
                zhat = max(zhat, __float_as_uint(block.scratch[kPeaksAt + 2 * w + 1]));
            }
            float bound = 0.0f;
            if (t < C) {
                const float of_sums = fmaf(fabsf(scale * all.x), __uint_as_float(zhat), fabsf(scale * all.y)) / block.pixels;
                bound = fabsf(norm[2 * C + t]) * fmaf(fabsf(scale), __uint_as_float(grad), of_sums);
            }
            // As bits, among which what is no number is largest.
            const uint32_t largest = __reduce_max_sync(kFull, __float_as_uint(fabsf(bound)));
            if (t == 0) block.scratch[kScaleAt] = scale_for(__uint_as_float(largest));
        }
    __syncthreads();
    return A == Math::Fp16 ? block.scratch[kScaleAt] : 1.0f;
}

// grad_z = gamma rstd (scale grad - sums.beta / P - zhat sums.gamma / P) times `power` as factors, which may take z's or grad's place.
template <uint32_t C, Math A, class Grad>
__device__ inline void normalised_gradient(const Rows& rows, const Factors<C, A>& to, const float* z, Grad grad, float scale,
                                           float pixels, const LaneNorm<C>& norm, const float* sums, float power) {
    const float per_pixel = 1.0f / pixels;
    each_quad<C>(rows, [&](uint32_t row, uint32_t quad, uint32_t j) {
        const Quad g = grad(row, quad), at = quad_of<C>(z, row, quad);
        Quad v;
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            const uint32_t c = 4 * quad + e;
            const float centred = fmaf(scale, g.v[e], -per_pixel * fmaf(norm.quad(j).zhat(at.v[e], e), sums[c], sums[C + c]));
            v.v[e] = norm.quad(j).scale.v[e] * centred;
            if constexpr (A == Math::Fp16) v.v[e] *= power;
        }
        to.put(rows, row, quad, v);
    });
    __syncthreads();
}

// f at x_n, which leaves z1, a and z2, and batch norm 2's gradient sums; `outcome(row, j, z2)` before z2 takes x's place.
// FACTORS: x_n is there as factors alone, not in f32.
template <uint32_t C, Math A, bool FACTORS, class Outcome>
__device__ inline void evaluate_at_x_n(const Vjp<C, A>& on, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2,
                                       GradientSums<C, A>& sums, Outcome outcome) {
    const uint32_t q = threadIdx.x % 4;
    auto keep = [&](uint32_t row, uint32_t j, Quad v) {
        put_quad<C>(on.z1, row, 4 * j + q, v);
        on.put_a(norm1, row, j, v);
    };
    if constexpr (FACTORS) on.block.convolve(on.x, on.block.weight1, 1.0f, keep);
    else on.block.convolve(on.rec, on.x, on.block.weight1, keep);
    __syncthreads();
    on.block.convolve(on.a, on.block.weight2, 1.0f, [&](uint32_t row, uint32_t j, Quad z) {
        const Quad g = on.grad_of(row, 4 * j + q);
        outcome(row, j, z);
        put_quad<C>(on.state, row, 4 * j + q, z);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) sums.add(j, e, g.v[e], norm2.quad(j).zhat(z.v[e], e));
    });
}

// Back through f at x_n, whose factors are in x, with batch norm 2's gradient sums of the lane.
template <uint32_t C, Math A>
__device__ inline void pull_back(Vjp<C, A>& on, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2, GradientSums<C, A>& sums2,
                                 const BlockTheta& grad_theta, float* workspace, const BlockTheta& theta, float h,
                                 const SmallShape& shape) {
    auto& block = on.block;
    const Rows& rows = block.rows;
    const uint32_t q = threadIdx.x % 4;
    __syncthreads();
    block.template load_weights<true>(theta);
    if constexpr (on.kApart) clear_border<C>(on.grad_z2.base(), shape.images, shape.h, shape.w);
    const float power2 =
        gradient_sums<C, A>(block, sums2, h, workspace, on.sums2, on.channel2, grad_theta.gamma2, grad_theta.beta2);

    // Back through bn2, conv2, ReLU.
    auto grad_of = [&](uint32_t row, uint32_t quad) { return on.grad_of(row, quad); };
    normalised_gradient<C, A>(rows, on.grad_z2, on.state, grad_of, h, block.pixels, norm2, on.sums2, power2);
    float* shares = workspace + 4 * gridDim.x * C;
    float* share = shares + blockIdx.x * 18 * C * C;
    block.weight_gradient(share + 9 * C * C, on.a, on.grad_z2, power2);
    __syncthreads();
    float power1;
    {
        GradientSums<C, A> sums;
        block.convolve(on.grad_z2, block.weight2, power2, [&](uint32_t row, uint32_t j, Quad v) {
            const Quad z = quad_of<C>(on.z1, row, 4 * j + q);
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) {
                // The forward's own formula, to the bit: where it gave zero, nothing passes.
                if (!(norm1.quad(j).normalised(z.v[e], e) > 0.0f)) v.v[e] = 0.0f;
                sums.add(j, e, v.v[e], norm1.quad(j).zhat(z.v[e], e));
            }
            put_quad<C>(on.grad_u, row, 4 * j + q, v);
        });
        power1 = gradient_sums<C, A>(block, sums, 1.0f, workspace + 2 * gridDim.x * C, on.sums1, on.channel1, grad_theta.gamma1,
                                     grad_theta.beta1);
    }

    // Back through bn1 and conv1.
    auto grad_u = [&](uint32_t row, uint32_t quad) { return quad_of<C>(on.grad_u, row, quad); };
    normalised_gradient<C, A>(rows, on.grad_z1, on.z1, grad_u, 1.0f, block.pixels, norm1, on.sums1, power1);
    block.weight_gradient(share, on.x, on.grad_z1, power1);
    block.convolve(on.grad_z1, block.weight1, power1, [&](uint32_t row, uint32_t j, Quad v) {
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

template <uint32_t C, Math A>
__device__ inline void inverse_vjp(float* x, float* errors, float* grad_x, const BlockTheta& grad_theta, float* workspace,
                                   const BlockTheta& theta, const BlockNorms& stats, float h, uint32_t correct,
                                   const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C, A> on(reinterpret_cast<float*>(memory), grad_x, shape);
    const auto& block = on.block;
    const uint32_t q = threadIdx.x % 4, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    float* x_block = x + block.first;
    load_map<C>(on.state, x_block, block.rows.count);
    on.load(theta, stats, shape);
    copies_wait_all();
    __syncthreads();
    if constexpr (on.kApart) {
        put_factors<C>(block.rows, on.x, on.state);
        __syncthreads();
    }
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
    // x~ = x - h f(x), kept in f32 until its own f is known.
    block.convolve(on.state, on.x, block.weight1, [&](uint32_t row, uint32_t j, Quad v) { on.put_a(norm1, row, j, v); });
    __syncthreads();
    auto stepped = [&](const Quad& from, uint32_t j, const Quad& z) {
        Quad v;
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = fmaf(-h, norm2.quad(j).normalised(z.v[e], e), from.v[e]);
        return v;
    };
    block.convolve(on.a, block.weight2, 1.0f, [&](uint32_t row, uint32_t j, Quad z) {
        const uint32_t quad = 4 * j + q;
        const Quad from = quad_of<C>(on.state, row, quad), v = stepped(from, j, z);
        moved = measured(v, from, moved);
        put_quad<C>(on.rec, row, quad, v);
        if constexpr (on.kApart) on.x.put(block.rows, row, quad, v);
    });
    __syncthreads();

    GradientSums<C, A> sums;
    evaluate_at_x_n<C, A, false>(on, norm1, norm2, sums, [&](uint32_t row, uint32_t j, const Quad& z) {
        const uint32_t quad = 4 * j + q;
        const Quad rec = quad_of<C>(on.rec, row, quad), next = stepped(quad_of<C>(on.state, row, quad), j, z);
        left = measured(rec, next, left);
        if constexpr (!on.kApart) on.x.put(block.rows, row, quad, rec);
        if (correct) put_global(on.at(x_block, row, quad), next);
        else put_global(on.at(x_block, row, quad), rec);
    });
    // The block's share goes where no other sum uses the scratch, and is there for all after the barriers of pull_back.
    float *scratch = block.scratch + kErrorsAt, *shares = workspace + gridDim.x * (4 * C + 18 * C * C);
    const float4 error = {warp_sum(moved.x), warp_sum(moved.y), warp_sum(left.x), warp_sum(left.y)};
    if (lane == 0) put_shared(scratch + warp * 4, error);
    __syncthreads();
    if (threadIdx.x < 4) {
        float sum = 0.0f;
        for (uint32_t w = 0; w < kWarps; w++) sum += scratch[w * 4 + threadIdx.x];
        shares[blockIdx.x * 4 + threadIdx.x] = sum;
    }
    pull_back<C, A>(on, norm1, norm2, sums, grad_theta, workspace, theta, h, shape);
    if (blockIdx.x == 0 && warp < 4) {
        float sum = 0.0f;
        for (uint32_t b = lane; b < gridDim.x; b += kWarp) sum += __ldcg(shares + b * 4 + warp);
        sum = warp_sum(sum);
        if (lane == 0) errors[warp] = sum;
    }
}

template <uint32_t C, Math A>
__device__ inline void decode_vjp(float* x, float* grad_x, const BlockTheta& grad_theta, float* workspace, const BlockTheta& theta,
                                  const BlockNorms& stats, const BlockCode& code, float h, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C, A> on(reinterpret_cast<float*>(memory), grad_x, shape);
    on.load(theta, stats, shape);
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
                        [&](uint32_t k, uint32_t a, uint32_t i, uint32_t row, uint32_t c) {
                            const Quantiser of = {quantiser[c], 0.0f, quantiser[C + c]};
                            const float v = __fsub_rn(states[a], value_of<B>(of, word >> (B * k) & ((1u << B) - 1), big));
                            x_block[i] = v;
                            on.x.put(on.block.rows, row, c, v);
                        },
                        [](uint32_t) {});
    });
    __syncthreads();
    const LaneNorm<C> norm1(on.channel1), norm2(on.channel2);
    GradientSums<C, A> sums;
    evaluate_at_x_n<C, A, true>(on, norm1, norm2, sums, [](uint32_t, uint32_t, const Quad&) {});
    pull_back<C, A>(on, norm1, norm2, sums, grad_theta, workspace, theta, h, shape);
}
