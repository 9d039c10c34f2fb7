//! The conversions without a fast row function: one loop over lanes for all of them, told what to do by constants.

use super::soft::{self, Exact, Layout, Number};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use crate::row::RowFn;
use rewind_ptx::{Rounding, ScalarType};

/// What happens to a float's result at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clamp {
    None,
    Sat,
    Relu,
}

/// A conversion of one value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) to: ScalarType,
    pub(super) to_width: Width,
    pub(super) from: ScalarType,
    pub(super) from_width: Width,
    pub(super) rounding: Rounding,
    pub(super) ftz: bool,
    pub(super) clamp: Clamp,
}

/// The types that are converted, in the order of their codes.
const TYPES: [ScalarType; 13] = [
    ScalarType::U8,
    ScalarType::S8,
    ScalarType::U16,
    ScalarType::S16,
    ScalarType::U32,
    ScalarType::S32,
    ScalarType::U64,
    ScalarType::S64,
    ScalarType::F16,
    ScalarType::Bf16,
    ScalarType::F32,
    ScalarType::F64,
    ScalarType::Tf32,
];
const WIDTHS: [Width; 3] = [Width::W16, Width::W32, Width::W64];
const ROUNDINGS: [Rounding; 9] = [
    Rounding::Rn,
    Rounding::Rz,
    Rounding::Rm,
    Rounding::Rp,
    Rounding::Rna,
    Rounding::Rni,
    Rounding::Rzi,
    Rounding::Rmi,
    Rounding::Rpi,
];
const CLAMPS: [Clamp; 3] = [Clamp::None, Clamp::Sat, Clamp::Relu];

/// Row functions carry no data, so a plan becomes three constants of one.
fn planned<const FROM: u8, const TO: u8, const MODE: u8>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let plan = const {
        Plan {
            from: TYPES[(FROM / 3) as usize],
            from_width: WIDTHS[(FROM % 3) as usize],
            to: TYPES[(TO / 3) as usize],
            to_width: WIDTHS[(TO % 3) as usize],
            rounding: ROUNDINGS[(MODE / 6) as usize],
            ftz: MODE / 3 % 2 == 1,
            clamp: CLAMPS[(MODE % 3) as usize],
        }
    };
    run(lanes, slots, mask, plan);
}

fn code<T: PartialEq>(all: &[T], one: &T) -> Option<u8> {
    all.iter().position(|x| x == one).map(|i| i as u8)
}

/// Matches a value against literals, and makes each a constant.
macro_rules! by_literal {
    ($value:expr, $then:ident!$args:tt, $($literal:literal)+) => {
        match $value {
            $($literal => $then!($args $literal),)+
            _ => None,
        }
    };
}

impl Plan {
    /// The function that does it; `None` where the tables list no such conversion.
    pub(super) fn function(self) -> Option<RowFn> {
        let from = code(&TYPES, &self.from)? * 3 + code(&WIDTHS, &self.from_width)?;
        let to = code(&TYPES, &self.to)? * 3 + code(&WIDTHS, &self.to_width)?;
        let (rounding, clamp) = (code(&ROUNDINGS, &self.rounding)?, code(&CLAMPS, &self.clamp)?);
        let mode = (rounding * 2 + u8::from(self.ftz)) * 3 + clamp;
        match (Layout::of(self.from).is_some(), Layout::of(self.to).is_some()) {
            (false, false) => integers(from, to),
            (false, true) => to_float(from, to, mode),
            (true, false) => to_integer(from, to, mode),
            (true, true) => floats(from, to, mode),
        }
    }
}

// Codes of types by threes: the width of the register is the remainder. Integers start at 0, floats at 24, and a type
// of 8 or 16 bits lies in any register, one of 32 in two kinds, one of 64 in one.

/// Rounding plays no part; always `.sat`, as the others have rows of their own.
fn integers(from: u8, to: u8) -> Option<RowFn> {
    macro_rules! last {
        (($from:literal) $to:literal) => {
            Some(planned::<$from, $to, 1> as RowFn)
        };
    }
    macro_rules! second {
        (() $from:literal) => {
            by_literal!(to, last!($from), 0 1 2 3 4 5 6 7 8 9 10 11 13 14 16 17 20 23)
        };
    }
    by_literal!(from, second!(), 0 1 2 3 4 5 6 7 8 9 10 11 13 14 16 17 20 23)
}

/// Results are never subnormal, so `.ftz` plays no part.
fn to_float(from: u8, to: u8, mode: u8) -> Option<RowFn> {
    let mode = if mode / 3 % 2 == 1 { mode - 3 } else { mode };
    macro_rules! last {
        (($from:literal $to:literal) $mode:literal) => {
            Some(planned::<$from, $to, $mode> as RowFn)
        };
    }
    macro_rules! third {
        (($from:literal) $to:literal) => {
            by_literal!(mode, last!($from $to), 0 1 6 7 12 13 18 19)
        };
    }
    macro_rules! second {
        (() $from:literal) => {
            by_literal!(to, third!($from), 24 27 31 35)
        };
    }
    by_literal!(from, second!(), 0 1 2 3 4 5 6 7 8 9 10 11 13 14 16 17 20 23)
}

