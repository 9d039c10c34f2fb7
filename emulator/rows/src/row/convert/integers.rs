//! Integers among themselves, and to and from floats, for whole rows.

use std::marker::PhantomData;

use super::any::{Clamp, Plan};
use crate::lanes::{Lane, Width};
use crate::row::half::{F16, Format};
use crate::row::{Level, Selected, Unary, unary};
use rewind_ptx::{Rounding, ScalarType};

/// `as`: chops, or extends by the sign of the type it comes from; floats to integers saturate.
pub(super) trait Cast<T> {
    fn cast(self) -> T;
}
macro_rules! casts {
    ($($from:ty => $($to:ty),+;)+) => {$($(
        impl Cast<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                self as $to
            }
        }
    )+)+};
}
casts! {
    u8 => u8, u16, i16, u32, i32, u64, i64, f32, f64;
    i8 => i8, u16, i16, u32, i32, u64, i64, f32, f64;
    u16 => u8, i8, u16, i16, u32, i32, u64, i64, f32, f64;
    i16 => i16, u16, u32, i32, u64, i64, f32, f64;
    u32 => u8, i8, u16, i16, u32, i32, u64, i64, f32, f64;
    i32 => i32, u16, u32, u64, i64, f32, f64;
    u64 => u8, i8, u16, i16, u32, i32, u64, i64, f32, f64;
    i64 => i64, u16, u32, u64, f32, f64;
    f32 => u32, i32, u64, i64;
    f64 => u32, i32, u64, i64;
}

/// A register `A` chopped to `S`, converted to `T`, extended to a register `D`.
struct Extend<A, S, T, D>(PhantomData<(A, S, T, D)>);

impl<A: Lane + Cast<S>, S: Cast<T>, T: Cast<D>, D: Lane> Unary for Extend<A, S, T, D> {
    type A = A;
    type D = D;
    #[inline(always)]
    fn of(a: A) -> D {
        a.cast().cast().cast()
    }
}

/// Calls `$f::<S>` with the integer type that a scalar type names.
macro_rules! by_type {
    ($ty:expr, $f:ident ($($arg:expr),*)) => {
        match $ty {
            ScalarType::U8 => $f::<u8>($($arg),*),
            ScalarType::S8 => $f::<i8>($($arg),*),
            ScalarType::U16 => $f::<u16>($($arg),*),
            ScalarType::S16 => $f::<i16>($($arg),*),
            ScalarType::U32 => $f::<u32>($($arg),*),
            ScalarType::S32 => $f::<i32>($($arg),*),
            ScalarType::U64 => $f::<u64>($($arg),*),
            ScalarType::S64 => $f::<i64>($($arg),*),
            _ => None,
        }
    };
}

const fn is_signed(ty: ScalarType) -> bool {
    matches!(ty, ScalarType::S8 | ScalarType::S16 | ScalarType::S32 | ScalarType::S64)
}

const fn bits(width: Width) -> u32 {
    match width {
        Width::W16 => 16,
        Width::W32 => 32,
        _ => 64,
    }
}

