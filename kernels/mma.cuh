// What the matrix products of all kernels share: TF32 numbers and the tensor cores' product.
#pragma once
#include "common.cuh"

__device__ inline uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// The nearest number with TF32's 10 bits of mantissa, ties away from zero: what the tensor cores multiply. As its bits.
__device__ inline uint32_t to_tf32(float v) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return bits;
}

// d += a b of 16 x 8 x 8. With g = lane / 4, q = lane % 4: a = (g, q), (g + 8, q), (g, q + 4), (g + 8, q + 4);
// b = (q, g), (q + 4, g); d = (g, 2 q), (g, 2 q + 1), (g + 8, 2 q), (g + 8, 2 q + 1). a and b hold TF32 numbers.
__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
