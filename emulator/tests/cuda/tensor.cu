// tensor: matrix products on integer and double tensor cores, on dp4a, and tiled in single precision.
#include <cuda_fp16.h>
#include <cstdint>

// d [16, 8] = a [16, 32] * b [8, 32]^T + c in integers.
extern "C" __global__ void mma_s8(int* d, const int* a, const int* b, const int* c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    int fa[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
    int fb[2] = {b[g * 8 + t], b[g * 8 + t + 4]};
    const int* from = c + g * 8 + 2 * t;
    int r[4];
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]), "r"(from[0]), "r"(from[1]), "r"(from[64]),
          "r"(from[65]));
    int* to = d + g * 8 + 2 * t;
    to[0] = r[0], to[1] = r[1], to[64] = r[2], to[65] = r[3];
}

// The same with u8 times s8, half as deep, saturating.
extern "C" __global__ void mma_u8(int* d, const int* a, const int* b, const int* c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const int* from = c + g * 8 + 2 * t;
    int r[4];
    asm volatile("mma.sync.aligned.m16n8k16.row.col.satfinite.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(a[g * 4 + t]), "r"(a[(g + 8) * 4 + t]), "r"(b[g * 4 + t]), "r"(from[0]), "r"(from[1]), "r"(from[64]),
          "r"(from[65]));
    int* to = d + g * 8 + 2 * t;
    to[0] = r[0], to[1] = r[1], to[64] = r[2], to[65] = r[3];
}

// d [8, 8] = a [8, 4] * b [8, 4]^T + c in doubles.
extern "C" __global__ void mma_f64(double* d, const double* a, const double* b, const double* c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    double r[2];
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%4,%5};"
        : "=d"(r[0]), "=d"(r[1])
        : "d"(a[threadIdx.x]), "d"(b[threadIdx.x]), "d"(c[g * 8 + 2 * t]), "d"(c[g * 8 + 2 * t + 1]));
    d[g * 8 + 2 * t] = r[0], d[g * 8 + 2 * t + 1] = r[1];
}

// c [m, n] = a [m, k] * b [n, k]^T, bytes by fours.
extern "C" __global__ void dp4a_product(int* c, const int* a, const int* b, int m, int n, int quads) {
    __shared__ int ta[16][17], tb[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, col = blockIdx.x * 16 + threadIdx.x, sum = 0;
    for (int start = 0; start < quads; start += 16) {
        int q = start + threadIdx.x;
        ta[threadIdx.y][threadIdx.x] = row < m && q < quads ? a[row * quads + q] : 0;
        int other = blockIdx.x * 16 + threadIdx.y;
        tb[threadIdx.y][threadIdx.x] = other < n && q < quads ? b[other * quads + q] : 0;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 16; i++) sum = __dp4a(ta[threadIdx.y][i], tb[threadIdx.x][i], sum);
        __syncthreads();
    }
    if (row < m && col < n) c[row * n + col] = sum;
}

// c [m, n] = a [m, k] * b [k, n], sizes multiples of 64, 64 and 8: float4 loads, two buffers, 4x4 a thread.
extern "C" __global__ void __launch_bounds__(256) sgemm(float* __restrict__ c, const float* __restrict__ a,
                                                        const float* __restrict__ b, int m, int n, int k) {
    __shared__ float ta[2][8][64], tb[2][8][64];
    int tid = threadIdx.x, tx = tid % 16, ty = tid / 16;
    float sum[4][4] = {};
    auto fetch = [&](int buffer, int start) {
        if (tid < 128) {
            float4 v = *(const float4*)&a[(blockIdx.y * 64 + tid / 2) * k + start + tid % 2 * 4];
            float each[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int i = 0; i < 4; i++) ta[buffer][tid % 2 * 4 + i][tid / 2] = each[i];
        } else {
            int i = tid - 128;
            *(float4*)&tb[buffer][i / 16][i % 16 * 4] =
                *(const float4*)&b[(start + i / 16) * n + blockIdx.x * 64 + i % 16 * 4];
        }
    };
    fetch(0, 0);
    __syncthreads();
    for (int start = 0, buffer = 0; start < k; start += 8, buffer ^= 1) {
        if (start + 8 < k) fetch(buffer ^ 1, start + 8);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float4 l = *(float4*)&ta[buffer][i][ty * 4], r = *(float4*)&tb[buffer][i][tx * 4];
            float left[4] = {l.x, l.y, l.z, l.w}, right[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
            for (int p = 0; p < 4; p++)
#pragma unroll
                for (int q = 0; q < 4; q++) sum[p][q] += left[p] * right[q];
        }
        __syncthreads();
    }
    for (int p = 0; p < 4; p++)
        *(float4*)&c[(blockIdx.y * 64 + ty * 4 + p) * n + blockIdx.x * 64 + tx * 4] =
            make_float4(sum[p][0], sum[p][1], sum[p][2], sum[p][3]);
}

