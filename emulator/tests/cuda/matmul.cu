// matmul: c[M,N] = a[M,K] b[K,N] in 16x16 tiles of shared memory; sizes are multiples of 16.
template <int TILE>
__device__ void matmul_body(float* c, const float* a, const float* b, int n, int k) {
    __shared__ float sa[TILE][TILE], sb[TILE][TILE + 1];
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int t = 0; t < k; t += TILE) {
        sa[threadIdx.y][threadIdx.x] = a[row * k + t + threadIdx.x];
        sb[threadIdx.y][threadIdx.x] = b[(t + threadIdx.y) * n + col];
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += sa[threadIdx.y][i] * sb[i][threadIdx.x];
        __syncthreads();
    }
    c[row * n + col] = sum;
}
extern "C" __global__ void __launch_bounds__(256) matmul16(float* c, const float* a, const float* b, int n, int k) {
    matmul_body<16>(c, a, b, n, k);
}
// The same with its tiles in dynamic shared memory.
extern "C" __global__ void matmul_dynamic(float* c, const float* a, const float* b, int n, int k, int tile) {
    extern __shared__ float buffer[];
    float *sa = buffer, *sb = buffer + tile * tile;
    int row = blockIdx.y * tile + threadIdx.y, col = blockIdx.x * tile + threadIdx.x, at = threadIdx.y * tile + threadIdx.x;
    float sum = 0.0f;
    for (int t = 0; t < k; t += tile) {
        sa[at] = a[row * k + t + threadIdx.x];
        sb[at] = b[(t + threadIdx.y) * n + col];
        __syncthreads();
        for (int i = 0; i < tile; i++) sum = fmaf(sa[threadIdx.y * tile + i], sb[i * tile + threadIdx.x], sum);
        __syncthreads();
    }
    c[row * n + col] = sum;
}
