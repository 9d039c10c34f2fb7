//! Moves between registers, whole and in parts (PTX ISA section 9.7.9, `mov`).

use std::marker::PhantomData;

use super::lift::{levels, operations};
use super::{Level, RowFn, Selected, unary};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{Instruction, Opcode, Operand, RegisterClass};

operations! {
    fn Mov<T: Lane>(a: T) -> T { a }
}

/// A lane that is packed from parts or taken apart.
trait Whole: Lane {
    /// The bits from `at` on, of a part of so many bits.
    fn part(self, at: u32, bits: u32) -> u32;
    /// With a part put in; the bits there must be zero.
    fn with(self, part: u32, at: u32) -> Self;
}

macro_rules! wholes {
    ($($ty:ty),+) => {$(
        impl Whole for $ty {
            #[inline(always)]
            fn part(self, at: u32, bits: u32) -> u32 {
                (self >> at) as u32 & (u32::MAX >> (32 - bits))
            }
            #[inline(always)]
            fn with(self, part: u32, at: u32) -> $ty {
                self | <$ty>::from(part) << at
            }
        }
    )+};
}
wholes!(u32, u64);

/// How a whole splits. Each part lies in a row of its own, the lowest first.
trait Split {
    type Whole: Whole;
    const PARTS: usize;
    /// Bits of a part.
    const BITS: u32;
}
struct Parts<T, const PARTS: usize, const BITS: u32>(PhantomData<T>);
impl<T: Whole, const PARTS: usize, const BITS: u32> Split for Parts<T, PARTS, BITS> {
    type Whole = T;
    const PARTS: usize = PARTS;
    const BITS: u32 = BITS;
}

#[inline(always)]
fn pack_row<S: Split>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let mut out = [S::Whole::default(); WARP];
    for part in 0..S::PARTS {
        let from = u32::load(lanes, slots[1 + part]);
        for i in 0..WARP {
            // Registers of bytes count as 16 bits wide; their upper halves are no part of the byte.
            let bits = from[i] & (u32::MAX >> (32 - S::BITS));
            out[i] = out[i].with(bits, part as u32 * S::BITS);
        }
    }
    S::Whole::store(lanes, slots[0], out, mask);
}

#[inline(always)]
fn unpack_row<S: Split>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let whole = S::Whole::load(lanes, slots[S::PARTS]);
    for (part, &slot) in slots[..S::PARTS].iter().enumerate() {
        let mut out = [0; WARP];
        for i in 0..WARP {
            out[i] = whole[i].part(part as u32 * S::BITS, S::BITS);
        }
        u32::store(lanes, slot, out, mask);
    }
}

levels! {
    fn pack_fn<S: Split> = pack_row;
    fn unpack_fn<S: Split> = unpack_row;
}

fn move_predicate(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a] = slots else { unreachable!("lowered with two operands") };
    lanes.set_predicate(d, lanes.predicate(a), mask);
}

/// `movmatrix`: a lane holds two neighbours in a row of eight, and gets two of the transposed matrix (PTX ISA section
/// 9.7.14.5.17).
fn transpose(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let &[d, a] = slots else { unreachable!("lowered with two operands") };
    let from = *lanes.row(a);
    let element = |row: usize, column: usize| from[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
    let mut out = [0; WARP];
    for (lane, out) in out.iter_mut().enumerate() {
        let (row, column) = (lane / 4, 2 * (lane % 4));
        *out = element(column, row) | element(column + 1, row) << 16;
    }
    u32::store(lanes, d, out, mask);
}

fn split<S: Split>(packs: bool, level: Level) -> Selected {
    let part = if S::BITS == 32 { Width::W32 } else { Width::W16 };
    let (run, mut operands): (RowFn, _) =
        if packs { (pack_fn::<S>(level), vec![S::Whole::WIDTH]) } else { (unpack_fn::<S>(level), vec![]) };
    operands.extend(vec![part; S::PARTS]);
    if !packs {
        operands.push(S::Whole::WIDTH);
    }
    Selected { run, operands }
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    match instruction.opcode {
        Opcode::Mov => {}
        Opcode::Movmatrix => return Some(Selected { run: transpose, operands: vec![Width::W32; 2] }),
        _ => return None,
    }
    let class = RegisterClass::of(instruction.modifiers.first_type()?);
    let (packs, parts) = match &*instruction.operands {
        [Operand::Vector(parts), _] => (false, parts.len()),
        [_, Operand::Vector(parts)] => (true, parts.len()),
        _ => (false, 1),
    };
    Some(match (class, parts) {
        (RegisterClass::Pred, 1) => Selected { run: move_predicate, operands: vec![Width::Pred; 2] },
        (RegisterClass::B16, 1) => unary::<Mov<u16>>(level),
        (RegisterClass::B32, 1) => unary::<Mov<u32>>(level),
        (RegisterClass::B64, 1) => unary::<Mov<u64>>(level),
        (RegisterClass::B32, 2) => split::<Parts<u32, 2, 16>>(packs, level),
        (RegisterClass::B32, 4) => split::<Parts<u32, 4, 8>>(packs, level),
        (RegisterClass::B64, 2) => split::<Parts<u64, 2, 32>>(packs, level),
        (RegisterClass::B64, 4) => split::<Parts<u64, 4, 16>>(packs, level),
        _ => return None,
    })
}
