//! One vocabulary over the machine's vector units, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and handed to [`Isa::run`], which enters a function compiled for the
//! chosen instruction set. Everything between that function and the intrinsics must be `#[inline(always)]`: code that is
//! not inlined there would be compiled for the baseline and pass vectors through memory. For the same reason kernels use
//! plain loops instead of closures.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

/// The widest vector of any instruction set, in elements.
pub const MAX_LANES: usize = 16;

/// An instruction set. Its values are handed out by [`Isa::run`] alone, so to hold one is to be compiled for it.
pub trait Simd: Copy {
    /// Elements of one vector; divides [`MAX_LANES`].
    const LANES: usize;
    /// Vectors of output channels in one tile of the convolution.
    const TILE_VECTORS: usize;
    /// Rows in a tile that is one vector wide.
    const TILE_ROWS: usize;
    /// Most pixels of a row in a tile; at most 10, since the compiler no longer unrolls larger ones.
    const TILE_PIXELS: usize;
    /// Input channels (3x3) or taps (any kernel) in a tile of the weight gradient; 8 or 4.
    const TILE_TAPS: usize;
    /// Vectors of output channels in one step of Winograd's product; 1, 2 or 4.
    const PRODUCT_VECTORS: usize;
    /// Sums in flight there, in vectors.
    const PRODUCT_SUMS: usize;
    /// Sums in flight of Winograd's weight gradient, in vectors; 16, 8 or 4.
    const OUTER_SUMS: usize;
    /// Vectors of output channels there, at most; 1 or 2.
    const OUTER_VECTORS: usize;
    /// One vector.
    type V: Copy;

    /// The same number in every lane.
    fn splat(self, value: f32) -> Self::V;

    /// # Safety
    /// `from` is valid for reads of `LANES` elements.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// The first `n <= LANES` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `from` is valid for reads of `n` elements.
    unsafe fn load_part(self, from: *const f32, n: usize) -> Self::V;
    /// # Safety
    /// `to` is valid for writes of `LANES` elements.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// Writes the first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` elements.
    unsafe fn store_part(self, to: *mut f32, v: Self::V, n: usize);

    /// Asks for a cache line that is read soon, where the machine has such a thing.
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        let _ = from;
    }

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `max(0, a)`; a NaN stays one.
    fn relu(self, a: Self::V) -> Self::V;
    /// `value` in the lanes where `test > 0`, else 0.
    fn where_positive(self, test: Self::V, value: Self::V) -> Self::V;

    /// [`Simd::load`] or [`Simd::load_part`], decided at compile time.
    ///
    /// # Safety
    /// `from` is valid for reads of `LANES` elements, or of `n` where not `FULL`.
    #[inline(always)]
    unsafe fn load_if<const FULL: bool>(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller's promise is that of the function called.
        unsafe { if FULL { self.load(from) } else { self.load_part(from, n) } }
    }

    /// [`Simd::store`] or [`Simd::store_part`], decided at compile time.
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` elements, or of `n` where not `FULL`.
    #[inline(always)]
    unsafe fn store_if<const FULL: bool>(self, to: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller's promise is that of the function called.
        unsafe { if FULL { self.store(to, v) } else { self.store_part(to, v, n) } }
    }
}

/// A computation that can be compiled for any instruction set.
pub trait Kernel {
    /// Computes. Implementations are `#[inline(always)]`, see the module's page.
    fn run<S: Simd>(self, s: S);
}

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, 16 lanes, 32 registers.
    Avx512,
    /// AVX2 and FMA, 8 lanes, 16 registers.
    Avx2,
    /// Armv8 Advanced SIMD, 4 lanes, 32 registers.
    Neon,
    /// Plain code over arrays of 8, for any machine.
    Portable,
}

impl Isa {
    /// All of them, the fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// Those that this machine has, the fastest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The best that this machine has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Safety
    /// The machine has it: [`Isa::is_available`].
    #[inline]
    pub unsafe fn run<K: Kernel>(self, kernel: K) {
        debug_assert!(self.is_available());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller promises that the machine has AVX-512 F.
            Self::Avx512 => unsafe { x86::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller promises that the machine has AVX2 and FMA.
            Self::Avx2 => unsafe { x86::run_avx2(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the caller promises that the machine has NEON.
            Self::Neon => unsafe { neon::run(kernel) },
            _ => portable::run(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Neon => "NEON",
            Self::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every function of the vocabulary on the first `n` lanes and compares with scalar code.
    struct Vocabulary {
        n: usize,
    }

    impl Kernel for Vocabulary {
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let n = self.n.min(S::LANES);
            let a: Vec<f32> = (0..n).map(|i| i as f32 - 2.0).collect();
            let b: Vec<f32> = (0..n).map(|i| 0.5 * i as f32 + 1.0).collect();
            let mut out = [-7.0f32; 2 * MAX_LANES];
            let mut expect = |v: S::V, f: fn(f32, f32) -> f32| {
                out.fill(-7.0);
                // SAFETY: `out` holds 2 MAX_LANES elements.
                unsafe { s.store_part(out.as_mut_ptr(), v, n) };
                for i in 0..n {
                    assert_eq!(out[i], f(a[i], b[i]), "lane {i} of {n}");
                }
                assert!(out[n..].iter().all(|v| *v == -7.0), "store_part wrote past {n}");
                // SAFETY: as above; `v` came from `load_part`, whose other lanes are zero.
                unsafe { s.store(out.as_mut_ptr(), v) };
                assert!(out[S::LANES..].iter().all(|v| *v == -7.0));
            };
            // SAFETY: both hold n elements.
            let (va, vb) = unsafe { (s.load_part(a.as_ptr(), n), s.load_part(b.as_ptr(), n)) };
            expect(va, |a, _| a);
            expect(s.add(va, vb), |a, b| a + b);
            expect(s.sub(va, vb), |a, b| a - b);
            expect(s.mul(va, vb), |a, b| a * b);
            expect(s.fma(va, vb, s.splat(3.0)), |a, b| a * b + 3.0);
            expect(s.relu(va), |a, _| a.max(0.0));
            expect(s.where_positive(va, vb), |a, b| if a > 0.0 { b } else { 0.0 });
            let nan = s.relu(s.splat(f32::NAN));
            // SAFETY: `out` holds 2 MAX_LANES elements.
            unsafe { s.store(out.as_mut_ptr(), nan) };
            assert!(out[..S::LANES].iter().all(|v| v.is_nan()), "relu must not hide a NaN");
            // SAFETY: as above.
            let zeros = unsafe { s.load_part(out.as_ptr(), 0) };
            // SAFETY: as above.
            unsafe { s.store(out.as_mut_ptr(), zeros) };
            assert!(out[..S::LANES].iter().all(|v| *v == 0.0));
        }
    }

    #[test]
    fn every_available_isa_speaks_the_vocabulary() {
        for isa in Isa::available() {
            for n in 0..=MAX_LANES {
                // SAFETY: it is available.
                unsafe { isa.run(Vocabulary { n }) };
            }
        }
    }
}
