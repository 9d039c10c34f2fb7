// scans: prefix sums in a block and over blocks (decoupled look-back), stream compaction, a lock, a segmented matvec.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;

__device__ unsigned inclusive_scan(unsigned v, unsigned* warps) {
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (unsigned step = 1; step < 32; step *= 2) {
        unsigned other = __shfl_up_sync(0xffffffffu, v, step);
        if (lane >= step) v += other;
    }
    if (lane == 31) warps[warp] = v;
    __syncthreads();
    if (warp == 0) {
        unsigned sum = lane < blockDim.x / 32 ? warps[lane] : 0;
        for (unsigned step = 1; step < 32; step *= 2) {
            unsigned other = __shfl_up_sync(0xffffffffu, sum, step);
            if (lane >= step) sum += other;
        }
        warps[lane] = sum;
    }
    __syncthreads();
    return warp == 0 ? v : v + warps[warp - 1];
}

// y = inclusive prefix sums of x, in one pass: a block waits for the sums of those before it.
extern "C" __global__ void look_back_scan(unsigned* y, const unsigned* x, unsigned long long* states, unsigned* ticket,
                                          unsigned len) {
    __shared__ unsigned warps[32], block, before;
    if (threadIdx.x == 0) block = atomicAdd(ticket, 1);
    __syncthreads();
    unsigned i = block * blockDim.x + threadIdx.x;
    unsigned v = inclusive_scan(i < len ? x[i] : 0, warps);
    if (threadIdx.x == blockDim.x - 1) {
        // Upper half: 1 for the block's own sum, 2 for the sum up to it.
        unsigned long long state = (block == 0 ? 2ull : 1ull) << 32 | v;
        atomicExch(&states[block], state);
        unsigned sum = 0;
        for (int b = (int)block - 1; b >= 0;) {
            unsigned long long seen = atomicAdd(&states[b], 0ull);
            if (seen >> 32 == 0) continue;
            sum += (unsigned)seen;
            if (seen >> 32 == 2) break;
            b--;
        }
        if (block > 0) atomicExch(&states[block], 2ull << 32 | (sum + v));
        before = sum;
    }
    __syncthreads();
    if (i < len) y[i] = before + v;
}

// Keeps what is odd; order within y is left open. One atomic a warp.
extern "C" __global__ void compact(unsigned* y, unsigned* count, const unsigned* x, unsigned len) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned v = i < len ? x[i] : 0;
    unsigned keep = __ballot_sync(0xffffffffu, v & 1);
    unsigned lane = threadIdx.x % 32, base = 0;
    if (lane == 0 && keep) base = atomicAdd(count, __popc(keep));
    base = __shfl_sync(0xffffffffu, base, 0);
    if (v & 1) y[base + __popc(keep & ((1u << lane) - 1))] = v;
}

// The same with the group of active lanes.
extern "C" __global__ void compact_coalesced(unsigned* y, unsigned* count, const unsigned* x, unsigned len) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < len && (x[i] & 1)) {
        cg::coalesced_group active = cg::coalesced_threads();
        unsigned base = 0;
        if (active.thread_rank() == 0) base = atomicAdd(count, active.size());
        y[active.shfl(base, 0) + active.thread_rank()] = x[i];
    }
}

// Sums by label within each warp, by parity and by tiles; each lane gets its group's.
extern "C" __global__ void partitions(int4* y, const int* x) {
    auto block = cg::this_thread_block();
    auto tile = cg::tiled_partition<32>(block);
    int v = x[block.thread_rank()];
    auto labeled = cg::labeled_partition(tile, v % 3);
    auto parity = cg::binary_partition(tile, (v & 1) == 0);
    auto small = cg::tiled_partition<8>(tile);
    int4 out;
    out.x = cg::reduce(labeled, v, cg::plus<int>());
    out.y = cg::reduce(parity, v, cg::greater<int>());
    out.z = cg::reduce(small, v, cg::less<int>());
    out.w = cg::inclusive_scan(tile, v);
    y[block.thread_rank()] = out;
}

// One thread of each block at a time changes the record.
struct Record {
    int lock, visits;
    double sum;
    int last;
};
extern "C" __global__ void locked(Record* record) {
    if (threadIdx.x == 0) {
        while (atomicCAS(&record->lock, 0, 1) != 0) {}
        __threadfence();
        record->visits += 1;
        record->sum += blockIdx.x * 0.5;
        record->last = max(record->last, (int)blockIdx.x);
        __threadfence();
        atomicExch(&record->lock, 0);
    }
}

// y = A x for a sparse A; a group of lanes a row.
template <int LANES>
__device__ void csr(double* y, const int* starts, const int* columns, const double* values, const double* x, int rows) {
    auto tile = cg::tiled_partition<LANES>(cg::this_thread_block());
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    if (row >= rows) return;
    double sum = 0.0;
    for (int j = starts[row] + tile.thread_rank(); j < starts[row + 1]; j += LANES)
        sum += __ldg(values + j) * __ldg(x + columns[j]);
    sum = cg::reduce(tile, sum, cg::plus<double>());
    if (tile.thread_rank() == 0) y[row] = sum;
}
extern "C" __global__ void csr_matvec(double* y, const int* starts, const int* columns, const double* values,
                                      const double* x, int rows) {
    csr<4>(y, starts, columns, values, x, rows);
}

// Adds all values to one sum, in whatever order.
extern "C" __global__ void sum_doubles(double* sum, const double* x, int n) {
    double mine = 0.0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) mine += x[i];
    for (int step = 16; step; step /= 2) mine += __shfl_down_sync(~0u, mine, step);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, mine);
}
