//! Logic and shifts (PTX ISA section 9.7.8).

use super::integer::any_sign;
use super::lift::{levels, operations};
use super::{Level, RowFn, Selected, binary, ternary, unary};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{BoolOp, Flag, Instruction, Opcode, Operand, PrmtMode, ScalarType};

/// A lane of bits.
pub(super) trait Bits:
    Lane
    + PartialEq
    + From<bool>
    + std::ops::BitAnd<Output = Self>
    + std::ops::BitOr<Output = Self>
    + std::ops::BitXor<Output = Self>
    + std::ops::Not<Output = Self>
{
    /// Shifted up; by the width or more, gone.
    fn up(self, by: u32) -> Self;
}

/// A lane that is shifted down with its sign, if it has one.
pub(super) trait Down: Lane {
    /// Shifted down; by the width or more, only signs are left.
    fn down(self, by: u32) -> Self;
}

macro_rules! shifts {
    ($($unsigned:ident $signed:ident),+) => {$(
        impl Bits for $unsigned {
            #[inline(always)]
            fn up(self, by: u32) -> $unsigned {
                if by < $unsigned::BITS { self << (by & ($unsigned::BITS - 1)) } else { 0 }
            }
        }
        impl Down for $unsigned {
            #[inline(always)]
            fn down(self, by: u32) -> $unsigned {
                if by < $unsigned::BITS { self >> (by & ($unsigned::BITS - 1)) } else { 0 }
            }
        }
        impl Down for $signed {
            #[inline(always)]
            fn down(self, by: u32) -> $signed {
                self >> by.min($unsigned::BITS - 1)
            }
        }
    )+};
}
shifts!(u16 i16, u32 i32, u64 i64);

/// The bits of `b:a` from bit 32 on, after a shift up.
#[inline(always)]
fn funnel_left(a: u32, b: u32, by: u32) -> u32 {
    (((u64::from(b) << 32 | u64::from(a)) << by) >> 32) as u32
}

#[inline(always)]
fn funnel_right(a: u32, b: u32, by: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> by) as u32
}

/// The bytes of `b:a` that the selector's nibbles name.
#[inline(always)]
fn permuted(a: u32, b: u32, nibbles: u32) -> u32 {
    let source = u64::from(b) << 32 | u64::from(a);
    let mut out = 0;
    for n in 0..4 {
        let nibble = nibbles >> (4 * n) & 0xf;
        let byte = (source >> (8 * (nibble & 7))) as u8;
        let byte = if nibble & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 };
        out |= u32::from(byte) << (8 * n);
    }
    out
}

/// A mode's selectors as nibbles, for each value of the two lowest bits of `c`.
#[inline(always)]
fn mode(a: u32, b: u32, c: u32, selectors: [u32; 4]) -> u32 {
    let chosen = if c & 2 == 0 {
        if c & 1 == 0 { selectors[0] } else { selectors[1] }
    } else if c & 1 == 0 {
        selectors[2]
    } else {
        selectors[3]
    };
    permuted(a, b, chosen)
}

operations! {
    fn And<T: Bits>(a: T, b: T) -> T { a & b }
    fn Or<T: Bits>(a: T, b: T) -> T { a | b }
    fn Xor<T: Bits>(a: T, b: T) -> T { a ^ b }
    fn Not<T: Bits>(a: T) -> T { !a }
    fn Cnot<T: Bits>(a: T) -> T { T::from(a == T::default()) }
    fn Shl<T: Bits>(a: T, b: u32) -> T { a.up(b) }
    fn Shr<T: Down>(a: T, b: u32) -> T { a.down(b) }
    fn ShfLeftClamp(a: u32, b: u32, c: u32) -> u32 { funnel_left(a, b, c.min(32)) }
    fn ShfLeftWrap(a: u32, b: u32, c: u32) -> u32 { funnel_left(a, b, c & 31) }
    fn ShfRightClamp(a: u32, b: u32, c: u32) -> u32 { funnel_right(a, b, c.min(32)) }
    fn ShfRightWrap(a: u32, b: u32, c: u32) -> u32 { funnel_right(a, b, c & 31) }
    fn Prmt(a: u32, b: u32, c: u32) -> u32 { permuted(a, b, c) }
    // Four bytes forward or backward from one; one everywhere; clamped to the left or right of one; a half twice.
    fn PrmtF4e(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x3210, 0x4321, 0x5432, 0x6543]) }
    fn PrmtB4e(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x5670, 0x6701, 0x7012, 0x0123]) }
    fn PrmtRc8(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x0000, 0x1111, 0x2222, 0x3333]) }
    fn PrmtEcl(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x3210, 0x3211, 0x3222, 0x3333]) }
    fn PrmtEcr(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x0000, 0x1110, 0x2210, 0x3210]) }
    fn PrmtRc16(a: u32, b: u32, c: u32) -> u32 { mode(a, b, c, [0x1010, 0x3232, 0x1010, 0x3232]) }
}

/// Logic of whole predicates.
fn predicates(opcode: Opcode) -> Option<Selected> {
    fn of(lanes: &mut Lanes, slots: &[Slot], mask: u32, value: impl Fn(u32, u32) -> u32) {
        let (d, a, b) = match *slots {
            [d, a] => (d, a, a),
            [d, a, b] => (d, a, b),
            _ => unreachable!("lowered with two or three operands"),
        };
        lanes.set_predicate(d, value(lanes.predicate(a), lanes.predicate(b)), mask);
    }
    let run: RowFn = match opcode {
        Opcode::And => |lanes, slots, mask| of(lanes, slots, mask, |a, b| a & b),
        Opcode::Or => |lanes, slots, mask| of(lanes, slots, mask, |a, b| a | b),
        Opcode::Xor => |lanes, slots, mask| of(lanes, slots, mask, |a, b| a ^ b),
        Opcode::Not => |lanes, slots, mask| of(lanes, slots, mask, |a, _| !a),
        _ => return None,
    };
    Some(Selected { run, operands: vec![Width::Pred; if opcode == Opcode::Not { 2 } else { 3 }] })
}

