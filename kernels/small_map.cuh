// The images of one block in shared memory, and the products on them: 3x3 convolution, its transpose, its gradient by weights.
// A map is [rows][C]: the images' pixels one after another, C of 16 or 32. Row r's channels lie in quads of four, quad k at
// place k ^ swizzle(r): any 8 lanes that read 16 bytes of quads 0 .. 3 of two neighbouring rows, of one quad of eight
// neighbouring rows, or of quads {2 k, 2 k + 1} of rows r, r + 1, r + 4, r + 5 meet 32 different banks, at any r.
// Lanes: g = lane / 4, q = lane % 4. A tile is 16 rows; a lane holds rows g and g + 8, channels 16 j + 4 q .. + 3: sixteen
// bytes for each j. The tensor cores' rows and columns are renamed so that this is what their fragments hold: column n of
// product (j, t) is channel 16 j + 4 (n / 2) + 2 t + n % 2, and summed index k of step s is channel 4 (k % 4) + 2 s + k / 4.
#pragma once
#include "staging.cuh"

// mma.cuh's product, of TF32 numbers that are kept as f32.
__device__ inline void mma_tf32(float (&d)[4], float a0, float a1, float a2, float a3, float b0, float b1) {
    const uint32_t a[4] = {__float_as_uint(a0), __float_as_uint(a1), __float_as_uint(a2), __float_as_uint(a3)};
    const uint32_t b[2] = {__float_as_uint(b0), __float_as_uint(b1)};
    mma_tf32(d, a, b);
}

// One warp per tap in the gradient by weights.
constexpr uint32_t kWarps = 9, kMapThreads = kWarps * kWarp;

// What every product needs to know of the block's images.
struct Rows {
    uint32_t count;          // pixels of the block's images
    int32_t width;           // pixels of a line
    // [count up to a multiple of 16]: bit t says whether tap t of that pixel lies on its image; of factors in f16, where its row begins.
    const uint32_t* taps;
};

__device__ inline int32_t tap_offset(uint32_t tap, int32_t width) { return (int32_t(tap / 3) - 1) * width + int32_t(tap % 3) - 1; }

template <uint32_t C>
__device__ inline uint32_t swizzle(uint32_t row) {
    if (C == 16) return row >> 1 & 3;
    return (row & 1) << 2 | (row >> 2 & 1) << 1 | (row >> 1 & 1);
}

// Offset of a row's quad in a map; a row before the map (a negative one, as it comes from a tap) lies where it would.
template <uint32_t C>
__device__ inline int32_t place(uint32_t row, uint32_t quad) {
    return int32_t(row) * int32_t(C) + int32_t(4 * (quad ^ swizzle<C>(row)));
}

// The four numbers of a quad by index; the loops over it are unrolled.
struct Quad {
    float v[4];
    __device__ Quad() {}
    __device__ Quad(float4 from) : v{from.x, from.y, from.z, from.w} {}
    __device__ operator float4() const { return {v[0], v[1], v[2], v[3]}; }
};

