// One tile of a convolution as a matrix product: 64 pixels x NT output channels, the sum over (input channel, tap)
// in steps of 16 channels of one tap; all taps of 16 channels follow each other, so that the pixels they share are still near.
//     out[p, o] = sum_{ky, kx, i} load(in[gather(p, ky, kx), i]) weight(ky, kx, i, o)
// Forward: gather is (oy s + ky - pad, ox s + kx - pad), zero outside. Gradient by input: the pixels are x's, gather is
// ((iy + pad - ky) / s, ...) where that divides, and the weights are transposed.
// load: the value itself; relu(bn(value)); or batch norm's gradient from the value and z. A thread changes in place what
// it copied itself, so that the change needs no barrier of its own; pixels outside stay zero.
// 128 threads. TF32: warp w holds rows 32 (w % 2) .. and half w / 2 of the channels, by mma.sync m16n8k8, sums in f32.
// FP32: a thread holds pixels t / 8 + 16 r and NT / 8 channels.
// Shared memory: 2 or 3 stages of 64 x 16 inputs (twice that where z comes along) and 16 x NT weights: 24,576 bytes at
// NT = 64, 15,360 or 18,432 at 16; and up to four numbers a summed channel, dynamic.
// No row is padded: the 16-byte quads of a row change places by the row's number, so that copies (rows of a quarter warp),
// fragments (8 rows x 4 columns) and whole quads each meet all 32 banks once.
#pragma once
#include <type_traits>

#include "operand.cuh"

constexpr uint32_t kTilePixels = 64, kThreads = 128;

enum class Gather { Forward, GradX };
enum class Load { Plain, NormRelu, BnGrad };

// Numbers a summed channel in dynamic shared memory: src/cuda/conv.rs reserves as many.
template <Load L>
constexpr uint32_t kParameters = L == Load::Plain ? 0 : L == Load::NormRelu ? 3 : 4;

template <uint32_t NT>
struct Stage {
    float input[kTilePixels * kStep];
    float weight[kStep * NT];
};

// The stage of an operand that is made of two maps.
template <uint32_t NT>
struct StageWithZ : Stage<NT> {
    float z[kTilePixels * kStep];
};

template <uint32_t NT, Load L>
struct TileMemory {
    static constexpr uint32_t kStages = L == Load::BnGrad ? 2 : 3;
    std::conditional_t<L == Load::BnGrad, StageWithZ<NT>, Stage<NT>> stages[kStages];
};

// What a tile leaves, read by rows. Rows are 8 floats longer, so that the products' fragments meet each bank once.
template <uint32_t NT>
struct TileResult {
    float out[kTilePixels][NT + 8];
    // Sums of each warp, for sums over the rows.
    float warps[kThreads / kWarp][NT];
};

// Fills the per-channel parameters; a barrier must follow.
template <Load L>
__device__ inline void fill_parameters(float* parameters, const Operand& from, uint32_t channels, float pixels) {
    if constexpr (L != Load::Plain) {
        for (uint32_t c = threadIdx.x; c < channels; c += kThreads) {
            if constexpr (L == Load::NormRelu) {
                parameters[c] = from.norm.mean[c];
                parameters[channels + c] = from.norm.gamma[c] * from.norm.rstd[c];
                parameters[2 * channels + c] = from.norm.beta[c];
            } else {
                const BnGradient p = bn_gradient(from, c, pixels);
                parameters[c] = p.mean;
                parameters[channels + c] = p.scale;
                parameters[2 * channels + c] = p.slope;
                parameters[3 * channels + c] = p.offset;
            }
        }
    }
}

// Where the tile's pixel p of the output lies: image, row, column.
struct Pixel {
    uint32_t n;
    int32_t y, x;
    bool inside;
};

__device__ inline Pixel pixel_at(uint32_t p, uint32_t images, uint32_t height, uint32_t width) {
    uint32_t area = height * width;
    return {p / area, int32_t(p % area / width), int32_t(p % width), p < images * area};
}

