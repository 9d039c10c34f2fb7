// What the matrix products of several kernels share: asynchronous copies of 16 bytes, TF32 numbers, the tensor cores' product.
#pragma once
#include "common.cuh"

__device__ inline uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory without passing registers.
__device__ inline void copy16(float* to, const float* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ inline void copies_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// The nearest number with TF32's 10 bits of mantissa, ties away from zero: what the tensor cores multiply.
__device__ inline float to_tf32(float v) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return __uint_as_float(bits);
}

// d += a b of 16 x 8 x 8. With g = lane / 4, q = lane % 4: a = (g, q), (g + 8, q), (g, q + 4), (g + 8, q + 4);
// b = (q, g), (q + 4, g); d = (g, 2 q), (g, 2 q + 1), (g + 8, 2 q), (g + 8, 2 q + 1). a and b hold TF32 numbers.
__device__ inline void mma_tf32(float (&d)[4], float a0, float a1, float a2, float a3, float b0, float b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)), "r"(__float_as_uint(a3)),
          "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}
