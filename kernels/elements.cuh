// Going over all elements of tensors of one length, four at a time where that is possible: 16-byte accesses, so that a
// warp's request is 512 consecutive bytes. Tensors of the arena start on 64-byte boundaries, so what decides is the length
// (and, with channels, their number); an address that is not on 16 bytes is noticed and taken one element at a time.
#pragma once
#include "common.cuh"

// W consecutive elements.
template <int W>
struct alignas(4 * W) Pack {
    float v[W];
};

template <int W>
__device__ inline Pack<W> load(const float* p, uint64_t first) {
    if constexpr (W == 4) {
        const float4 q = *reinterpret_cast<const float4*>(p + first);
        return {q.x, q.y, q.z, q.w};
    } else {
        return {p[first]};
    }
}

template <int W>
__device__ inline void store(float* p, uint64_t first, Pack<W> pack) {
    if constexpr (W == 4)
        *reinterpret_cast<float4*>(p + first) = make_float4(pack.v[0], pack.v[1], pack.v[2], pack.v[3]);
    else
        p[first] = pack.v[0];
}

// Where a body stands: the first of W elements, and their channels where the caller has any.
template <int W>
struct At {
    static constexpr int width = W;
    uint64_t first;
    uint32_t channel;
    __device__ Pack<W> load(const float* p) const { return ::load<W>(p, first); }
    __device__ Pack<W> per_channel(const float* p) const { return ::load<W>(p, channel); }
    __device__ void store(float* p, Pack<W> pack) const { ::store<W>(p, first, pack); }
    // A pack of one(k), k = 0 .. W - 1.
    template <typename One>
    __device__ Pack<W> make(One one) const {
        Pack<W> made;
#pragma unroll
        for (int k = 0; k < W; k++) made.v[k] = one(k);
        return made;
    }
};

// Runs `body` once for every element: on fours, then singly on what is left. `quads`: whether all addresses allow it.
template <typename Body>
__device__ void each_element(uint64_t len, bool quads, Body body) {
    const uint64_t fours = quads ? len / 4 : 0;
    for (uint64_t i = global_id(); i < fours; i += grid_size()) body(At<4>{4 * i, 0});
    for (uint64_t i = 4 * fours + global_id(); i < len; i += grid_size()) body(At<1>{i, 0});
}

template <int W, typename Body>
__device__ void each_with_channel(uint64_t len, uint32_t channels, Body body) {
    // A grid has fewer than 2^24 threads, so where a thread starts and how far it steps fit 32 bits; the channel then moves
    // on without a division.
    const uint32_t start = uint32_t(global_id()) * W, step = uint32_t(grid_size()) * W;
    const uint32_t turn = step % channels;
    uint32_t channel = start % channels;
    for (uint64_t i = start; i < len; i += step) {
        body(At<W>{i, channel});
        channel += turn;
        if (channel >= channels) channel -= channels;
    }
}

// The same over a map [P, C]: every place knows its channels, which are C's consecutive ones.
template <typename Body>
__device__ void each_channel_element(uint64_t len, uint32_t channels, bool quads, Body body) {
    if (quads && channels % 4 == 0)
        each_with_channel<4>(len, channels, body);
    else
        each_with_channel<1>(len, channels, body);
}
