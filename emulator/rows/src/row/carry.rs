//! Integer arithmetic with the carry flag that each lane has (PTX ISA section 9.7.2).

use std::marker::PhantomData;

use super::integer::Integer;
use super::lift::levels;
use super::{Level, RowFn, Selected};
use crate::lanes::{Lane, Lanes, Slot, WARP};
use rewind_ptx::{Flag, Instruction, Opcode, Part, ScalarType};

/// Unsigned lanes: signed types carry alike.
pub(super) trait Carrying: Integer {
    /// `self + other + carry` and whether that overflows.
    fn add(self, other: Self, carry: bool) -> (Self, bool);
    /// `self - other - borrow` and whether that underflows.
    fn sub(self, other: Self, borrow: bool) -> (Self, bool);
}

macro_rules! carrying {
    ($($ty:ty),+) => {$(
        impl Carrying for $ty {
            #[inline(always)]
            fn add(self, other: $ty, carry: bool) -> ($ty, bool) {
                let (sum, first) = self.overflowing_add(other);
                let (sum, second) = sum.overflowing_add(carry.into());
                (sum, first | second)
            }
            #[inline(always)]
            fn sub(self, other: $ty, borrow: bool) -> ($ty, bool) {
                let (difference, first) = self.overflowing_sub(other);
                let (difference, second) = difference.overflowing_sub(borrow.into());
                (difference, first | second)
            }
        }
    )+};
}
carrying!(u32, u64);

/// What happens to the flag.
pub(super) trait Flow {
    /// It is added or subtracted.
    const READS: bool;
    /// It is set.
    const WRITES: bool;
}
struct Reading;
struct Writing;
struct Both;
impl Flow for Reading {
    const READS: bool = true;
    const WRITES: bool = false;
}
impl Flow for Writing {
    const READS: bool = false;
    const WRITES: bool = true;
}
impl Flow for Both {
    const READS: bool = true;
    const WRITES: bool = true;
}

/// The operation apart from the flag, on the sources `a`, `b` and, of a product, `c`.
pub(super) trait Step {
    /// Lanes of the result.
    type T: Carrying;
    /// Has a third source.
    const PRODUCT: bool;
    /// One lane.
    fn of(a: Self::T, b: Self::T, c: Self::T, carry: bool) -> (Self::T, bool);
}

macro_rules! steps {
    ($($name:ident<$t:ident: $bound:ident> of $ty:ty, $product:literal,
        |$a:ident, $b:ident, $c:ident, $carry:ident| $value:expr;)+) => {$(
        struct $name<$t>(PhantomData<$t>);
        impl<$t: $bound> Step for $name<$t> {
            type T = $ty;
            const PRODUCT: bool = $product;
            #[inline(always)]
            fn of($a: $ty, $b: $ty, $c: $ty, $carry: bool) -> ($ty, bool) {
                $value
            }
        }
    )+};
}
steps! {
    Add<T: Carrying> of T, false, |a, b, _c, carry| a.add(b, carry);
    Sub<T: Carrying> of T, false, |a, b, _c, borrow| a.sub(b, borrow);
    MadLo<T: Carrying> of T, true, |a, b, c, carry| a.times(b).add(c, carry);
    MadHi<T: Carrying> of T, true, |a, b, c, carry| a.times_high(b).add(c, carry);
    MadHiSigned<T: Signed> of T::Unsigned, true, |a, b, c, carry| T::times_high(a, b).add(c, carry);
}

/// Signed lanes, whose products have other upper halves.
pub(super) trait Signed {
    /// The lanes of the same width that carry.
    type Unsigned: Carrying;
    /// Upper half of the signed product.
    fn times_high(a: Self::Unsigned, b: Self::Unsigned) -> Self::Unsigned;
}
impl Signed for i32 {
    type Unsigned = u32;
    #[inline(always)]
    fn times_high(a: u32, b: u32) -> u32 {
        (a as i32).times_high(b as i32) as u32
    }
}
impl Signed for i64 {
    type Unsigned = u64;
    #[inline(always)]
    fn times_high(a: u64, b: u64) -> u64 {
        (a as i64).times_high(b as i64) as u64
    }
}

#[inline(always)]
fn carry_row<S: Step, F: Flow>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let (d, a, b, c) = match *slots {
        [d, a, b] if !S::PRODUCT => (d, a, b, None),
        [d, a, b, c] if S::PRODUCT => (d, a, b, Some(c)),
        _ => unreachable!("lowered with the operands of its opcode"),
    };
    let (a, b) = (S::T::load(lanes, a), S::T::load(lanes, b));
    let c = c.map_or([S::T::default(); WARP], |c| S::T::load(lanes, c));
    let carry_in = if F::READS { lanes.carry } else { 0 };
    let mut carry_out = 0;
    let mut out = [S::T::default(); WARP];
    for i in 0..WARP {
        let (value, carry) = S::of(a[i], b[i], c[i], carry_in >> i & 1 == 1);
        out[i] = value;
        carry_out |= u32::from(carry) << i;
    }
    S::T::store(lanes, d, out, mask);
    if F::WRITES {
        lanes.carry = lanes.carry & !mask | carry_out & mask;
    }
}

levels! {
    fn carry_fn<S: Step, F: Flow> = carry_row;
}

fn selected<S: Step>(reads: bool, writes: bool, level: Level) -> Option<Selected> {
    let run: RowFn = match (reads, writes) {
        (true, false) => carry_fn::<S, Reading>(level),
        (false, true) => carry_fn::<S, Writing>(level),
        (true, true) => carry_fn::<S, Both>(level),
        (false, false) => return None,
    };
    Some(Selected { run, operands: vec![S::T::WIDTH; if S::PRODUCT { 4 } else { 3 }] })
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    let reads = matches!(instruction.opcode, Opcode::Addc | Opcode::Subc | Opcode::Madc);
    let writes = modifiers.has(Flag::Cc);
    let ty = modifiers.first_type()?;
    let wide = match ty {
        ScalarType::U32 | ScalarType::S32 => false,
        ScalarType::U64 | ScalarType::S64 => true,
        _ => return None,
    };
    let signed = matches!(ty, ScalarType::S32 | ScalarType::S64);
    match (instruction.opcode, modifiers.part, wide) {
        (Opcode::Add | Opcode::Addc, _, false) => selected::<Add<u32>>(reads, writes, level),
        (Opcode::Add | Opcode::Addc, _, true) => selected::<Add<u64>>(reads, writes, level),
        (Opcode::Sub | Opcode::Subc, _, false) => selected::<Sub<u32>>(reads, writes, level),
        (Opcode::Sub | Opcode::Subc, _, true) => selected::<Sub<u64>>(reads, writes, level),
        (Opcode::Mad | Opcode::Madc, Some(Part::Lo), false) => selected::<MadLo<u32>>(reads, writes, level),
        (Opcode::Mad | Opcode::Madc, Some(Part::Lo), true) => selected::<MadLo<u64>>(reads, writes, level),
        (Opcode::Mad | Opcode::Madc, Some(Part::Hi), wide) => match (signed, wide) {
            (false, false) => selected::<MadHi<u32>>(reads, writes, level),
            (false, true) => selected::<MadHi<u64>>(reads, writes, level),
            (true, false) => selected::<MadHiSigned<i32>>(reads, writes, level),
            (true, true) => selected::<MadHiSigned<i64>>(reads, writes, level),
        },
        _ => None,
    }
}
