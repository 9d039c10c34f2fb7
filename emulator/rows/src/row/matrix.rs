//! Products of small matrices over a warp (PTX ISA section 9.7.14.5).
//!
//! `d[i][j] = c[i][j] + sum over k of a[i][k] * b[k][j]`, with A 16 x K, B K x 8, C and D 16 x 8.
//!
//! The ISA leaves order and rounding of the sum open. Here it starts from c and goes by ascending k, each step a fused
//! multiply-add in single precision: products are exact, and each sum is rounded to nearest. Hardware adds several
//! products at once and truncates, so it may differ in the last bits. Half accumulators are widened, summed the same
//! way and rounded once at the end. A NaN is the canonical one.
//!
//! Loops over lanes are plain ones: a closure that is not inlined would be compiled without the SIMD level.

use std::marker::PhantomData;

use super::half::{Bf16, F16, Format};
use super::lift::levels;
use super::{Level, RowFn, Selected};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{Instruction, Opcode, ScalarType, Shape};

/// How A and B lie in registers. A lane is `4 * group + thread`.
trait Inputs {
    /// Elements of a register: one of 32 bits or two of 16.
    const PER_REGISTER: usize;
    /// The elements of a register in all lanes, each as a single.
    fn elements(row: &[u32; WARP], element: usize) -> [f32; WARP];
}

/// tf32: the sign, the exponent and 10 bits of significand; hardware ignores the last 13.
struct Tensor;

impl Inputs for Tensor {
    const PER_REGISTER: usize = 1;
    #[inline(always)]
    fn elements(row: &[u32; WARP], _: usize) -> [f32; WARP] {
        let mut out = [0.0; WARP];
        for (out, bits) in out.iter_mut().zip(row) {
            *out = f32::from_bits(bits & !0x1fff);
        }
        out
    }
}

/// Two halves or bfloats.
struct Halves<F>(PhantomData<F>);

impl<F: Format> Inputs for Halves<F> {
    const PER_REGISTER: usize = 2;
    #[inline(always)]
    fn elements(row: &[u32; WARP], element: usize) -> [f32; WARP] {
        let mut out = [0.0; WARP];
        for (out, bits) in out.iter_mut().zip(row) {
            *out = F::widen((bits >> (16 * element)) as u16);
        }
        out
    }
}

/// How C and D lie in registers.
trait Accumulators {
    /// Registers of a fragment of 4 elements.
    const REGISTERS: usize;
    /// Element `i` of the fragment in all lanes.
    fn load(lanes: &Lanes, slots: &[Slot], i: usize) -> [f32; WARP];
    /// The whole fragment.
    fn store(lanes: &mut Lanes, slots: &[Slot], values: [[f32; WARP]; 4], mask: u32);
}

struct Singles;

impl Accumulators for Singles {
    const REGISTERS: usize = 4;
    #[inline(always)]
    fn load(lanes: &Lanes, slots: &[Slot], i: usize) -> [f32; WARP] {
        f32::load(lanes, slots[i])
    }
    #[inline(always)]
    fn store(lanes: &mut Lanes, slots: &[Slot], values: [[f32; WARP]; 4], mask: u32) {
        for (mut row, &slot) in values.into_iter().zip(slots) {
            for v in &mut row {
                *v = if v.is_nan() { f32::from_bits(0x7fff_ffff) } else { *v };
            }
            f32::store(lanes, slot, row, mask);
        }
    }
}

struct PackedHalves;

impl Accumulators for PackedHalves {
    const REGISTERS: usize = 2;
    #[inline(always)]
    fn load(lanes: &Lanes, slots: &[Slot], i: usize) -> [f32; WARP] {
        Halves::<F16>::elements(lanes.row(slots[i / 2]), i % 2)
    }
    #[inline(always)]
    fn store(lanes: &mut Lanes, slots: &[Slot], values: [[f32; WARP]; 4], mask: u32) {
        for (pair, &slot) in values.as_chunks::<2>().0.iter().zip(slots) {
            let mut packed = [0; WARP];
            for lane in 0..WARP {
                packed[lane] = u32::from(F16::narrow(pair[0][lane])) | u32::from(F16::narrow(pair[1][lane])) << 16;
            }
            u32::store(lanes, slot, packed, mask);
        }
    }
}

