// Codes of increments (src/code.rs), maps [N, H, W, C], C fastest, L elements per image; codes [N, W] words of 32 bits; the rest [C].
//   code_start     largest |x|, then grid = unit(that); carry, rest = 0 where given
//   code_round     x on the grid
//   code_scale     mean = h sum beta, 1/sigma with sigma^2 = (h sum |gamma|)^2 + rest
//   encode_B       q = Q(w) with w = carry; carry = w - q; x += q where x is given; rest = the carry's mean square
//   norm_encode_B  the same with w = carry + h bn(z), code_scale in the same launch; where `plain`, x += h bn(z) in place of q
//   decode_B       x -= q
//   judge          verdict[0] = NaN where the four sums of a local error say that it is worth nothing
// Mapping: maps four elements per thread (elements.cuh). encode: grid (tiles of words, groups of images), a thread per word
// (code.cuh), image after image. decode: grid-stride over all words.
// Shared: encode 4 KB, and 24 C bytes more with a norm. Bandwidth-bound.    Oracle: src/reference/code.rs
#include "code.cuh"
#include "elements.cuh"
#include "instances.cuh"
#include "judge.cuh"
#include "last.cuh"

// partial[b] = the largest |x| of block b; grid[0] = the unit, by the block that comes last. A NaN is no largest number. The carry and
// its mean square, which no code has a part in yet, become 0; both may be null.
extern "C" __global__ void __launch_bounds__(256)
code_start(float* __restrict__ grid, float* __restrict__ carry, float* __restrict__ rest, float* __restrict__ partial,
           uint32_t* counter, const float* __restrict__ x, uint64_t len, uint32_t channels) {
    __shared__ float warps[kWarp];
    float largest = 0.0f;
    if (rest)
        for (uint64_t c = global_id(); c < channels; c += grid_size()) rest[c] = 0.0f;
    each_element(len, on_16_bytes(x, carry), [&](auto at) {
        const auto xs = at.load(x);
        if (carry) at.store(carry, at.make([](int) { return 0.0f; }));
#pragma unroll
        for (int k = 0; k < at.width; k++) largest = fmaxf(largest, fabsf(xs.v[k]));
    });
    auto over_block = [&](float v) {
        // Numbers that are not negative have the order of their bits.
        v = __uint_as_float(__reduce_max_sync(kFull, __float_as_uint(v)));
        if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = v;
        __syncthreads();
        v = 0.0f;
        for (uint32_t w = 0; w < blockDim.x / kWarp; w++) v = fmaxf(v, warps[w]);
        __syncthreads();
        return v;
    };
    largest = over_block(largest);
    if (threadIdx.x == 0) partial[blockIdx.x] = largest;
    if (!last_to_come(counter, gridDim.x)) return;
    largest = 0.0f;
    for (uint32_t b = threadIdx.x; b < gridDim.x; b += blockDim.x) largest = fmaxf(largest, __ldcg(partial + b));
    largest = over_block(largest);
    if (threadIdx.x == 0) *grid = grid_unit(largest);
}

extern "C" __global__ void __launch_bounds__(256)
code_round(float* __restrict__ x, const float* __restrict__ grid, uint64_t len) {
    const float big = rounding(*grid);
    each_element(len, on_16_bytes(x), [&](auto at) {
        const auto xs = at.load(x);
        at.store(x, at.make([&](int k) { return on_grid(xs.v[k], big); }));
    });
}

// The second affine map may be null.
extern "C" __global__ void __launch_bounds__(256)
code_scale(float* __restrict__ mean, float* __restrict__ rstd, const float* __restrict__ rest, const float* __restrict__ gamma1,
           const float* __restrict__ beta1, const float* __restrict__ gamma2, const float* __restrict__ beta2, double h,
           uint32_t channels) {
    for (uint64_t c = global_id(); c < channels; c += grid_size()) {
        double beta = beta1[c], gamma = fabsf(gamma1[c]);
        if (gamma2) beta += beta2[c], gamma += fabsf(gamma2[c]);
        const Quantiser of = quantiser_of(h, beta, gamma, rest[c]);
        mean[c] = of.mean, rstd[c] = of.rstd;
    }
}

// How the words of a batch are cut into blocks; src/cuda/code.rs declares the same.
struct CodeCut {
    uint32_t n, len, words, channels;
    // Images that one block codes, one after another; blocks whose shares of the rest are merged first.
    uint32_t images, group;
};
static_assert(sizeof(CodeCut) == 24, "src/cuda/code.rs declares six u32");

// Where the carry's mean square goes, and the blocks' shares of it: partial [blocks + groups][C].
struct Rest {
    float *rest, *partial;
    uint32_t* counters;
};
static_assert(sizeof(Rest) == 24, "src/cuda/code.rs declares three addresses");