/// These clamp to the integer's range with and without `.sat`.
fn to_integer(from: u8, to: u8, mode: u8) -> Option<RowFn> {
    let mode = mode - mode % 3;
    macro_rules! last {
        (($from:literal $to:literal) $mode:literal) => {
            Some(planned::<$from, $to, $mode> as RowFn)
        };
    }
    macro_rules! third {
        (($from:literal) $to:literal) => {
            by_literal!(mode, last!($from $to), 30 33 36 39 42 45 48 51)
        };
    }
    macro_rules! second {
        (() $from:literal) => {
            by_literal!(to, third!($from), 0 1 2 3 4 5 6 7 8 9 10 11 13 14 16 17 20 23)
        };
    }
    by_literal!(from, second!(), 24 27 31 35)
}

fn floats(from: u8, to: u8, mode: u8) -> Option<RowFn> {
    macro_rules! last {
        (($from:literal $to:literal) $mode:literal) => {
            Some(planned::<$from, $to, $mode> as RowFn)
        };
    }
    macro_rules! third {
        (($from:literal) $to:literal) => {
            by_literal!(mode, last!($from $to),
                0 1 2 3 4 5 6 7 8 9 10 11 12 13 15 16 18 19 21 22 24 30 31 33 34 36 37 39 40 42 43 45 46 48 49 51 52)
        };
    }
    macro_rules! second {
        (() $from:literal) => {
            by_literal!(to, third!($from), 24 27 31 35 37)
        };
    }
    by_literal!(from, second!(), 24 27 31 35)
}

/// Reads, converts and writes a row. Not copied into each of the many functions that call it.
#[inline(never)]
fn run(lanes: &mut Lanes, slots: &[Slot], mask: u32, plan: Plan) {
    let &[d, a] = slots else { unreachable!("lowered with two operands") };
    let values = load(lanes, a, plan.from_width).map(|bits| convert(bits, plan));
    match plan.to_width {
        Width::W64 => u64::store(lanes, d, values, mask),
        Width::W16 => u16::store(lanes, d, values.map(|v| v as u16), mask),
        _ => u32::store(lanes, d, values.map(|v| v as u32), mask),
    }
}

fn load(lanes: &Lanes, slot: Slot, width: Width) -> [u64; WARP] {
    if width == Width::W64 { u64::load(lanes, slot) } else { u32::load(lanes, slot).map(u64::from) }
}

/// One value, given and returned as the bits of its register.
fn convert(bits: u64, plan: Plan) -> u64 {
    // Tables of types end here: a type that is neither layout nor integer has no plan.
    match (Layout::of(plan.from), Layout::of(plan.to)) {
        (None, None) => clamped(extended(bits, plan.from), plan.to),
        (None, Some(to)) => {
            let value = extended(bits, plan.from);
            let exact = Exact { negative: value < 0, significand: value.unsigned_abs() as u64, exponent: 0 };
            float(Number::Finite(exact), to, plan)
        }
        (Some(from), None) => {
            let number = soft::unpack(source(bits, from, plan), from);
            match soft::integer(number, plan.rounding) {
                Some(value) => clamped(value, plan.to),
                // The ISA's rule for NaN, section 9.7.9.21.
                None if plan.from == ScalarType::F64 || plan.to.bits() == 64 => {
                    let lowest = 1 << (plan.to.bits() - 1);
                    extended(lowest, plan.to) as u64
                }
                None => 0,
            }
        }
        (Some(from), Some(to)) => {
            let bits = source(bits, from, plan);
            let number = soft::unpack(bits, from);
            let integral = matches!(plan.rounding, Rounding::Rni | Rounding::Rzi | Rounding::Rmi | Rounding::Rpi);
            float(if integral { soft::integral(number, plan.rounding) } else { number }, to, plan)
        }
    }
}

/// `.ftz` concerns singles alone.
fn source(bits: u64, from: Layout, plan: Plan) -> u64 {
    if plan.ftz && plan.from == ScalarType::F32 { from.flush(bits) } else { bits }
}

fn float(number: Number, to: Layout, plan: Plan) -> u64 {
    let bits = soft::pack(number, to, plan.rounding);
    let bits = if plan.ftz && plan.to == ScalarType::F32 { to.flush(bits) } else { bits };
    let bits = match plan.clamp {
        Clamp::None => bits,
        Clamp::Sat => to.saturate(bits),
        Clamp::Relu => to.relu(bits),
    };
    // The unused bits of a tf32 are its last.
    if plan.to == ScalarType::Tf32 { if bits == to.nan() { 0x7fff_ffff } else { bits << 13 } } else { bits }
}

const fn signed(ty: ScalarType) -> bool {
    matches!(ty, ScalarType::S8 | ScalarType::S16 | ScalarType::S32 | ScalarType::S64)
}

/// The integer in the lower bits of a register.
fn extended(bits: u64, ty: ScalarType) -> i128 {
    let unused = 64 - ty.bits();
    if signed(ty) { i128::from((bits << unused) as i64 >> unused) } else { i128::from(bits << unused >> unused) }
}

/// The nearest integer of the type, extended to the register as its sign asks.
fn clamped(value: i128, ty: ScalarType) -> u64 {
    let bits = ty.bits();
    let (least, most) = if signed(ty) { (-(1i128 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    value.clamp(least, most) as u64
}
