//! Instructions that only read and write registers: a function over one lane, lifted to rows and compiled for each
//! SIMD level.
//!
//! An operation is a type that implements [`Unary`], [`Binary`], [`Ternary`] or [`Quaternary`] over lane types; the generic functions
//! here lift it. What needs another shape writes its own row functions with `levels!`.

mod approximate;
mod bits;
mod carry;
mod compare;
mod convert;
mod double;
mod eight;
mod exact;
mod float;
mod half;
mod integer;
mod lift;
mod logic;
mod matrix;
mod moves;
mod nibbles;
mod packed;
mod product;
mod round;

use crate::lanes::{Lanes, Slot, Width};
use rewind_ptx::Instruction;

pub use product::{dealt, fragment_registers, sides};

pub use lift::{Binary, Quaternary, Ternary, Unary, binary, quaternary, ternary, unary};

/// What the machine that runs this has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain code.
    Portable,
    /// AVX2, FMA, F16C.
    Avx2,
    /// The same and AVX-512 F, BW, DQ, VL.
    Avx512,
}

impl Level {
    /// The best that this machine has.
    pub fn detect() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            let has2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let has512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if has2 && has512 {
                return Level::Avx512;
            }
            if has2 {
                return Level::Avx2;
            }
        }
        Level::Portable
    }
}

/// Runs one instruction in the lanes of the mask. The slots are the instruction's operands in the order of PTX,
/// vectors flattened, `d|p` as two; their widths are [`Selected::operands`].
///
/// Unsafe to call only because it may be compiled for a SIMD level: the machine must have it.
pub type RowFn = unsafe fn(&mut Lanes, &[Slot], u32);

/// An instruction's row function, and how its operands lie in the register file.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The function, for the level asked for.
    pub run: RowFn,
    /// Width of each operand; constants are laid out accordingly, a sink gets a spare register of that width.
    pub operands: Vec<Width>,
}

/// Picks the row function of an instruction that only reads and writes registers; `None` for all others.
pub fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    type Family = fn(&Instruction, Level) -> Option<Selected>;
    const FAMILIES: [Family; 16] = [
        integer::select,
        carry::select,
        bits::select,
        packed::select,
        float::select,
        double::select,
        approximate::select,
        compare::select,
        logic::select,
        moves::select,
        half::select,
        eight::select,
        convert::select,
        matrix::select,
        product::select,
        nibbles::select,
    ];
    FAMILIES.iter().find_map(|family| family(instruction, level))
}
