// grid_barrier: all blocks of a cooperative launch meet between two passes.
#include <cooperative_groups.h>
extern "C" __global__ void grid_barrier(float* x, float* sums, unsigned len) {
    cooperative_groups::grid_group grid = cooperative_groups::this_grid();
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len) atomicAdd(sums, x[i]);
    grid.sync();
    if (i < len) x[i] /= *(volatile float*)sums;
}
// A tile of eight lanes sums, then the whole block meets.
extern "C" __global__ void tile_sum(int* out, const int* x) {
    auto block = cooperative_groups::this_thread_block();
    auto tile = cooperative_groups::tiled_partition<8>(block);
    int v = x[block.thread_rank()];
    for (int step = 4; step > 0; step /= 2) v += tile.shfl_down(v, step);
    block.sync();
    if (tile.thread_rank() == 0) out[block.thread_rank() / 8] = v;
}
// Tiles of two warps sum: their barriers lie in the shared memory that the system reserves.
extern "C" __global__ void wide_tile_sum(int* out, const int* x) {
    __shared__ cooperative_groups::block_tile_memory<256> memory;
    auto block = cooperative_groups::this_thread_block(memory);
    auto tile = cooperative_groups::tiled_partition<64>(block);
    __shared__ int shared[256];
    shared[block.thread_rank()] = x[block.thread_rank()];
    tile.sync();
    if (tile.thread_rank() == 0) {
        int sum = 0;
        for (unsigned i = 0; i < tile.size(); i++) sum += shared[block.thread_rank() + i];
        out[block.thread_rank() / 64] = sum;
    }
}
