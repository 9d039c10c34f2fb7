// The forms that kernels come in, each list once: the .cu files make their kernels from them, and src/cuda/kernels.rs looks the kernels up
// by the names that it reads here.
#pragma once

// Channels of a tile, and whether factors are rounded to TF32.
#define FOR_EACH_TILE(MAKE)    \
    MAKE(tf32_16, 16, true)    \
    MAKE(tf32_32, 32, true)    \
    MAKE(tf32_64, 64, true)    \
    MAKE(fp32_16, 16, false)   \
    MAKE(fp32_32, 32, false)   \
    MAKE(fp32_64, 64, false)

// The same of the general forms, for any channels.
#define FOR_EACH_ANY(MAKE)        \
    MAKE(tf32_any, 16, true)      \
    MAKE(tf32_any_64, 64, true)   \
    MAKE(fp32_any, 16, false)     \
    MAKE(fp32_any_64, 64, false)

// Those that have one tile.
#define FOR_EACH_MATH(MAKE) \
    MAKE(tf32_any, true)    \
    MAKE(fp32_any, false)

// Channels of a tile, and what factors of 16 bits are.
#define FOR_EACH_SHORT(MAKE)             \
    MAKE(half_fp16_16, 16, Short::F16)   \
    MAKE(half_fp16_32, 32, Short::F16)   \
    MAKE(half_fp16_64, 64, Short::F16)   \
    MAKE(half_bf16_16, 16, Short::Bf16)  \
    MAKE(half_bf16_32, 32, Short::Bf16)  \
    MAKE(half_bf16_64, 64, Short::Bf16)

// Channels of a block on small maps, and how it multiplies.
#define FOR_EACH_BLOCK(MAKE)        \
    MAKE(tf32_16, 16, Math::Tf32)   \
    MAKE(tf32_32, 32, Math::Tf32)   \
    MAKE(fp32_16, 16, Math::Fp32)   \
    MAKE(fp32_32, 32, Math::Fp32)   \
    MAKE(fp16_16, 16, Math::Fp16)   \
    MAKE(fp16_32, 32, Math::Fp16)   \
    MAKE(bf16_16, 16, Math::Bf16)   \
    MAKE(bf16_32, 32, Math::Bf16)

// Bits of an element's code.
#define FOR_EACH_CODE(MAKE) \
    MAKE(1)                 \
    MAKE(2)                 \
    MAKE(4)                 \
    MAKE(8)