// Element offset of the input row that an output pixel reads through a tap; false where it reads a zero.
template <Gather G>
__device__ inline bool gathered(const ConvGeometry& g, const Pixel& at, uint32_t ky, uint32_t kx, uint64_t& offset) {
    int32_t y, x;
    uint32_t height, width, channels;
    bool valid = at.inside;
    if (G == Gather::Forward) {
        y = at.y * int32_t(g.stride) + int32_t(ky) - int32_t(g.padding);
        x = at.x * int32_t(g.stride) + int32_t(kx) - int32_t(g.padding);
        height = g.h, width = g.w, channels = g.c_in;
    } else {
        y = at.y + int32_t(g.padding) - int32_t(ky);
        x = at.x + int32_t(g.padding) - int32_t(kx);
        int32_t s = g.stride;
        // Division is dear and most strides are 1.
        if (s != 1) {
            valid = valid && y >= 0 && x >= 0 && y % s == 0 && x % s == 0;
            y /= s, x /= s;
        }
        height = g.oh, width = g.ow, channels = g.c_out;
    }
    valid = valid && y >= 0 && x >= 0 && y < int32_t(height) && x < int32_t(width);
    offset = valid ? ((uint64_t(at.n) * height + y) * width + x) * channels : 0;
    return valid;
}

