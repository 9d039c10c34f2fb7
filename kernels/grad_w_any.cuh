// The gradient by weights for any channels, plain operands: the general form, and that of a stem, whose three channels would fill
// little of a tile for each tap.
//     grad_w[m, o] += sum_p x[gather(p, m), m % C_in] grad_y[p, o],  m = (ky K + kx) C_in + i: all K K C_in rows of the weights in one
// A tile is 32 of these rows by T outputs; a block makes it over its share of the pixels, 32 at a time: lane m of a warp gathers row
// m's number of one pixel after the other, so that a warp reads the few runs of memory that a pixel's window has. What comes next
// is on its way to registers while this stage is multiplied; each warp takes 8 of the stage's pixels.
// partial [tiles][splits + groups][32][T]: the last block of each group of splits adds their shares in order, the last group's the
// groups'. A counter for each group and one more, of each tile: zero before the launch and after it.
#pragma once
#include "conv_any.cuh"
#include "grad_w_tile.cuh"

constexpr uint32_t kAnyPixels = 32;

template <uint32_t T, bool TF32>
struct AnyTile {
    static constexpr uint32_t kQuads = kAnyPixels * T / 4 / kThreads, kOwn = kAnyPixels / (kThreads / kWarp);
    union Memory {
        struct {
            // Rows that far apart: the eight numbers that four lanes' rows are read at meet different banks.
            float input[2][kAnyPixels][kAnyRows + 8], grad[2][kAnyPixels][T + 8];
        } stages;
        float sums[kThreads / kWarp][kAnyRows][T + 4];
    };

    // What a thread brings of a stage.
    float input[kOwn];
    float4 grad[kQuads];
    uint32_t tap_y, tap_x, channel;
    bool exists;    // whether the lane has a row

    __device__ AnyTile(const ConvGeometry& g, uint32_t m0) {
        const uint32_t m = m0 + threadIdx.x % kWarp, tap = m / g.c_in;
        tap_y = tap / g.kernel, tap_x = tap % g.kernel, channel = m % g.c_in, exists = m < g.kernel * g.kernel * g.c_in;
    }

    __device__ void bring(const float* __restrict__ x, const float* __restrict__ grad_y, const ConvGeometry& g, uint32_t chunk,
                          uint32_t o0, bool fours) {
        const uint32_t t = threadIdx.x, pixels = g.n * g.oh * g.ow;
        const Pixel mine = pixel_at(chunk * kAnyPixels + t % kWarp, g.n, g.oh, g.ow);
#pragma unroll
        for (uint32_t i = 0; i < kOwn; i++) {
            const uint32_t lane = t / kWarp * kOwn + i;
            const Pixel at = {__shfl_sync(kFull, mine.n, lane), __shfl_sync(kFull, mine.y, lane), __shfl_sync(kFull, mine.x, lane),
                              chunk * kAnyPixels + lane < pixels};
            uint64_t offset;
            input[i] = gathered<Gather::Forward>(g, at, tap_y, tap_x, offset) && exists ? x[offset + channel] : 0.0f;
        }
#pragma unroll
        for (uint32_t i = 0; i < kQuads; i++) {
            const uint32_t at = t + i * kThreads, p = chunk * kAnyPixels + at / (T / 4), o = o0 + at % (T / 4) * 4;
            grad[i] = load_quad(grad_y + uint64_t(p) * g.c_out + o, p < pixels && o < g.c_out ? g.c_out - o : 0, fours);
        }
    }
    __device__ void put(Memory& memory, uint32_t buffer) const {
        const uint32_t t = threadIdx.x;
#pragma unroll
        for (uint32_t i = 0; i < kOwn; i++) memory.stages.input[buffer][t / kWarp * kOwn + i][t % kWarp] = input[i];
#pragma unroll
        for (uint32_t i = 0; i < kQuads; i++) {
            const uint32_t at = t + i * kThreads;
            store4(&memory.stages.grad[buffer][at / (T / 4)][at % (T / 4) * 4], grad[i]);
        }
    }
};

// A lane's sums: [n][i], of output 8 n + .. and row .. as `place` says.
template <uint32_t T, bool TF32>
struct AnySums {
    float sum[T / 8][8] = {};

    // TF32: products of 16 x 8, two for the rows; FP32: rows lane / 8 * 8 + i, outputs lane % 8 + 8 n.
    __device__ static uint32_t row(uint32_t lane, uint32_t i) {
        return TF32 ? 16 * (i / 4) + lane / 4 + i % 4 / 2 * 8 : lane / 8 * 8 + i;
    }
    __device__ static uint32_t output(uint32_t lane, uint32_t n, uint32_t i) {
        return TF32 ? 8 * n + 2 * (lane % 4) + i % 2 : 8 * n + lane % 8;
    }
    __device__ void multiply(const typename AnyTile<T, TF32>::Memory& memory, uint32_t buffer) {
        const uint32_t lane = threadIdx.x % kWarp, p0 = 8 * (threadIdx.x / kWarp);
        const auto& in = memory.stages.input[buffer];
        const auto& out = memory.stages.grad[buffer];
        if constexpr (TF32) {
            const uint32_t k = p0 + lane % 4, m = lane / 4;
            uint32_t a[2][4];
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                const uint32_t r = 16 * half + m;
                a[half][0] = to_tf32(in[k][r]), a[half][1] = to_tf32(in[k][r + 8]);
                a[half][2] = to_tf32(in[k + 4][r]), a[half][3] = to_tf32(in[k + 4][r + 8]);
            }
#pragma unroll
            for (uint32_t n = 0; n < T / 8; n++) {
                const uint32_t o = 8 * n + m, b[2] = {to_tf32(out[k][o]), to_tf32(out[k + 4][o])};
#pragma unroll
                for (uint32_t half = 0; half < 2; half++) {
                    float(&d)[4] = reinterpret_cast<float(&)[4]>(sum[n][4 * half]);
                    mma_tf32(d, a[half], b);
                }
            }
        } else {
#pragma unroll 1
            for (uint32_t p = p0; p < p0 + 8; p++) {
                float a[8];
#pragma unroll
                for (uint32_t i = 0; i < 8; i++) a[i] = in[p][row(lane, i)];
#pragma unroll
                for (uint32_t n = 0; n < T / 8; n++) {
                    const float b = out[p][output(lane, n, 0)];
#pragma unroll
                    for (uint32_t i = 0; i < 8; i++) sum[n][i] = fmaf(a[i], b, sum[n][i]);
                }
            }
        }
    }
};

