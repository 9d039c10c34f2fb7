//! Armv8 Advanced SIMD.

use std::arch::aarch64::*;

use super::{Kernel, Simd};

/// NEON.
#[derive(Clone, Copy)]
pub struct Neon(());

/// # Safety
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub unsafe fn run<K: Kernel>(kernel: K) {
    kernel.run(Neon(()));
}

// In every function below: a `Neon` is only made by `run`, whose caller promised the feature, so the intrinsics may be
// called; memory is touched only where the caller of the function promised it.
impl Simd for Neon {
    const LANES: usize = 4;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 2;
    const TILE_PIXELS: usize = 10;
    const TILE_TAPS: usize = 8;
    const PRODUCT_VECTORS: usize = 4;
    const PRODUCT_SUMS: usize = 16;
    const OUTER_SUMS: usize = 16;
    const OUTER_VECTORS: usize = 2;
    type V = float32x4_t;

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> float32x4_t {
        let mut v = [0.0; 4];
        // SAFETY: see above the impl; n elements are read and n <= 4.
        unsafe {
            for (i, lane) in v.iter_mut().enumerate().take(n) {
                *lane = from.add(i).read();
            }
            vld1q_f32(v.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: float32x4_t) {
        // SAFETY: see above the impl.
        unsafe { vst1q_f32(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: float32x4_t, n: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: see above the impl; n elements are written and n <= 4.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), v);
            for (i, lane) in lanes.into_iter().enumerate().take(n) {
                to.add(i).write(lane);
            }
        }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vfmaq_f32(c, a, b) }
    }

    // NEON's max returns NaN when one operand is.
    #[inline(always)]
    fn relu(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe { vmaxq_f32(vdupq_n_f32(0.0), a) }
    }

    #[inline(always)]
    fn where_positive(self, test: float32x4_t, value: float32x4_t) -> float32x4_t {
        // SAFETY: see above the impl.
        unsafe {
            let mask = vcgtq_f32(test, vdupq_n_f32(0.0));
            vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(value)))
        }
    }
}