// The whole tile. `out` receives the sums, in shared memory that may be the stages'; the call ends with a barrier.
// VECTOR: channels on both sides are multiples of 16, pointers 16-byte aligned: copies of 16 bytes without registers; at most
// 32 taps; the gradient by the input of a stride of 1 only.
// `parameters` is filled already, before a barrier or without one.
template <uint32_t NT, bool TF32, Gather G, Load L, bool VECTOR>
__device__ void conv_tile(float (*out)[NT + 8], TileMemory<NT, L>& memory, const float* parameters, const Operand& from,
                          const float* __restrict__ weight, const ConvGeometry& g, uint32_t first_pixel,
                          uint32_t first_channel) {
    static_assert(VECTOR || (L == Load::Plain && G == Gather::GradX), "the general form is of the gradient by plain inputs");
    constexpr uint32_t kStages = TileMemory<NT, L>::kStages;
    const uint32_t reduced = G == Gather::Forward ? g.c_in : g.c_out;    // channels summed over
    const uint32_t made = G == Gather::Forward ? g.c_out : g.c_in;       // channels produced
    const uint32_t height = G == Gather::Forward ? g.oh : g.h, width = G == Gather::Forward ? g.ow : g.w;
    const uint32_t taps = g.kernel * g.kernel, steps = (reduced + kStep - 1) / kStep * taps;
    const uint32_t t = threadIdx.x;

    // A thread stages channels 4 (t % 4) .. of pixels t / 4 and t / 4 + 32, whose quads lie alike; and of the weights every
    // 128th quad: forward of rows of NT output channels, by the input's gradient of rows of 16 summed ones, as they lie in
    // memory. Everything that stays or grows evenly is kept, so that a copy costs few instructions beside itself.
    const uint32_t quad = 4 * (t % 4), place = kept(by_row(t / 4, quad));
    const Pixel pixels[2] = {pixel_at(first_pixel + t / 4, g.n, height, width),
                             pixel_at(first_pixel + t / 4 + 32, g.n, height, width)};
    constexpr bool kForward = G == Gather::Forward;
    constexpr uint32_t kRowQuads = kForward ? NT / 4 : kStep / 4, kWeightRows = kThreads / kRowQuads;
    const uint32_t row = t / kRowQuads, column = t % kRowQuads * 4;
    const uint32_t weight_place = kept(kForward ? by_k<NT>(row, column) : by_row(row, column));
    const float* weight_at = weight + uint64_t(kForward ? row : first_channel + row) * g.c_out + column + (kForward ? first_channel : 0);
    const uint64_t weight_rows = uint64_t(kWeightRows) * g.c_out, weight_taps = uint64_t(g.c_in) * g.c_out;

    // The tap and channels that the next copies take, and of each stage which of the two pixels are inside.
    uint32_t ky = 0, kx = 0, c0 = 0, tap = 0, inside = 0;
    // Where a pixel's channels lie for the next tap, outside or not; which taps find a pixel there; what the ends of a row of
    // taps and of all taps add to the step of one tap.
    const float *at[2], *z_at[2];
    uint32_t finds[2] = {};
    const int64_t next = kForward ? int64_t(reduced) : -int64_t(reduced), line = next * (kForward ? g.w : g.ow);
    const int64_t row_end = line - next * g.kernel, taps_end = kStep - line * g.kernel;
    if constexpr (VECTOR) {
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            const Pixel& p = pixels[half];
            const int32_t y = kForward ? p.y * int32_t(g.stride) - int32_t(g.padding) : p.y + int32_t(g.padding);
            const int32_t x = kForward ? p.x * int32_t(g.stride) - int32_t(g.padding) : p.x + int32_t(g.padding);
            const int32_t h = kForward ? g.h : g.oh, w = kForward ? g.w : g.ow;
            uint32_t columns = 0;
            for (int32_t k = 0; k < int32_t(g.kernel); k++)
                columns |= uint32_t(uint32_t(kForward ? x + k : x - k) < uint32_t(w)) << k;
            for (int32_t k = 0; k < int32_t(g.kernel); k++)
                if (p.inside && uint32_t(kForward ? y + k : y - k) < uint32_t(h)) finds[half] |= columns << k * g.kernel;
            const int64_t first = ((int64_t(p.n) * h + y) * w + x) * int64_t(reduced) + quad;
            at[half] = from.map + first, z_at[half] = from.z + first;
        }
    }

    auto stage = [&](uint32_t buffer) {
        auto& to = memory.stages[buffer];
        if constexpr (VECTOR) {
            const uint32_t input_at = shared_address(&to.input[place]), w_at = shared_address(&to.weight[weight_place]);
            uint32_t found = 0;
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                // Where there is no pixel nothing is read, so that the address need not exist.
                const uint32_t valid = finds[half] >> tap & 1, far = half * 32 * kStep * 4;
                copy16(input_at + far, at[half], 16 * valid);
                if constexpr (L == Load::BnGrad) copy16(shared_address(&to.z[place]) + far, z_at[half], 16 * valid);
                found |= valid << half;
            }
            if constexpr (L != Load::Plain) inside = (inside & ~(3u << 2 * buffer)) | found << 2 * buffer;
#pragma unroll
            for (uint32_t i = 0; i < kStep * NT / 4; i += kThreads)
                if (i + kThreads <= kStep * NT / 4 || t < kStep * NT / 4 - i)
                    copy16(w_at + i / kRowQuads * (kForward ? NT : kStep) * 4, weight_at + i / kThreads * weight_rows, 16);
            weight_at += weight_taps;
        } else {
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                uint64_t offset;
                const bool valid = gathered<G>(g, pixels[half], ky, kx, offset);
#pragma unroll
                for (uint32_t j = 0; j < 4; j++) {
                    const uint32_t c = c0 + quad + j;
                    to.input[place + half * 32 * kStep + j] = valid && c < reduced ? from.map[offset + c] : 0.0f;
                }
            }
            // Not unrolled: it would cost registers, and this form is not the fast one.