// Written as one instruction each: left to the compiler, a quad of computed numbers becomes four stores.
__device__ inline void put_shared(float* to, float4 v) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                 : "memory");
}
__device__ inline void put_global(float* to, float4 v) { __stwb(reinterpret_cast<float4*>(to), v); }
__device__ inline void put_anywhere(float* to, float4 v) {
    asm volatile("st.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}

template <uint32_t C>
__device__ inline void put_quad(float* map, uint32_t row, uint32_t quad, float4 v) {
    put_shared(map + place<C>(row, quad), v);
}
template <uint32_t C>
__device__ inline float4 quad_of(const float* map, uint32_t row, uint32_t quad) {
    return *reinterpret_cast<const float4*>(map + place<C>(row, quad));
}

// A factor of a product: rounded once, when it is stored, as it is read nine times.
template <bool TF32>
__device__ inline float factor(float v) { return TF32 ? __uint_as_float(to_tf32(v)) : v; }
template <bool TF32>
__device__ inline float4 factor(float4 v) {
    return {factor<TF32>(v.x), factor<TF32>(v.y), factor<TF32>(v.z), factor<TF32>(v.w)};
}

__device__ inline void fill_taps(uint32_t* taps, uint32_t rows, uint32_t height, uint32_t width) {
    for (uint32_t r = threadIdx.x; r < (rows + 15) / 16 * 16; r += kMapThreads) {
        const uint32_t p = r % (height * width), y = p / width, x = p % width;
        uint32_t bits = 0;
#pragma unroll
        for (uint32_t tap = 0; tap < 9; tap++)
            if (y + tap / 3 - 1 < height && x + tap % 3 - 1 < width) bits |= 1u << tap;
        taps[r] = r < rows ? bits : 0;
    }
}

// The images' rows from global memory, where they lie one after another too. Ends before the copies do.
template <uint32_t C>
__device__ inline void load_map(float* map, const float* from, uint32_t rows) {
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < rows * (C / 4); i += kMapThreads)
        copy16(map + place<C>(i / (C / 4), i % (C / 4)), from + 4 * i);
}

// Weights [tap][C_in][C_out] as `product` reads them, 9 C C floats. TRANSPOSED exchanges in and out and turns the taps.
// TF32: fragments [tap][k / 16][n / 16][t][lane], four steps of k each. FP32: [tap][k][n].
// The mapping keeps both sides whole: 32 bytes of each weight row at a time, and stores to 32 different banks (but for the
// FP32 transpose at 32 channels: two stores per bank, once per launch).
template <uint32_t C, bool TF32, bool TRANSPOSED>
__device__ inline void load_weight(float* to, const float* __restrict__ from) {
    constexpr uint32_t J = C / 16;
#pragma unroll 1
    for (uint32_t u = threadIdx.x; u < 9 * C * C / 4; u += kMapThreads) {
        const uint32_t part = u / 64, idx = u % 64, n0 = part % J * 16, k0 = part / J % J * 16, tap = part / (J * J);
        const uint32_t source = TRANSPOSED ? 8 - tap : tap;
        if (TF32 && TRANSPOSED) {
            // A lane's four k are neighbours in memory.
            const uint32_t t = idx / 32, g = idx % 32 / 4, q = idx % 4, n = 4 * (g / 2) + 2 * t + g % 2;
            const float4 v = *reinterpret_cast<const float4*>(from + (source * C + n0 + n) * C + k0 + 4 * q);
            put_shared(to + part * 256 + idx * 4, factor<TF32>(v));
        } else if (!TF32 && !TRANSPOSED) {
            put_shared(to + 4 * u, *reinterpret_cast<const float4*>(from + 4 * u));
        } else {
            // Four outputs o of one input i; neighbouring half warps store them in different order, to different banks.
            const uint32_t half = idx / 16 % 2, o4 = idx / 32 * 2 + half;
            const uint32_t i = (TRANSPOSED ? n0 : k0) + idx % 16, o = (TRANSPOSED ? k0 : n0) + 4 * o4;
            const float4 v = *reinterpret_cast<const float4*>(from + (source * C + i) * C + o);
            const float values[4] = {half ? v.y : v.x, half ? v.x : v.y, half ? v.w : v.z, half ? v.z : v.w};
#pragma unroll
            for (uint32_t step = 0; step < 4; step++) {
                const uint32_t j = step ^ half;
                if (TF32) to[part * 256 + (j / 2 * 32 + (2 * o4 + j % 2) * 4 + idx % 16 / 4) * 4 + idx % 4] = factor<TF32>(values[step]);
                else to[(tap * C + o + j) * C + i] = values[step];
            }
        }
    }
}

// A lane's part of one tile of 16 rows: [j][t][2 (row half) + e % 2] with t = e / 2.
template <uint32_t C>
struct Tile {
    float sum[C / 16][2][4];

    __device__ float4 quad(uint32_t j, uint32_t half) const {
        return {sum[j][0][2 * half], sum[j][0][2 * half + 1], sum[j][1][2 * half], sum[j][1][2 * half + 1]};
    }
};

// `product` for M tiles of this lane's warp: tile `first` and the ones `kWarps` further on.
template <uint32_t C, bool TF32, bool ROUND, uint32_t M, class Use>
__device__ inline void product_tiles(const float* in, const float* weight, const Rows& rows, uint32_t first, Use use) {
    constexpr uint32_t J = C / 16;
    const uint32_t lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4, top = 16 * first + g;
    Tile<C> tile[M] = {};
    uint32_t taps[M][2];
    // All of a lane's rows are a multiple of 8 apart, and so lie alike.
    auto below = [](uint32_t m, uint32_t half) { return 16 * m * kWarps + 8 * half; };
#pragma unroll
    for (uint32_t m = 0; m < M; m++)
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) taps[m][half] = rows.taps[top + below(m, half)];
#pragma unroll 1
    for (uint32_t tap = 0; tap < 9; tap++) {
        const uint32_t row = top + tap_offset(tap, rows.width);
        auto gathered = [&](uint32_t m, uint32_t half, uint32_t quad) {
            float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
            if (taps[m][half] >> tap & 1) v = quad_of<C>(in + below(m, half) * C, row, quad);
            return ROUND ? factor<TF32>(v) : v;
        };
        if constexpr (TF32) {
#pragma unroll
            for (uint32_t jk = 0; jk < J; jk++) {
                float4 a[M][2];
#pragma unroll
                for (uint32_t m = 0; m < M; m++)
#pragma unroll
                    for (uint32_t half = 0; half < 2; half++) a[m][half] = gathered(m, half, 4 * jk + q);
#pragma unroll
                for (uint32_t jn = 0; jn < J; jn++) {
                    const float4* fragments = reinterpret_cast<const float4*>(weight) + ((tap * J + jk) * J + jn) * 64 + lane;
#pragma unroll
                    for (uint32_t t = 0; t < 2; t++) {
                        const float4 b = fragments[32 * t];
#pragma unroll
                        for (uint32_t m = 0; m < M; m++) {
                            const float4 low = a[m][0], high = a[m][1];
                            mma_tf32(tile[m].sum[jn][t], low.x, high.x, low.y, high.y, b.x, b.y);
                            mma_tf32(tile[m].sum[jn][t], low.z, high.z, low.w, high.w, b.z, b.w);
                        }
                    }
                }
            }
        } else {
#pragma unroll 1
            for (uint32_t quad = 0; quad < C / 4; quad++) {
                Quad a[M][2];
#pragma unroll
                for (uint32_t m = 0; m < M; m++)
#pragma unroll
                    for (uint32_t half = 0; half < 2; half++) a[m][half] = gathered(m, half, quad);
#pragma unroll
                for (uint32_t e = 0; e < 4; e++)
#pragma unroll
                    for (uint32_t jn = 0; jn < J; jn++) {
                        const float* at = weight + (tap * C + 4 * quad + e) * C + 16 * jn + 4 * q;
                        const Quad w = *reinterpret_cast<const float4*>(at);
#pragma unroll
                        for (uint32_t m = 0; m < M; m++)
#pragma unroll
                            for (uint32_t half = 0; half < 2; half++)
#pragma unroll
                                for (uint32_t n = 0; n < 4; n++) {
                                    float& sum = tile[m].sum[jn][n / 2][2 * half + n % 2];
                                    sum = fmaf(a[m][half].v[e], w.v[n], sum);
                                }
                    }
            }
        }
    }
#pragma unroll
    for (uint32_t m = 0; m < M; m++)
#pragma unroll
        for (uint32_t half = 0; half < 2; half++)
            if (top + below(m, half) < rows.count)
#pragma unroll
                for (uint32_t j = 0; j < J; j++) use(top + below(m, half), j, tile[m].quad(j, half));
}