/// Integers to integers. Without `.sat`, or where it changes nothing, the result holds the lower bits of the narrower
/// type, extended by its sign; only a signed source in an unsigned type that the register exceeds needs both types.
pub(super) fn among(plan: Plan, level: Level) -> Option<Selected> {
    fn one<S>(plan: Plan, level: Level) -> Option<Selected>
    where
        S: Cast<S> + Cast<u16> + Cast<u32> + Cast<u64>,
        u16: Cast<S>,
        u32: Cast<S>,
        u64: Cast<S>,
    {
        Some(match (plan.from_width, plan.to_width) {
            (Width::W16, Width::W16) => unary::<Extend<u16, S, S, u16>>(level),
            (Width::W16, Width::W32) => unary::<Extend<u16, S, S, u32>>(level),
            (Width::W16, Width::W64) => unary::<Extend<u16, S, S, u64>>(level),
            (Width::W32, Width::W16) => unary::<Extend<u32, S, S, u16>>(level),
            (Width::W32, Width::W32) => unary::<Extend<u32, S, S, u32>>(level),
            (Width::W32, Width::W64) => unary::<Extend<u32, S, S, u64>>(level),
            (Width::W64, Width::W16) => unary::<Extend<u64, S, S, u16>>(level),
            (Width::W64, Width::W32) => unary::<Extend<u64, S, S, u32>>(level),
            (Width::W64, Width::W64) => unary::<Extend<u64, S, S, u64>>(level),
            _ => return None,
        })
    }
    fn both<S: Cast<T>, T: Cast<D>, D: Lane>(plan: Plan, level: Level) -> Option<Selected>
    where
        u16: Cast<S>,
        u32: Cast<S>,
        u64: Cast<S>,
    {
        Some(match plan.from_width {
            Width::W16 => unary::<Extend<u16, S, T, D>>(level),
            Width::W32 => unary::<Extend<u32, S, T, D>>(level),
            Width::W64 => unary::<Extend<u64, S, T, D>>(level),
            _ => return None,
        })
    }
    let (from, to) = (plan.from, plan.to);
    if plan.clamp == Clamp::Sat {
        return None;
    }
    if to.bits() <= from.bits() {
        return by_type!(to, one(plan, level));
    }
    if is_signed(from) && !is_signed(to) && to.bits() < bits(plan.to_width) {
        return match (from, to, plan.to_width) {
            (ScalarType::S8, ScalarType::U16, Width::W32) => both::<i8, u16, u32>(plan, level),
            (ScalarType::S8, ScalarType::U16, Width::W64) => both::<i8, u16, u64>(plan, level),
            (ScalarType::S8, ScalarType::U32, Width::W64) => both::<i8, u32, u64>(plan, level),
            (ScalarType::S16, ScalarType::U32, Width::W64) => both::<i16, u32, u64>(plan, level),
            _ => None,
        };
    }
    by_type!(from, one(plan, level))
}

/// A register `A` chopped to `S`, rounded to the nearest `D`.
struct ToFloat<A, S, D>(PhantomData<(A, S, D)>);

impl<A: Lane + Cast<S>, S: Cast<D>, D: Lane> Unary for ToFloat<A, S, D> {
    type A = A;
    type D = D;
    #[inline(always)]
    fn of(a: A) -> D {
        a.cast().cast()
    }
}

/// The same to a half. Integers that a single does not hold exactly are infinite as halves, so nothing rounds twice.
struct ToHalf<A, S>(PhantomData<(A, S)>);

impl<A: Lane + Cast<S>, S: Cast<f32>> Unary for ToHalf<A, S> {
    type A = A;
    type D = u16;
    #[inline(always)]
    fn of(a: A) -> u16 {
        F16::narrow(a.cast().cast())
    }
}

pub(super) fn to_float(plan: Plan, level: Level) -> Option<Selected> {
    fn one<S>(plan: Plan, level: Level) -> Option<Selected>
    where
        S: Cast<f32> + Cast<f64>,
        u16: Cast<S>,
        u32: Cast<S>,
        u64: Cast<S>,
    {
        Some(match (plan.from_width, plan.to) {
            (Width::W16, ScalarType::F32) => unary::<ToFloat<u16, S, f32>>(level),
            (Width::W32, ScalarType::F32) => unary::<ToFloat<u32, S, f32>>(level),
            (Width::W64, ScalarType::F32) => unary::<ToFloat<u64, S, f32>>(level),
            (Width::W16, ScalarType::F64) => unary::<ToFloat<u16, S, f64>>(level),
            (Width::W32, ScalarType::F64) => unary::<ToFloat<u32, S, f64>>(level),
            (Width::W64, ScalarType::F64) => unary::<ToFloat<u64, S, f64>>(level),
            (Width::W16, ScalarType::F16) => unary::<ToHalf<u16, S>>(level),
            (Width::W32, ScalarType::F16) => unary::<ToHalf<u32, S>>(level),
            (Width::W64, ScalarType::F16) => unary::<ToHalf<u64, S>>(level),
            _ => return None,
        })
    }
    if plan.rounding != Rounding::Rn || plan.clamp != Clamp::None {
        return None;
    }
    by_type!(plan.from, one(plan, level))
}

/// Rounding to integral values, by constants since no trait of `std` names it.
pub(super) const NEAREST: u8 = 0;
pub(super) const ZERO: u8 = 1;
pub(super) const DOWN: u8 = 2;
pub(super) const UP: u8 = 3;

