// draw_batch: a step's images and classes out of the uint8 data set: crop 32 from padding 4, mirror, normalise.
//     images[n,y,x,c] = (v / 255 - mean[c]) / std[c],  v the pixel that the place's change puts there, 0 in the padding
// images [N, 32, 32, 3], labels [N]; pixels [*, 32, 32, 3] bytes, classes [*] bytes; tables [2, places]; step, table [1].
// Image n stands at place step * batch + n of the chosen table; without tables the place is the image's number, unchanged.
// Mapping: grid-stride, one value a thread; a warp writes 128 consecutive bytes and reads about 32.    No shared memory.
// Traffic: a byte read and four written a value; bandwidth-bound. Every operation rounds as IEEE 754 says: the bits are the
// host's.    Oracle: src/data/augment.rs
#include "common.cuh"

constexpr uint32_t kImage = 32, kChannels = 3, kRow = kImage * kChannels, kImageLen = kImage * kRow;
constexpr int kPadding = 4;

// What stands at a place of an epoch; src/data/epoch.rs declares the same struct. change = top + 16 left + 256 flip.
struct Place {
    uint32_t index, change;
};
static_assert(sizeof(Place) == 8, "src/data/epoch.rs declares two u32");
constexpr uint32_t kUnchanged = kPadding + 16 * kPadding;

extern "C" __global__ void __launch_bounds__(256)
draw_batch(float* __restrict__ images, float* __restrict__ labels, const uint8_t* __restrict__ pixels,
           const uint8_t* __restrict__ classes, const Place* __restrict__ tables, const float* __restrict__ step,
           const float* __restrict__ table, uint32_t batch, uint32_t n, uint32_t places) {
    // both are small whole numbers, which floats hold exactly
    const uint64_t first = uint64_t(*step) * batch;
    const Place* order = tables ? tables + uint64_t(*table) * places : nullptr;
    for (uint64_t i = global_id(); i < uint64_t(n) * kImageLen; i += grid_size()) {
        const uint32_t image = i / kImageLen, at = i % kImageLen;
        const uint64_t place = first + image;
        const Place drawn = order ? order[place] : Place{uint32_t(place), kUnchanged};
        const int top = drawn.change % 16, left = drawn.change / 16 % 16;
        const bool flip = drawn.change / 256;
        const uint32_t x = at / kChannels % kImage, channel = at % kChannels;
        // where in the image, not in the padded one
        const int row = int(at / kRow) + top - kPadding;
        const int column = int(flip ? kImage - 1 - x : x) + left - kPadding;
        const bool inside = 0 <= row && row < int(kImage) && 0 <= column && column < int(kImage);
        const uint64_t source = uint64_t(drawn.index) * kImageLen + (row * int(kImage) + column) * int(kChannels) + channel;
        const float value = inside ? float(pixels[source]) : 0.0f;
        const float mean = channel == 0 ? 0.4914f : channel == 1 ? 0.4822f : 0.4465f;
        const float deviation = channel == 0 ? 0.2023f : channel == 1 ? 0.1994f : 0.2010f;
        images[i] = __fdiv_rn(__fsub_rn(__fdiv_rn(value, 255.0f), mean), deviation);
        if (at == 0) labels[image] = float(classes[drawn.index]);
    }
}
