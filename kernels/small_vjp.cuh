// small_vjp.cuh: one block's way back, from a reconstruction or from a code.
#pragma once
#include "small_block.cuh"

// A lane's two sums of batch norm's gradient, by gamma and by beta, and in 16 bits the largest |g| and |zhat|.
template <uint32_t C, Math A>
struct GradientSums {
    LaneSums<C, 2> sums = {};
    uint32_t grad = 0, zhat = 0;

    __device__ void add(uint32_t j, uint32_t e, float g, float z) {
        sums[0][j][e] = fmaf(g, z, sums[0][j][e]);
        sums[1][j][e] += g;
        if constexpr (kInShort<A>) {
            grad = max(grad, __float_as_uint(fabsf(g)));
            zhat = max(zhat, __float_as_uint(fabsf(z)));
        }
    }
};

// Floats of the scratch that no sum uses: the local error's, the warps' peaks, the scale of a gradient in 16 bits.
constexpr uint32_t kErrorsAt = kWarps * 2 * 32, kPeaksAt = kErrorsAt + 4 * kWarps, kScaleAt = kPeaksAt + 2 * kWarps;
static_assert(kScaleAt < kScratch && kPeaksAt >= 2 * 256, "beside grid_sums' and grid_totals' own");

// What both ways back hold in shared memory. What a map holds changes.
// In f32: x, then z2, then its gradient | x~ or x_n | relu(bn1(z1)), then its gradient, then z1's | z1.
// In 16 bits: x, then z2, then the inner gradient | z1, and of factors x~ or x_n | relu(bn1(z1)) | z2's gradient, then z1's, where at
// first x~ lies in f32.
// Behind these, where there is more than one block: the next block's norms, its quantiser, sums of the norms' gradients for every
// other block, the next block's first weights, and, if held, x and g.
template <uint32_t C, Math A>
struct Vjp {
    static constexpr bool kApart = kInShort<A>;
    Block<C, A, kApart ? 2 : 4, kApart ? 3 : 0> block;
    float *state, *rec, *z1, *grad_u, *norms, *next_norms, *sums, *next_sums, *quantiser, *next_weight1, *held;
    // Where a block reads x and g, and where it leaves them: rows of C numbers.
    float *x_in, *x_out, *grad_in, *grad_out;
    Factors<C, A> x, a, grad_z2, grad_z1;

