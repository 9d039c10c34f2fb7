// small_block: residual blocks f = bn2(conv2(relu(bn1(conv1(x))))) on small maps, as many of them one after another as there are, in
// one cooperative launch: every image stays in one block's shared memory, only sums over the batch and the weights' gradients cross
// the grid.
//     euler_step:  x += h f(x), statistics of the batch measured, running statistics moved
//     code_step:   carry += h f(x), then its code: carry -= q, and x += q, or in a plain pass x += h f(x) (code.cuh)
//     inverse_vjp: x~ = x - h f(x), then grad_x = g + h df/dx(x~)^T g and grad_theta = h df/dtheta(x~)^T g, statistics given;
//                  the local error |x~ - x|^2, |x|^2, |x~ - x'|^2, |x'|^2 with x' = x - h f(x~); x becomes x~ or x'
//     decode_vjp:  x -= q of the code, then the same at x, statistics given
// Both ways back then take a step of SGD on each block's weights, where asked for; inverse_vjp judges each reconstruction first.
// x, g [N, H, W, C], C of 16 or 32, H W small; weights [3, 3, C, C]; everything else [C].
// Mapping: a block takes `images` images, 288 threads: a warp per tile of 16 pixels in the convolutions (small_map.cuh), a warp per
// tap in the gradients by weights. All blocks are resident, at most one per multiprocessor.
// A residual block takes two barriers of the grid each way, one for each norm. Weights, and on the way back norms, of the next one come
// while a barrier waits, and while the next one's second barrier does, the gradients by weights of one are totalled and its weights
// move. One more barrier ends a launch back.
// Shared memory: maps of `images` H W C floats, four on the way back and three forward, both weights, a word per pixel,
// 768 + 12 C floats: 75 KB at two images of 10 x 10 x 16. With factors in 16 bits: two maps of floats, three of images (H + 2)
// lines of factors (small_half.cuh) on the way back and one forward, weights of two bytes: 81 KB. On the way back through more than one block:
// one weight and 14 C floats more, and two maps for x and g where there is room.
// Workspace: two times [blocks][2][C] of sums, then on the way back two times [blocks][2][9 C C] of the weights' gradients and
// [blocks][4] of local errors, forward [blocks][C] of the carry's squares.
// Bound: shared memory's bandwidth, latency between grid barriers.    Oracle: src/device/fused.rs on src/reference
#include "instances.cuh"
#include "small_step.cuh"
#include "small_vjp.cuh"

#define SMALL_BLOCK(NAME, C, A)                                                                                           \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                          \
    euler_step_##NAME(float* x, ForwardRun run, float* workspace, float h, float eps, float weight, SmallShape shape) {   \
        euler_step<C, A>(x, run, workspace, h, eps, weight, shape);                                                       \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                          \
    code_step_##NAME(float* x, float* carry, ForwardRun run, BlockCode code, float* workspace, double h, float eps,       \
                     float weight, SmallShape shape) {                                                                    \
        code_step<C, A>(x, carry, run, code, workspace, h, eps, weight, shape);                                           \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                          \
    inverse_vjp_##NAME(float* x, float* errors, float* grad_x, BackRun run, float* workspace, float h, uint32_t correct,  \
                       SmallShape shape) {                                                                                \
        inverse_vjp<C, A>(x, errors, grad_x, run, workspace, h, correct, shape);                                          \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(kMapThreads, 1)                                                          \
    decode_vjp_##NAME(float* x, float* grad_x, BackRun run, BlockCode code, float* workspace, float h, SmallShape shape) { \
        decode_vjp<C, A>(x, grad_x, run, code, workspace, h, shape);                                                      \
    }
FOR_EACH_BLOCK(SMALL_BLOCK)
