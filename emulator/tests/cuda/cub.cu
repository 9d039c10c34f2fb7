// cub: collectives of a library that many kernels use, over a block or a warp.
#include <cub/block/block_histogram.cuh>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/warp/warp_reduce.cuh>
#include <cuda/atomic>

extern "C" __global__ void cub_reduce(int* out, const int* x) {
    using Reduce = cub::BlockReduce<int, 128>;
    using Warp = cub::WarpReduce<int>;
    __shared__ Reduce::TempStorage storage;
    __shared__ Warp::TempStorage warps[4];
    int v = x[blockIdx.x * 128 + threadIdx.x];
    int sum = Reduce(storage).Sum(v);
    if (threadIdx.x == 0) out[blockIdx.x * 5] = sum;
    int part = Warp(warps[threadIdx.x / 32]).Reduce(v, [](int a, int b) { return a > b ? a : b; });
    if (threadIdx.x % 32 == 0) out[blockIdx.x * 5 + 1 + threadIdx.x / 32] = part;
}

extern "C" __global__ void cub_scan(int* y, const int* x) {
    using Scan = cub::BlockScan<int, 128, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ Scan::TempStorage storage;
    int v[4];
    for (int i = 0; i < 4; i++) v[i] = x[threadIdx.x * 4 + i];
    Scan(storage).ExclusiveSum(v, v);
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = v[i];
}

extern "C" __global__ void __launch_bounds__(128) cub_sort(unsigned* keys, int* values) {
    using Sort = cub::BlockRadixSort<unsigned, 128, 2, int>;
    __shared__ Sort::TempStorage storage;
    unsigned k[2] = {keys[threadIdx.x * 2], keys[threadIdx.x * 2 + 1]};
    int v[2] = {(int)threadIdx.x * 2, (int)threadIdx.x * 2 + 1};
    Sort(storage).Sort(k, v);
    for (int i = 0; i < 2; i++) keys[threadIdx.x * 2 + i] = k[i], values[threadIdx.x * 2 + i] = v[i];
}

// Histogram of bytes with atomics of the standard's kind, and a release-acquire hand-over between blocks.
extern "C" __global__ void atomics(unsigned* bins, unsigned* done, unsigned* total, const unsigned char* x, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        cuda::atomic_ref<unsigned, cuda::thread_scope_device> bin(bins[x[i] % 16]);
        bin.fetch_add(1, cuda::std::memory_order_relaxed);
    }
    __syncthreads();
    __shared__ bool last;
    if (threadIdx.x == 0) {
        cuda::atomic_ref<unsigned, cuda::thread_scope_device> count(*done);
        last = count.fetch_add(1, cuda::std::memory_order_acq_rel) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        unsigned sum = 0;
        for (int b = 0; b < 16; b++) sum += cuda::atomic_ref<unsigned, cuda::thread_scope_device>(bins[b]).load();
        *total = sum;
    }
}
