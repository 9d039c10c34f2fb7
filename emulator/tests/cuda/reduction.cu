// reduction: sums by warp shuffles, then by shared memory. Also the other warp-wide operations.
extern "C" __global__ void __launch_bounds__(1024) block_sum(float* out, const float* x, unsigned len) {
    __shared__ float partial[32];
    float sum = 0.0f;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < len; i += gridDim.x * blockDim.x) sum += x[i];
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
        for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

// Every warp-wide vote, match, reduction and shuffle; out holds 16 words a thread.
extern "C" __global__ void warp_operations(unsigned* out, const unsigned* x) {
    unsigned i = threadIdx.x, v = x[i], *o = out + 16 * i;
    unsigned mask = __activemask();
    o[0] = __ballot_sync(mask, v & 1);
    o[1] = __any_sync(mask, v > 5);
    o[2] = __all_sync(mask, v > 5);
    o[3] = __match_any_sync(mask, v);
    int same;
    o[4] = __match_all_sync(mask, v, &same) + same;
    o[5] = __reduce_add_sync(mask, v);
    o[6] = __reduce_min_sync(mask, (int)v);
    o[7] = __reduce_max_sync(mask, v);
    o[8] = __reduce_and_sync(mask, v);
    o[9] = __reduce_or_sync(mask, v);
    o[10] = __reduce_xor_sync(mask, v);
    o[11] = __shfl_sync(mask, v, 3, 8);
    o[12] = __shfl_up_sync(mask, v, 1);
    __syncwarp();
    o[13] = __syncthreads_count(v & 2);
    o[14] = __syncthreads_and(v) + __syncthreads_or(v);
    o[15] = __popc(mask);
}
