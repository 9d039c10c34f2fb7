// Masks of ReLUs behind a batch norm: one bit of every element, kept on the way there and replayed on the way back.
// z [n, len], mask [n, words], words = ceil(len / 32): element e of an image is bit e mod 32 of word e div 32.
// Mapping: a warp per word, grid-stride; a lane per element.    Shared: none.
// Traffic: z once, written once in the replay; bandwidth-bound.    Oracle: src/reference/mask.rs
#include "operand.cuh"

// A word's image and this lane's element of it.
struct Lane {
    uint64_t at;
    uint32_t channel;
    bool inside;

    __device__ Lane(uint64_t word, uint32_t len, uint32_t words, uint32_t channels) {
        const uint32_t e = uint32_t(word % words) * kWarp + threadIdx.x % kWarp;
        at = word / words * len + e, channel = e % channels, inside = e < len;
    }
};

// mask = bn(z) > 0; a NaN is no positive number.
extern "C" __global__ void __launch_bounds__(256)
relu_mask(uint32_t* __restrict__ mask, const float* __restrict__ z, Norm norm, uint32_t len, uint32_t words,
          uint32_t channels, uint64_t all) {
    for (uint64_t word = global_id() / kWarp; word < all; word += grid_size() / kWarp) {
        const Lane lane(word, len, words, channels);
        bool positive = false;
        if (lane.inside) {
            const uint32_t c = lane.channel;
            positive = bn_value(z[lane.at], norm.mean[c], norm.gamma[c] * norm.rstd[c], norm.beta[c]) > 0.0f;
        }
        const uint32_t bits = __ballot_sync(kFull, positive);
        if (threadIdx.x % kWarp == 0) mask[word] = bits;
    }
}

// z mirrored at bn's zero where the sign of bn(z) is not the mask's.
extern "C" __global__ void __launch_bounds__(256)
relu_replay(float* __restrict__ z, const uint32_t* __restrict__ mask, Norm norm, uint32_t len, uint32_t words,
            uint32_t channels, uint64_t all) {
    for (uint64_t word = global_id() / kWarp; word < all; word += grid_size() / kWarp) {
        const Lane lane(word, len, words, channels);
        if (!lane.inside) continue;
        const uint32_t c = lane.channel;
        const float v = z[lane.at], scaled = norm.gamma[c] * norm.rstd[c];
        const float value = bn_value(v, norm.mean[c], scaled, norm.beta[c]);
        const bool kept = mask[word] >> (threadIdx.x % kWarp) & 1;
        if ((value > 0.0f) != kept && scaled != 0.0f) z[lane.at] = v - 2.0f * value / scaled;
    }
}
