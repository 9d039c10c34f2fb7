// rows: softmax and layer norm, one warp or one block a row; a padded transpose; activations.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cfloat>

template <typename T, typename F>
__device__ T warp_reduce(T v, F join) {
    for (int step = 16; step > 0; step >>= 1) v = join(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

// y[r, :] = exp(x[r, :] - max) / sum; a warp a row, several warps a block.
extern "C" __global__ void __launch_bounds__(128) softmax_rows(float* y, const float* x, int rows, int cols) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const float* in = x + (size_t)row * cols;
    float largest = -FLT_MAX;
    for (int c = lane; c < cols; c += 32) largest = fmaxf(largest, in[c]);
    largest = warp_reduce(largest, [](float a, float b) { return fmaxf(a, b); });
    float sum = 0.0f;
    for (int c = lane; c < cols; c += 32) sum += expf(in[c] - largest);
    sum = warp_reduce(sum, [](float a, float b) { return a + b; });
    for (int c = lane; c < cols; c += 32) y[(size_t)row * cols + c] = expf(in[c] - largest) / sum;
}

struct Moments {
    float mean, m2;
    int count;
};
__device__ Moments join(Moments a, Moments b) {
    int count = a.count + b.count;
    if (count == 0) return a;
    float delta = b.mean - a.mean;
    float mean = a.mean + delta * b.count / count;
    return {mean, a.m2 + b.m2 + delta * delta * a.count * b.count / count, count};
}
// Layer norm with Welford's moments over a block; weights in bf16.
extern "C" __global__ void layer_norm(float* y, const float* x, const __nv_bfloat16* gamma, const __nv_bfloat16* beta,
                                      int cols, float eps) {
    __shared__ Moments partial[32];
    const float* in = x + (size_t)blockIdx.x * cols;
    Moments m = {0.0f, 0.0f, 0};
    for (int c = threadIdx.x; c < cols; c += blockDim.x) m = join(m, Moments{in[c], 0.0f, 1});
    for (int step = 16; step > 0; step /= 2) {
        Moments other = {__shfl_down_sync(~0u, m.mean, step), __shfl_down_sync(~0u, m.m2, step),
                         __shfl_down_sync(~0u, m.count, step)};
        m = join(m, other);
    }
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = m;
    __syncthreads();
    m = partial[0];
    for (int w = 1; w < blockDim.x / 32; w++) m = join(m, partial[w]);
    float rstd = rsqrtf(m.m2 / cols + eps);
    for (int c = threadIdx.x; c < cols; c += blockDim.x) {
        float v = (in[c] - m.mean) * rstd;
        y[(size_t)blockIdx.x * cols + c] = v * __bfloat162float(gamma[c]) + __bfloat162float(beta[c]);
    }
}

template <int TILE, int ROWS>
__device__ void transpose_tile(float* y, const float* x, int h, int w) {
    __shared__ float tile[TILE][TILE + 1];
    int c = blockIdx.x * TILE + threadIdx.x, r = blockIdx.y * TILE + threadIdx.y;
#pragma unroll
    for (int i = 0; i < TILE; i += ROWS)
        if (c < w && r + i < h) tile[threadIdx.y + i][threadIdx.x] = x[(r + i) * w + c];
    __syncthreads();
    c = blockIdx.y * TILE + threadIdx.x, r = blockIdx.x * TILE + threadIdx.y;
#pragma unroll
    for (int i = 0; i < TILE; i += ROWS)
        if (c < h && r + i < w) y[(r + i) * h + c] = tile[threadIdx.x][threadIdx.y + i];
}
extern "C" __global__ void transpose(float* y, const float* x, int h, int w) { transpose_tile<32, 8>(y, x, h, w); }

// Rows: gelu by erf, gelu by tanh, silu, softplus, each in single; then silu and gelu in half2 and bfloat2.
extern "C" __global__ void activations(float* y, const float* x, half2* yh, __nv_bfloat162* yb, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float v = x[i];
        y[i] = 0.5f * v * (1.0f + erff(v * 0.70710678f));
        y[n + i] = 0.5f * v * (1.0f + tanhf(0.79788456f * (v + 0.044715f * v * v * v)));
        y[2 * n + i] = v / (1.0f + __expf(-v));
        y[3 * n + i] = v > 20.0f ? v : log1pf(expf(v));
    }
    if (i < n / 2) {
        half2 h = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
        half2 one = __float2half2_rn(1.0f);
        yh[i] = __h2div(h, __hadd2(one, h2exp(__hneg2(h))));
        __nv_bfloat162 b = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
        yb[i] = __hfma2(b, __float2bfloat162_rn(0.5f), __hmax2(b, __float2bfloat162_rn(0.0f)));
    }
}

// Per-row symmetric quantisation to s8 and asymmetric to u8, four values a word.
extern "C" __global__ void quantise(char4* q, uchar4* u, float* scales, const float4* x, int quads) {
    float largest = 0.0f;
    for (int c = threadIdx.x; c < quads; c += 32) {
        float4 v = x[blockIdx.x * quads + c];
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    }
    largest = warp_reduce(largest, [](float a, float b) { return a > b ? a : b; });
    float scale = largest / 127.0f, inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    if (threadIdx.x == 0) scales[blockIdx.x] = scale;
    for (int c = threadIdx.x; c < quads; c += 32) {
        float4 v = x[blockIdx.x * quads + c];
        q[blockIdx.x * quads + c] =
            make_char4(__float2int_rn(v.x * inverse), __float2int_rn(v.y * inverse), __float2int_rn(v.z * inverse),
                       __float2int_rn(v.w * inverse));
        auto byte = [&](float f) { return (unsigned char)min(max(__float2int_rd(f * inverse + 128.5f), 0), 255); };
        u[blockIdx.x * quads + c] = make_uchar4(byte(v.x), byte(v.y), byte(v.z), byte(v.w));
    }
}
