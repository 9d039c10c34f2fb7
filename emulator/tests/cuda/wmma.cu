// wmma: the C++ interface to tensor cores, which nvcc turns into wmma.* instructions.
#include <cuda_bf16.h>
#include <mma.h>
using namespace nvcuda::wmma;

// c [m, n] = a * b + c, sizes multiples of the tile; a warp a tile, layouts as given.
template <int M, int N, int K, typename T, typename A, typename B>
__device__ void product(float* c, const T* a, const T* b, int m, int n, int k, layout_t lies) {
    int i = blockIdx.y * M, j = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * N;
    if (j >= n) return;
    fragment<matrix_a, M, N, K, T, A> fa;
    fragment<matrix_b, M, N, K, T, B> fb;
    fragment<accumulator, M, N, K, float> fc;
    int ldc = lies == mem_row_major ? n : m;
    float* at = lies == mem_row_major ? c + i * n + j : c + j * m + i;
    load_matrix_sync(fc, at, ldc, lies);
    constexpr bool rows_a = std::is_same<A, row_major>::value, rows_b = std::is_same<B, row_major>::value;
    for (int q = 0; q < k; q += K) {
        load_matrix_sync(fa, rows_a ? a + i * k + q : a + q * m + i, rows_a ? k : m);
        load_matrix_sync(fb, rows_b ? b + q * n + j : b + j * k + q, rows_b ? n : k);
        mma_sync(fc, fa, fb, fc);
    }
    for (int e = 0; e < fc.num_elements; e++) fc.x[e] = 2.0f * fc.x[e] + 1.0f;
    store_matrix_sync(at, fc, ldc, lies);
}
extern "C" __global__ void wmma_rc(float* c, const half* a, const half* b, int m, int n, int k) {
    product<16, 16, 16, half, row_major, col_major>(c, a, b, m, n, k, mem_row_major);
}
extern "C" __global__ void wmma_rr(float* c, const half* a, const half* b, int m, int n, int k) {
    product<16, 16, 16, half, row_major, row_major>(c, a, b, m, n, k, mem_col_major);
}
extern "C" __global__ void wmma_cr_32(float* c, const half* a, const half* b, int m, int n, int k) {
    product<32, 8, 16, half, col_major, row_major>(c, a, b, m, n, k, mem_row_major);
}
extern "C" __global__ void wmma_cc_8(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int m, int n, int k) {
    product<8, 32, 16, __nv_bfloat16, col_major, col_major>(c, a, b, m, n, k, mem_row_major);
}
extern "C" __global__ void wmma_bf16(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int m, int n, int k) {
    product<16, 16, 16, __nv_bfloat16, row_major, col_major>(c, a, b, m, n, k, mem_row_major);
}

// Half accumulators, through shared memory.
extern "C" __global__ void wmma_half(half* c, const half* a, const half* b) {
    __shared__ half tile[256];
    for (int i = threadIdx.x; i < 256; i += 32) tile[i] = a[i];
    __syncwarp();
    fragment<matrix_a, 16, 16, 16, half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, half, col_major> fb;
    fragment<accumulator, 16, 16, 16, half> fc;
    fill_fragment(fc, __float2half(1.0f));
    load_matrix_sync(fa, tile, 16);
    load_matrix_sync(fb, b, 16);
    mma_sync(fc, fa, fb, fc);
    __syncwarp();
    store_matrix_sync(tile, fc, 16, mem_row_major);
    __syncwarp();
    for (int i = threadIdx.x; i < 256; i += 32) c[i] = tile[i];
}

// Bytes to integers, and doubles.
extern "C" __global__ void wmma_s8(int* c, const signed char* a, const signed char* b) {
    fragment<matrix_a, 16, 16, 16, signed char, row_major> fa;
    fragment<matrix_b, 16, 16, 16, signed char, col_major> fb;
    fragment<accumulator, 16, 16, 16, int> fc;
    fill_fragment(fc, 7);
    load_matrix_sync(fa, a, 16);
    load_matrix_sync(fb, b, 16);
    mma_sync(fc, fa, fb, fc);
    store_matrix_sync(c, fc, 16, mem_row_major);
}
extern "C" __global__ void wmma_f64(double* c, const double* a, const double* b) {
    fragment<matrix_a, 8, 8, 4, double, row_major> fa;
    fragment<matrix_b, 8, 8, 4, double, col_major> fb;
    fragment<accumulator, 8, 8, 4, double> fc;
    fill_fragment(fc, 0.5);
    load_matrix_sync(fa, a, 4);
    load_matrix_sync(fb, b, 4);
    mma_sync(fc, fa, fb, fc);
    store_matrix_sync(c, fc, 8, mem_row_major);
}
extern "C" __global__ void wmma_tf32(float* c, const float* a, const float* b) {
    fragment<matrix_a, 16, 16, 8, precision::tf32, row_major> fa;
    fragment<matrix_b, 16, 16, 8, precision::tf32, col_major> fb;
    fragment<accumulator, 16, 16, 8, float> fc;
    fill_fragment(fc, 0.0f);
    load_matrix_sync(fa, a, 8);
    load_matrix_sync(fb, b, 8);
    for (int e = 0; e < fa.num_elements; e++) fa.x[e] = __float_to_tf32(fa.x[e]);
    for (int e = 0; e < fb.num_elements; e++) fb.x[e] = __float_to_tf32(fb.x[e]);
    mma_sync(fc, fa, fb, fc);
    store_matrix_sync(c, fc, 16, mem_row_major);
}