    __device__ Vjp(float* memory, const SmallShape& shape, bool more) : block(memory, shape) {
        state = block.map[0];
        if constexpr (kApart) {
            z1 = block.map[1], grad_u = state, x = {block.half[0]}, a = {block.half[1]}, rec = block.half[2];
            grad_z2 = grad_z1 = {rec};
        } else {
            rec = block.map[1], grad_u = block.map[2], z1 = block.map[3], x = {rec}, a = {grad_u}, grad_z2 = {state}, grad_z1 = {grad_u};
        }
        norms = block.channel, sums = norms + 8 * C, next_norms = block.end, next_sums = next_norms + 10 * C;
        // The sums of the only block come much later.
        quantiser = more ? next_norms + 8 * C : sums;
        next_weight1 = next_norms + 14 * C, held = next_weight1 + block.kWeight;
    }
    // Where block i of a run reads and leaves x and g.
    __device__ void turn_to(uint32_t i, const BackRun& run, float* global_x, float* global_grad) {
        float *held_x = held, *held_grad = held + uint32_t(block.rows_each) * C;
        global_x += block.first, global_grad += block.first;
        const bool from = run.held && i > 0, to = run.held && i + 1 < run.blocks;
        x_in = from ? held_x : global_x, x_out = to ? held_x : global_x;
        grad_in = from ? held_grad : global_grad, grad_out = to ? held_grad : global_grad;
    }
    // A block's norms, by its first threads.
    __device__ static void put_norms(float* to, const BlockTheta& theta, const BlockNorms& stats) {
        if (const uint32_t c = threadIdx.x; c < C) {
            put_norm<C>(to, stats.mean1[c], stats.scale1[c], theta.gamma1[c], theta.beta1[c]);
            put_norm<C>(to + 4 * C, stats.mean2[c], stats.scale2[c], theta.gamma2[c], theta.beta2[c]);
        }
    }
    // Weights, norms and borders for the first block; a barrier must follow.
    __device__ void load(const BackRun& run, const SmallShape& shape) {
        block.template load_weights<false>(run.theta);
        put_norms(norms, run.theta, run.stats);
        if constexpr (kApart) {
            clear_border<C>(x.base(), shape.images, shape.h, shape.w);
            clear_border<C>(a.base(), shape.images, shape.h, shape.w);
        }
    }
    // The same for block i, behind a barrier at which the second weights are done with.
    __device__ void load_next(uint32_t i, const BackRun& run) const {
        const BlockTheta theta = moved(run.theta, i * run.theta_step);
        block.template load<false>(next_weight1, theta.conv1);
        block.template load<false>(block.weight2, theta.conv2);
        put_norms(next_norms, theta, moved(run.stats, i * run.stats_step));
    }
    // Goes on to it.
    __device__ void go_on() {
        float *norm = norms, *sum = sums, *weight = block.weight1;
        norms = next_norms, next_norms = norm, sums = next_sums, next_sums = sum, block.weight1 = next_weight1, next_weight1 = weight;
    }
    // Sums of batch norm's gradient, as `gradient_sums` leaves them: bn1's, then bn2's.
    __device__ float* sums1() const { return sums; }
    __device__ float* sums2() const { return sums + 2 * C; }
    __device__ static uint32_t at(uint32_t row, uint32_t quad) { return row * C + 4 * quad; }
    __device__ float4 grad_of(uint32_t row, uint32_t quad) const {
        return *reinterpret_cast<const float4*>(grad_in + at(row, quad));
    }

    // a = relu(bn1(v)) of one quad.
    __device__ void put_a(const LaneNorm<C>& norm1, uint32_t row, uint32_t j, Quad v) const {
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) v.v[e] = relu(norm1.quad(j).normalised(v.v[e], e));
        a.put(block.rows, row, 4 * j + threadIdx.x % 4, v);
    }
};

