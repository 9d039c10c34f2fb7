//! AVX-512 and AVX2.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// AVX-512 F.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// # Safety
/// The machine has AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn run_avx512<K: Kernel>(kernel: K) {
    kernel.run(Avx512(()));
}

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_avx2<K: Kernel>(kernel: K) {
    kernel.run(Avx2(()));
}

/// The first `n` lanes.
#[inline(always)]
fn mask16(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// In every function below: an `Avx512` is only made by `run_avx512`, whose caller promised the feature, so the intrinsics
// may be called; memory is touched only where the caller of the function promised it.
impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 2;
    // 20 accumulators, 6 weights, and registers for the broadcasts.
    const TILE_PIXELS: usize = 10;
    const TILE_TAPS: usize = 8;
    const PRODUCT_VECTORS: usize = 2;
    const PRODUCT_SUMS: usize = 24;
    const OUTER_SUMS: usize = 16;
    const OUTER_VECTORS: usize = 2;
    type V = __m512;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> __m512 {
        // SAFETY: see above the impl; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(mask16(n), from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: see above the impl.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: __m512, n: usize) {
        // SAFETY: see above the impl; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, mask16(n), v) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a prefetch reads nothing; any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    // x86's max returns its second operand when one is NaN.
    #[inline(always)]
    fn relu(self, a: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }

    #[inline(always)]
    fn where_positive(self, test: __m512, value: __m512) -> __m512 {
        // SAFETY: see above the impl.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(test, _mm512_setzero_ps()), value) }
    }
}

/// The first `n` lanes, as the sign bits that AVX's masked moves look at.
#[inline(always)]
fn mask8(n: usize) -> __m256i {
    static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let start = &WINDOW[8 - n..][..8];
    // SAFETY: 8 elements, checked by the slice; called from `Avx2`'s functions alone.
    unsafe { _mm256_loadu_si256(start.as_ptr().cast()) }
}

// As for `Avx512`: an `Avx2` is only made by `run_avx2`.
impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 1;
    const TILE_ROWS: usize = 1;
    // 10 accumulators, 3 weights, and registers for the broadcasts.
    const TILE_PIXELS: usize = 10;
    const TILE_TAPS: usize = 4;
    const PRODUCT_VECTORS: usize = 2;
    const PRODUCT_SUMS: usize = 8;
    const OUTER_SUMS: usize = 8;
    const OUTER_VECTORS: usize = 2;
    type V = __m256;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> __m256 {
        // SAFETY: see above the impl; masked lanes are not read.
        unsafe { _mm256_maskload_ps(from, mask8(n)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: see above the impl.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: __m256, n: usize) {
        // SAFETY: see above the impl; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(to, mask8(n), v) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a prefetch reads nothing; any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn relu(self, a: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }

    #[inline(always)]
    fn where_positive(self, test: __m256, value: __m256) -> __m256 {
        // SAFETY: see above the impl.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(test, _mm256_setzero_ps()), value) }
    }
}
