// One tile of the gradient by weights: T input channels x T output channels of one tap, summed over a share of the pixels.
//     sum_p load_x(x[gather(p, tap), i]) load_g(g[p, o])
// load_x: the value, or relu(bn(value)); load_g: the value, or batch norm's gradient from it and z. A thread always copies
// the same channels, keeps their parameters in registers and changes in place what it copied itself.
// 128 threads. T = 64: the warps share the tile, 32 x 32 each by TF32, 4 x 8 a thread by FP32. T = 32, 16: each warp (each
// half warp by FP32 at 16) has the whole tile and its own pixels; their sums are added in order at the end.
// Shared memory: two stages of 1024 / T pixels of x, g and z: 24,576 bytes, reused for the sums.
#pragma once
#include "reduce.cuh"

template <uint32_t T, bool TF32>
struct WeightTile {
    static constexpr uint32_t kPixels = 1024 / T;
    // Parts of a stage's pixels that are summed apart.
    static constexpr uint32_t kParts = T == 64 ? 1 : T == 16 && !TF32 ? 8 : 4;

    union Memory {
        struct {
            float x[2][kPixels * T], g[2][kPixels * T], z[2][kPixels * T];
        } stages;
        float sums[kParts][T][T + 8];
    };
};

// Leaves the sums of pixels [begin, end) x kPixels in memory.sums, all parts; ends with a barrier.
template <uint32_t T, bool TF32>
__device__ void grad_w_tile(typename WeightTile<T, TF32>::Memory& memory, const Operand& x, const Operand& grad,
                            const ConvGeometry& geometry, uint32_t ky, uint32_t kx, uint32_t i0, uint32_t o0, uint32_t begin,
                            uint32_t end) {
    using Tile = WeightTile<T, TF32>;
    constexpr uint32_t kPixels = Tile::kPixels, kQuads = T / 4, kRows = kThreads / kQuads;
    const ConvGeometry& g = geometry;
    const uint32_t t = threadIdx.x, lane = t % kWarp, warp = t / kWarp, column = t % kQuads * 4;
    const uint32_t pixels = g.n * g.oh * g.ow;

    const bool normed = x.norm.mean != nullptr, through_norm = grad.z != nullptr;
    float4 x_mean = {}, x_scaled = {}, x_beta = {}, g_mean = {}, g_scale = {}, g_slope = {}, g_offset = {};
    if (normed) {
        const uint32_t c = i0 + column;
        const float4 gamma = load4(x.norm.gamma + c), rstd = load4(x.norm.rstd + c);
        x_mean = load4(x.norm.mean + c), x_beta = load4(x.norm.beta + c);
        x_scaled = {gamma.x * rstd.x, gamma.y * rstd.y, gamma.z * rstd.z, gamma.w * rstd.w};
    }
    if (through_norm) {
        const uint32_t c = o0 + column;
        const BnGradient a = bn_gradient(grad, c, pixels), b = bn_gradient(grad, c + 1, pixels),
                         d = bn_gradient(grad, c + 2, pixels), e = bn_gradient(grad, c + 3, pixels);
        g_mean = {a.mean, b.mean, d.mean, e.mean}, g_scale = {a.scale, b.scale, d.scale, e.scale};
        g_slope = {a.slope, b.slope, d.slope, e.slope}, g_offset = {a.offset, b.offset, d.offset, e.offset};
    }

    // The two pixels whose quads this thread copies next, and how far a stage moves them: no division in the loop.
    const uint32_t move_x = kPixels % g.ow, move_y = kPixels / g.ow % g.oh, move_n = kPixels / g.ow / g.oh;
    const uint32_t place = kept(by_k<T>(t / kQuads, column)), first = begin * kPixels + t / kQuads;
    Pixel pixel[2] = {pixel_at(first, g.n, g.oh, g.ow), pixel_at(first + kRows, g.n, g.oh, g.ow)};
    uint64_t out_at = uint64_t(first) * g.c_out + o0 + column;

    // Bits 2 i and 2 i + 1 of a stage's four: whether row i's input and output pixel exist.
    uint32_t inside = 0;
    auto stage = [&](uint32_t buffer) {
        uint32_t bits = 0;
        const uint32_t x_to = shared_address(&memory.stages.x[buffer][place]), g_to = shared_address(&memory.stages.g[buffer][place]);
        const uint32_t z_to = shared_address(&memory.stages.z[buffer][place]);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            constexpr uint32_t kFar = kRows * T * 4;
            Pixel& at = pixel[i];
            at.inside = at.n < g.n;
            uint64_t offset;
            const bool valid = gathered<Gather::Forward>(g, at, ky, kx, offset);
            copy16(x_to + i * kFar, x.map + offset + i0 + column, valid ? 16 : 0);
            // A pixel that is not there reads nothing, from an address that is.
            const uint64_t from = at.inside ? out_at + uint64_t(i * kRows) * g.c_out : 0;
            const uint32_t bytes = at.inside ? 16 : 0;
            copy16(g_to + i * kFar, grad.map + from, bytes);
            if (through_norm) copy16(z_to + i * kFar, grad.z + from, bytes);
            bits |= (valid | at.inside << 1) << 2 * i;
            at.x += move_x, at.y += move_y, at.n += move_n;
            if (at.x >= int32_t(g.ow)) at.x -= g.ow, at.y++;
            if (at.y >= int32_t(g.oh)) at.y -= g.oh, at.n++;
        }
        inside = (inside & ~(15u << 4 * buffer)) | bits << 4 * buffer;
        out_at += uint64_t(kPixels) * g.c_out;
        copies_commit();
    };
    auto change = [&](uint32_t buffer) {
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t at = place + i * kRows * T, bits = inside >> (4 * buffer + 2 * i);
            float *px = &memory.stages.x[buffer][at], *pg = &memory.stages.g[buffer][at];
            if (normed && bits & 1) store4(px, norm_relu4(load4(px), x_mean, x_scaled, x_beta));
            if (through_norm && bits & 2)
                store4(pg, bn_grad4(load4(pg), load4(&memory.stages.z[buffer][at]), g_mean, g_scale, g_slope, g_offset));
        }
    };

    // TF32: a warp holds kSide x kSide channels. FP32: a thread holds kRowQuads x kColumnQuads quads.
    constexpr uint32_t kSide = T == 64 ? 32 : T, kM = kSide / 16, kN = kSide / 8;
    constexpr uint32_t kRowQuads = T == 32 ? 2 : 1, kColumnQuads = T == 64 ? 2 : 1;
    float sums[TF32 ? kM * kN : 4 * kRowQuads][TF32 ? 4 : 4 * kColumnQuads] = {};
    const uint32_t row0 = T == 64 ? warp % 2 * 32 : 0, column0 = T == 64 ? warp / 2 * 32 : 0;
    // FP32: the thread's first row, its first column, and how far apart its quads are.
    const uint32_t row = T == 64 ? t / 8 * 4 : T == 32 ? lane / 8 * 4 : lane / 4 % 4 * 4;
    const uint32_t output = T == 16 ? lane % 4 * 4 : lane % 8 * 4;
    constexpr uint32_t kRowApart = 16, kColumnApart = 32;

    // TF32: where this lane's parts of fragments lie, the swizzle worked out: steps of 4 pixels keep it.
    constexpr uint32_t kShare = T == 64 ? kPixels : kPixels / 4;
    const uint32_t k_first = (T == 64 ? 0 : warp * kShare) + lane % 4;
    uint32_t a_places[2 * kM], b_places[kN];
