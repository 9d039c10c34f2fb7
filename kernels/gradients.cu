// What is done with gradients before the optimiser sees them, and with parameters after it; six tensors a launch, a row of the grid each.
//   squares_block   squares[0] = sum g^2 over all of them, or that much more; by the block that comes last, in one order
//   clip_block      g = min(1, most / (sqrt(squares[0]) + 1e-6)) g
//   average_block   average += take (theta - average); nothing where loss[0] is not finite
// g, theta, average [len]; squares [256], of which all but the first are the blocks' shares.    Mapping: grid-stride, four elements a
// thread; squares_block has at most 32 blocks a row.    Shared: 128 bytes where a block sums.
// Traffic: squares_block reads a tensor once, clip_block reads and writes it where the norm is too long and else nothing,
// average_block reads two and writes one; bandwidth-bound.    Oracle: src/reference/gradients.rs
#include "elements.cuh"
#include "last.cuh"

// src/cuda/gradients.rs declares the same structs.
struct Flat {
    float* at;
    uint64_t len;
};
static_assert(sizeof(Flat) == 16, "src/cuda/gradients.rs declares two u64");
struct FlatBlock {
    Flat tensor[6];
};
struct Averaged {
    float* average;
    const float* theta;
    uint64_t len;
};
static_assert(sizeof(Averaged) == 24, "src/cuda/gradients.rs declares three u64");
struct AveragedBlock {
    Averaged tensor[6];
};

extern "C" __global__ void __launch_bounds__(256)
squares_block(float* __restrict__ squares, uint32_t* __restrict__ counter, FlatBlock block, uint32_t adds) {
    __shared__ float scratch[kWarp];
    const uint32_t row = blockIdx.y;
    // chosen by comparison: indexing a parameter by a variable would copy it to local memory
    Flat t = block.tensor[0];
#pragma unroll
    for (uint32_t k = 1; k < 6; k++)
        t = {row == k ? block.tensor[k].at : t.at, row == k ? block.tensor[k].len : t.len};
    float sum = 0.0f;
    each_element(t.len, on_16_bytes(t.at), [&](auto at) {
        const auto g = at.load(t.at);
#pragma unroll
        for (int k = 0; k < at.width; k++) sum = fmaf(g.v[k], g.v[k], sum);
    });
    sum = block_sum(sum, scratch);
    float* shares = squares + 1;
    const uint32_t blocks = gridDim.x * gridDim.y;
    if (threadIdx.x == 0) shares[blockIdx.y * gridDim.x + blockIdx.x] = sum;
    if (!last_to_come(counter, blocks)) return;
    sum = 0.0f;
    for (uint32_t b = threadIdx.x; b < blocks; b += blockDim.x) sum += __ldcg(shares + b);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) squares[0] = adds ? squares[0] + sum : sum;
}

extern "C" __global__ void __launch_bounds__(256)
clip_block(FlatBlock block, const float* __restrict__ squares, float most) {
    const float factor = most / (sqrtf(*squares) + 1e-6f);
    if (!(factor < 1.0f)) return;
    const uint32_t row = blockIdx.y;
    // chosen by comparison: indexing a parameter by a variable would copy it to local memory
    Flat t = block.tensor[0];
#pragma unroll
    for (uint32_t k = 1; k < 6; k++)
        t = {row == k ? block.tensor[k].at : t.at, row == k ? block.tensor[k].len : t.len};
    each_element(t.len, on_16_bytes(t.at), [&](auto at) {
        const auto g = at.load(t.at);
        at.store(t.at, at.make([&](int k) { return factor * g.v[k]; }));
    });
}

extern "C" __global__ void __launch_bounds__(256)
average_block(AveragedBlock block, const float* __restrict__ loss, float take) {
    if (!isfinite(*loss)) return;
    const uint32_t row = blockIdx.y;
    // chosen by comparison: indexing a parameter by a variable would copy it to local memory
    Averaged t = block.tensor[0];
#pragma unroll
    for (uint32_t k = 1; k < 6; k++)
        t = {row == k ? block.tensor[k].average : t.average, row == k ? block.tensor[k].theta : t.theta, row == k ? block.tensor[k].len : t.len};
    each_element(t.len, on_16_bytes(t.average, t.theta), [&](auto at) {
        const auto averages = at.load(t.average), thetas = at.load(t.theta);
        at.store(t.average, at.make([&](int k) { return fmaf(take, thetas.v[k] - averages.v[k], averages.v[k]); }));
    });
}