// Channel sums over a block in one order each. Element k W + j of a word has slot (k W + j) mod M, M the least multiple of C that
// is no less than the block's threads: in one step k all threads have different slots, and a slot's channel is it modulo C.
// They lie in shared memory where they fit; else M is C, and they are the block's share itself.
constexpr uint32_t kSlots = 1024;

struct Slots {
    float* at;
    uint32_t count, turn, first, slot;

    __device__ Slots(float* shared, float* share, uint32_t j, const CodeCut& s) {
        count = s.channels * ((blockDim.x + s.channels - 1) / s.channels), turn = s.words % count;
        at = count <= kSlots ? shared : share, first = slot = j % count;
        for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) at[i] = 0.0f;
        __syncthreads();
    }
    __device__ void restart() { slot = first; }
    __device__ void add(float v) {
        at[slot] += v;
        __syncthreads();
        slot += turn;
        if (slot >= count) slot -= count;
    }
    __device__ void put(float* share, uint32_t channels) const {
        if (at == share) return;
        for (uint32_t c = threadIdx.x; c < channels; c += blockDim.x) {
            float sum = 0.0f;
            for (uint32_t i = c; i < count; i += channels) sum += at[i];
            share[c] = sum;
        }
    }
};

// rest = the mean of all blocks' shares of the carry's squares.
__device__ void finish_rest(const CodeCut& s, const Rest& to, uint32_t block, float* scratch) {
    const uint32_t blocks = gridDim.x * gridDim.y, groups = (blocks + s.group - 1) / s.group, channels = s.channels;
    const uint32_t group = block / s.group, begin = group * s.group, end = min(blocks, begin + s.group);
    if (!last_to_come(&to.counters[group], end - begin)) return;
    float* second = to.partial + uint64_t(blocks) * channels;
    merge_rows(to.partial, begin, end, channels, scratch,
               [&](uint32_t c, float sum) { second[uint64_t(group) * channels + c] = sum; });
    if (!last_to_come(&to.counters[groups], groups)) return;
    const float pixels = float(s.n) * float(s.len / channels);
    merge_rows(second, 0, groups, channels, scratch, [&](uint32_t c, float sum) { to.rest[c] = sum / pixels; });
}

// Codes the block's words. `of(c)` is a channel's quantiser, `added(c, z, v)` v with the increment added, which makes the w that is
// coded of the carry and, where `plain`, the next state of x.
template <uint32_t B, class Of, class Added>
__device__ void encode_words(uint32_t* __restrict__ packed, float* __restrict__ carry, float* __restrict__ x,
                             const float* __restrict__ z, const CodeCut& s, float unit, bool plain, const Rest& to, Of of,
                             Added added) {
    __shared__ float shared[kSlots];
    const uint32_t j = blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * s.images;
    const uint32_t block = blockIdx.y * gridDim.x + blockIdx.x, len = j < s.words ? s.len : 0;
    const float big = rounding(unit);
    float* share = to.partial + uint64_t(block) * s.channels;
    Slots slots(shared, share, j, s);
    for (uint32_t n = first; n < min(s.n, first + s.images); n++) {
        const uint64_t image = uint64_t(n) * s.len;
        float carries[kAhead<B>], states[kAhead<B>], values[kAhead<B>], squares[kAhead<B>] = {};
        uint32_t word = 0;
        slots.restart();
        walk<B>(j, s.words, len, s.channels,
                [&](uint32_t a, uint32_t e) {
                    carries[a] = carry[image + e];
                    if (x) states[a] = x[image + e];
                    if (z) values[a] = z[image + e];
                },
                [&](uint32_t k, uint32_t a, uint32_t e, uint32_t c) {
                    const Quantiser quantiser = of(c);
                    const float w = z ? added(c, values[a], carries[a]) : carries[a];
                    const uint32_t code = code_of<B>(quantiser, w);
                    const float q = value_of<B>(quantiser, code, big), left = __fsub_rn(w, q);
                    word |= code << (B * k);
                    carry[image + e] = left;
                    if (x) x[image + e] = plain ? added(c, values[a], states[a]) : __fadd_rn(states[a], q);
                    squares[a] = left * left;
                },
                [&] {
#pragma unroll
                    for (uint32_t a = 0; a < kAhead<B>; a++) {
                        slots.add(squares[a]);
                        squares[a] = 0.0f;
                    }
                });
        if (j < s.words) packed[uint64_t(n) * s.words + j] = word;
    }
    slots.put(share, s.channels);
    finish_rest(s, to, block, shared);
}

