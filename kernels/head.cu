// The head: average pooling, the linear classifier, softmax cross-entropy; and their gradients.
// Small next to the blocks: one thread (or warp) an output, sums in a fixed order.    Oracle: src/reference
//   head_loss    pooling, linear, loss in one launch, a block an image; the block that comes last adds up the losses
//   head_grads   all gradients from the loss's by the logits in one launch: blocks of images and, behind them, of weights
// Shared: 128 bytes where a block sums. Latency-bound: some megabytes at most.    Oracle of the last two: src/device/fused.rs
#include "elements.cuh"
#include "last.cuh"

// The mean of a window of an image [h, w, c]: number i of [h / size, w / size, c].
__device__ inline float window_mean(const float* image, uint32_t i, uint32_t h, uint32_t w, uint32_t c, uint32_t size) {
    const uint32_t ow = w / size, ch = i % c, ox = i / c % ow, oy = i / c / ow;
    float sum = 0.0f;
    for (uint32_t ky = 0; ky < size; ky++)
        for (uint32_t kx = 0; kx < size; kx++) sum += image[(uint64_t(oy * size + ky) * w + ox * size + kx) * c + ch];
    return sum / float(size * size);
}

// y[n,i,j,c] = mean of a size x size window, stride size; x [N, H, W, C], y [N, H / size, W / size, C].
extern "C" __global__ void __launch_bounds__(256)
avg_pool(float* __restrict__ y, const float* __restrict__ x, uint32_t h, uint32_t w, uint32_t c, uint32_t size, uint64_t len) {
    const uint64_t each = uint64_t(h / size) * (w / size) * c;
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        const uint64_t n = i / each;
        y[i] = window_mean(x + n * h * w * c, uint32_t(i - n * each), h, w, c, size);
    }
}

// Row y of an image's gradient [h, w, c], by `lanes` threads of which this is `lane`, from the windows' [h / size, w / size, c].
template <int W>
__device__ inline void avg_pool_grad_row(float* grad_x, const float* grad_y, uint32_t y, uint32_t h, uint32_t w, uint32_t c,
                                         uint32_t size, uint32_t lane, uint32_t lanes) {
    const uint32_t ow = w / size, packs = c / W, across = w * packs, oy = y / size;
    const float* from = grad_y + uint64_t(oy) * ow * c;
    for (uint32_t i = lane; i < across; i += lanes) {
        const uint32_t x = i / packs, ox = x / size;
        Pack<W> v = {};
        if (oy < h / size && ox < ow) {
            v = load<W>(from, uint64_t(ox) * c + (i - x * packs) * W);
#pragma unroll
            for (int k = 0; k < W; k++) v.v[k] /= float(size * size);
        }
        store<W>(grad_x, (uint64_t(y) * across + i) * W, v);
    }
}