#pragma unroll 1
            for (uint32_t i = t; i < kStep * NT; i += kThreads) {
                // The fastest index of memory belongs to consecutive threads.
                const uint32_t k = i % kStep, o = i / kStep, ck = c0 + k, co = first_channel + o;
                const uint64_t at = (uint64_t(tap) * g.c_in + co) * g.c_out + ck;
                to.weight[by_row(o, k)] = ck < reduced && co < made ? weight[at] : 0.0f;
            }
        }
        int64_t move = next;
        kx++, tap++;
        if (kx == g.kernel) {
            kx = 0, ky++, move += row_end;
            if (ky == g.kernel) {
                ky = 0, tap = 0, c0 += kStep, move += taps_end;
                weight_at += (kForward ? uint64_t(kStep) * g.c_out : kStep) - taps * weight_taps;
            }
        }
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) at[half] += move, z_at[half] += move;
    };

    // Changes the quads that this thread copied: they have arrived for it, and nobody else reads them yet.
    const float* parameter = parameters + quad;
    uint32_t changed = 0;
    auto change = [&](uint32_t buffer) {
        float* at = &memory.stages[buffer].input[place];
        const float4 mean = load4(parameter), second = load4(parameter + reduced), third = load4(parameter + 2 * reduced);
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            if (!(inside >> (2 * buffer + half) & 1)) continue;
            float4 v = load4(at + half * 32 * kStep);
            if constexpr (L == Load::NormRelu) v = norm_relu4(v, mean, second, third);
            if constexpr (L == Load::BnGrad)
                v = bn_grad4(v, load4(&memory.stages[buffer].z[place + half * 32 * kStep]), mean, second, third,
                             load4(parameter + 3 * reduced));
            store4(at + half * 32 * kStep, TF32 ? rounded4(v) : v);
        }
        if (++changed == taps) changed = 0, parameter += kStep;
    };

    const uint32_t lane = t % kWarp, warp = t / kWarp;
    // TF32: [16 rows of 32][8 channels of NT / 2][fragment]. FP32: [pixel][channel].
    constexpr uint32_t kColumns = NT / 16, kEach = NT / 8, kVector = kEach < 4 ? kEach : 4;
    float sums[TF32 ? 2 * kColumns : 4][TF32 ? 4 : kEach] = {};

    // Where this lane's parts of fragments lie, the swizzle worked out: rows and steps of 8 keep it.
    const uint32_t input_row = warp % 2 * 32, output = warp / 2 * (NT / 2);
    const uint32_t a_places[2] = {kept(by_row(input_row + lane % 16, lane / 16 * 4)),
                                  kept(by_row(input_row + lane % 16, 8 + lane / 16 * 4))};
    uint32_t b_places[kColumns];
