// Max pooling, as a stem has it.
//     max_pool       y[n,oy,ox,c] = max over the window of x; what lies outside takes no part, what is no number is the largest
//     max_pool_grad  grad_x[n,iy,ix,c] = sum, by rows, of grad_y of the windows whose largest element this is, the first of equal ones
// x, grad_x [N, H, W, C]; y, grad_y [N, OH, OW, C]; the extents are a convolution's, with its channels on both sides.
// Mapping: grid (shares of an image, images), 256 threads, one element a thread, channels fastest: a warp reads and writes whole
// lines.    No shared memory.
// Traffic: max_pool reads x once from memory and `kernel`^2 / `stride`^2 times from L1; max_pool_grad looks at every window of an
// element, so `kernel`^4 / `stride`^2 times. Once a step, and bandwidth-bound next to its convolution.
// Oracle: src/reference/pool.rs
#include "common.cuh"

// The first of the window's largest elements, as an offset in the image; `at`: y's row and column.
__device__ inline uint32_t largest_of(const float* image, const ConvGeometry& g, uint32_t oy, uint32_t ox, uint32_t c, float& value) {
    uint32_t place = 0;
    bool first = true;
    for (uint32_t ky = 0; ky < g.kernel; ky++)
        for (uint32_t kx = 0; kx < g.kernel; kx++) {
            // below 0 these are far beyond the map
            const uint32_t iy = oy * g.stride + ky - g.padding, ix = ox * g.stride + kx - g.padding;
            if (iy >= g.h || ix >= g.w) continue;
            const uint32_t at = (iy * g.w + ix) * g.c_in + c;
            const float v = image[at];
            if (first || v > value || v != v) value = v, place = at, first = false;
        }
    return place;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool(float* __restrict__ y, const float* __restrict__ x, ConvGeometry g) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, len = g.oh * g.ow * g.c_in, pixel = i / g.c_in;
    if (i >= len) return;
    for (uint32_t n = blockIdx.y; n < g.n; n += gridDim.y) {
        float value = 0.0f;
        largest_of(x + uint64_t(n) * g.h * g.w * g.c_in, g, pixel / g.ow, pixel % g.ow, i % g.c_in, value);
        y[uint64_t(n) * len + i] = value;
    }
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_grad(float* __restrict__ grad_x, const float* __restrict__ x, const float* __restrict__ grad_y, ConvGeometry g) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, len = g.h * g.w * g.c_in, pixel = i / g.c_in, c = i % g.c_in;
    if (i >= len) return;
    const uint32_t iy = pixel / g.w + g.padding, ix = pixel % g.w + g.padding;
    // the windows that reach this element
    const uint32_t first_y = iy < g.kernel ? 0 : (iy - g.kernel) / g.stride + 1, last_y = min(iy / g.stride, g.oh - 1);
    const uint32_t first_x = ix < g.kernel ? 0 : (ix - g.kernel) / g.stride + 1, last_x = min(ix / g.stride, g.ow - 1);
    for (uint32_t n = blockIdx.y; n < g.n; n += gridDim.y) {
        float sum = 0.0f;
        for (uint32_t oy = first_y; oy <= last_y; oy++)
            for (uint32_t ox = first_x; ox <= last_x; ox++) {
                float value = 0.0f;
                if (largest_of(x + uint64_t(n) * len, g, oy, ox, c, value) == i)
                    sum += grad_y[((uint64_t(n) * g.oh + oy) * g.ow + ox) * g.c_in + c];
            }
        grad_x[uint64_t(n) * len + i] = sum;
    }
}