// out[p, n] = sum_{tap, k} in[p + tap, k] weight[tap][k][n], zero outside the image; `use(row, j, quad)` gets each quad of the
// result once, in the lane that always has that row and quad. ROUND: `in` holds f32 values that are still to be rounded.
// A warp takes every ninth tile, two at a time where there are two, so that a weight that it reads serves both.
template <uint32_t C, bool TF32, bool ROUND, class Use>
__device__ inline void product(const float* in, const float* weight, const Rows& rows, Use use) {
    const uint32_t tiles = (rows.count + 15) / 16;
    for (uint32_t first = threadIdx.x / kWarp; first < tiles; first += 2 * kWarps) {
        if (first + kWarps < tiles) product_tiles<C, TF32, ROUND, 2>(in, weight, rows, first, use);
        else product_tiles<C, TF32, ROUND, 1>(in, weight, rows, first, use);
    }
}

// share[tap][i][o] = sum_p in[p + tap, i] grad[p, o] over the block's rows, in order of p; both maps hold factors. A warp per tap.
// TF32: summed index k is row 8 step + {0, 1, 4, 5, 2, 3, 6, 7}[k]; a lane's V = C / 8 neighbouring channels are its rows
// (g, g + 8 of product m) or its columns (g of product t).
template <uint32_t C, bool TF32>
__device__ inline void weight_product(float* share, const float* in, const float* grad, const Rows& rows) {
    constexpr uint32_t V = C / 8;
    const uint32_t lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4, tap = threadIdx.x / kWarp;
    const int32_t offset = tap_offset(tap, rows.width);
    float sum[V / 2][V][4] = {};
    // Place of V neighbouring channels of a row, from channel V k.
    auto channel_place = [](uint32_t row, uint32_t k) { return V == 2 ? place<C>(row, k / 2) + int32_t(k % 2 * 2) : place<C>(row, k); };
    auto channels = [](float (&to)[V], const float* from) {
        if constexpr (V == 2) {
            const float2 v = *reinterpret_cast<const float2*>(from);
            to[0] = v.x, to[1] = v.y;
        } else {
            const Quad v = *reinterpret_cast<const float4*>(from);
#pragma unroll
            for (uint32_t k = 0; k < V; k++) to[k] = v.v[k];
        }
    };
    if constexpr (TF32) {
        // Rows a step apart lie alike: the places move by a fixed distance.
        const uint32_t mine = q % 2 + q / 2 * 4;
        const uint32_t* taps = rows.taps + mine;
        const int32_t at_in[2] = {channel_place(mine + offset, g), channel_place(mine + 2 + offset, g)};
        const int32_t at_grad[2] = {channel_place(mine, g), channel_place(mine + 2, g)};
#pragma unroll 2
        for (uint32_t p0 = 0; p0 < rows.count; p0 += 8) {
            float a[2][V] = {}, b[2][V] = {};
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                if (taps[p0 + 2 * half] >> tap & 1) channels(a[half], in + (at_in[half] + int32_t(p0 * C)));
                if (p0 + mine + 2 * half < rows.count) channels(b[half], grad + (at_grad[half] + int32_t(p0 * C)));
            }
#pragma unroll
            for (uint32_t m = 0; m < V / 2; m++)
#pragma unroll
                for (uint32_t t = 0; t < V; t++)
                    mma_tf32(sum[m][t], a[0][2 * m], a[0][2 * m + 1], a[1][2 * m], a[1][2 * m + 1], b[0][t], b[1][t]);
        }
    } else {
#pragma unroll 2
        for (uint32_t p = 0; p < rows.count; p++) {
            if (!(rows.taps[p] >> tap & 1)) continue;
            float a[V], b[2][V];
            channels(a, in + channel_place(p + offset, g));
            channels(b[0], grad + channel_place(p, 2 * q)), channels(b[1], grad + channel_place(p, 2 * q + 1));
#pragma unroll
            for (uint32_t m = 0; m < V / 2; m++)
#pragma unroll
                for (uint32_t t = 0; t < V; t++)
#pragma unroll
                    for (uint32_t d = 0; d < 4; d++) sum[m][t][d] = fmaf(a[2 * m + d / 2], b[d % 2][t], sum[m][t][d]);
        }
    }
#pragma unroll
    for (uint32_t m = 0; m < V / 2; m++)
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            float row[2 * V];
#pragma unroll
            for (uint32_t o = 0; o < 2 * V; o++) row[o] = sum[m][o % V][2 * half + o / V];
            float* to = share + (tap * C + V * g + 2 * m + half) * C + 2 * V * q;
#pragma unroll
            for (uint32_t o = 0; o < 2 * V; o += 4)
                put_global(to + o, make_float4(row[o], row[o + 1], row[o + 2], row[o + 3]));
        }
}
