// The quantiser of src/code.rs and its way into words of 32 bits, once for all kernels: encoding and decoding call the same
// function for q, in roundings that are written out, so that no contraction makes the two differ. The CPU's are the same.
// Word j of an image's W words holds elements j, W + j, 2 W + j .., k W + j at bit B k: a thread per word walks its elements with
// stride W, and neighbouring threads meet neighbouring elements.    Oracle: src/reference/code.rs
#pragma once
#include "common.cuh"

// The constants of src/code.rs.
constexpr float kLevel1 = 0.7978846f;
constexpr float kInner2 = 0.4189f, kOuter2 = 1.8335f;
constexpr float kThreshold2 = 1.1262f;
constexpr float kCompanding = 15.0f / 8.0f;
constexpr double kSigmaMin = 1e-18;
constexpr int kOctaves = 6;

// A channel's quantiser: q = mean + sigma level, rstd = 1/sigma, both 0 where sigma is.
struct Quantiser {
    float mean, rstd, sigma;

    __device__ static Quantiser of(float mean, float rstd) { return {mean, rstd, rstd > 0.0f ? __frcp_rn(rstd) : 0.0f}; }
};

// Mean and 1/sigma of h sum bn(z) + c, from the sums of beta and |gamma|, in f64 as on the CPU: C numbers per launch.
__device__ inline Quantiser quantiser_of(double h, double beta, double gamma, float rest) {
    const double spread = __dmul_rn(h, gamma), sigma = __dsqrt_rn(__dadd_rn(__dmul_rn(spread, spread), rest));
    return Quantiser::of(float(__dmul_rn(h, beta)), sigma < kSigmaMin ? 0.0f : float(__ddiv_rn(1.0, sigma)));
}

// The unit for states that start with this largest magnitude, see src/code.rs: a power of two, from the float's own exponent.
__device__ inline float grid_unit(float largest) {
    const uint32_t bits = __float_as_uint(largest);
    int exponent = 0;
    if (largest > 0.0f && isfinite(largest)) exponent = int(bits >> 23) - 127 + ((bits & 0x7fffff) != 0);
    return __uint_as_float(uint32_t(127 + min(max(exponent, -64), 64) + kOctaves - 24) << 23);
}

// What, added and taken away again, leaves a multiple of the unit: a float of this size ends there.
__device__ inline float rounding(float unit) { return __fmul_rn(12582912.0f, unit); }
__device__ inline float on_grid(float v, float big) { return __fsub_rn(__fadd_rn(v, big), big); }

// The code of w: magnitude times 2, plus 1 where w lies below the mean.
template <uint32_t B>
__device__ inline uint32_t code_of(const Quantiser& of, float w) {
    const float u = __fmul_rn(__fsub_rn(w, of.mean), of.rstd);
    uint32_t magnitude = 0;
    if constexpr (B == 2) magnitude = fabsf(u) > kThreshold2;
    if constexpr (B > 2) {
        // Octave and place in it are the exponent and the first digits of a float. A NaN has the last level.
        const float t = __fadd_rn(1.0f, __fmul_rn(kCompanding, fabsf(u)));
        magnitude = min((__float_as_uint(t) - 0x3f800000u) >> (26 - B), (1u << (B - 1)) - 1);
    }
    return magnitude << 1 | __float_as_uint(u) >> 31;
}

// q of a code.
template <uint32_t B>
__device__ inline float value_of(const Quantiser& of, uint32_t code, float big) {
    const uint32_t magnitude = code >> 1;
    float level = kLevel1;
    if constexpr (B == 2) level = magnitude ? kOuter2 : kInner2;
    if constexpr (B > 2) {
        const float t = __uint_as_float(0x3f800000u + (magnitude << (26 - B)) + (1u << (25 - B)));
        level = __fmul_rn(__fsub_rn(t, 1.0f), 1.0f / kCompanding);
    }
    level = __uint_as_float(__float_as_uint(level) | code << 31);
    return on_grid(__fadd_rn(of.mean, __fmul_rn(of.sigma, level)), big);
}

// A word's elements that a thread has in flight.
template <uint32_t B>
constexpr uint32_t kAhead = 32 / B < 8 ? 32 / B : 8;

// Walks the elements j, W + j, .. below `len` of an image, kAhead a round: `load(a, e)` for element number a of the round, then
// `use(k, a, e, c)` for it with its channel, then `done()`. Rounds are not unrolled: all words in flight would cost registers.
template <uint32_t B, class Load, class Use, class Done>
__device__ inline void walk(uint32_t j, uint32_t words, uint32_t len, uint32_t channels, Load load, Use use, Done done) {
    // A channel moves on without a division.
    const uint32_t turn = words % channels;
    uint32_t c = j % channels;
#pragma unroll 1
    for (uint32_t k0 = 0; k0 < 32 / B; k0 += kAhead<B>) {
#pragma unroll
        for (uint32_t a = 0; a < kAhead<B>; a++)
            if (const uint32_t e = (k0 + a) * words + j; e < len) load(a, e);
#pragma unroll
        for (uint32_t a = 0; a < kAhead<B>; a++) {
            if (const uint32_t e = (k0 + a) * words + j; e < len) use(k0 + a, a, e, c);
            c += turn;
            if (c >= channels) c -= channels;
        }
        done();
    }
}
