//! `mma` of integers of 4 bits (PTX ISA section 9.7.14.5), multiplied as [`product`](super::product) does it.

use super::product::{Grouped, Of, Packed, Word, product_row, sides};
use super::{Level, RowFn, Selected};
use crate::lanes::{Lanes, Slot, WARP, Width};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType, Shape};

/// Eight integers in a register.
struct Nibbles<const SIGNED: bool>;

impl<const SIGNED: bool> Packed for Nibbles<SIGNED> {
    type Value = i32;
    const PER_REGISTER: usize = 8;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, element: usize) -> [i32; WARP] {
        let mut out = [0; WARP];
        for (out, bits) in out.iter_mut().zip(lanes.row(slot)) {
            let top = bits << (28 - 4 * element);
            *out = if SIGNED { top as i32 >> 28 } else { (top >> 28) as i32 };
        }
        out
    }
}

fn of_shape<const A: bool, const B: bool, const SATURATED: bool>(shape: Shape) -> Option<RowFn> {
    Some(match shape {
        Shape::M8n8k32 => {
            product_row::<Of<Grouped, Nibbles<A>, Nibbles<B>, Word<SATURATED>, Word<SATURATED>, 8, 8, 32>>
        }
        Shape::M16n8k32 => {
            product_row::<Of<Grouped, Nibbles<A>, Nibbles<B>, Word<SATURATED>, Word<SATURATED>, 16, 8, 32>>
        }
        Shape::M16n8k64 => {
            product_row::<Of<Grouped, Nibbles<A>, Nibbles<B>, Word<SATURATED>, Word<SATURATED>, 16, 8, 64>>
        }
        _ => return None,
    })
}

/// The row function of an instruction of this family, compiled for one SIMD level only.
pub(super) fn select(i: &Instruction, _: Level) -> Option<Selected> {
    use ScalarType::{S4, U4};
    let (Opcode::Mma, [_, Some(a @ (S4 | U4)), Some(b @ (S4 | U4)), _]) = (i.opcode, i.modifiers.types) else {
        return None;
    };
    let shape = i.modifiers.shape?;
    let run = match (a == S4, b == S4, i.modifiers.has(Flag::Satfinite)) {
        (true, true, false) => of_shape::<true, true, false>(shape),
        (true, false, false) => of_shape::<true, false, false>(shape),
        (false, true, false) => of_shape::<false, true, false>(shape),
        (false, false, false) => of_shape::<false, false, false>(shape),
        (true, true, true) => of_shape::<true, true, true>(shape),
        (true, false, true) => of_shape::<true, false, true>(shape),
        (false, true, true) => of_shape::<false, true, true>(shape),
        (false, false, true) => of_shape::<false, false, true>(shape),
    }?;
    let [m, n, k] = sides(shape);
    Some(Selected { run, operands: vec![Width::W32; (2 * m * n + (m + n) * k / 8) / WARP] })
}
