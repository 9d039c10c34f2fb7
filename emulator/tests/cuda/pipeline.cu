// pipeline: copies from global to shared memory that overlap with work, by each of the interfaces that CUDA has.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cuda_pipeline.h>
#include <utility>
namespace cg = cooperative_groups;

// out[i] = sum of tile i of x times (i + 1), where tiles go through two buffers.
template <typename Wait>
__device__ void add_tile(float* out, const float* tile, int t, Wait wait) {
    wait();
    float v = tile[threadIdx.x] * (t + 1);
    atomicAdd(out + t, v);
}

extern "C" __global__ void primitives(float* out, const float* x, int tiles) {
    __shared__ alignas(16) float buffer[2][128];
    auto fetch = [&](int t) {
        if (t < tiles && threadIdx.x < 32)
            __pipeline_memcpy_async(&buffer[t % 2][4 * threadIdx.x], x + t * 128 + 4 * threadIdx.x, 16);
        __pipeline_commit();
    };
    fetch(0);
    for (int t = 0; t < tiles; t++) {
        fetch(t + 1);
        add_tile(out, buffer[t % 2], t, [] { __pipeline_wait_prior(1), __syncthreads(); });
        __syncthreads();
    }
}

extern "C" __global__ void group_copies(float* out, const float* x, int tiles) {
    __shared__ alignas(16) float buffer[2][128];
    auto block = cg::this_thread_block();
    cg::memcpy_async(block, buffer[0], x, sizeof(buffer[0]));
    for (int t = 0; t < tiles; t++) {
        if (t + 1 < tiles) {
            cg::memcpy_async(block, buffer[(t + 1) % 2], x + (t + 1) * 128, sizeof(buffer[0]));
            cg::wait_prior<1>(block);
        } else {
            cg::wait(block);
        }
        add_tile(out, buffer[t % 2], t, [] {});
        block.sync();
    }
}

extern "C" __global__ void thread_pipeline(float* out, const float* x, int tiles) {
    __shared__ alignas(16) float buffer[2][128];
    auto pipe = cuda::make_pipeline();
    auto fetch = [&](int t) {
        pipe.producer_acquire();
        if (t < tiles) cuda::memcpy_async(&buffer[t % 2][threadIdx.x], x + t * 128 + threadIdx.x, 4, pipe);
        pipe.producer_commit();
    };
    fetch(0);
    for (int t = 0; t < tiles; t++) {
        fetch(t + 1);
        cuda::pipeline_consumer_wait_prior<1>(pipe);
        add_tile(out, buffer[t % 2], t, [] { __syncthreads(); });
        __syncthreads();
        pipe.consumer_release();
    }
}

extern "C" __global__ void block_pipeline(float* out, const float* x, int tiles) {
    __shared__ alignas(16) float buffer[2][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    auto fetch = [&](int t) {
        pipe.producer_acquire();
        if (t < tiles) cuda::memcpy_async(block, buffer[t % 2], x + t * 128, cuda::aligned_size_t<16>(512), pipe);
        pipe.producer_commit();
    };
    fetch(0);
    for (int t = 0; t < tiles; t++) {
        fetch(t + 1);
        pipe.consumer_wait();
        add_tile(out, buffer[t % 2], t, [] {});
        pipe.consumer_release();
    }
    pipe.consumer_wait();
    pipe.consumer_release();
}

extern "C" __global__ void barriers(float* out, const float* x, int tiles) {
    __shared__ alignas(16) float buffer[128];
    __shared__ cuda::barrier<cuda::thread_scope_block> filled;
    auto block = cg::this_thread_block();
    if (threadIdx.x == 0) init(&filled, blockDim.x);
    block.sync();
    for (int t = 0; t < tiles; t++) {
        cuda::memcpy_async(block, buffer, x + t * 128, cuda::aligned_size_t<16>(512), filled);
        filled.arrive_and_wait();
        add_tile(out, buffer, t, [] {});
        auto token = filled.arrive();
        filled.wait(std::move(token));
    }
}
