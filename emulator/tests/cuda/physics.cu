// physics: n-body, a 3-D stencil, an FFT, Mandelbrot, a counter-based random generator: ordinary numerical code.
#include <cuda/std/complex>
#include <math_constants.h>

extern "C" __global__ void n_body(float3* acceleration, const float4* bodies, int n, float softening) {
    __shared__ float4 tile[64];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float4 me = i < n ? bodies[i] : make_float4(0, 0, 0, 0);
    float3 a = make_float3(0, 0, 0);
    for (int start = 0; start < n; start += blockDim.x) {
        int j = start + threadIdx.x;
        tile[threadIdx.x] = j < n ? bodies[j] : make_float4(0, 0, 0, 0);
        __syncthreads();
        for (int k = 0; k < blockDim.x; k++) {
            float4 other = tile[k];
            float dx = other.x - me.x, dy = other.y - me.y, dz = other.z - me.z;
            float inverse = rsqrtf(dx * dx + dy * dy + dz * dz + softening);
            float s = other.w * inverse * inverse * inverse;
            a.x += dx * s, a.y += dy * s, a.z += dz * s;
        }
        __syncthreads();
    }
    if (i < n) acceleration[i] = a;
}

__constant__ double weights[4] = {-6.0, 1.0, 0.25, 0.0625};
// Marches along z, neighbours above and below in registers, the plane in shared memory with a halo.
extern "C" __global__ void stencil3d(double* y, const double* x, int3 size) {
    __shared__ double plane[10][18];
    int i = blockIdx.x * 16 + threadIdx.x, j = blockIdx.y * 8 + threadIdx.y;
    bool inside = i < size.x && j < size.y;
    auto at = [&](int i, int j, int k) {
        return i >= 0 && j >= 0 && k >= 0 && i < size.x && j < size.y && k < size.z
                   ? x[((size_t)k * size.y + j) * size.x + i]
                   : 0.0;
    };
    double below = 0.0, here = at(i, j, 0);
    for (int k = 0; k < size.z; k++) {
        double above = at(i, j, k + 1);
        __syncthreads();
        plane[threadIdx.y + 1][threadIdx.x + 1] = here;
        if (threadIdx.x == 0) plane[threadIdx.y + 1][0] = at(i - 1, j, k);
        if (threadIdx.x == 15) plane[threadIdx.y + 1][17] = at(i + 1, j, k);
        if (threadIdx.y == 0) plane[0][threadIdx.x + 1] = at(i, j - 1, k);
        if (threadIdx.y == 7) plane[9][threadIdx.x + 1] = at(i, j + 1, k);
        __syncthreads();
        if (inside)
            y[((size_t)k * size.y + j) * size.x + i] =
                weights[0] * here + weights[1] * (below + above) +
                weights[2] * (plane[threadIdx.y + 1][threadIdx.x] + plane[threadIdx.y + 1][threadIdx.x + 2]) +
                weights[3] * (plane[threadIdx.y][threadIdx.x + 1] + plane[threadIdx.y + 2][threadIdx.x + 1]);
        below = here, here = above;
    }
}

// A block transforms blockDim.x * 2 values in place.
extern "C" __global__ void fft(float2* x, int log_n) {
    extern __shared__ float2 v[];
    int n = 1 << log_n;
    float2* line = x + (size_t)blockIdx.x * n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) v[__brev(i) >> (32 - log_n)] = line[i];
    for (int half = 1; half < n; half *= 2) {
        __syncthreads();
        int j = threadIdx.x & (half - 1), i = 2 * (threadIdx.x - j) + j;
        float s, c;
        sincosf(-CUDART_PI_F * j / half, &s, &c);
        float2 a = v[i], b = v[i + half];
        float2 t = make_float2(b.x * c - b.y * s, b.x * s + b.y * c);
        v[i] = make_float2(a.x + t.x, a.y + t.y);
        v[i + half] = make_float2(a.x - t.x, a.y - t.y);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) line[i] = v[i];
}

extern "C" __global__ void mandelbrot(unsigned short* iterations, int w, int h, double scale) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, j = blockIdx.y * blockDim.y + threadIdx.y;
    if (i >= w || j >= h) return;
    cuda::std::complex<double> c((i - 0.7 * w) * scale, (j - 0.5 * h) * scale), z(0.0, 0.0);
    int n = 0;
    while (n < 200 && cuda::std::norm(z) <= 4.0) {
        z = z * z + c;
        n++;
    }
    iterations[j * w + i] = n;
}

// Philox 4x32-10, as random number libraries have it, and normal deviates from it.
__device__ uint4 philox(uint4 c, uint2 k) {
    for (int round = 0; round < 10; round++) {
        unsigned h0 = __umulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
        unsigned h1 = __umulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
        c = make_uint4(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k.x += 0x9E3779B9u, k.y += 0xBB67AE85u;
    }
    return c;
}
extern "C" __global__ void random_numbers(uint4* bits, float2* normal, int n, unsigned long long seed) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    uint4 r = philox(make_uint4(i, 0, 0, 0), make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
    bits[i] = r;
    float u = (r.x + 1.0f) * 2.3283064e-10f, angle = r.y * 2.3283064e-10f;
    float radius = sqrtf(-2.0f * logf(u)), s, c;
    sincospif(2.0f * angle, &s, &c);
    normal[i] = make_float2(radius * c, radius * s);
}

// Double-precision functions that libraries inline in full.
extern "C" __global__ void functions(double* y, const double* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double v = x[i];
    double out[12] = {exp(v), log(fabs(v) + 1e-3), sin(v), cos(v), pow(fabs(v), 1.7), cbrt(v), erf(v), tanh(v),
                      atan2(v, 1.5), sqrt(fabs(v)) / (1.0 + v * v), fmod(v, 0.37), lgamma(fabs(v) + 0.5)};
    for (int k = 0; k < 12; k++) y[k * n + i] = out[k];
}
