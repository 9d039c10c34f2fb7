// histogram: counts of bytes through shared atomics; then every other atomic.
#include <cuda_fp16.h>
extern "C" __global__ void histogram(unsigned* bins, const unsigned char* x, unsigned len) {
    __shared__ unsigned local[256];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < len; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i]) atomicAdd(&bins[i], local[i]);
}
extern "C" __global__ void atomics(int* i, unsigned* u, unsigned long long* l, float* f, double* d, __half2* h, unsigned v, int* old) {
    int t = threadIdx.x;
    old[0] = atomicAdd(i, t);
    old[1] = atomicMin(i + 1, t), old[2] = atomicMax(i + 2, t);
    old[3] = atomicExch(u, v), old[4] = atomicCAS(u + 1, v, v + 1);
    old[5] = atomicInc(u + 2, v), old[6] = atomicDec(u + 3, v);
    old[7] = atomicAnd(u + 4, v), old[8] = atomicOr(u + 5, v), old[9] = atomicXor(u + 6, v);
    old[10] = (int)atomicAdd(l, 1ull), old[11] = (int)atomicCAS(l + 1, 1ull, 2ull), old[12] = (int)atomicMax(l + 2, 7ull);
    old[13] = (int)atomicAdd(f, 1.5f), old[14] = (int)atomicAdd(d, 2.5);
    atomicAdd(h, __floats2half2_rn(1.0f, 2.0f));
    atomicAdd_block(i + 3, t), atomicAdd_system(i + 4, t), atomicSub(i + 5, t);
    atomicMin(u + 7, v), atomicMax(l + 3, 9ull), atomicOr(u + 8, v), atomicAdd(f + 1, 2.0f);
    __threadfence(), __threadfence_block(), __threadfence_system();
}