#[inline(always)]
fn product<I: Inputs, C: Accumulators, const K: usize>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    // A register holds a block of 4 * PER_REGISTER columns of A, or rows of B; of A, for 8 of the 16 rows.
    let blocks = K / (4 * I::PER_REGISTER);
    let (d, rest) = slots.split_at(C::REGISTERS);
    let (a, rest) = rest.split_at(2 * blocks);
    let (b, c) = rest.split_at(blocks);
    let mut sums = [C::load(lanes, c, 0), C::load(lanes, c, 1), C::load(lanes, c, 2), C::load(lanes, c, 3)];
    for block in 0..blocks {
        let mut upper = [[0.0; WARP]; 2];
        let mut lower = [[0.0; WARP]; 2];
        let mut right = [[0.0; WARP]; 2];
        for element in 0..I::PER_REGISTER {
            upper[element] = I::elements(lanes.row(a[2 * block]), element);
            lower[element] = I::elements(lanes.row(a[2 * block + 1]), element);
            right[element] = I::elements(lanes.row(b[block]), element);
        }
        for thread in 0..4 {
            for element in 0..I::PER_REGISTER {
                step(&mut sums, &upper[element], &lower[element], &right[element], thread);
            }
        }
    }
    C::store(lanes, d, sums, mask);
}

/// Adds the products of one k, which the lanes of this thread hold: of A, each group its row in the upper and in the
/// lower half; of B, each group its column. A lane sums its row's products with columns 2t and 2t + 1.
#[inline(always)]
fn step(sums: &mut [[f32; WARP]; 4], upper: &[f32; WARP], lower: &[f32; WARP], right: &[f32; WARP], thread: usize) {
    let mut a = [[0.0; WARP]; 2];
    let mut b = [[0.0; WARP]; 2];
    for lane in 0..WARP {
        a[0][lane] = upper[lane / 4 * 4 + thread];
        a[1][lane] = lower[lane / 4 * 4 + thread];
        b[0][lane] = right[lane % 4 * 8 + thread];
        b[1][lane] = right[lane % 4 * 8 + 4 + thread];
    }
    for lane in 0..WARP {
        sums[0][lane] = a[0][lane].mul_add(b[0][lane], sums[0][lane]);
    }
    for lane in 0..WARP {
        sums[1][lane] = a[0][lane].mul_add(b[1][lane], sums[1][lane]);
    }
    for lane in 0..WARP {
        sums[2][lane] = a[1][lane].mul_add(b[0][lane], sums[2][lane]);
    }
    for lane in 0..WARP {
        sums[3][lane] = a[1][lane].mul_add(b[1][lane], sums[3][lane]);
    }
}

/// A product with its types and depth.
pub(in crate::row) trait Product {
    /// All of it.
    fn run(lanes: &mut Lanes, slots: &[Slot], mask: u32);
}

struct Of<I, C, const K: usize>(PhantomData<(I, C)>);

impl<I: Inputs, C: Accumulators, const K: usize> Product for Of<I, C, K> {
    #[inline(always)]
    fn run(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
        product::<I, C, K>(lanes, slots, mask);
    }
}

#[inline(always)]
fn product_row<P: Product>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    P::run(lanes, slots, mask);
}

levels! {
    fn product_fn<P: Product> = product_row;
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    if instruction.opcode != Opcode::Mma {
        return None;
    }
    let [Some(d), Some(a), Some(_), Some(_)] = instruction.modifiers.types else { return None };
    let shape = instruction.modifiers.shape?;
    let (run, depth): (RowFn, usize) = match (shape, a, d) {
        (Shape::M16n8k4, ScalarType::Tf32, _) => (product_fn::<Of<Tensor, Singles, 4>>(level), 4),
        (Shape::M16n8k8, ScalarType::Tf32, _) => (product_fn::<Of<Tensor, Singles, 8>>(level), 8),
        (Shape::M16n8k8, ScalarType::Bf16, _) => (product_fn::<Of<Halves<Bf16>, Singles, 8>>(level), 8),
        (Shape::M16n8k16, ScalarType::Bf16, _) => (product_fn::<Of<Halves<Bf16>, Singles, 16>>(level), 16),
        (Shape::M16n8k8, ScalarType::F16, ScalarType::F32) => (product_fn::<Of<Halves<F16>, Singles, 8>>(level), 8),
        (Shape::M16n8k16, ScalarType::F16, ScalarType::F32) => (product_fn::<Of<Halves<F16>, Singles, 16>>(level), 16),
        (Shape::M16n8k8, ScalarType::F16, _) => (product_fn::<Of<Halves<F16>, PackedHalves, 8>>(level), 8),
        (Shape::M16n8k16, ScalarType::F16, _) => (product_fn::<Of<Halves<F16>, PackedHalves, 16>>(level), 16),
        _ => return None,
    };
    let accumulators = if d == ScalarType::F32 { 4 } else { 2 };
    let columns = if a == ScalarType::Tf32 { 4 } else { 8 };
    let registers = 2 * accumulators + 3 * depth / columns;
    Some(Selected { run, operands: vec![Width::W32; registers] })
}
