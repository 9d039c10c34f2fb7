//! `set` and `setp` of halves (PTX ISA section 9.7.7).
//!
//! There are many forms and none is hot: the comparison of two rows is shared, and what remains for each form is a few
//! operations on masks of 32 lanes, the same at every SIMD level.

use super::super::Selected;
use super::format::{Bf16, F16, Format};
use super::halves;
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{BoolOp, Comparison, Flag, Instruction, Operand, ScalarType};

/// Which outcomes of a comparison make it true.
const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;
const UNORDERED: u8 = 8;

/// How the outcome is joined with a predicate.
const ALONE: u8 = 0;
const AND: u8 = 1;
const OR: u8 = 2;
const XOR: u8 = 3;

/// The lanes with each outcome, of one half.
#[derive(Clone, Copy, Default)]
struct Outcomes {
    less: u32,
    equal: u32,
    greater: u32,
}

impl Outcomes {
    fn of<F: Format>(a: [u16; WARP], b: [u16; WARP], ftz: bool) -> Outcomes {
        let mut all = Outcomes::default();
        for lane in 0..WARP {
            let flushed = |v| F::widen(if ftz { F::flush(v) } else { v });
            let (a, b) = (flushed(a[lane]), flushed(b[lane]));
            all.less |= u32::from(a < b) << lane;
            all.equal |= u32::from(a == b) << lane;
            all.greater |= u32::from(a > b) << lane;
        }
        all
    }

    #[inline(always)]
    fn truth(self, table: u8) -> u32 {
        let pick = |bit, mask| if table & bit != 0 { mask } else { 0 };
        let unordered = !(self.less | self.equal | self.greater);
        pick(LESS, self.less) | pick(EQUAL, self.equal) | pick(GREATER, self.greater) | pick(UNORDERED, unordered)
    }
}

/// The outcomes of the lower, or only, half and of the upper one.
#[inline(never)]
fn compared<F: Format, const FTZ: bool, const PACKED: bool>(lanes: &Lanes, a: Slot, b: Slot) -> [Outcomes; 2] {
    if PACKED {
        let (a, b) = (lanes.row(a), lanes.row(b));
        let lower = Outcomes::of::<F>(a.map(|v| halves(v).0), b.map(|v| halves(v).0), FTZ);
        [lower, Outcomes::of::<F>(a.map(|v| halves(v).1), b.map(|v| halves(v).1), FTZ)]
    } else {
        [Outcomes::of::<F>(u16::load(lanes, a), u16::load(lanes, b), FTZ), Outcomes::default()]
    }
}

#[inline(always)]
fn joined<const JOIN: u8>(truth: u32, with: u32) -> u32 {
    match JOIN {
        AND => truth & with,
        OR => truth | with,
        XOR => truth ^ with,
        _ => truth,
    }
}

/// `setp`: p, perhaps q, then a, b, perhaps c.
fn setp<F: Format, const FTZ: bool, const PACKED: bool, const TABLE: u8, const JOIN: u8>(
    lanes: &mut Lanes,
    slots: &[Slot],
    mask: u32,
) {
    let sources = if JOIN == ALONE { 2 } else { 3 };
    let (written, read) = slots.split_at(slots.len() - sources);
    let [lower, upper] = compared::<F, FTZ, PACKED>(lanes, read[0], read[1]);
    let with = if JOIN == ALONE { 0 } else { lanes.predicate(read[2]) };
    let truth = lower.truth(TABLE);
    lanes.set_predicate(written[0], joined::<JOIN>(truth, with), mask);
    if let Some(&q) = written.get(1) {
        // The second predicate: of the upper half, or of single values the complement.
        let second = if PACKED { upper.truth(TABLE) } else { !truth };
        lanes.set_predicate(q, joined::<JOIN>(second, with), mask);
    }
}

/// What `set` writes for true.
const ONE: u8 = 0;
const ONES16: u8 = 1;
const ONES32: u8 = 2;

/// `set`: d, a, b, perhaps c.
fn set<F: Format, const FTZ: bool, const PACKED: bool, const TABLE: u8, const JOIN: u8, const VALUE: u8>(
    lanes: &mut Lanes,
    slots: &[Slot],
    mask: u32,
) {
    let [lower, upper] = compared::<F, FTZ, PACKED>(lanes, slots[1], slots[2]);
    let with = if JOIN == ALONE { 0 } else { lanes.predicate(slots[3]) };
    let (lower, upper) = (joined::<JOIN>(lower.truth(TABLE), with), joined::<JOIN>(upper.truth(TABLE), with));
    let value = match VALUE {
        ONE => u32::from(F::ONE),
        ONES16 => 0xffff,
        _ => u32::MAX,
    };
    store_flags(lanes, slots[0], [lower, if PACKED { upper } else { 0 }], value, mask);
}

#[inline(never)]
fn store_flags(lanes: &mut Lanes, slot: Slot, [lower, upper]: [u32; 2], value: u32, mask: u32) {
    let row = std::array::from_fn(|lane| ((lower >> lane & 1) * value) | ((upper >> lane & 1) * (value << 16)));
    u32::store(lanes, slot, row, mask);
}

