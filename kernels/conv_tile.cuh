// One tile of a convolution as a matrix product: 64 pixels x NT output channels, the sum over (tap, input channel)
// in steps of 16 channels of one tap.
//     out[p, o] = sum_{ky, kx, i} in[gather(p, ky, kx), i] weight(ky, kx, i, o)
// Forward: gather is (oy s + ky - pad, ox s + kx - pad), zero outside. Gradient by input: the pixels are x's, gather is
// ((iy + pad - ky) / s, ...) where that divides, and the weights are transposed.
// 128 threads. TF32: warp w holds rows 16 w .. 16 w + 15 of the tile, by mma.sync m16n8k8, sums in f32. FP32: a thread
// holds 4 pixels x NT / 8 channels.
// Shared memory: two stages of (64 x 20 + 16 x (NT + 8)) floats: 19,456 bytes at NT = 64. Strides of 20 and NT + 8 floats
// spread a fragment's 32 words over the 32 banks.
#pragma once
#include "common.cuh"

constexpr uint32_t kTilePixels = 64, kStep = 16, kThreads = 128;
constexpr uint32_t kInputStride = kStep + 4;

enum class Gather { Forward, GradX };

// Batch norm and ReLU in front of the convolution: null mean means none.
struct Prologue {
    const float *mean, *rstd, *gamma, *beta;
};

template <uint32_t NT>
struct TileMemory {
    float input[2][kTilePixels][kInputStride];
    float weight[2][kStep][NT + 8];
};

__device__ inline uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory without passing registers; zeros where `valid` is false.
__device__ inline void copy16(float* to, const float* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ inline void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ inline uint32_t to_tf32(float v) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return bits;
}

__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
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
        valid = valid && y >= 0 && x >= 0 && y % s == 0 && x % s == 0;
        y /= s, x /= s;
        height = g.oh, width = g.ow, channels = g.c_out;
    }
    valid = valid && y >= 0 && x >= 0 && y < int32_t(height) && x < int32_t(width);
    offset = valid ? ((uint64_t(at.n) * height + y) * width + x) * channels : 0;
    return valid;
}