// A block takes whole rows of the map: a division of its own for each of an element's four places costs more than the store.
template <int W>
__device__ inline void avg_pool_grad_of(float* grad_x, const float* grad_y, uint32_t h, uint32_t w, uint32_t c, uint32_t size, uint64_t rows) {
    const uint64_t each_x = uint64_t(h) * w * c, each_y = uint64_t(h / size) * (w / size) * c;
    for (uint64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const uint64_t n = row / h;
        avg_pool_grad_row<W>(grad_x + n * each_x, grad_y + n * each_y, uint32_t(row - n * h), h, w, c, size, threadIdx.x, blockDim.x);
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

// sum_f x[f] w[f,k], by a warp; every lane gets it.
__device__ inline float weighed(const float* x, const float* __restrict__ w, uint32_t k, uint32_t features, uint32_t classes) {
    float sum = 0.0f;
    for (uint32_t f = threadIdx.x % kWarp; f < features; f += kWarp) sum = fmaf(x[f], w[uint64_t(f) * classes + k], sum);
    return warp_sum(sum);
}

// y[n,k] = sum_f x[n,f] w[f,k] + b[k]. A warp an output.
extern "C" __global__ void __launch_bounds__(256)
linear(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, uint32_t images,
       uint32_t features, uint32_t classes) {
    const uint64_t i = global_id() / kWarp;
    if (i >= uint64_t(images) * classes) return;
    const uint32_t n = i / classes, k = i % classes;
    const float sum = weighed(x + uint64_t(n) * features, w, k, features, classes);
    if (threadIdx.x % kWarp == 0) y[i] = sum + b[k];
}

// sum_k grad_y[k] w[f,k].
__device__ inline float weighed_back(const float* grad_y, const float* __restrict__ w, uint64_t f, uint32_t classes) {
    float sum = 0.0f;
    for (uint32_t k = 0; k < classes; k++) sum = fmaf(grad_y[k], w[f * classes + k], sum);
    return sum;
}

// grad_x[n,f] = sum_k grad_y[n,k] w[f,k].
extern "C" __global__ void __launch_bounds__(256)
linear_grad_x(float* __restrict__ grad_x, const float* __restrict__ grad_y, const float* __restrict__ w, uint32_t features,
              uint32_t classes, uint64_t len) {
    for (uint64_t i = global_id(); i < len; i += grid_size()) {
        const uint64_t n = i / features;
        grad_x[i] = weighed_back(grad_y + n * classes, w, i - n * features, classes);
    }
}

// grad_w[f,k] = sum_n x[n,f] grad_y[n,k]; the row f = features is the bias: grad_b[k] = sum_n grad_y[n,k]. Output i by a warp.
__device__ inline void weight_grad(float* grad_w, float* grad_b, const float* __restrict__ x, const float* __restrict__ grad_y, uint64_t i,
                                   uint32_t images, uint32_t features, uint32_t classes) {
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

extern "C" __global__ void __launch_bounds__(256)
linear_grad_w(float* __restrict__ grad_w, float* __restrict__ grad_b, const float* __restrict__ x, const float* __restrict__ grad_y,
              uint32_t images, uint32_t features, uint32_t classes) {
    weight_grad(grad_w, grad_b, x, grad_y, global_id() / kWarp, images, features, classes);
}

// Of one image, by a warp: its logits' gradient (softmax - target) / N, the target being 1 - smoothing of the label's class and smoothing
// of all alike; and in lane 0 its loss, added to the first number, and whether it is right, to the second. A label is `each` numbers: the
// class alone, or that, the other's of two that are mixed, and the other's share.
__device__ inline void softmax_row(float* grad, const float* row, const float* label, uint32_t each, uint32_t images, uint32_t classes, float smoothing,
                                   float& losses, float& rights) {
    const uint32_t lane = threadIdx.x % kWarp;
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
    const bool mixed = each > 1;
    const uint32_t of_label = uint32_t(label[0]), of_other = mixed ? uint32_t(label[1]) : of_label;
    const float share = mixed ? label[2] : 0.0f, sure = 1.0f - smoothing, miss = smoothing / float(classes);
    for (uint32_t k = lane; k < classes; k += kWarp)
        grad[k] = (expf(row[k] - largest) / sum -
                   (sure * ((k == of_label ? 1.0f - share : 0.0f) + (k == of_other ? share : 0.0f)) + miss)) / float(images);
    float below = 0.0f;
    if (smoothing > 0.0f) {
        for (uint32_t k = lane; k < classes; k += kWarp) below += row[k] - largest;
        below = warp_sum(below);
    }
    if (lane == 0) {
        losses += logf(sum) - sure * ((1.0f - share) * (row[of_label] - largest) + share * (row[of_other] - largest)) - miss * below;
        rights += finite && best == (share > 0.5f ? of_other : of_label) ? 1.0f : 0.0f;
    }
}

// grad_logits = (softmax - target) / N; out = [mean loss, number right]. Right: the largest logit is the label's (the lowest
// index wins a tie; logits that are not all finite are never right). labels hold class indices as floats, see softmax_row.
// One block, a warp per image at a time: the sums over images come in one order, and need no memory between kernels.
extern "C" __global__ void __launch_bounds__(1024)
softmax_cross_entropy(float* __restrict__ grad_logits, float* __restrict__ out, const float* __restrict__ logits,
                      const float* __restrict__ labels, uint32_t images, uint32_t classes, uint32_t each, float smoothing) {
    __shared__ float sums[kWarp];
    float losses = 0.0f, rights = 0.0f;
    for (uint32_t n = threadIdx.x / kWarp; n < images; n += blockDim.x / kWarp) {
        const uint64_t first = uint64_t(n) * classes;
        softmax_row(grad_logits + first, logits + first, labels + uint64_t(n) * each, each, images, classes, smoothing, losses, rights);
    }
    losses = block_sum(losses, sums);
    rights = block_sum(rights, sums);
    if (threadIdx.x == 0) out[0] = losses / float(images), out[1] = rights;
}

// What the whole head goes over: x [images, h, w, c], windows of size x size, classes. src/cuda/head.rs declares the same.
struct HeadExtents {
    uint32_t images, h, w, c, size, classes, each;
    float smoothing;
    __device__ uint32_t features() const { return (h / size) * (w / size) * c; }
};
static_assert(sizeof(HeadExtents) == 32, "src/cuda/head.rs declares seven u32 and an f32");

// pooled = avg_pool(x), logits = linear(pooled), and the loss as in softmax_cross_entropy. A block an image at a time. Four blocks a
// multiprocessor leave a thread 64 registers: for eight, ptxas would spill on sm_80.
extern "C" __global__ void __launch_bounds__(256, 4)
head_loss(float* pooled, float* logits, float* __restrict__ grad_logits, PairSum out, const float* __restrict__ x,
          const float* __restrict__ w, const float* __restrict__ b, const float* __restrict__ labels, HeadExtents s) {
    __shared__ float sums[kWarp];
    const uint32_t features = s.features(), warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    float losses = 0.0f, rights = 0.0f;
    for (uint32_t n = blockIdx.x; n < s.images; n += gridDim.x) {
        float *values = pooled + uint64_t(n) * features, *row = logits + uint64_t(n) * s.classes;
        const float* image = x + uint64_t(n) * s.h * s.w * s.c;
        for (uint32_t f = threadIdx.x; f < features; f += blockDim.x) values[f] = window_mean(image, f, s.h, s.w, s.c, s.size);
        __syncthreads();
        for (uint32_t k = warp; k < s.classes; k += warps) {
            const float sum = weighed(values, w, k, features, s.classes);
            if (threadIdx.x % kWarp == 0) row[k] = sum + b[k];
        }
        __syncthreads();
        if (warp == 0)
            softmax_row(grad_logits + uint64_t(n) * s.classes, row, labels + uint64_t(n) * s.each, s.each, s.images, s.classes, s.smoothing,
                        losses, rights);
    }
    finish_pair(out, losses, rights, sums, [&](float losses, float rights) { out.out[0] = losses / float(s.images), out.out[1] = rights; });
}

// grad_w, grad_b = linear_grad_w, grad_pooled = linear_grad_x, grad_x = avg_pool_grad. The first `image_blocks` blocks take an image at a
// time, a warp a row of its map; the others an output of the weights' gradient a warp.
extern "C" __global__ void __launch_bounds__(256)
head_grads(float* __restrict__ grad_w, float* __restrict__ grad_b, float* grad_pooled, float* __restrict__ grad_x,
           const float* __restrict__ pooled, const float* __restrict__ grad_logits, const float* __restrict__ w, HeadExtents s,
           uint32_t image_blocks) {
    const uint32_t features = s.features(), warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    if (blockIdx.x >= image_blocks) {
        weight_grad(grad_w, grad_b, pooled, grad_logits, uint64_t(blockIdx.x - image_blocks) * warps + warp, s.images, features, s.classes);
        return;
    }
    const bool fours = s.c % 4 == 0 && on_16_bytes(grad_x, grad_pooled);
    for (uint32_t n = blockIdx.x; n < s.images; n += image_blocks) {
        float *means = grad_pooled + uint64_t(n) * features, *image = grad_x + uint64_t(n) * s.h * s.w * s.c;
        for (uint32_t f = threadIdx.x; f < features; f += blockDim.x) means[f] = weighed_back(grad_logits + uint64_t(n) * s.classes, w, f, s.classes);
        __syncthreads();
        for (uint32_t y = warp; y < s.h; y += warps)
            if (fours)
                avg_pool_grad_row<4>(image, means, y, s.h, s.w, s.c, s.size, threadIdx.x % kWarp, kWarp);
            else
                avg_pool_grad_row<1>(image, means, y, s.h, s.w, s.c, s.size, threadIdx.x % kWarp, kWarp);
    }
}