// columns[(c, kh, kw), (h, w)] of an image with a border of zeros.
extern "C" __global__ void im2col(float* columns, const float* image, int channels, int h, int w, int size, int stride) {
    int oh = (h + 2 * (size / 2) - size) / stride + 1, ow = (w + 2 * (size / 2) - size) / stride + 1;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < channels * size * size * oh * ow; i += gridDim.x * blockDim.x) {
        int x = i % ow, y = i / ow % oh, kw = i / (ow * oh) % size, kh = i / (ow * oh * size) % size;
        int c = i / (ow * oh * size * size), r = y * stride + kh - size / 2, s = x * stride + kw - size / 2;
        columns[i] = r >= 0 && r < h && s >= 0 && s < w ? image[(c * h + r) * w + s] : 0.0f;
    }
}

__device__ uint32_t packed(float a, float b) {
    half2 h = __floats2half2_rn(a, b);
    return *(uint32_t*)&h;
}
// Attention of 16 queries a warp over blocks of 16 keys, heads of 16: o = softmax(q k^T / 4) v, running maximum and sum.
extern "C" __global__ void attention(float* o, const half* q, const half* k, const half* v, int keys) {
    __shared__ alignas(16) half tk[16][24], tv[16][24];
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
    const uint32_t* rows = (const uint32_t*)(q + (size_t)(blockIdx.x * (blockDim.x / 32) + warp) * 256);
    uint32_t fq[4] = {rows[g * 8 + t], rows[(g + 8) * 8 + t], rows[g * 8 + t + 4], rows[(g + 8) * 8 + t + 4]};
    float out[2][4] = {}, largest[2] = {-1e30f, -1e30f}, sum[2] = {};
    for (int start = 0; start < keys; start += 16) {
        __syncthreads();
        for (int i = threadIdx.x; i < 32; i += blockDim.x) {
            *(uint4*)&tk[i / 2][i % 2 * 8] = ((const uint4*)(k + start * 16))[i];
            *(uint4*)&tv[i / 2][i % 2 * 8] = ((const uint4*)(v + start * 16))[i];
        }
        __syncthreads();
        float s[2][4] = {};
        for (int half_of = 0; half_of < 2; half_of++) {
            uint32_t b[2];
            unsigned at = (unsigned)__cvta_generic_to_shared(&tk[half_of * 8 + lane % 8][lane / 8 % 2 * 8]);
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(at));
            float* d = s[half_of];
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                : "r"(fq[0]), "r"(fq[1]), "r"(fq[2]), "r"(fq[3]), "r"(b[0]), "r"(b[1]));
        }
        for (int row = 0; row < 2; row++) {
            float m = largest[row];
            for (int i = 0; i < 4; i++) m = fmaxf(m, s[i / 2][row * 2 + i % 2] *= 0.25f);
            m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
            m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
            float shrink = __expf(largest[row] - m), part = 0.0f;
            largest[row] = m;
            for (int i = 0; i < 4; i++) part += s[i / 2][row * 2 + i % 2] = __expf(s[i / 2][row * 2 + i % 2] - m);
            sum[row] = sum[row] * shrink + part;
            for (int i = 0; i < 4; i++) out[i / 2][row * 2 + i % 2] *= shrink;
        }
        uint32_t p[4] = {packed(s[0][0], s[0][1]), packed(s[0][2], s[0][3]), packed(s[1][0], s[1][1]), packed(s[1][2], s[1][3])};
        for (int half_of = 0; half_of < 2; half_of++) {
            uint32_t b[2];
            unsigned at = (unsigned)__cvta_generic_to_shared(&tv[lane % 16][half_of * 8]);
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(at));
            float* d = out[half_of];
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "r"(b[0]), "r"(b[1]));
        }
    }
    float* to = o + (size_t)(blockIdx.x * (blockDim.x / 32) + warp) * 256;
    for (int row = 0; row < 2; row++) {
        sum[row] += __shfl_xor_sync(~0u, sum[row], 1);
        sum[row] += __shfl_xor_sync(~0u, sum[row], 2);
        for (int i = 0; i < 4; i++) to[(g + row * 8) * 16 + i / 2 * 8 + 2 * t + i % 2] = out[i / 2][row * 2 + i % 2] / sum[row];
    }
}
