// The images of one block as factors in f16 or bf16, and the products on them: what small_map.cuh has for factors in f32.
// A map holds the images one after another, each of h + 2 lines of w + 2 rows of C numbers: its border is zero, so that no tap asks
// whether it lies on the image. A row is 16 bytes longer than its numbers: any eight that follow each other start in eight
// different eighths of the banks, so that a tap, which moves all of them alike, reads eight rows in one go. A line is as much longer than
// its rows as makes the border between two lines a multiple of 128 bytes, so that eight pixels of two lines do too; what a tap
// finds there is zero as well.
// The pixels that fill the last tile up stand for the last row of the second line, which is border, and from which no tap leaves the map.
// A tile is 16 pixels; the lanes hold results where small_map.cuh's do, the weights' columns being renamed in the same way.
#pragma once
#include "small_map.cuh"

// Bytes of a row.
template <uint32_t C>
constexpr uint32_t kHalfRow = 2 * C + 16;

// Bytes of a line.
template <uint32_t C>
__device__ inline uint32_t half_line(uint32_t width) { return (width + 2) * kHalfRow<C> + (256 - 2 * kHalfRow<C>) % 128; }

// Bytes of a map of `images` images.
template <uint32_t C>
__device__ inline uint32_t half_map(uint32_t images, uint32_t height, uint32_t width) {
    return images * (height + 2) * half_line<C>(width);
}

// `taps` holds for each pixel the byte at which its row begins; see Rows.
template <uint32_t C>
__device__ inline void fill_half_rows(uint32_t* taps, uint32_t rows, uint32_t height, uint32_t width) {
    const uint32_t area = height * width, line = half_line<C>(width);
    for (uint32_t r = threadIdx.x; r < (rows + 15) / 16 * 16; r += kMapThreads) {
        const uint32_t p = r % area, place = (r / area * (height + 2) + p / width + 1) * line + (p % width + 1) * kHalfRow<C>;
        taps[r] = r < rows ? place : line + (width + 1) * kHalfRow<C>;
    }
}

// Zeros for the border of a map at `base`.
template <uint32_t C>
__device__ inline void clear_border(uint32_t base, uint32_t images, uint32_t height, uint32_t width) {
    // What is behind a line's rows counts as a row.
    const uint32_t row = width + 3, rows = images * (height + 2) * row;
    for (uint32_t r = threadIdx.x; r < rows; r += kMapThreads) {
        const uint32_t x = r % row, y = r / row % (height + 2);
        if (x > 0 && x <= width && y > 0 && y <= height) continue;
        const uint32_t at = base + r / row * half_line<C>(width) + x * kHalfRow<C>;
#pragma unroll
        for (uint32_t i = 0; i < C / 4; i++) store8(at + 8 * i, 0, 0);
    }
}

// Weights [tap][C_in][C_out] as `product_half` reads them: fragments [tap][k / 16][n / 16][lane] of sixteen bytes, {two of k, the
// two eight further on} for each of two products. TRANSPOSED exchanges in and out and turns the taps.
template <uint32_t C, bool TRANSPOSED, Short S>
__device__ inline void load_weight_half(float* to, const float* __restrict__ from) {
    constexpr uint32_t J = C / 16;
#pragma unroll 1
    for (uint32_t u = threadIdx.x; u < 9 * J * J * kWarp; u += kMapThreads) {
        const uint32_t lane = u % kWarp, part = u / kWarp, tap = part / (J * J), g = lane / 4, q = lane % 4;
        const uint32_t n = 16 * (part % J) + 4 * (g / 2) + g % 2, k = 16 * (part / J % J) + 2 * q;
        float v[2][2][2];
#pragma unroll
        for (uint32_t t = 0; t < 2; t++)
#pragma unroll
            for (uint32_t high = 0; high < 2; high++)
#pragma unroll
                for (uint32_t e = 0; e < 2; e++) {
                    const uint32_t in = k + 8 * high + e, out = n + 2 * t;
                    v[t][high][e] = kWeightScale * (TRANSPOSED ? from[((8 - tap) * C + out) * C + in] : from[(tap * C + in) * C + out]);
                }
        auto two = [&](uint32_t t, uint32_t high) { return __uint_as_float(pair_of<S>(v[t][high][0], v[t][high][1])); };
        put_shared(to + 4 * u, {two(0, 0), two(0, 1), two(1, 0), two(1, 1)});
    }
}

