// The head: average pooling, the linear classifier, softmax cross-entropy; and their gradients.
// Small next to the blocks: one thread (or warp) an output, sums in a fixed order.    Oracle: src/reference
#include "elements.cuh"

// y[n,i,j,c] = mean of a size x size window, stride size; x [N, H, W, C], y [N, H / size, W / size, C].
extern "C" __global__ void __launch_bounds__(256)
avg_pool(float* __restrict__ y, const float* __restrict__ x, uint32_t h, uint32_t w, uint32_t c, uint32_t size, uint64_t len) {
    const uint32_t oh = h / size, ow = w / size;
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        const uint32_t ch = i % c, ox = i / c % ow, oy = i / c / ow % oh;
        const uint64_t n = i / c / ow / oh;
        float sum = 0.0f;
        for (uint32_t ky = 0; ky < size; ky++)
            for (uint32_t kx = 0; kx < size; kx++) sum += x[((n * h + oy * size + ky) * w + ox * size + kx) * c + ch];
        y[i] = sum / float(size * size);
    }
}

// A block takes whole rows of the map: a division of its own for each of an element's four places costs more than the store.
template <int W>
__device__ inline void avg_pool_grad_of(float* grad_x, const float* grad_y, uint32_t h, uint32_t w, uint32_t c, uint32_t size, uint64_t rows) {
    const uint32_t oh = h / size, ow = w / size, packs = c / W, across = w * packs;
    for (uint64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const uint64_t n = row / h;
        const uint32_t oy = uint32_t(row - n * h) / size;
        const float* from = grad_y + (n * oh + oy) * ow * c;
        for (uint32_t i = threadIdx.x; i < across; i += blockDim.x) {
            const uint32_t x = i / packs, ox = x / size;
            Pack<W> v = {};
            if (oy < oh && ox < ow) {
                v = load<W>(from, uint64_t(ox) * c + (i - x * packs) * W);
#pragma unroll
                for (int k = 0; k < W; k++) v.v[k] /= float(size * size);
            }
            store<W>(grad_x, (row * across + i) * W, v);
        }
    }
}

// Its transpose; zero where no window reached. `rows` counts x's.
extern "C" __global__ void __launch_bounds__(256)
avg_pool_grad(float* __restrict__ grad_x, const float* __restrict__ grad_y, uint32_t h, uint32_t w, uint32_t c, uint32_t size,
              uint64_t rows) {
    if (c % 4 == 0 && on_16_bytes(grad_x, grad_y))
        avg_pool_grad_of<4>(grad_x, grad_y, h, w, c, size, rows);
    else
        avg_pool_grad_of<1>(grad_x, grad_y, h, w, c, size, rows);
}

// y[n,k] = sum_f x[n,f] w[f,k] + b[k]. A warp an output.
extern "C" __global__ void __launch_bounds__(256)
linear(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, uint32_t images,
       uint32_t features, uint32_t classes) {
    const uint64_t i = global_id() / kWarp;
    if (i >= uint64_t(images) * classes) return;
    const uint32_t n = i / classes, k = i % classes, lane = threadIdx.x % kWarp;
    float sum = 0.0f;
    for (uint32_t f = lane; f < features; f += kWarp) sum = fmaf(x[uint64_t(n) * features + f], w[uint64_t(f) * classes + k], sum);
    sum = warp_sum(sum);
    if (lane == 0) y[i] = sum + b[k];
}

// grad_x[n,f] = sum_k grad_y[n,k] w[f,k].
extern "C" __global__ void __launch_bounds__(256)
linear_grad_x(float* __restrict__ grad_x, const float* __restrict__ grad_y, const float* __restrict__ w, uint32_t features,
              uint32_t classes, uint64_t len) {
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        const uint64_t n = i / features, f = i % features;
        float sum = 0.0f;
        for (uint32_t k = 0; k < classes; k++) sum = fmaf(grad_y[n * classes + k], w[f * classes + k], sum);
        grad_x[i] = sum;
    }
}

// grad_w[f,k] = sum_n x[n,f] grad_y[n,k]; the row f = features is the bias: grad_b[k] = sum_n grad_y[n,k]. A warp an output.
extern "C" __global__ void __launch_bounds__(256)
linear_grad_w(float* __restrict__ grad_w, float* __restrict__ grad_b, const float* __restrict__ x, const float* __restrict__ grad_y,
              uint32_t images, uint32_t features, uint32_t classes) {
    const uint64_t i = global_id() / kWarp;
    if (i >= uint64_t(features + 1) * classes) return;
    const uint32_t f = i / classes, k = i % classes, lane = threadIdx.x % kWarp;
    float sum = 0.0f;
    for (uint32_t n = lane; n < images; n += kWarp)
        sum = fmaf(f < features ? x[uint64_t(n) * features + f] : 1.0f, grad_y[uint64_t(n) * classes + k], sum);
    sum = warp_sum(sum);
    if (lane == 0) {
        if (f < features) grad_w[i] = sum;
        else grad_b[k] = sum;
    }
}

// grad_logits = (softmax - onehot) / N; out = [mean loss, number right]. Right: the largest logit is the label's (the lowest
// index wins a tie; logits that are not all finite are never right). labels hold class indices as floats.
// One block, a warp per image at a time: the sums over images come in one order, and need no memory between kernels.
extern "C" __global__ void __launch_bounds__(1024)
softmax_cross_entropy(float* __restrict__ grad_logits, float* __restrict__ out, const float* __restrict__ logits,
                      const float* __restrict__ labels, uint32_t images, uint32_t classes) {
    __shared__ float sums[kWarp];
    const uint32_t lane = threadIdx.x % kWarp;
    float losses = 0.0f, rights = 0.0f;
    for (uint32_t n = threadIdx.x / kWarp; n < images; n += blockDim.x / kWarp) {
        const float* row = logits + uint64_t(n) * classes;
        float largest = -INFINITY;
        uint32_t best = 0xffffffffu;
        bool finite = true;
        for (uint32_t k = lane; k < classes; k += kWarp) {
            finite &= bool(isfinite(row[k]));
            if (row[k] > largest) largest = row[k], best = k;
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
            const float other = __shfl_xor_sync(kFull, largest, step);
            const uint32_t at = __shfl_xor_sync(kFull, best, step);
            if (other > largest || (other == largest && at < best)) largest = other, best = at;
        }
        finite = __all_sync(kFull, finite);
        float sum = 0.0f;
        for (uint32_t k = lane; k < classes; k += kWarp) sum += expf(row[k] - largest);
        sum = warp_sum(sum);
        const uint32_t label = uint32_t(labels[n]);
        for (uint32_t k = lane; k < classes; k += kWarp)
            grad_logits[uint64_t(n) * classes + k] = (expf(row[k] - largest) / sum - (k == label ? 1.0f : 0.0f)) / float(images);
        if (lane == 0) {
            losses += logf(sum) - (row[label] - largest);
            rights += finite && best == label ? 1.0f : 0.0f;
        }
    }
    losses = block_sum(losses, sums);
    rights = block_sum(rights, sums);
    if (threadIdx.x == 0) out[0] = losses / float(images), out[1] = rights;
}
