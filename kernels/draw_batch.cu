// draw_batch: a step's images and classes out of the uint8 data set: crop S of S from padding 4, mirror, normalise.
//     images[n,y,x,c] = (v / 255 - mean[c]) / std[c],  v the pixel that the place's change puts there, 0 in the padding
// images [N, S, S, 3], labels [N], or [N, 3] where images are mixed; pixels [*, S, S, 3] bytes, classes [*]; tables [2, places]; step, table [1].
// Image n stands at place step * batch + n, modulo the places, of the chosen table; without tables the place is the image's number,
// unchanged. With mixes each image is mixed with the one before it in its batch, the first with the last, as the step's mix says:
// (1 - part) image + part other, and the other alone in a box; its label is then [class, the other's, the other's share].
// Mapping: grid (shares of an image, images), 256 threads, one value a thread; a warp writes 128 consecutive bytes and reads about
// 32.    No shared memory.
// Traffic: a byte read and four written a value; bandwidth-bound. Every operation rounds as IEEE 754 says: the bits are the
// host's.    Oracle: src/data/augment.rs
#include "common.cuh"

constexpr uint32_t kColours = 3;
constexpr int kPadding = 4;

// What stands at a place of an epoch; src/data/epoch.rs declares the same struct. change = top + 16 left + 256 flip.
struct Place {
    uint32_t index, change;
};
static_assert(sizeof(Place) == 8, "src/data/epoch.rs declares two u32");
constexpr uint32_t kUnchanged = kPadding + 16 * kPadding;

// How a step's images are mixed; src/data/mix.rs declares the same struct. The box: first row or column + 2^16 the one behind the last.
struct Mix {
    float part, share;
    uint32_t rows, columns;
    __device__ bool in_box(uint32_t y, uint32_t x) const {
        return (rows & 0xffff) <= y && y < rows >> 16 && (columns & 0xffff) <= x && x < columns >> 16;
    }
};
static_assert(sizeof(Mix) == 16, "src/data/mix.rs declares two f32 and two u32");

struct ByColour {
    float mean[kColours], std[kColours];
};
static_assert(sizeof(ByColour) == 24, "src/cuda/feed.rs declares the same");

extern "C" __global__ void __launch_bounds__(256)
draw_batch(float* __restrict__ images, float* __restrict__ labels, const uint8_t* __restrict__ pixels,
           const uint16_t* __restrict__ classes, const Place* __restrict__ tables, const float* __restrict__ step,
           const float* __restrict__ table, const Mix* __restrict__ mixes, ByColour normalise, uint32_t batch, uint32_t n,
           uint32_t places, uint32_t side, uint32_t batches, uint32_t each) {
    const uint32_t row = side * kColours, len = side * row, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= len) return;
    // both are small whole numbers, which floats hold exactly
    const uint32_t first = uint32_t(*step) * batch;
    const Place* order = tables ? tables + uint64_t(*table) * places : nullptr;
    const uint32_t y = at / row, x = at % row / kColours, colour = at % kColours;
    const float mean = colour == 0 ? normalise.mean[0] : colour == 1 ? normalise.mean[1] : normalise.mean[2];
    const float deviation = colour == 0 ? normalise.std[0] : colour == 1 ? normalise.std[1] : normalise.std[2];
    const Mix mix = mixes ? mixes[uint64_t(*table) * batches + uint32_t(*step) % batches] : Mix{0.0f, 0.0f, 0, 0};
    // the normalised value that a place's image has here
    const auto value_at = [&](const Place& drawn) {
        const int top = drawn.change % 16, left = drawn.change / 16 % 16;
        const bool flip = drawn.change / 256;
        // where in the image, not in the padded one
        const int source_y = int(y) + top - kPadding, source_x = int(flip ? side - 1 - x : x) + left - kPadding;
        const bool inside = 0 <= source_y && source_y < int(side) && 0 <= source_x && source_x < int(side);
        const uint64_t source = uint64_t(drawn.index) * len + (source_y * int(side) + source_x) * int(kColours) + colour;
        const float value = inside ? float(pixels[source]) : 0.0f;
        return __fdiv_rn(__fsub_rn(__fdiv_rn(value, 255.0f), mean), deviation);
    };
    const auto drawn_at = [&](uint32_t image) {
        const uint32_t place = (first + image) % places;
        return order ? order[place] : Place{place, kUnchanged};
    };
    const bool boxed = mix.in_box(y, x);
    for (uint32_t image = blockIdx.y; image < n; image += gridDim.y) {
        const Place drawn = drawn_at(image);
        float value = boxed ? 0.0f : value_at(drawn);
        if (boxed || mix.part != 0.0f) {
            const float other = value_at(drawn_at((image + n - 1) % n));
            value = boxed ? other : __fadd_rn(__fmul_rn(__fsub_rn(1.0f, mix.part), value), __fmul_rn(mix.part, other));
        }
        images[uint64_t(image) * len + at] = value;
        if (at != 0) continue;
        labels[image * each] = float(classes[drawn.index]);
        if (each > 1) {
            labels[image * each + 1] = float(classes[mixes ? drawn_at((image + n - 1) % n).index : drawn.index]);
            labels[image * each + 2] = mix.share;
        }
    }
}