// grid (tiles of rows x tiles of outputs, splits), 128 threads; `group`: splits that merge first.
template <uint32_t T, bool TF32>
__device__ void any_kernel(float* __restrict__ grad_w, const float* __restrict__ x, const float* __restrict__ grad_y,
                           const ConvGeometry& g, float* partial, uint32_t* counters, uint32_t group) {
    using Tile = AnyTile<T, TF32>;
    __shared__ typename Tile::Memory memory;
    const uint32_t t = threadIdx.x, tiles_o = (g.c_out + T - 1) / T, rows = g.kernel * g.kernel * g.c_in;
    const uint32_t o0 = blockIdx.x % tiles_o * T, m0 = blockIdx.x / tiles_o * kAnyRows;
    const uint32_t chunks = (g.n * g.oh * g.ow + kAnyPixels - 1) / kAnyPixels, splits = gridDim.y;
    const auto [begin, end] = Split(chunks, splits, blockIdx.y);
    const bool fours = g.c_out % 4 == 0 && on_16_bytes(grad_y);

    Tile tile(g, m0);
    AnySums<T, TF32> sums;
    if (begin < end) tile.bring(x, grad_y, g, begin, o0, fours), tile.put(memory, 0);
    for (uint32_t chunk = begin; chunk < end; chunk++) {
        const uint32_t buffer = (chunk - begin) % 2;
        __syncthreads();
        if (chunk + 1 < end) tile.bring(x, grad_y, g, chunk + 1, o0, fours);
        sums.multiply(memory, buffer);
        if (chunk + 1 < end) tile.put(memory, buffer ^ 1);
    }
    __syncthreads();
#pragma unroll
    for (uint32_t n = 0; n < T / 8; n++)
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) memory.sums[t / kWarp][sums.row(t % kWarp, i)][sums.output(t % kWarp, n, i)] = sums.sum[n][i];
    __syncthreads();

    constexpr uint32_t kQuads = kAnyRows * T / 4;
    const uint32_t groups = (splits + group - 1) / group, mine = blockIdx.y / group;
    float* shares = partial + uint64_t(blockIdx.x) * (splits + groups) * kAnyRows * T;
    auto add = [&](uint32_t i, float4 sum) {
        const uint32_t m = m0 + i / (T / 4), o = o0 + i % (T / 4) * 4;
        if (m >= rows) return;
        float* to = grad_w + uint64_t(m) * g.c_out + o;
        const float v[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
        for (uint32_t k = 0; k < 4; k++)
            if (o + k < g.c_out) to[k] += v[k];
    };
    // Shares [first, last) in order, of other blocks of this launch: past the first-level cache.
    auto merged_shares = [&](uint32_t i, uint32_t first, uint32_t last) {
        float4 sum = {};
#pragma unroll 8
        for (uint32_t s = first; s < last; s++)
            sum = add4(sum, __ldcg(reinterpret_cast<const float4*>(shares + uint64_t(s) * kAnyRows * T + 4 * i)));
        return sum;
    };
    for (uint32_t i = t; i < kQuads; i += kThreads) {
        const uint32_t m = i / (T / 4), o = i % (T / 4) * 4;
        float4 sum = load4(&memory.sums[0][m][o]);
#pragma unroll
        for (uint32_t w = 1; w < kThreads / kWarp; w++) sum = add4(sum, load4(&memory.sums[w][m][o]));
        if (splits == 1) add(i, sum);
        else store4(shares + uint64_t(blockIdx.y) * kAnyRows * T + 4 * i, sum);
    }
    if (splits == 1) return;
    uint32_t* arrived = counters + blockIdx.x * (groups + 1);
    const uint32_t first = mine * group, last = min(splits, first + group);
    if (!last_to_come(arrived + mine, last - first)) return;
    for (uint32_t i = t; i < kQuads; i += kThreads) {
        const float4 sum = merged_shares(i, first, last);
        if (groups == 1) add(i, sum);
        else store4(shares + uint64_t(splits + mine) * kAnyRows * T + 4 * i, sum);
    }
    if (groups == 1 || !last_to_come(arrived + groups, groups)) return;
    for (uint32_t i = t; i < kQuads; i += kThreads) add(i, merged_shares(i, splits, splits + groups));
}