// Batch norm's two sums over the grid, scaled, which are the affine map's gradients: `channel` has them as [2][C], gamma's, then
// beta's; `norm` is put_norm's. The next use of `channel` and `scratch` is after a barrier. Gives the scale for the gradient by the
// norm's input as a factor: in 16 bits the power of two for a bound of the block's largest. `meanwhile`: see meet; it may use the
// scratch up to kErrorsAt. `behind` runs right after it.
template <uint32_t C, Math A, class B, class Meanwhile, class Behind>
__device__ inline float gradient_sums(B& block, GradientSums<C, A>& mine, float scale, float* shares, float* channel,
                                      const float* norm, Meanwhile meanwhile, Behind behind) {
    const uint32_t t = threadIdx.x, warp = t / kWarp;
    if constexpr (kInShort<A>) {
        const uint32_t grad = __reduce_max_sync(kFull, mine.grad), zhat = __reduce_max_sync(kFull, mine.zhat);
        if (t % kWarp == 0)
            block.scratch[kPeaksAt + 2 * warp] = __uint_as_float(grad), block.scratch[kPeaksAt + 2 * warp + 1] = __uint_as_float(zhat);
    }
    const float sum = block_sums<C, 2>(mine.sums, block.scratch);
    if (t < 2 * C) shares[2 * blockIdx.x * C + t] = sum;
    meet(meanwhile);
    behind();
    const float2 all = grid_sums<C>(shares, block.scratch);
    if (t < C) channel[t] = scale * all.x, channel[C + t] = scale * all.y;
    if constexpr (kInShort<A>)
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
    return kInShort<A> ? block.scratch[kScaleAt] : 1.0f;
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
            if constexpr (kInShort<A>) v.v[e] *= power;
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

// Back through f at x_n, whose factors are in x, with batch norm 2's gradient sums of the lane. Leaves the gradients by both weights as
// `shares`, to be totalled behind another barrier, and takes what the next block needs to shared memory. Two barriers, `behind` right
// after the first, `meanwhile` while the second waits.
template <uint32_t C, Math A, class Behind, class Meanwhile>
__device__ inline void pull_back(Vjp<C, A>& on, uint32_t i, const BackRun& run, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2,
                                 GradientSums<C, A>& sums2, float* workspace, float* shares, float h, const SmallShape& shape,
                                 Behind behind, Meanwhile meanwhile) {
    auto& block = on.block;
    const Rows& rows = block.rows;
    const uint32_t q = threadIdx.x % 4;
    const float power2 = gradient_sums<C, A>(
        block, sums2, h, workspace, on.sums2(), on.norms + 4 * C,
        [&] {
            block.template load_weights<true>(moved(run.theta, i * run.theta_step));
            if constexpr (on.kApart) clear_border<C>(on.grad_z2.base(), shape.images, shape.h, shape.w);
        },
        behind);

    // Back through bn2, conv2, ReLU.
    auto grad_of = [&](uint32_t row, uint32_t quad) { return on.grad_of(row, quad); };
    normalised_gradient<C, A>(rows, on.grad_z2, on.state, grad_of, h, block.pixels, norm2, on.sums2(), power2);
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
        power1 = gradient_sums<C, A>(
            block, sums, 1.0f, workspace + 2 * gridDim.x * C, on.sums1(), on.norms,
            [&] {
                if (i + 1 < run.blocks) on.load_next(i + 1, run);
                meanwhile();
            },
            [] {});
    }

    // Back through bn1 and conv1.
    auto grad_u = [&](uint32_t row, uint32_t quad) { return quad_of<C>(on.grad_u, row, quad); };
    normalised_gradient<C, A>(rows, on.grad_z1, on.z1, grad_u, 1.0f, block.pixels, norm1, on.sums1(), power1);
    block.weight_gradient(share, on.x, on.grad_z1, power1);
    block.convolve(on.grad_z1, block.weight1, power1, [&](uint32_t row, uint32_t j, Quad v) {
        Quad g = on.grad_of(row, 4 * j + q);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) g.v[e] += v.v[e];
        put_anywhere(on.grad_out + on.at(row, 4 * j + q), g);
    });
}