fn table(comparison: Comparison) -> Option<u8> {
    Some(match comparison {
        Comparison::Eq => EQUAL,
        Comparison::Ne => LESS | GREATER,
        Comparison::Lt => LESS,
        Comparison::Le => LESS | EQUAL,
        Comparison::Gt => GREATER,
        Comparison::Ge => GREATER | EQUAL,
        Comparison::Equ => EQUAL | UNORDERED,
        Comparison::Neu => LESS | GREATER | UNORDERED,
        Comparison::Ltu => LESS | UNORDERED,
        Comparison::Leu => LESS | EQUAL | UNORDERED,
        Comparison::Gtu => GREATER | UNORDERED,
        Comparison::Geu => GREATER | EQUAL | UNORDERED,
        Comparison::Num => LESS | EQUAL | GREATER,
        Comparison::Nan => UNORDERED,
        Comparison::Lo | Comparison::Ls | Comparison::Hi | Comparison::Hs => return None,
    })
}

/// Calls `$f::<$before.., TABLE, JOIN $(, $after)?>` with the constants that belong to `$table` and `$join`.
macro_rules! by_table {
    ($table:expr, $join:expr, $f:ident, [$($before:tt),*], [$($after:tt),*]) => {
        by_table!(@ $table, $join, $f, [$($before),*], [$($after),*], 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@ $table:expr, $join:expr, $f:ident, $before:tt, $after:tt, $($t:literal)+) => {
        match $table {
            $($t => by_table!(@join $join, $f, $before, $after, $t),)+
            _ => return None,
        }
    };
    (@join $join:expr, $f:ident, [$($before:tt),*], [$($after:tt),*], $t:literal) => {
        match $join {
            AND => $f::<$($before,)* $t, AND $(, $after)*>,
            OR => $f::<$($before,)* $t, OR $(, $after)*>,
            XOR => $f::<$($before,)* $t, XOR $(, $after)*>,
            _ => $f::<$($before,)* $t, ALONE $(, $after)*>,
        }
    };
}

fn form(instruction: &Instruction) -> Option<(u8, u8, bool)> {
    let join = match instruction.modifiers.bool_op {
        None => ALONE,
        Some(BoolOp::And) => AND,
        Some(BoolOp::Or) => OR,
        Some(BoolOp::Xor) => XOR,
    };
    Some((table(instruction.modifiers.comparison?)?, join, instruction.modifiers.has(Flag::Ftz)))
}

fn source_width(ty: ScalarType) -> Width {
    if ty.bits() == 16 { Width::W16 } else { Width::W32 }
}

pub(super) fn select_setp(instruction: &Instruction) -> Option<Selected> {
    let ty = instruction.modifiers.types[0]?;
    let (table, join, ftz) = form(instruction)?;
    let run = match (ty, ftz) {
        (ScalarType::F16, false) => by_table!(table, join, setp, [F16, false, false], []),
        (ScalarType::F16, true) => by_table!(table, join, setp, [F16, true, false], []),
        (ScalarType::F16x2, false) => by_table!(table, join, setp, [F16, false, true], []),
        (ScalarType::F16x2, true) => by_table!(table, join, setp, [F16, true, true], []),
        (ScalarType::Bf16, _) => by_table!(table, join, setp, [Bf16, false, false], []),
        (ScalarType::Bf16x2, _) => by_table!(table, join, setp, [Bf16, false, true], []),
        _ => return None,
    };
    let written = if matches!(instruction.operands.first(), Some(Operand::Pair(..))) { 2 } else { 1 };
    let mut operands = vec![Width::Pred; written];
    operands.extend([source_width(ty); 2]);
    operands.extend((join != ALONE).then_some(Width::Pred));
    Some(Selected { run, operands })
}

pub(super) fn select_set(instruction: &Instruction) -> Option<Selected> {
    use ScalarType::{Bf16 as B, Bf16x2, F16 as H, F16x2, S16, S32, U16, U32};
    let (to, from) = (instruction.modifiers.types[0]?, instruction.modifiers.types[1]?);
    let (table, join, ftz) = form(instruction)?;
    let run = match (from, to, ftz) {
        (H, H, false) => by_table!(table, join, set, [F16, false, false], [ONE]),
        (H, H, true) => by_table!(table, join, set, [F16, true, false], [ONE]),
        (H, U16 | S16, false) => by_table!(table, join, set, [F16, false, false], [ONES16]),
        (H, U16 | S16, true) => by_table!(table, join, set, [F16, true, false], [ONES16]),
        (H, U32 | S32, false) => by_table!(table, join, set, [F16, false, false], [ONES32]),
        (H, U32 | S32, true) => by_table!(table, join, set, [F16, true, false], [ONES32]),
        (F16x2, F16x2, false) => by_table!(table, join, set, [F16, false, true], [ONE]),
        (F16x2, F16x2, true) => by_table!(table, join, set, [F16, true, true], [ONE]),
        (F16x2, U32 | S32, false) => by_table!(table, join, set, [F16, false, true], [ONES16]),
        (F16x2, U32 | S32, true) => by_table!(table, join, set, [F16, true, true], [ONES16]),
        (B, B, _) => by_table!(table, join, set, [Bf16, false, false], [ONE]),
        (B, U16 | S16, _) => by_table!(table, join, set, [Bf16, false, false], [ONES16]),
        (B, U32 | S32, _) => by_table!(table, join, set, [Bf16, false, false], [ONES32]),
        (Bf16x2, Bf16x2, _) => by_table!(table, join, set, [Bf16, false, true], [ONE]),
        (Bf16x2, U32 | S32, _) => by_table!(table, join, set, [Bf16, false, true], [ONES16]),
        _ => return None,
    };
    let mut operands = vec![source_width(to), source_width(from), source_width(from)];
    operands.extend((join != ALONE).then_some(Width::Pred));
    Some(Selected { run, operands })
}