// `product_half` for M tiles of this lane's warp: tile `first` and the ones `kWarps` further on.
template <uint32_t C, Short S, uint32_t M, class Use>
__device__ inline void product_half_tiles(uint32_t in, const float* weight, const Rows& rows, uint32_t first, float unscale, Use use) {
    constexpr uint32_t J = C / 16, kRow = kHalfRow<C>;
    const uint32_t lane = threadIdx.x % kWarp, top = 16 * first + lane / 4, line = half_line<C>(rows.width);
    auto below = [](uint32_t m) { return 16 * m * kWarps; };
    Tile<C> tile[M] = {};
    // Where the tap above and to the left of the lane's pixel is.
    uint32_t at[M];
#pragma unroll
    for (uint32_t m = 0; m < M; m++) at[m] = in + rows.taps[16 * first + below(m) + lane % 16] + lane / 16 * 16 - line - kRow;
    // At 32 channels what nine taps load ahead would not fit the registers.
#pragma unroll (C == 16 ? 3 : 1)
    for (uint32_t ky = 0; ky < 3; ky++) {
#pragma unroll
        for (uint32_t kx = 0; kx < 3; kx++)
#pragma unroll
            for (uint32_t jk = 0; jk < J; jk++) {
                uint32_t a[M][4];
#pragma unroll
                for (uint32_t m = 0; m < M; m++) matrices<false>(a[m], at[m] + kx * kRow + 32 * jk);
#pragma unroll
                for (uint32_t jn = 0; jn < J; jn++) {
                    const uint4 b = reinterpret_cast<const uint4*>(weight)[(((3 * ky + kx) * J + jk) * J + jn) * kWarp + lane];
#pragma unroll
                    for (uint32_t m = 0; m < M; m++) {
                        mma_short<S>(tile[m].sum[jn][0], a[m], b.x, b.y);
                        mma_short<S>(tile[m].sum[jn][1], a[m], b.z, b.w);
                    }
                }
            }
#pragma unroll
        for (uint32_t m = 0; m < M; m++) at[m] += line;
    }
#pragma unroll
    for (uint32_t m = 0; m < M; m++)
#pragma unroll
        for (uint32_t half = 0; half < 2; half++)
            if (const uint32_t row = top + below(m) + 8 * half; row < rows.count)
#pragma unroll
                for (uint32_t j = 0; j < J; j++) {
                    const float4 v = tile[m].quad(j, half);
                    use(row, j, float4{unscale * v.x, unscale * v.y, unscale * v.z, unscale * v.w});
                }
}

// As `product`, of a map and weights in 16 bits. `unscale` undoes what both are scaled by.
template <uint32_t C, Short S, class Use>
__device__ inline void product_half(uint32_t in, const float* weight, const Rows& rows, float unscale, Use use) {
    const uint32_t tiles = (rows.count + 15) / 16;
    for (uint32_t first = threadIdx.x / kWarp; first < tiles; first += 2 * kWarps) {
        if (first + kWarps < tiles) product_half_tiles<C, S, 2>(in, weight, rows, first, unscale, use);
        else product_half_tiles<C, S, 1>(in, weight, rows, first, unscale, use);
    }
}

// As `weight_product`, of two maps in 16 bits. A step is 16 pixels; both maps' are turned as they are read.
template <uint32_t C, Short S>
__device__ inline void weight_product_half(float* share, uint32_t in, uint32_t grad, const Rows& rows, float unscale) {
    constexpr uint32_t J = C / 16, kRow = kHalfRow<C>;
    const uint32_t lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4, tap = threadIdx.x / kWarp;
    // Matrices of eight pixels by eight channels: pixels 0 .. 7 of two chunks, then pixels 8 .. 15.
    const uint32_t* taps = rows.taps + lane % 8 + lane / 16 * 8;
    const uint32_t chunk = lane / 8 % 2 * 16;
    in += chunk + tap / 3 * half_line<C>(rows.width) + tap % 3 * kRow - half_line<C>(rows.width) - kRow, grad += chunk;
    float sum[J][2 * J][4] = {};
#pragma unroll 2
    for (uint32_t p = 0; p < rows.count; p += 16) {
        const uint32_t row = taps[p];
        uint32_t a[J][4], b[J][4];
#pragma unroll
        for (uint32_t j = 0; j < J; j++) matrices<true>(a[j], in + row + 32 * j), matrices<true>(b[j], grad + row + 32 * j);
#pragma unroll
        for (uint32_t m = 0; m < J; m++)
#pragma unroll
            for (uint32_t n = 0; n < J; n++) {
                mma_short<S>(sum[m][2 * n], a[m], b[n][0], b[n][2]);
                mma_short<S>(sum[m][2 * n + 1], a[m], b[n][1], b[n][3]);
            }
    }
#pragma unroll
    for (uint32_t m = 0; m < J; m++)
#pragma unroll
        for (uint32_t n = 0; n < 2 * J; n++)
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                const float* d = sum[m][n] + 2 * half;
                float* to = share + (tap * C + 16 * m + 8 * half + g) * C + 8 * n + 2 * q;
                __stwb(reinterpret_cast<float2*>(to), float2{unscale * d[0], unscale * d[1]});
            }
}
