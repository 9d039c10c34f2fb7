// small_block: one residual block f = bn2(conv2(relu(bn1(conv1(x))))) on small maps, as one cooperative launch: every image
// stays in one block's shared memory, only sums over the batch and the weights' gradients cross the grid.
//     euler_step:  x += h f(x), statistics of the batch measured, running statistics moved
//     code_step:   carry += h f(x), then its code: carry -= q, and x += q, or in a plain pass x += h f(x) (code.cuh)
//     inverse_vjp: x~ = x - h f(x), then grad_x = g + h df/dx(x~)^T g and grad_theta = h df/dtheta(x~)^T g, statistics given;
//                  the local error |x~ - x|^2, |x|^2, |x~ - x'|^2, |x'|^2 with x' = x - h f(x~); x becomes x~ or x'
//     decode_vjp:  x -= q of the code, then the same at x, statistics given
// x, g [N, H, W, C], C of 16 or 32, H W small; weights [3, 3, C, C]; everything else [C].
// Mapping: a block takes `images` images, 288 threads: a warp per tile of 16 pixels in the convolutions (small_map.cuh), a warp per
// tap in the gradients by weights. All blocks are resident, at most one per multiprocessor.
// Shared memory: maps of `images` H W C floats, four on the way back and three forward, both weights, a word per pixel,
// 768 + 12 C floats: 75 KB at two images of 10 x 10 x 16. With factors in f16: two maps of floats, three of half_rows(images, H, W)
// rows of 2 C + 16 bytes on the way back and one forward, weights of two bytes: 81 KB.
// Workspace: two times [blocks][2][C] of sums, then on the way back [blocks][2][9 C C] of the weights' gradients and [blocks][4]
// of local errors, forward [blocks][C] of the carry's squares.
// Bound: shared memory's bandwidth, latency between grid barriers.    Oracle: src/device/fused.rs on src/reference
#include "small_step.cuh"
#include "small_vjp.cuh"

#define SMALL_BLOCK(NAME, C, A)                                                                                           \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                             \
    euler_step_##NAME(float* x, BlockNorms stats, BlockNorms running, float* workspace, BlockTheta theta, float h,        \
                      float eps, float weight, SmallShape shape) {                                                        \
        euler_step<C, A>(x, stats, running, workspace, theta, h, eps, weight, shape);                                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                             \
    code_step_##NAME(float* x, float* carry, BlockNorms stats, BlockNorms running, BlockCode code, float* workspace,      \
                     BlockTheta theta, double h, float eps, float weight, SmallShape shape) {                             \
        code_step<C, A>(x, carry, stats, running, code, workspace, theta, h, eps, weight, shape);                      \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                             \
    inverse_vjp_##NAME(float* x, float* errors, float* grad_x, BlockTheta grad_theta, float* workspace, BlockTheta theta, \
                       BlockNorms stats, float h, uint32_t correct, SmallShape shape) {                                   \
        inverse_vjp<C, A>(x, errors, grad_x, grad_theta, workspace, theta, stats, h, correct, shape);                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                             \
    decode_vjp_##NAME(float* x, float* grad_x, BlockTheta grad_theta, float* workspace, BlockTheta theta,                 \
                      BlockNorms stats, BlockCode code, float h, SmallShape shape) {                                      \
        decode_vjp<C, A>(x, grad_x, grad_theta, workspace, theta, stats, code, h, shape);                              \
    }
SMALL_BLOCK(tf32_16, 16, Math::Tf32)
SMALL_BLOCK(tf32_32, 32, Math::Tf32)
SMALL_BLOCK(fp32_16, 16, Math::Fp32)
SMALL_BLOCK(fp32_32, 32, Math::Fp32)
SMALL_BLOCK(fp16_16, 16, Math::Fp16)
SMALL_BLOCK(fp16_32, 32, Math::Fp16)
