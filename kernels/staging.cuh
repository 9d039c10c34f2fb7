// How numbers come from global to shared memory and from there into products: asynchronous copies, swizzled places, fragments
// of mma.sync.
#pragma once
#include "mma.cuh"

// Channels of a step of a product.
constexpr uint32_t kStep = 16;

// 16 bytes from global to shared memory without passing registers; `bytes` is 16, or 0 for zeros.
// Through the first-level cache: the taps of a tile, and the blocks beside it, read the same again soon.
__device__ inline void copy16(uint32_t to, const void* from, uint32_t bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// The same past that cache, for what a block reads once.
__device__ inline void copy16(float* to, const float* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ inline void copies_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ inline void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8 x 4 matrices of f32, as pairs of 16-bit numbers: lane l hands in row l % 8 of matrix l / 8 and gets word l % 4
// of row l / 4 of each, which is how mma's fragments lie.
__device__ inline void fragments(uint32_t (&f)[4], const float* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Where column k of row r of a [rows][16] tile lies.
__device__ inline uint32_t by_row(uint32_t r, uint32_t k) { return r * kStep + (((k / 4) ^ (r / 2 % 4)) * 4) + k % 4; }

// Where column c of row k of a [k][WIDTH] tile lies whose fragments take 4 rows x 8 columns.
template <uint32_t WIDTH>
__device__ inline uint32_t by_k(uint32_t k, uint32_t c) {
    const uint32_t turn = WIDTH == 16 ? k & 2 : k % 4 * 2;
    return k * WIDTH + (((c / 4) ^ turn) * 4) + c % 4;
}

// The same number, which the compiler cannot work out again: left to itself it repeats a swizzle in every turn of a loop.
__device__ inline uint32_t kept(uint32_t v) {
    asm("" : "+r"(v));
    return v;
}