// The blocks of a run on the way back, block i's x_n and f there by `rebuild(i, norm1, norm2, sums)`. `moves`: whether weights may move;
// `judge(i)`, behind a block's first barrier, looks at what its reconstruction was worth, and `judged(moves)` says whether its weights
// and those of the blocks below it still may.
template <uint32_t C, Math A, class Rebuild, class Judge, class Judged>
__device__ inline void go_back(Vjp<C, A>& on, float* x, float* grad_x, const BackRun& run, float* workspace, float h,
                               const SmallShape& shape, bool moves, Rebuild rebuild, Judge judge, Judged judged) {
    auto& block = on.block;
    const SgdRule rule = {run.rate ? __ldg(run.rate) : 0.0f, run.momentum, run.nesterov};
    // Two blocks' shares of their gradients by weights, in turn: one's are totalled while the next one's are written.
    auto shares_of = [&](uint32_t i) { return workspace + gridDim.x * C * (4 + i % 2 * 18 * C); };
    // Block i's gradients and its step of SGD, where all have read its weights and left their shares. `sums`: its norms'.
    auto finish = [&](uint32_t i, const float* sums) {
        const BlockTheta theta = moved(run.theta, i * run.theta_step), velocity = moved(run.velocity, i * run.velocity_step);
        const BlockTheta grad = moved(run.grad, i * run.grad_step);
        auto take = [&](float* theta, float* velocity, float* to, float grad, float decay) {
            *to = grad;
            if (moves) *theta = rule.step(*velocity, *theta, grad, decay);
        };
        if (const uint32_t c = threadIdx.x; c < C && blockIdx.x + 1 == gridDim.x) {
            const float decay = run.norm_decay;
            take(theta.gamma1 + c, velocity.gamma1 + c, grad.gamma1 + c, sums[c], decay);
            take(theta.beta1 + c, velocity.beta1 + c, grad.beta1 + c, sums[C + c], decay);
            take(theta.gamma2 + c, velocity.gamma2 + c, grad.gamma2 + c, sums[2 * C + c], decay);
            take(theta.beta2 + c, velocity.beta2 + c, grad.beta2 + c, sums[3 * C + c], decay);
        }
        grid_totals(shares_of(i), 18 * C * C, block.scratch, [&](uint32_t e, float total) {
            const bool first = e < 9 * C * C;
            if (!first) e -= 9 * C * C;
            take((first ? theta.conv1 : theta.conv2) + e, (first ? velocity.conv1 : velocity.conv2) + e,
                 (first ? grad.conv1 : grad.conv2) + e, total, run.decay);
        });
    };
#pragma unroll 1
    for (uint32_t i = 0; i < run.blocks; i++) {
        on.turn_to(i, run, x, grad_x);
        const LaneNorm<C> norm1(on.norms), norm2(on.norms + 4 * C);
        GradientSums<C, A> sums;
        rebuild(i, norm1, norm2, sums);
        __syncthreads();
        pull_back<C, A>(on, i, run, norm1, norm2, sums, workspace, shares_of(i), h, shape, [&] { judge(i); },
                        [&] { if (i > 0) finish(i - 1, on.next_sums); });
        moves = judged(moves);
        __syncthreads();
        if (i + 1 < run.blocks) on.go_on();
    }
    meet([] {});
    finish(run.blocks - 1, on.sums);
}

template <uint32_t C, Math A>
__device__ inline void inverse_vjp(float* x, float* errors, float* grad_x, const BackRun& run, float* workspace, float h,
                                   uint32_t correct, const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C, A> on(reinterpret_cast<float*>(memory), shape, run.blocks > 1);
    const auto& block = on.block;
    const uint32_t q = threadIdx.x % 4, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    float *scratch = block.scratch + kErrorsAt, *shares = workspace + gridDim.x * C * (4 + 36 * C);
    load_map<C>(on.state, x + block.first, block.rows.count);
    on.load(run, shape);
    copies_wait_all();
    __syncthreads();
    if constexpr (on.kApart) {
        put_factors<C>(block.rows, on.x, on.state);
        __syncthreads();
    }

    auto rebuild = [&](uint32_t i, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2, GradientSums<C, A>& sums) {
        if (i > 0) {
            each_quad<C>(block.rows, [&](uint32_t row, uint32_t quad, uint32_t) {
                const float4 v = *reinterpret_cast<const float4*>(on.x_in + on.at(row, quad));
                put_quad<C>(on.state, row, quad, v);
                if constexpr (on.kApart) on.x.put(block.rows, row, quad, v);
            });
            __syncthreads();
        }
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

        evaluate_at_x_n<C, A, false>(on, norm1, norm2, sums, [&](uint32_t row, uint32_t j, const Quad& z) {
            const uint32_t quad = 4 * j + q;
            const Quad rec = quad_of<C>(on.rec, row, quad), next = stepped(quad_of<C>(on.state, row, quad), j, z);
            left = measured(rec, next, left);
            if constexpr (!on.kApart) on.x.put(block.rows, row, quad, rec);
            if (correct) put_anywhere(on.x_out + on.at(row, quad), next);
            else put_anywhere(on.x_out + on.at(row, quad), rec);
        });
        // The block's share goes where no other sum uses the scratch, and is there for all after the next barrier.
        const float4 error = {warp_sum(moved.x), warp_sum(moved.y), warp_sum(left.x), warp_sum(left.y)};
        if (lane == 0) put_shared(scratch + warp * 4, error);
        __syncthreads();
        if (threadIdx.x < 4) {
            float sum = 0.0f;
            for (uint32_t w = 0; w < kWarps; w++) sum += scratch[w * 4 + threadIdx.x];
            shares[blockIdx.x * 4 + threadIdx.x] = sum;
        }
    };
    // Every block totals all shares, so that all have the same verdict.
    auto judge = [&](uint32_t i) {
        if (warp >= 4) return;
        float sum = 0.0f;
        for (uint32_t b = lane; b < gridDim.x; b += kWarp) sum += __ldcg(shares + b * 4 + warp);
        sum = warp_sum(sum);
        if (lane != 0) return;
        scratch[warp] = sum;
        if (blockIdx.x == 0) errors[i * run.errors_step + int32_t(warp)] = sum;
    };
    float verdict = run.verdict ? *run.verdict : 0.0f;
    auto judged = [&](bool moves) {
        if (run.verdict && !worth(scratch[0], scratch[1], scratch[2], scratch[3])) verdict = __uint_as_float(kNoNumber);
        return moves && isfinite(verdict);
    };
    go_back<C, A>(on, x, grad_x, run, workspace, h, shape, run.rate && isfinite(verdict), rebuild, judge, judged);
    if (run.verdict && blockIdx.x == 0 && threadIdx.x == 0) *run.verdict = verdict;
}

