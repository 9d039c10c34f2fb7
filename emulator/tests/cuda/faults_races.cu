// faults_races: accesses that nothing orders, each beside the same kernel with what orders them.
#include <cooperative_groups.h>
__device__ unsigned arrived;

// Threads read what their neighbour across the warps wrote; `safe`: behind a barrier.
extern "C" __global__ void shared_exchange(int* out, int safe) {
    __shared__ int tile[64];
    tile[threadIdx.x] = 0;
    __syncthreads();
    ((volatile int*)tile)[threadIdx.x] = threadIdx.x;
    if (safe) __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// The other way round: overwrites what the neighbour still reads.
extern "C" __global__ void shared_overwrite(int* out, int safe) {
    __shared__ int tile[64];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    int v = tile[threadIdx.x ^ 32];
    if (safe) __syncthreads();
    tile[threadIdx.x] = v;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}
// Within a warp.
extern "C" __global__ void warp_exchange(int* out, int safe) {
    __shared__ int tile[64];
    tile[threadIdx.x] = threadIdx.x;
    if (safe) __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}
// Pairs of lanes meet, and exchange within the pair or beyond it.
extern "C" __global__ void pair_exchange(int* out, int far) {
    __shared__ int tile[32];
    tile[threadIdx.x] = threadIdx.x;
    __syncwarp(3u << (threadIdx.x & 30));
    out[threadIdx.x] = tile[threadIdx.x ^ far];
}
// Neighbouring bytes and halves belong to different threads.
extern "C" __global__ void shared_bytes(int* out) {
    __shared__ unsigned char bytes[64];
    __shared__ unsigned short halves[64];
    bytes[threadIdx.x] = threadIdx.x;
    halves[threadIdx.x] = threadIdx.x;
    bytes[threadIdx.x] += 1;
    halves[threadIdx.x] += 2;
    __syncthreads();
    out[threadIdx.x] = bytes[63 - threadIdx.x] + halves[threadIdx.x ^ 32];
}
// Bytes again, but a thread reads its neighbour's as well.
extern "C" __global__ void shared_byte_pairs(int* out) {
    __shared__ unsigned char bytes[64];
    bytes[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = ((volatile unsigned short*)bytes)[threadIdx.x / 2];
}
extern "C" __global__ void shared_atomics(int* out, int safe) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    if (safe) atomicAdd(&sum, 1); else sum += 1;
    __syncthreads();
    out[threadIdx.x] = sum;
}

// Every block writes its number, or adds it.
extern "C" __global__ void blocks_write(int* x, int safe) {
    if (threadIdx.x != 3) return;
    if (safe) atomicAdd(x, (int)blockIdx.x); else *x = blockIdx.x;
}
// Threads of one block exchange through global memory.
extern "C" __global__ void global_exchange(int* out, volatile int* x, int safe) {
    int* plain = (int*)x;
    plain[threadIdx.x] = threadIdx.x;
    if (safe) __syncthreads();
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(out[threadIdx.x]) : "l"(plain + (threadIdx.x ^ 32)));
}
extern "C" __global__ void global_bytes(unsigned char* x) { x[blockIdx.x * blockDim.x + threadIdx.x] += 1; }
// The last block to arrive sums what all have written.
extern "C" __global__ void last_block(int* out, int* partial, int safe) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = blockIdx.x + 1;
        if (safe) __threadfence();
        last = atomicAdd(&arrived, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last || threadIdx.x != 0) return;
    if (safe) __threadfence();
    int sum = 0;
    for (unsigned i = 0; i < gridDim.x; i++) sum += partial[i];
    *out = sum;
}
// Blocks read what the next one wrote, behind a grid-wide barrier or not.
extern "C" __global__ void grid_exchange(int* out, int* x, int safe) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, all = gridDim.x * blockDim.x;
    x[i] = i;
    if (safe) cooperative_groups::this_grid().sync();
    out[i] = x[(i + blockDim.x) % all];
}
// The second block never comes to the barrier.
extern "C" __global__ void grid_skipped(int* x, int skip) {
    if ((int)blockIdx.x == skip) return;
    cooperative_groups::this_grid().sync();
    x[blockIdx.x] = 1;
}
// Block 0 waits for a flag that block 1 sets behind its data.
extern "C" __global__ void flag_passed(int* out, int* x, int* flag) {
    if (blockIdx.x == 1) {
        *x = 42;
        __threadfence();
        atomicExch(flag, 1);
    } else {
        while (atomicAdd(flag, 0) == 0);
        __threadfence();
        *out = *x;
    }
}

// One instruction writes one place in all lanes: the same value, or each its own.
extern "C" __global__ void one_place_global(int* x, int scale) { x[blockIdx.x] = 5 + scale * (int)(threadIdx.x / 2); }
extern "C" __global__ void one_place_shared(int* out, int scale) {
    __shared__ int place;
    place = 5 + scale * (int)(threadIdx.x / 2);
    __syncthreads();
    out[threadIdx.x] = place;
}