// The whole tile. `out` receives sums of the tile [64][NT + 4] in shared memory (the stages' memory, reused), so that the
// caller can write rows and take statistics; the call ends with a barrier.
// VECTOR: channels on both sides are multiples of 16, pointers 16-byte aligned: copies of 16 bytes without registers.
template <uint32_t NT, bool TF32, Gather G, bool VECTOR, bool NORM>
__device__ void conv_tile(float (*out)[NT + 4], TileMemory<NT>& memory, const float* __restrict__ input,
                          const float* __restrict__ weight, const ConvGeometry& g, Prologue norm, uint32_t first_pixel,
                          uint32_t first_channel) {
    const uint32_t reduced = G == Gather::Forward ? g.c_in : g.c_out;    // channels summed over
    const uint32_t made = G == Gather::Forward ? g.c_out : g.c_in;       // channels produced
    const uint32_t height = G == Gather::Forward ? g.oh : g.h, width = G == Gather::Forward ? g.ow : g.w;
    const uint32_t chunks = (reduced + kStep - 1) / kStep, steps = g.kernel * g.kernel * chunks;
    const uint32_t t = threadIdx.x;

    // A thread stages channels 4 (t % 4) .. of pixels t / 4 and t / 4 + 32.
    const uint32_t quad = 4 * (t % 4);
    const Pixel pixels[2] = {pixel_at(first_pixel + t / 4, g.n, height, width),
                             pixel_at(first_pixel + t / 4 + 32, g.n, height, width)};

    auto stage = [&](uint32_t step, uint32_t buffer) {
        const uint32_t tap = step / chunks, c0 = step % chunks * kStep, ky = tap / g.kernel, kx = tap % g.kernel;
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            uint64_t offset;
            bool valid = gathered<G>(g, pixels[half], ky, kx, offset);
            float* to = &memory.input[buffer][t / 4 + 32 * half][quad];
            if (VECTOR && !NORM) {
                copy16(to, input + offset + c0 + quad, valid);
            } else {
#pragma unroll
                for (uint32_t j = 0; j < 4; j++) {
                    uint32_t c = c0 + quad + j;
                    float v = 0.0f;
                    if (valid && c < reduced) {
                        v = input[offset + c];
                        if (NORM) {
                            v = fmaf(norm.gamma[c] * norm.rstd[c], v - norm.mean[c], norm.beta[c]);
                            v = v < 0.0f ? 0.0f : v;
                        }
                    }
                    to[j] = v;
                }
            }
        }
        // Weights [16][NT] of this tap: rows are channels summed over.
        if (VECTOR && G == Gather::Forward) {
            for (uint32_t i = t; i < kStep * NT / 4; i += kThreads) {
                uint32_t k = i / (NT / 4), o = i % (NT / 4) * 4;
                const float* from = weight + (uint64_t(tap) * g.c_in + c0 + k) * g.c_out + first_channel + o;
                copy16(&memory.weight[buffer][k][o], from, true);
            }
        } else {
            for (uint32_t i = t; i < kStep * NT; i += kThreads) {
                uint32_t k, o;
                // The fastest index of memory belongs to consecutive threads.
                if (G == Gather::Forward) k = i / NT, o = i % NT;
                else k = i % kStep, o = i / kStep;
                uint32_t ck = c0 + k, co = first_channel + o;
                uint64_t at = G == Gather::Forward ? (uint64_t(tap) * g.c_in + ck) * g.c_out + co
                                                   : (uint64_t(tap) * g.c_in + co) * g.c_out + ck;
                memory.weight[buffer][k][o] = ck < reduced && co < made ? weight[at] : 0.0f;
            }
        }
        copies_commit();
    };

    constexpr uint32_t kTiles = NT / 8;
    const uint32_t lane = t % kWarp, warp = t / kWarp;
    float sums[TF32 ? kTiles : 4][TF32 ? 4 : kTiles] = {};

    stage(0, 0);
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t buffer = step % 2;
        if (step + 1 < steps) {
            stage(step + 1, buffer ^ 1);
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        if constexpr (TF32) {
#pragma unroll
            for (uint32_t k0 = 0; k0 < kStep; k0 += 8) {
                uint32_t a[4];
                const uint32_t row = 16 * warp + lane / 4, col = k0 + lane % 4;
                a[0] = to_tf32(memory.input[buffer][row][col]), a[1] = to_tf32(memory.input[buffer][row + 8][col]);
                a[2] = to_tf32(memory.input[buffer][row][col + 4]), a[3] = to_tf32(memory.input[buffer][row + 8][col + 4]);
#pragma unroll
                for (uint32_t tile = 0; tile < kTiles; tile++) {
                    uint32_t b[2] = {to_tf32(memory.weight[buffer][col][8 * tile + lane / 4]),
                                     to_tf32(memory.weight[buffer][col + 4][8 * tile + lane / 4])};
                    mma_tf32(sums[tile], a, b);
                }
            }
        } else {
            const uint32_t row = t / 8 * 4, o = t % 8;
#pragma unroll
            for (uint32_t k = 0; k < kStep; k++) {
                float w[kTiles];
#pragma unroll
                for (uint32_t tile = 0; tile < kTiles; tile++) w[tile] = memory.weight[buffer][k][8 * tile + o];
#pragma unroll
                for (uint32_t r = 0; r < 4; r++) {
                    float v = memory.input[buffer][row + r][k];
#pragma unroll
                    for (uint32_t tile = 0; tile < kTiles; tile++) sums[r][tile] = fmaf(v, w[tile], sums[r][tile]);
                }
            }
        }
        // The next round's copies write the buffer that was just read.
        __syncthreads();
    }

    if constexpr (TF32) {
        const uint32_t row = 16 * warp + lane / 4, col = 2 * (lane % 4);
#pragma unroll
        for (uint32_t tile = 0; tile < kTiles; tile++)
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) out[row + i / 2 * 8][8 * tile + col + i % 2] = sums[tile][i];
    } else {
#pragma unroll
        for (uint32_t r = 0; r < 4; r++)
#pragma unroll
            for (uint32_t tile = 0; tile < kTiles; tile++) out[t / 8 * 4 + r][8 * tile + t % 8] = sums[r][tile];
    }
    __syncthreads();
}
