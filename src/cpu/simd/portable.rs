//! Vectors of 8 as plain arrays, which the compiler turns into whatever the target's baseline has.

use super::{Kernel, Simd};

/// Any machine.
#[derive(Clone, Copy)]
pub struct Portable(());

pub fn run<K: Kernel>(kernel: K) {
    kernel.run(Portable(()));
}

/// Eight numbers, aligned so that a vector never straddles a cache line.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub struct F8([f32; 8]);

impl F8 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        for i in 0..8 {
            out.0[i] = f(self.0[i], other.0[i]);
        }
        out
    }
}

impl Simd for Portable {
    const LANES: usize = 8;
    const TILE_VECTORS: usize = 1;
    const TILE_ROWS: usize = 1;
    // Eight SSE registers of accumulators on the x86 baseline.
    const TILE_PIXELS: usize = 4;
    const TILE_TAPS: usize = 4;
    const PRODUCT_VECTORS: usize = 1;
    const PRODUCT_SUMS: usize = 4;
    const OUTER_SUMS: usize = 4;
    const OUTER_VECTORS: usize = 1;
    type V = F8;

    #[inline(always)]
    fn splat(self, value: f32) -> F8 {
        F8([value; 8])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F8 {
        // SAFETY: the caller promises 8 readable elements; an array of f32 has the alignment of one.
        F8(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> F8 {
        let mut v = [0.0; 8];
        for (i, lane) in v.iter_mut().enumerate().take(n) {
            // SAFETY: the caller promises n readable elements.
            *lane = unsafe { from.add(i).read() };
        }
        F8(v)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: F8) {
        // SAFETY: the caller promises 8 writable elements.
        unsafe { to.cast::<[f32; 8]>().write(v.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: F8, n: usize) {
        for (i, lane) in v.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller promises n writable elements.
            unsafe { to.add(i).write(lane) };
        }
    }

    #[inline(always)]
    fn add(self, a: F8, b: F8) -> F8 {
        a.zip(b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F8, b: F8) -> F8 {
        a.zip(b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F8, b: F8) -> F8 {
        a.zip(b, |a, b| a * b)
    }

    // Two roundings: `f32::mul_add` would call libm on a machine without FMA.
    #[inline(always)]
    fn fma(self, a: F8, b: F8, c: F8) -> F8 {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn relu(self, a: F8) -> F8 {
        a.zip(a, |a, _| if a < 0.0 { 0.0 } else { a })
    }

    #[inline(always)]
    fn where_positive(self, test: F8, value: F8) -> F8 {
        test.zip(value, |t, v| if t > 0.0 { v } else { 0.0 })
    }
}
