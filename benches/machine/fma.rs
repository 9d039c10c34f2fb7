//! Independent chains of multiply-adds that stay in registers, on the widest vector unit that this machine has.

use std::hint::black_box;

/// A way to multiply and add.
#[derive(Clone, Copy)]
pub enum Unit {
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 lanes, part of every 64-bit Arm.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What the compiler makes of plain loops, a multiplication and an addition each.
    #[cfg(not(target_arch = "aarch64"))]
    Plain,
}

/// The fixed point of `x <- FACTOR x + TERM` is 1, so no chain leaves the normal numbers.
const FACTOR: f32 = 0.5;
const TERM: f32 = 0.5;

impl Unit {
    /// The widest that this machine has.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        let unit = Self::Neon;
        #[cfg(not(target_arch = "aarch64"))]
        let unit = Self::Plain;
        unit
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2 and FMA",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
            #[cfg(not(target_arch = "aarch64"))]
            Self::Plain => "plain code",
        }
    }

    /// Chains side by side: enough to hide the latency of a multiply-add on two or four pipes, few enough for the registers.
    const fn chains(self) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 24,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 12,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 24,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Plain => 12,
        }
    }

    const fn lanes(self) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 4,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Plain => 4,
        }
    }

    /// FLOP of [`Unit::multiply_add`], 2 per multiply-add.
    pub const fn flop(self, chain_steps: u64) -> u64 {
        2 * self.chains() * self.lanes() * chain_steps
    }

    /// Takes every chain so many steps.
    pub fn multiply_add(self, chain_steps: u64) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `widest` hands this out where AVX-512F is there.
            Self::Avx512 => unsafe { avx512(chain_steps) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `widest` hands this out where AVX2 and FMA are there.
            Self::Avx2 => unsafe { avx2(chain_steps) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: every 64-bit Arm that Rust's standard library runs on has NEON.
            Self::Neon => unsafe { neon(chain_steps) },
            #[cfg(not(target_arch = "aarch64"))]
            Self::Plain => plain(chain_steps),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(chain_steps: u64) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (factor, term) = (_mm512_set1_ps(black_box(FACTOR)), _mm512_set1_ps(black_box(TERM)));
    let mut chains = [term; Unit::Avx512.chains() as usize];
    for _ in 0..chain_steps {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(factor, *chain, term);
        }
    }
    black_box(chains);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(chain_steps: u64) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, term) = (_mm256_set1_ps(black_box(FACTOR)), _mm256_set1_ps(black_box(TERM)));
    let mut chains = [term; Unit::Avx2.chains() as usize];
    for _ in 0..chain_steps {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(factor, *chain, term);
        }
    }
    black_box(chains);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(chain_steps: u64) {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};
    let (factor, term) = (vdupq_n_f32(black_box(FACTOR)), vdupq_n_f32(black_box(TERM)));
    let mut chains = [term; Unit::Neon.chains() as usize];
    for _ in 0..chain_steps {
        for chain in &mut chains {
            *chain = vfmaq_f32(term, factor, *chain);
        }
    }
    black_box(chains);
}

#[cfg(not(target_arch = "aarch64"))]
fn plain(chain_steps: u64) {
    let (factor, term) = (black_box(FACTOR), black_box(TERM));
    let mut chains = [[term; Unit::Plain.lanes() as usize]; Unit::Plain.chains() as usize];
    for _ in 0..chain_steps {
        for lane in chains.as_flattened_mut() {
            *lane = factor * *lane + term;
        }
    }
    black_box(chains);
}