/// A float that can become integral or an integer.
pub(super) trait Float: Lane {
    fn integral<const ROUNDING: u8>(self) -> Self;
    /// Subnormal singles to zero.
    fn flush(self) -> Self;
    fn is_nan(self) -> bool;
    /// Whether NaN gives the lowest integer of every type, or of those of 64 bits alone.
    const DOUBLE: bool;
}
macro_rules! float {
    ($ty:ident, $double:literal, $smallest_normal:expr) => {
        impl Float for $ty {
            #[inline(always)]
            fn integral<const ROUNDING: u8>(self) -> Self {
                match ROUNDING {
                    NEAREST => self.round_ties_even(),
                    ZERO => self.trunc(),
                    DOWN => self.floor(),
                    _ => self.ceil(),
                }
            }
            #[inline(always)]
            fn flush(self) -> Self {
                if self.abs() < $smallest_normal { (0.0 as $ty).copysign(self) } else { self }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
            const DOUBLE: bool = $double;
        }
    };
}
float!(f32, false, f32::MIN_POSITIVE);
float!(f64, true, 0.0);

/// A float made integral, saturated to an integer that fills its register.
struct FromFloat<A, D, const ROUNDING: u8, const FTZ: bool>(PhantomData<(A, D)>);

/// An integer that fills its register.
trait Whole: Lane {
    /// What NaN becomes where it does not become zero: the highest bit alone.
    const HIGHEST_BIT: Self;
    const ZERO: Self;
}
macro_rules! whole {
    ($($ty:ty)+) => {$(
        impl Whole for $ty {
            const HIGHEST_BIT: Self = 1 << (<$ty>::BITS - 1);
            const ZERO: Self = 0;
        }
    )+};
}
whole! { u32 i32 u64 i64 }

impl<A: Float + Cast<D>, D: Whole, const ROUNDING: u8, const FTZ: bool> Unary for FromFloat<A, D, ROUNDING, FTZ> {
    type A = A;
    type D = D;
    #[inline(always)]
    fn of(a: A) -> D {
        let a = if FTZ { a.flush() } else { a };
        // The ISA's rule for NaN.
        let highest = A::DOUBLE || size_of::<D>() == 8;
        let nan = if highest { D::HIGHEST_BIT } else { D::ZERO };
        if a.is_nan() { nan } else { a.integral::<ROUNDING>().cast() }
    }
}

pub(super) fn from_float(plan: Plan, level: Level) -> Option<Selected> {
    fn one<A, const ROUNDING: u8, const FTZ: bool>(to: ScalarType, level: Level) -> Option<Selected>
    where
        A: Float + Cast<u32> + Cast<i32> + Cast<u64> + Cast<i64>,
    {
        Some(match to {
            ScalarType::U32 => unary::<FromFloat<A, u32, ROUNDING, FTZ>>(level),
            ScalarType::S32 => unary::<FromFloat<A, i32, ROUNDING, FTZ>>(level),
            ScalarType::U64 => unary::<FromFloat<A, u64, ROUNDING, FTZ>>(level),
            ScalarType::S64 => unary::<FromFloat<A, i64, ROUNDING, FTZ>>(level),
            _ => return None,
        })
    }
    if plan.to.bits() != bits(plan.to_width) {
        return None;
    }
    let to = plan.to;
    match (plan.from, plan.ftz, plan.rounding) {
        (ScalarType::F32, false, Rounding::Rni) => one::<f32, NEAREST, false>(to, level),
        (ScalarType::F32, false, Rounding::Rzi) => one::<f32, ZERO, false>(to, level),
        (ScalarType::F32, false, Rounding::Rmi) => one::<f32, DOWN, false>(to, level),
        (ScalarType::F32, false, Rounding::Rpi) => one::<f32, UP, false>(to, level),
        (ScalarType::F32, true, Rounding::Rni) => one::<f32, NEAREST, true>(to, level),
        (ScalarType::F32, true, Rounding::Rzi) => one::<f32, ZERO, true>(to, level),
        (ScalarType::F32, true, Rounding::Rmi) => one::<f32, DOWN, true>(to, level),
        (ScalarType::F32, true, Rounding::Rpi) => one::<f32, UP, true>(to, level),
        (ScalarType::F64, _, Rounding::Rni) => one::<f64, NEAREST, false>(to, level),
        (ScalarType::F64, _, Rounding::Rzi) => one::<f64, ZERO, false>(to, level),
        (ScalarType::F64, _, Rounding::Rmi) => one::<f64, DOWN, false>(to, level),
        (ScalarType::F64, _, Rounding::Rpi) => one::<f64, UP, false>(to, level),
        _ => None,
    }
}