template <uint32_t B>
__device__ void encode_kernel(uint32_t* packed, float* carry, float* x, const float* __restrict__ mean,
                              const float* __restrict__ rstd, const float* grid, const CodeCut& s, const Rest& to) {
    encode_words<B>(packed, carry, x, nullptr, s, *grid, false, to, [&](uint32_t c) { return Quantiser::of(mean[c], rstd[c]); },
                    [](uint32_t, float, float w) { return w; });
}

// Statistics and affine map of the norm; the scale that the code keeps. A struct's pointers, as operand.cuh's Norm.
struct EncodedNorm {
    const float *mean, *rstd, *gamma, *beta;
};
static_assert(sizeof(EncodedNorm) == 32, "src/cuda/operand.rs declares the same as Norm");

template <uint32_t B>
__device__ void norm_encode_kernel(uint32_t* packed, float* carry, float* x, float* __restrict__ scale_mean,
                                   float* __restrict__ scale_rstd, const float* z, double h, const EncodedNorm& norm,
                                   const float* grid, const CodeCut& s, const Rest& to, uint32_t plain) {
    extern __shared__ float channel[];
    const uint32_t channels = s.channels;
    float *mean = channel, *rstd = mean + channels, *sigma = rstd + channels;
    float *norm_mean = sigma + channels, *scaled = norm_mean + channels, *beta = scaled + channels;
    for (uint32_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const float gamma = norm.gamma[c];
        beta[c] = norm.beta[c], norm_mean[c] = norm.mean[c], scaled[c] = gamma * norm.rstd[c];
        // The block that writes the rest does so after all have read it.
        const Quantiser of = quantiser_of(h, beta[c], fabsf(gamma), to.rest[c]);
        mean[c] = of.mean, rstd[c] = of.rstd, sigma[c] = of.sigma;
        if (blockIdx.x == 0 && blockIdx.y == 0) scale_mean[c] = of.mean, scale_rstd[c] = of.rstd;
    }
    __syncthreads();
    encode_words<B>(packed, carry, x, z, s, *grid, plain, to, [&](uint32_t c) { return Quantiser{mean[c], rstd[c], sigma[c]}; },
                    [&](uint32_t c, float z, float v) { return fmaf(float(h), fmaf(scaled[c], z - norm_mean[c], beta[c]), v); });
}

template <uint32_t B>
__device__ void decode_kernel(float* __restrict__ x, const uint32_t* __restrict__ packed, const float* __restrict__ mean,
                              const float* __restrict__ rstd, const float* grid, const CodeCut& s) {
    const float big = rounding(*grid);
    for (uint64_t g = global_id(); g < uint64_t(s.n) * s.words; g += grid_size()) {
        const uint64_t n = g / s.words;
        const uint32_t word = packed[g];
        float* image = x + n * s.len;
        float states[kAhead<B>];
        walk<B>(uint32_t(g - n * s.words), s.words, s.len, s.channels, [&](uint32_t a, uint32_t e) { states[a] = image[e]; },
                [&](uint32_t k, uint32_t a, uint32_t e, uint32_t c) {
                    const uint32_t code = word >> (B * k) & ((1u << B) - 1);
                    image[e] = __fsub_rn(states[a], value_of<B>(Quantiser::of(mean[c], rstd[c]), code, big));
                },
                [] {});
    }
}

#define CODE(B)                                                                                                           \
    extern "C" __global__ void __launch_bounds__(256, 2)                                                                  \
    encode_##B(uint32_t* packed, float* carry, float* x, const float* mean, const float* rstd, const float* grid,         \
               CodeCut cut, Rest rest) {                                                                                  \
        encode_kernel<B>(packed, carry, x, mean, rstd, grid, cut, rest);                                                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 2)                                                                  \
    norm_encode_##B(uint32_t* packed, float* carry, float* x, float* mean, float* rstd, const float* z, double h,         \
                    EncodedNorm norm, const float* grid, CodeCut cut, Rest rest, uint32_t plain) {                        \
        norm_encode_kernel<B>(packed, carry, x, mean, rstd, z, h, norm, grid, cut, rest, plain);                          \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                                                     \
    decode_##B(float* x, const uint32_t* packed, const float* mean, const float* rstd, const float* grid, CodeCut cut) {  \
        decode_kernel<B>(x, packed, mean, rstd, grid, cut);                                                               \
    }
FOR_EACH_CODE(CODE)

// verdict[0] = NaN where the local error errors [4] says that a reconstruction is worth nothing. One thread.
extern "C" __global__ void __launch_bounds__(32) judge(float* __restrict__ verdict, const float* __restrict__ errors) {
    if (threadIdx.x == 0 && !worth(errors[0], errors[1], errors[2], errors[3])) *verdict = __uint_as_float(kNoNumber);
}