#pragma unroll
    for (uint32_t m = 0; m < 2 * kM; m++) a_places[m] = kept(by_k<T>(k_first, row0 + 8 * m + lane / 4));
#pragma unroll
    for (uint32_t n = 0; n < kN; n++) b_places[n] = kept(by_k<T>(k_first, column0 + 8 * n + lane / 4));

    if (begin < end) stage(0);
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t buffer = (chunk - begin) % 2;
        copies_wait<0>();
        change(buffer);
        // Everybody's copies are there, and the other stage is read.
        __syncthreads();
        if (chunk + 1 < end) stage(buffer ^ 1);
        const float *in = memory.stages.x[buffer], *out = memory.stages.g[buffer];
        if constexpr (TF32) {
#pragma unroll
            for (uint32_t k0 = 0; k0 < kShare; k0 += 8) {
                uint32_t a[kM][4], b[kN][2];
#pragma unroll
                for (uint32_t m = 0; m < kM; m++)
#pragma unroll
                    for (uint32_t i = 0; i < 4; i++) a[m][i] = to_tf32(in[a_places[2 * m + i % 2] + (k0 + i / 2 * 4) * T]);
#pragma unroll
                for (uint32_t n = 0; n < kN; n++)
#pragma unroll
                    for (uint32_t i = 0; i < 2; i++) b[n][i] = to_tf32(out[b_places[n] + (k0 + 4 * i) * T]);
#pragma unroll
                for (uint32_t m = 0; m < kM; m++)
#pragma unroll
                    for (uint32_t n = 0; n < kN; n++) mma_tf32(sums[m * kN + n], a[m], b[n]);
            }
        } else {
            // At 16 the half warps take odd and even pixels, so that they meet different banks.
            constexpr uint32_t kApart = T == 16 ? 2 : 1;
            const uint32_t from = (T == 64 ? 0 : warp * kShare) + (T == 16 ? lane / 16 : 0);
#pragma unroll 4
            for (uint32_t k = 0; k < kShare; k += kApart) {
                float a[4 * kRowQuads], b[4 * kColumnQuads];
#pragma unroll
                for (uint32_t i = 0; i < kRowQuads; i++) {
                    const float4 q = load4(in + by_k<T>(from + k, row + i * kRowApart));
                    a[4 * i] = q.x, a[4 * i + 1] = q.y, a[4 * i + 2] = q.z, a[4 * i + 3] = q.w;
                }
#pragma unroll
                for (uint32_t i = 0; i < kColumnQuads; i++) {
                    const float4 q = load4(out + by_k<T>(from + k, output + i * kColumnApart));
                    b[4 * i] = q.x, b[4 * i + 1] = q.y, b[4 * i + 2] = q.z, b[4 * i + 3] = q.w;
                }
#pragma unroll
                for (uint32_t i = 0; i < 4 * kRowQuads; i++)
#pragma unroll
                    for (uint32_t j = 0; j < 4 * kColumnQuads; j++) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
            }
        }
    }
    __syncthreads();

    const uint32_t part = T == 64 ? 0 : T == 16 && !TF32 ? t / 16 : warp;
    auto& to = memory.sums[part];
    if constexpr (TF32) {
#pragma unroll
        for (uint32_t m = 0; m < kM; m++)
#pragma unroll
            for (uint32_t n = 0; n < kN; n++) {
                const uint32_t r = row0 + 16 * m + lane / 4, c = column0 + 8 * n + 2 * (lane % 4);
                const float(&d)[4] = sums[m * kN + n];
                *reinterpret_cast<float2*>(&to[r][c]) = {d[0], d[1]};
                *reinterpret_cast<float2*>(&to[r + 8][c]) = {d[2], d[3]};
            }
    } else {
#pragma unroll
        for (uint32_t i = 0; i < 4 * kRowQuads; i++)
#pragma unroll
            for (uint32_t j = 0; j < kColumnQuads; j++)
                store4(&to[row + i / 4 * kRowApart + i % 4][output + j * kColumnApart],
                       {sums[i][4 * j], sums[i][4 * j + 1], sums[i][4 * j + 2], sums[i][4 * j + 3]});
    }
    __syncthreads();
}
