//! Floats among themselves, for whole rows.

use std::marker::PhantomData;

use super::any::{Clamp, Plan};
use super::integers::{DOWN, Float, NEAREST, UP, ZERO};
use super::soft::{self, Layout};
use crate::row::half::{Bf16, F16, Format};
use crate::row::{Binary, Level, Selected, Unary, binary, unary};
use rewind_ptx::{Rounding, ScalarType};

/// The NaN that a single becomes in any operation.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// No rounding: a value of the format it has.
const EXACT: u8 = 4;

/// A single made integral, flushed, saturated.
struct Single<const ROUNDING: u8, const FTZ: bool, const SAT: bool>;

impl<const ROUNDING: u8, const FTZ: bool, const SAT: bool> Unary for Single<ROUNDING, FTZ, SAT> {
    type A = f32;
    type D = f32;
    #[inline(always)]
    fn of(a: f32) -> f32 {
        if ROUNDING == EXACT && !FTZ && !SAT {
            return a;
        }
        let a = if FTZ { a.flush() } else { a };
        let d = if ROUNDING == EXACT { a } else { a.integral::<ROUNDING>() };
        if SAT {
            saturated(d)
        } else if a.is_nan() {
            NAN
        } else {
            d
        }
    }
}

/// Into [0, 1]; NaN and negative zero to positive zero.
#[inline(always)]
fn saturated(x: f32) -> f32 {
    let x = if x < 1.0 {
        x
    } else if x.is_nan() {
        0.0
    } else {
        1.0
    };
    if x > 0.0 { x } else { 0.0 }
}

/// A double made integral, saturated.
struct Double<const ROUNDING: u8, const SAT: bool>;

impl<const ROUNDING: u8, const SAT: bool> Unary for Double<ROUNDING, SAT> {
    type A = f64;
    type D = f64;
    #[inline(always)]
    fn of(a: f64) -> f64 {
        if ROUNDING == EXACT && !SAT {
            return a;
        }
        let d = if ROUNDING == EXACT { a } else { a.integral::<ROUNDING>() };
        if SAT {
            let x = if d < 1.0 {
                d
            } else if a.is_nan() {
                0.0
            } else {
                1.0
            };
            if x > 0.0 { x } else { 0.0 }
        } else if a.is_nan() {
            f64::from_bits(a.to_bits() | 1 << 51)
        } else {
            d
        }
    }
}

/// A single to a double, exactly.
struct Widen<const FTZ: bool>;

impl<const FTZ: bool> Unary for Widen<FTZ> {
    type A = f32;
    type D = f64;
    #[inline(always)]
    fn of(a: f32) -> f64 {
        let a = if FTZ { a.flush() } else { a };
        let bits = u64::from(a.to_bits());
        let nan = bits >> 31 << 63 | 0x7ff8 << 48 | (bits & 0x7f_ffff) << 29;
        if a.is_nan() { f64::from_bits(nan) } else { f64::from(a) }
    }
}

/// A double to the nearest single.
struct Narrow<const FTZ: bool>;

impl<const FTZ: bool> Unary for Narrow<FTZ> {
    type A = f64;
    type D = f32;
    #[inline(always)]
    fn of(a: f64) -> f32 {
        let d = if a.is_nan() { NAN } else { a as f32 };
        if FTZ { d.flush() } else { d }
    }
}

/// A half or bfloat to a single.
struct FromHalf<F>(PhantomData<F>);

impl<F: Format> Unary for FromHalf<F> {
    type A = u16;
    type D = f32;
    #[inline(always)]
    fn of(a: u16) -> f32 {
        F::widen(a)
    }
}

/// A single to the nearest half or bfloat. Subnormal singles round to zero, so `.ftz` changes nothing.
struct ToHalf<F, const RELU: bool>(PhantomData<F>);

impl<F: Format, const RELU: bool> Unary for ToHalf<F, RELU> {
    type A = f32;
    type D = u16;
    #[inline(always)]
    fn of(a: f32) -> u16 {
        let d = F::narrow(a);
        if RELU { F::relu(d) } else { d }
    }
}

/// A single to tf32: 10 bits of significand, ties away from zero, the unused bits zero.
struct ToTf32;

impl Unary for ToTf32 {
    type A = f32;
    type D = u32;
    #[inline(always)]
    fn of(a: f32) -> u32 {
        if a.is_nan() { NAN.to_bits() } else { a.to_bits().wrapping_add(0x1000) & !0x1fff }
    }
}

/// Two singles in one register, the first in its upper half.
struct Pack<F, const RELU: bool, const TOWARD_ZERO: bool>(PhantomData<F>);

