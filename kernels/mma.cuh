// What the matrix products of all kernels share: numbers in TF32 and in 16 bits, and the tensor cores' products.
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

// Numbers of 16 bits: f16 with TF32's 11 bits of mantissa, or bf16 with 8 and f32's range.
enum class Short { F16, Bf16 };

// Weights in 16 bits carry this factor, so that in f16 small ones keep their bits.
constexpr float kWeightScale = 64.0f;

// Two numbers, rounded to nearest; the first lies lower.
template <Short S>
__device__ inline uint32_t pair_of(float low, float high) {
    uint32_t bits;
    if constexpr (S == Short::F16) asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    else asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// d += a b of 16 x 8 x 16, a and b in 16 bits.
template <Short S>
__device__ inline void mma_short(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    if constexpr (S == Short::F16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16 bits; lane l names row l % 8 of matrix l / 8.
template <bool TRANSPOSED>
__device__ inline void matrices(uint32_t (&f)[4], uint32_t row) {
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                     : "r"(row)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                     : "r"(row)
                     : "memory");
}

template <Short S>
__device__ inline void store_short(uint32_t at, float v) {
    if constexpr (S == Short::F16)
        asm volatile("{ .reg .b16 v; cvt.rn.f16.f32 v, %1; st.shared.b16 [%0], v; }" ::"r"(at), "f"(v) : "memory");
    else
        asm volatile("{ .reg .b16 v; cvt.rn.bf16.f32 v, %1; st.shared.b16 [%0], v; }" ::"r"(at), "f"(v) : "memory");
}
__device__ inline void store8(uint32_t at, uint32_t a, uint32_t b) {
    asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(at), "r"(a), "r"(b) : "memory");
}
template <Short S>
__device__ inline void store_shorts(uint32_t at, float4 v) { store8(at, pair_of<S>(v.x, v.y), pair_of<S>(v.z, v.w)); }
