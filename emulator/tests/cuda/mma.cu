// mma: tensor-core products of one warp: tf32 m16n8k8, bf16 and f16 m16n8k16, with cp.async and ldmatrix.
#include <cstdint>
__device__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ void copy16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from));
}
// Copies 16 bytes, or zeros where `inside` is false.
__device__ void copy16_or_zero(void* to, const void* from, bool inside) {
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(inside ? 16 : 0));
}
// c[16,8] = a[16,8] b[8,8], rows of a and columns of b contiguous.
extern "C" __global__ void __launch_bounds__(32) mma_tf32(float* c, const float* a, const float* b) {
    __shared__ __align__(16) float sa[16 * 8], sb[8 * 8];
    int lane = threadIdx.x;
    copy16(sa + lane * 4, a + lane * 4);
    if (lane < 16) copy16(sb + lane * 4, b + lane * 4);
    asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;" ::: "memory");
    __syncwarp();
    uint32_t fa[4], fb[2];
    int row = lane / 4, col = lane % 4;
    for (int i = 0; i < 4; i++)
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fa[i]) : "f"(sa[(row + i % 2 * 8) * 8 + col + i / 2 * 4]));
    for (int i = 0; i < 2; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(fb[i]) : "f"(sb[row * 8 + col + i * 4]));
    float d[4] = {};
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int i = 0; i < 4; i++) c[(row + i / 2 * 8) * 8 + col * 2 + i % 2] = d[i];
}
#define MMA16(NAME, TYPE)                                                                                                \
    extern "C" __global__ void __launch_bounds__(32) NAME(float* c, const uint4* a, const uint4* b, int rows) {          \
        __shared__ __align__(16) uint16_t sa[16 * 16], sb[16 * 8];                                                       \
        int lane = threadIdx.x;                                                                                          \
        copy16_or_zero(sa + lane * 8, a + lane, lane / 2 < rows);                                                        \
        if (lane < 16) copy16(sb + lane * 8, b + lane);                                                                  \
        asm volatile("cp.async.wait_all;" ::: "memory");                                                                 \
        __syncwarp();                                                                                                    \
        uint32_t fa[4], fb[2];                                                                                           \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"                                     \
            : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])                                                         \
            : "r"(shared_address(sa + (lane % 16) * 16 + lane / 16 * 8)));                                               \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"                                     \
            : "=r"(fb[0]), "=r"(fb[1]) : "r"(shared_address(sb + (lane % 16) * 8)));                                     \
        float d[4] = {};                                                                                                 \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "                                      \
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                                      \
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                             \
            : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));                                   \
        for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];                         \
    }
MMA16(mma_bf16, "bf16")
MMA16(mma_f16, "f16")