template <uint32_t C, Math A>
__device__ inline void decode_vjp(float* x, float* grad_x, const BackRun& run, const BlockCode& code, float* workspace, float h,
                                  const SmallShape& shape) {
    extern __shared__ float4 memory[];
    Vjp<C, A> on(reinterpret_cast<float*>(memory), shape, run.blocks > 1);
    on.load(run, shape);
    __syncthreads();
    const float big = rounding(*code.grid);
    auto rebuild = [&](uint32_t i, const LaneNorm<C>& norm1, const LaneNorm<C>& norm2, GradientSums<C, A>& sums) {
        const uint32_t* packed = code.packed + i * run.code_step + blockIdx.x * shape.images * code.words;
        if (const uint32_t c = threadIdx.x; c < C) {
            const Quantiser of = Quantiser::of(code.mean[i * run.code_step + c], code.rstd[i * run.code_step + c]);
            on.quantiser[c] = of.mean, on.quantiser[C + c] = of.sigma;
        }
        __syncthreads();
        with_bits(code.bits, [&](auto bits) {
            constexpr uint32_t B = decltype(bits)::value;
            float states[kAhead<B>];
            uint32_t word;
            // A thread's words are the same in every block.
            each_word<C, B>(on.block.rows, shape.h * shape.w, code.words, [&](uint32_t w) { word = packed[w]; },
                            [&](uint32_t a, uint32_t e) { states[a] = on.x_in[e]; },
                            [&](uint32_t k, uint32_t a, uint32_t e, uint32_t row, uint32_t c) {
                                const Quantiser of = {on.quantiser[c], 0.0f, on.quantiser[C + c]};
                                const float v = __fsub_rn(states[a], value_of<B>(of, word >> (B * k) & ((1u << B) - 1), big));
                                on.x_out[e] = v;
                                on.x.put(on.block.rows, row, c, v);
                            },
                            [](uint32_t) {});
        });
        __syncthreads();
        evaluate_at_x_n<C, A, true>(on, norm1, norm2, sums, [](uint32_t, uint32_t, const Quad&) {});
    };
    const bool moves = run.rate && isfinite(*run.verdict);
    go_back<C, A>(on, x, grad_x, run, workspace, h, shape, moves, rebuild, [](uint32_t) {}, [](bool moves) { return moves; });
}