#pragma unroll
    for (uint32_t n = 0; n < kColumns; n++)
        b_places[n] = kept(kForward ? by_k<NT>(lane % 4, output + 8 * n + lane / 4)
                                    : by_row(output + 8 * n + lane % 8, lane / 8 * 4));

    auto multiply = [&](const float* in, const float* w) {
        if constexpr (TF32) {
            uint32_t b[kColumns][4];
#pragma unroll
            for (uint32_t n = 0; n < kColumns; n++) {
                if constexpr (kForward) {
#pragma unroll
                    for (uint32_t i = 0; i < 4; i++) b[n][i] = __float_as_uint(w[b_places[n] + 4 * i * NT]);
                } else {
                    fragments(b[n], w + b_places[n]);
                }
            }
#pragma unroll
            for (uint32_t k = 0; k < 2; k++)
#pragma unroll
                for (uint32_t m = 0; m < 2; m++) {
                    uint32_t a[4];
                    fragments(a, in + a_places[k] + 16 * m * kStep);
                    // What was changed was rounded then.
                    if constexpr (L == Load::Plain)
#pragma unroll
                        for (uint32_t i = 0; i < 4; i++) a[i] = to_tf32(__uint_as_float(a[i]));
#pragma unroll
                    for (uint32_t n = 0; n < kColumns; n++) {
                        if (m == 0)
#pragma unroll
                            for (uint32_t i = 2 * k; i < 2 * k + 2; i++) b[n][i] = to_tf32(__uint_as_float(b[n][i]));
                        const uint32_t pair[2] = {b[n][2 * k], b[n][2 * k + 1]};
                        mma_tf32(sums[m * kColumns + n], a, pair);
                    }
                }
        } else {
            // Unrolled twice only: all four at once run out of registers.
#pragma unroll 2
            for (uint32_t k0 = 0; k0 < kStep; k0 += 4) {
                float v[4][4], f[4][kEach];
#pragma unroll
                for (uint32_t r = 0; r < 4; r++) {
                    const float4 q = load4(in + by_row(t / 8 + 16 * r, k0));
                    v[r][0] = q.x, v[r][1] = q.y, v[r][2] = q.z, v[r][3] = q.w;
                }
                if constexpr (kForward) {
#pragma unroll
                    for (uint32_t k = 0; k < 4; k++)
#pragma unroll
                        for (uint32_t j = 0; j < kEach; j += kVector) {
                            const float* at = w + by_k<NT>(k0 + k, 8 * j + kVector * (t % 8));
                            if constexpr (kVector == 4) {
                                const float4 q = load4(at);
                                f[k][j] = q.x, f[k][j + 1] = q.y, f[k][j + 2] = q.z, f[k][j + 3] = q.w;
                            } else {
                                const float2 q = *reinterpret_cast<const float2*>(at);
                                f[k][j] = q.x, f[k][j + 1] = q.y;
                            }
                        }
                } else {
#pragma unroll
                    for (uint32_t j = 0; j < kEach; j++) {
                        const float4 q = load4(w + by_row(8 * j + t % 8, k0));
                        f[0][j] = q.x, f[1][j] = q.y, f[2][j] = q.z, f[3][j] = q.w;
                    }
                }
#pragma unroll
                for (uint32_t k = 0; k < 4; k++)
#pragma unroll
                    for (uint32_t r = 0; r < 4; r++)
#pragma unroll
                        for (uint32_t j = 0; j < kEach; j++) sums[r][j] = fmaf(v[r][k], f[k][j], sums[r][j]);
            }
        }
    };

    uint32_t ahead = 0, buffer = 0;
    for (; ahead + 1 < kStages && ahead < steps; ahead++) {
        stage(ahead);
        copies_commit();
    }
    // Groups count by position: an empty one keeps the count right at the ends.
    for (uint32_t i = ahead; i + 1 < kStages; i++) copies_commit();
    if (L != Load::Plain) __syncthreads();
    for (uint32_t step = 0; step < steps; step++) {
        copies_wait<int(kStages) - 2>();
        if constexpr (L != Load::Plain) change(buffer);
        // Everybody's copies are there, and the stage that the next copies overwrite is read.
        __syncthreads();
        if (ahead < steps) {
            stage(buffer == 0 ? kStages - 1 : buffer - 1);
            ahead++;
        }
        copies_commit();
        multiply(memory.stages[buffer].input, memory.stages[buffer].weight);
        buffer = buffer + 1 == kStages ? 0 : buffer + 1;
    }
    __syncthreads();

    if constexpr (TF32) {
#pragma unroll
        for (uint32_t m = 0; m < 2; m++)
#pragma unroll
            for (uint32_t n = 0; n < kColumns; n++) {
                const uint32_t r = input_row + 16 * m + lane / 4, c = output + 8 * n + 2 * (lane % 4);
                const float(&d)[4] = sums[m * kColumns + n];
                *reinterpret_cast<float2*>(&out[r][c]) = {d[0], d[1]};
                *reinterpret_cast<float2*>(&out[r + 8][c]) = {d[2], d[3]};
            }
    } else {
#pragma unroll
        for (uint32_t r = 0; r < 4; r++)
#pragma unroll
            for (uint32_t j = 0; j < kEach; j++) {
                const uint32_t c = kForward ? j / kVector * kVector * 8 + kVector * (t % 8) + j % kVector : 8 * j + t % 8;
                out[t / 8 + 16 * r][c] = sums[r][j];
            }
    }
    __syncthreads();
}
