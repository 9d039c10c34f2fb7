//! What becomes of a convolution's values: stored, added, or kept where a ReLU let its input through.

use super::pixelwise::Pixelwise;
use super::simd::{Kernel, Simd};

/// What becomes of a convolution's values.
pub trait Epilogue: Copy {
    /// Whether it stores the values as they are.
    const OVERWRITES: bool = false;

    /// What depends on the channel alone.
    type Channels<S: Simd>: Copy;

    /// Panics unless the operands, if any, hold `len` elements or more, of `c` channels.
    fn check(&self, len: usize, c: usize);

    /// The parameters of channels `c .. c + n`.
    ///
    /// # Safety
    /// `check` passed, and the channels exist.
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> Self::Channels<S>;

    /// What is stored at `y`, element `at` of the group's output, for the convolution's `value`.
    ///
    /// # Safety
    /// `check` passed, the element exists, and `y` points to it.
    unsafe fn value<S: Simd, const FULL: bool>(
        &self,
        s: S,
        p: Self::Channels<S>,
        value: S::V,
        y: *const f32,
        at: usize,
        n: usize,
    ) -> S::V;
}

/// `y = value`.
#[derive(Clone, Copy)]
pub struct Overwrite;

impl Epilogue for Overwrite {
    const OVERWRITES: bool = true;

    type Channels<S: Simd> = ();

    fn check(&self, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, _: S, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(
        &self,
        _: S,
        (): (),
        value: S::V,
        _: *const f32,
        _: usize,
        _: usize,
    ) -> S::V {
        value
    }
}

/// `y += value`.
#[derive(Clone, Copy)]
pub struct Add;

impl Epilogue for Add {
    type Channels<S: Simd> = ();

    fn check(&self, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, _: S, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(
        &self,
        s: S,
        (): (),
        value: S::V,
        y: *const f32,
        _: usize,
        n: usize,
    ) -> S::V {
        // SAFETY: the element exists, as the caller promises.
        s.add(unsafe { s.load_if::<FULL>(y, n) }, value)
    }
}

/// `y = value` where a function is positive, else 0: the gradient of a ReLU.
#[derive(Clone, Copy)]
pub struct WherePositive<F>(pub F);

impl<F: Pixelwise> Epilogue for WherePositive<F> {
    type Channels<S: Simd> = F::Channels<S>;

    fn check(&self, len: usize, c: usize) {
        self.0.check(len, c);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> F::Channels<S> {
        // SAFETY: the caller's promise.
        unsafe { self.0.channels(s, c, n) }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(
        &self,
        s: S,
        p: F::Channels<S>,
        value: S::V,
        _: *const f32,
        at: usize,
        n: usize,
    ) -> S::V {
        // SAFETY: the caller's promise.
        s.where_positive(unsafe { self.0.value::<S, FULL>(s, p, at, n) }, value)
    }
}

/// Applies an epilogue to values that lie in memory.
pub struct Finish<'a, E> {
    pub epilogue: E,
    /// `[P, C]`.
    pub values: &'a [f32],
    /// As `values`.
    pub y: &'a mut [f32],
    /// The epilogue's element at y's first.
    pub from: usize,
    pub c: usize,
}

impl<E: Epilogue> Kernel for Finish<'_, E> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(self.c > 0 && self.y.len().is_multiple_of(self.c) && self.values.len() == self.y.len());
        self.epilogue.check(self.from + self.y.len(), self.c);
        for c in (0..self.c).step_by(S::LANES) {
            let n = S::LANES.min(self.c - c);
            // SAFETY: `check` passed above; every element `at .. at + n` exists.
            unsafe {
                let p = self.epilogue.channels(s, c, n);
                for at in (c..self.y.len()).step_by(self.c) {
                    let y = self.y.as_mut_ptr().add(at);
                    let value = s.load_part(self.values.as_ptr().add(at), n);
                    s.store_part(y, self.epilogue.value::<S, false>(s, p, value, y, self.from + at, n), n);
                }
            }
        }
    }
}