/// What `lop3` does with a predicate.
trait Join {
    /// There are a predicate written and one read.
    const PRESENT: bool;
    /// All lanes at once.
    fn of(nonzero: u32, with: u32) -> u32;
}
struct Alone;
struct JoinAnd;
struct JoinOr;
impl Join for Alone {
    const PRESENT: bool = false;
    #[inline(always)]
    fn of(nonzero: u32, _with: u32) -> u32 {
        nonzero
    }
}
impl Join for JoinAnd {
    const PRESENT: bool = true;
    #[inline(always)]
    fn of(nonzero: u32, with: u32) -> u32 {
        nonzero & with
    }
}
impl Join for JoinOr {
    const PRESENT: bool = true;
    #[inline(always)]
    fn of(nonzero: u32, with: u32) -> u32 {
        nonzero | with
    }
}

/// Any function of three bits, by its table: the same in all lanes, so that each entry is a mask of the whole row.
#[inline(always)]
fn lop3_row<J: Join>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let (d, p, a, b, c, table, with) = match *slots {
        [d, a, b, c, table] => (d, None, a, b, c, table, 0),
        [d, p, a, b, c, table, with] if J::PRESENT => (d, Some(p), a, b, c, table, lanes.predicate(with)),
        [d, a, b, c, table, with] if J::PRESENT => (d, None, a, b, c, table, lanes.predicate(with)),
        _ => unreachable!("lowered with the operands of its form"),
    };
    let (a, b, c) = (u32::load(lanes, a), u32::load(lanes, b), u32::load(lanes, c));
    let table = lanes.row(table)[0];
    let entry = |n: u32| if table >> n & 1 == 1 { u32::MAX } else { 0 };
    let entries = [entry(0), entry(1), entry(2), entry(3), entry(4), entry(5), entry(6), entry(7)];
    let mut out = [0; WARP];
    let mut nonzero = 0;
    for i in 0..WARP {
        let (a, b, c) = (a[i], b[i], c[i]);
        // Chooses by c, then by b, then by a.
        let pair = |n: usize| entries[n] & !c | entries[n + 1] & c;
        let low = pair(0) & !b | pair(2) & b;
        let high = pair(4) & !b | pair(6) & b;
        out[i] = low & !a | high & a;
        nonzero |= u32::from(out[i] != 0) << i;
    }
    u32::store(lanes, d, out, mask);
    if let Some(p) = p {
        lanes.set_predicate(p, J::of(nonzero, with), mask);
    }
}

levels! {
    fn lop3_fn<J: Join> = lop3_row;
}

fn lop3(instruction: &Instruction, level: Level) -> Selected {
    let join = instruction.modifiers.bool_op;
    let run = match join {
        None => lop3_fn::<Alone>(level),
        Some(BoolOp::Or) => lop3_fn::<JoinOr>(level),
        Some(_) => lop3_fn::<JoinAnd>(level),
    };
    let mut operands = vec![Width::W32];
    operands.extend(matches!(instruction.operands.first(), Some(Operand::Pair(..))).then_some(Width::Pred));
    operands.extend([Width::W32; 4]);
    operands.extend(join.map(|_| Width::Pred));
    Selected { run, operands }
}

fn prmt(mode: Option<PrmtMode>, level: Level) -> Selected {
    match mode {
        None => ternary::<Prmt>(level),
        Some(PrmtMode::F4e) => ternary::<PrmtF4e>(level),
        Some(PrmtMode::B4e) => ternary::<PrmtB4e>(level),
        Some(PrmtMode::Rc8) => ternary::<PrmtRc8>(level),
        Some(PrmtMode::Ecl) => ternary::<PrmtEcl>(level),
        Some(PrmtMode::Ecr) => ternary::<PrmtEcr>(level),
        Some(PrmtMode::Rc16) => ternary::<PrmtRc16>(level),
    }
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    let ty = modifiers.first_type()?;
    if ty == ScalarType::Pred {
        return predicates(instruction.opcode);
    }
    match (instruction.opcode, ty) {
        (Opcode::And, _) => any_sign!(binary, And, ty, level),
        (Opcode::Or, _) => any_sign!(binary, Or, ty, level),
        (Opcode::Xor, _) => any_sign!(binary, Xor, ty, level),
        (Opcode::Not, _) => any_sign!(unary, Not, ty, level),
        (Opcode::Cnot, _) => any_sign!(unary, Cnot, ty, level),
        (Opcode::Shl, _) => any_sign!(binary, Shl, ty, level),
        (Opcode::Shr, ScalarType::S16) => Some(binary::<Shr<i16>>(level)),
        (Opcode::Shr, ScalarType::S32) => Some(binary::<Shr<i32>>(level)),
        (Opcode::Shr, ScalarType::S64) => Some(binary::<Shr<i64>>(level)),
        (Opcode::Shr, _) => any_sign!(binary, Shr, ty, level),
        (Opcode::Lop3, _) => Some(lop3(instruction, level)),
        (Opcode::Prmt, _) => Some(prmt(modifiers.prmt, level)),
        (Opcode::Shf, _) => Some(match (modifiers.has(Flag::Left), modifiers.has(Flag::Wrap)) {
            (true, false) => ternary::<ShfLeftClamp>(level),
            (true, true) => ternary::<ShfLeftWrap>(level),
            (false, false) => ternary::<ShfRightClamp>(level),
            (false, true) => ternary::<ShfRightWrap>(level),
        }),
        _ => None,
    }
}