impl<F: Format + OfType, const RELU: bool, const TOWARD_ZERO: bool> Binary for Pack<F, RELU, TOWARD_ZERO> {
    type A = f32;
    type B = f32;
    type D = u32;
    #[inline(always)]
    fn of(a: f32, b: f32) -> u32 {
        let one = |x: f32| {
            let d = if TOWARD_ZERO { toward_zero(x, F::TYPE) } else { F::narrow(x) };
            u32::from(if RELU { F::relu(d) } else { d })
        };
        one(a) << 16 | one(b)
    }
}

/// The type of a format.
pub(super) trait OfType {
    const TYPE: ScalarType;
}
impl OfType for F16 {
    const TYPE: ScalarType = ScalarType::F16;
}
impl OfType for Bf16 {
    const TYPE: ScalarType = ScalarType::Bf16;
}

fn toward_zero(x: f32, to: ScalarType) -> u16 {
    let (Some(from), Some(to)) = (Layout::of(ScalarType::F32), Layout::of(to)) else { return 0 };
    soft::pack(soft::unpack(x.to_bits().into(), from), to, Rounding::Rz) as u16
}

/// `cvt` with two sources. Its forms have no `.sat`.
pub(super) fn pack<F: Format + OfType>(toward_zero: bool, clamp: Clamp, level: Level) -> Selected {
    match (clamp == Clamp::Relu, toward_zero) {
        (false, false) => binary::<Pack<F, false, false>>(level),
        (false, true) => binary::<Pack<F, false, true>>(level),
        (true, false) => binary::<Pack<F, true, false>>(level),
        (true, true) => binary::<Pack<F, true, true>>(level),
    }
}

/// `written` is the rounding that the text names, if any.
pub(super) fn select(plan: Plan, written: Option<Rounding>, level: Level) -> Option<Selected> {
    use ScalarType::{Bf16 as B, F16 as H, F32, F64, Tf32};
    let relu = plan.clamp == Clamp::Relu;
    match (plan.from, plan.to) {
        (F32, F32) => single(plan, written, level),
        (F64, F64) => double(plan, written, level),
        _ if plan.clamp == Clamp::Sat => None,
        (H, F32) => Some(unary::<FromHalf<F16>>(level)),
        (B, F32) => Some(unary::<FromHalf<Bf16>>(level)),
        (F32, F64) if plan.ftz => Some(unary::<Widen<true>>(level)),
        (F32, F64) => Some(unary::<Widen<false>>(level)),
        (F32, Tf32) if written == Some(Rounding::Rna) => Some(unary::<ToTf32>(level)),
        _ if written != Some(Rounding::Rn) => None,
        (F64, F32) if plan.ftz => Some(unary::<Narrow<true>>(level)),
        (F64, F32) => Some(unary::<Narrow<false>>(level)),
        (F32, H) if relu => Some(unary::<ToHalf<F16, true>>(level)),
        (F32, H) => Some(unary::<ToHalf<F16, false>>(level)),
        (F32, B) if relu => Some(unary::<ToHalf<Bf16, true>>(level)),
        (F32, B) => Some(unary::<ToHalf<Bf16, false>>(level)),
        _ => None,
    }
}

fn single(plan: Plan, written: Option<Rounding>, level: Level) -> Option<Selected> {
    fn rest<const ROUNDING: u8>(plan: Plan, level: Level) -> Option<Selected> {
        Some(match (plan.ftz, plan.clamp == Clamp::Sat) {
            (false, false) => unary::<Single<ROUNDING, false, false>>(level),
            (false, true) => unary::<Single<ROUNDING, false, true>>(level),
            (true, false) => unary::<Single<ROUNDING, true, false>>(level),
            (true, true) => unary::<Single<ROUNDING, true, true>>(level),
        })
    }
    match written {
        None => rest::<EXACT>(plan, level),
        Some(Rounding::Rni) => rest::<NEAREST>(plan, level),
        Some(Rounding::Rzi) => rest::<ZERO>(plan, level),
        Some(Rounding::Rmi) => rest::<DOWN>(plan, level),
        Some(Rounding::Rpi) => rest::<UP>(plan, level),
        _ => None,
    }
}

fn double(plan: Plan, written: Option<Rounding>, level: Level) -> Option<Selected> {
    fn rest<const ROUNDING: u8>(plan: Plan, level: Level) -> Option<Selected> {
        Some(if plan.clamp == Clamp::Sat {
            unary::<Double<ROUNDING, true>>(level)
        } else {
            unary::<Double<ROUNDING, false>>(level)
        })
    }
    match written {
        None => rest::<EXACT>(plan, level),
        Some(Rounding::Rni) => rest::<NEAREST>(plan, level),
        Some(Rounding::Rzi) => rest::<ZERO>(plan, level),
        Some(Rounding::Rmi) => rest::<DOWN>(plan, level),
        Some(Rounding::Rpi) => rest::<UP>(plan, level),
        _ => None,
    }
}
