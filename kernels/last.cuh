// Finishing a launch's totals in the launch itself, by the block that comes last: what decides is which blocks there are, not
// which of them that is, so that the order of a sum is the same in every run.
#pragma once
#include "common.cuh"

// Whether this block is the last of `count` to come here; it then sees what the others wrote before. Every thread gets the
// answer. The counter is left at zero.
__device__ inline bool last_to_come(uint32_t* counter, uint32_t count) {
    __shared__ uint32_t before;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        before = atomicAdd(counter, 1u);
        if (before == count - 1) *counter = 0;
    }
    __syncthreads();
    const bool last = before == count - 1;
    if (last) __threadfence();
    return last;
}

// put(c, sum) once for every column c of rows [begin, end) of `from` [.][columns], which other blocks of this launch wrote:
// the block's threads share a column's rows, each its own in order, then their sums in order. `scratch`: a float a thread.
template <class Put>
__device__ void merge_rows(const float* from, uint32_t begin, uint32_t end, uint32_t columns, float* scratch, Put put) {
    const uint32_t width = min(columns, blockDim.x), parts = blockDim.x / width;
    const uint32_t lane = threadIdx.x % width, part = threadIdx.x / width;
    for (uint32_t first = 0; first < columns; first += width) {
        const uint32_t c = first + lane;
        float sum = 0.0f;
        // Past the first-level cache.
        if (part < parts && c < columns)
            for (uint32_t row = begin + part; row < end; row += parts) sum += __ldcg(from + uint64_t(row) * columns + c);
        scratch[threadIdx.x] = sum;
        __syncthreads();
        if (part == 0 && c < columns) {
            for (uint32_t p = 1; p < parts; p++) sum += scratch[p * width + lane];
            put(c, sum);
        }
        __syncthreads();
    }
}

// Where two sums over all elements of a map go, the blocks' shares of them [blocks][2], and the blocks' counter.
struct PairSum {
    float *out, *partial;
    uint32_t* counter;
};
static_assert(sizeof(PairSum) == 24, "src/cuda/operand.rs declares the same");

// put(first, second) once, by one thread: the sums over all threads of the launch, by the block that comes last. `scratch`: 32 floats.
template <class Put>
__device__ inline void finish_pair(const PairSum& to, float first, float second, float* scratch, Put put) {
    const uint32_t blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
    first = block_sum(first, scratch), second = block_sum(second, scratch);
    float2* shares = reinterpret_cast<float2*>(to.partial);
    if (threadIdx.x == 0) shares[block] = make_float2(first, second);
    if (!last_to_come(to.counter, blocks)) return;
    first = second = 0.0f;
    for (uint32_t b = threadIdx.x; b < blocks; b += blockDim.x) {
        const float2 share = __ldcg(shares + b);
        first += share.x, second += share.y;
    }
    first = block_sum(first, scratch), second = block_sum(second, scratch);
    if (threadIdx.x == 0) put(first, second);
}

// to.out = both sums.
__device__ inline void finish_pair(const PairSum& to, float first, float second, float* scratch) {
    finish_pair(to, first, second, scratch, [&](float first, float second) { to.out[0] = first, to.out[1] = second; });
}
