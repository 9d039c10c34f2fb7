//! Products of matrices by their elements: the fragments are gathered into whole matrices, multiplied and dealt out
//! again. Not as fast as [`matrix`](super::matrix), but for any types and layout: `wmma.mma`, and `mma` of integers and
//! doubles (PTX ISA sections 9.7.14.4 and 9.7.14.5).
//!
//! Floating-point sums go by ascending k from c, each step fused, as `mma` does here. Integer sums wrap, or with
//! `.satfinite` end at the limits of 32 bits. `wmma` leaves open which lane holds which element: see [`Dealt`].

use std::marker::PhantomData;

use super::half::{Bf16, F16, Format};
use super::lift::levels;
use super::{Level, RowFn, Selected};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType, Shape};

/// The largest matrix of a fragment: 16 x 64.
const MOST: usize = 1024;

/// Elements of A or B, and how a register packs them.
pub(super) trait Packed {
    /// What they are multiplied as.
    type Value: Copy + Default;
    /// Elements of a register.
    const PER_REGISTER: usize;
    /// One element of each lane's register.
    fn element(lanes: &Lanes, slot: Slot, element: usize) -> [Self::Value; WARP];
}

/// Elements of C and D.
pub(super) trait Summed: Packed {
    /// A register of each lane from its elements.
    fn put(lanes: &mut Lanes, slot: Slot, elements: [[Self::Value; WARP]; 2], mask: u32);
}

/// A step of a sum.
pub(super) trait Step: Copy + Default {
    type Sum: Copy + Default;
    fn step(a: Self, b: Self, sum: Self::Sum) -> Self::Sum;
}

impl Step for f32 {
    type Sum = f32;
    #[inline(always)]
    fn step(a: f32, b: f32, sum: f32) -> f32 {
        a.mul_add(b, sum)
    }
}

impl Step for f64 {
    type Sum = f64;
    #[inline(always)]
    fn step(a: f64, b: f64, sum: f64) -> f64 {
        a.mul_add(b, sum)
    }
}

impl Step for i32 {
    type Sum = i64;
    #[inline(always)]
    fn step(a: i32, b: i32, sum: i64) -> i64 {
        sum + i64::from(a * b)
    }
}

struct Half<F>(PhantomData<F>);

impl<F: Format> Packed for Half<F> {
    type Value = f32;
    const PER_REGISTER: usize = 2;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, element: usize) -> [f32; WARP] {
        let mut out = [0.0; WARP];
        for (out, bits) in out.iter_mut().zip(lanes.row(slot)) {
            *out = F::widen((bits >> (16 * element)) as u16);
        }
        out
    }
}

impl Summed for Half<F16> {
    #[inline(always)]
    fn put(lanes: &mut Lanes, slot: Slot, [low, high]: [[f32; WARP]; 2], mask: u32) {
        let mut packed = [0; WARP];
        for lane in 0..WARP {
            packed[lane] = u32::from(F16::narrow(low[lane])) | u32::from(F16::narrow(high[lane])) << 16;
        }
        u32::store(lanes, slot, packed, mask);
    }
}

struct Tensor;

impl Packed for Tensor {
    type Value = f32;
    const PER_REGISTER: usize = 1;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, _: usize) -> [f32; WARP] {
        let mut out = [0.0; WARP];
        for (out, bits) in out.iter_mut().zip(lanes.row(slot)) {
            *out = f32::from_bits(bits & !0x1fff);
        }
        out
    }
}

struct Single;

impl Packed for Single {
    type Value = f32;
    const PER_REGISTER: usize = 1;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, _: usize) -> [f32; WARP] {
        f32::load(lanes, slot)
    }
}

impl Summed for Single {
    #[inline(always)]
    fn put(lanes: &mut Lanes, slot: Slot, [mut row, _]: [[f32; WARP]; 2], mask: u32) {
        for v in &mut row {
            *v = if v.is_nan() { f32::from_bits(0x7fff_ffff) } else { *v };
        }
        f32::store(lanes, slot, row, mask);
    }
}

struct Double;

impl Packed for Double {
    type Value = f64;
    const PER_REGISTER: usize = 1;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, _: usize) -> [f64; WARP] {
        f64::load(lanes, slot)
    }
}

impl Summed for Double {
    #[inline(always)]
    fn put(lanes: &mut Lanes, slot: Slot, [mut row, _]: [[f64; WARP]; 2], mask: u32) {
        for v in &mut row {
            *v = if v.is_nan() { f64::from_bits(0x7fff_ffff_ffff_ffff) } else { *v };
        }
        f64::store(lanes, slot, row, mask);
    }
}

struct Bytes<const SIGNED: bool>;

impl<const SIGNED: bool> Packed for Bytes<SIGNED> {
    type Value = i32;
    const PER_REGISTER: usize = 4;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, element: usize) -> [i32; WARP] {
        let mut out = [0; WARP];
        for (out, bits) in out.iter_mut().zip(lanes.row(slot)) {
            let byte = (bits >> (8 * element)) as u8;
            *out = if SIGNED { i32::from(byte as i8) } else { i32::from(byte) };
        }
        out
    }
}

pub(super) struct Word<const SATURATED: bool>;

impl<const SATURATED: bool> Packed for Word<SATURATED> {
    type Value = i64;
    const PER_REGISTER: usize = 1;
    #[inline(always)]
    fn element(lanes: &Lanes, slot: Slot, _: usize) -> [i64; WARP] {
        let mut out = [0; WARP];
        for (out, &bits) in out.iter_mut().zip(lanes.row(slot)) {
            *out = i64::from(bits as i32);
        }
        out
    }
}

impl<const SATURATED: bool> Summed for Word<SATURATED> {
    #[inline(always)]
    fn put(lanes: &mut Lanes, slot: Slot, [row, _]: [[i64; WARP]; 2], mask: u32) {
        let mut out = [0; WARP];
        for (out, v) in out.iter_mut().zip(row) {
            *out = if SATURATED { v.clamp(i32::MIN.into(), i32::MAX.into()) as i32 } else { v as i32 };
        }
        i32::store(lanes, slot, out, mask);
    }
}

/// Which element of a matrix a lane holds: row-major, by register, element of the register and lane.
pub(super) trait Layout {
    fn a<P: Packed, const M: usize, const K: usize>(register: usize, element: usize, lane: usize) -> usize;
    fn b<P: Packed, const K: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize;
    fn c<P: Packed, const M: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize;
}

/// Registers of A and B that `mma` has: no element stands twice.
pub(super) struct Grouped;

impl Layout for Grouped {
    /// A register covers 8 rows and four lanes' worth of columns; with 16 rows, registers alternate between the halves.
    #[inline(always)]
    fn a<P: Packed, const M: usize, const K: usize>(register: usize, element: usize, lane: usize) -> usize {
        let halves = M / 8;
        let row = lane / 4 + 8 * (register % halves);
        row * K + (register / halves * 4 + lane % 4) * P::PER_REGISTER + element
    }
    #[inline(always)]
    fn b<P: Packed, const K: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize {
        ((register * 4 + lane % 4) * P::PER_REGISTER + element) * N + lane / 4
    }
    /// Two neighbours of a row, then the same eight rows below.
    #[inline(always)]
    fn c<P: Packed, const M: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize {
        let i = register * P::PER_REGISTER + element;
        (lane / 4 + 8 * (i / 2)) * N + 2 * (lane % 4) + i % 2
    }
}

/// `wmma`: element i of a lane is element `32 i + lane` of the matrix, row by row; fragments with more room than the
/// matrix has elements hold it several times. [`dealt`] says the same to loads and stores.
struct Dealt;

/// Where a lane's element of a `wmma` fragment lies in its matrix of so many elements.
#[inline(always)]
pub const fn dealt(element: usize, lane: usize, elements: usize) -> usize {
    (element * WARP + lane) % elements
}

impl Layout for Dealt {
    #[inline(always)]
    fn a<P: Packed, const M: usize, const K: usize>(register: usize, element: usize, lane: usize) -> usize {
        dealt(register * P::PER_REGISTER + element, lane, M * K)
    }
    #[inline(always)]
    fn b<P: Packed, const K: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize {
        dealt(register * P::PER_REGISTER + element, lane, K * N)
    }
    #[inline(always)]
    fn c<P: Packed, const M: usize, const N: usize>(register: usize, element: usize, lane: usize) -> usize {
        dealt(register * P::PER_REGISTER + element, lane, M * N)
    }
}

#[inline(always)]
fn gather<P: Packed>(lanes: &Lanes, slots: &[Slot], at: impl Fn(usize, usize, usize) -> usize) -> [P::Value; MOST] {
    let mut all = [P::Value::default(); MOST];
    for (register, &slot) in slots.iter().enumerate() {
        for element in 0..P::PER_REGISTER {
            let row = P::element(lanes, slot, element);
            for (lane, &value) in row.iter().enumerate() {
                all[at(register, element, lane)] = value;
            }
        }
    }
    all
}

/// A product with its types, layout and shape.
pub(super) trait Product {
    fn run(lanes: &mut Lanes, slots: &[Slot], mask: u32);
}

pub(super) struct Of<L, A, B, C, D, const M: usize, const N: usize, const K: usize>(PhantomData<(L, A, B, C, D)>);

impl<L, A, B, C, D, T, const M: usize, const N: usize, const K: usize> Product for Of<L, A, B, C, D, M, N, K>
where
    L: Layout,
    T: Step,
    A: Packed<Value = T>,
    B: Packed<Value = T>,
    C: Packed<Value = T::Sum>,
    D: Summed<Value = T::Sum>,
{
    #[inline(always)]
    fn run(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
        let (c_registers, d_registers) = (M * N / WARP / C::PER_REGISTER, M * N / WARP / D::PER_REGISTER);
        let (d, rest) = slots.split_at(d_registers);
        let (rest, c) = rest.split_at(rest.len() - c_registers);
        // Where fragments of A and B repeat elements, both take eight registers.
        let repeated = rest.len() != (M * K + K * N) / WARP / A::PER_REGISTER;
        let (a, b) = rest.split_at(if repeated { rest.len() / 2 } else { M * K / WARP / A::PER_REGISTER });
        let a = gather::<A>(lanes, a, L::a::<A, M, K>);
        let b = gather::<B>(lanes, b, L::b::<B, K, N>);
        let mut sums = gather::<C>(lanes, c, L::c::<C, M, N>);
        for (i, row) in sums[..M * N].chunks_exact_mut(N).enumerate() {
            for k in 0..K {
                let left = a[i * K + k];
                for (sum, &right) in row.iter_mut().zip(&b[k * N..]) {
                    *sum = T::step(left, right, *sum);
                }
            }
        }
        for (register, &slot) in d.iter().enumerate() {
            let mut elements = [[T::Sum::default(); WARP]; 2];
            for (element, row) in elements.iter_mut().enumerate().take(D::PER_REGISTER) {
                for (lane, value) in row.iter_mut().enumerate() {
                    *value = sums[L::c::<D, M, N>(register, element, lane)];
                }
            }
            D::put(lanes, slot, elements, mask);
        }
    }
}

#[inline(always)]
pub(super) fn product_row<P: Product>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    P::run(lanes, slots, mask);
}

levels! {
    fn product_fn<P: Product> = product_row;
}

/// Registers of a `wmma` fragment of so many elements of a type: PTX ISA section 9.7.14.4.1. Halves of A and B always
/// take eight, whatever the shape.
pub fn fragment_registers(ty: ScalarType, elements: usize, accumulator: bool) -> usize {
    match ty {
        ScalarType::F16 if !accumulator => 8,
        ScalarType::F16 | ScalarType::Bf16 => elements / WARP / 2,
        ScalarType::S8 | ScalarType::U8 => elements / WARP / 4,
        _ => elements / WARP,
    }
}

/// M, N and K.
pub fn sides(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::M8n8k4 => [8, 8, 4],
        Shape::M8n8k16 => [8, 8, 16],
        Shape::M8n8k32 => [8, 8, 32],
        Shape::M16n8k4 => [16, 8, 4],
        Shape::M16n8k8 => [16, 8, 8],
        Shape::M16n8k16 => [16, 8, 16],
        Shape::M16n8k32 => [16, 8, 32],
        Shape::M16n8k64 => [16, 8, 64],
        Shape::M16n16k8 => [16, 16, 8],
        Shape::M16n16k16 => [16, 16, 16],
        Shape::M32n8k16 => [32, 8, 16],
        Shape::M8n32k16 => [8, 32, 16],
    }
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let shape = instruction.modifiers.shape?;
    match instruction.opcode {
        Opcode::Mma => grouped(instruction, shape, level),
        Opcode::WmmaMma => wmma(instruction, shape, level),
        _ => None,
    }
}

/// Picks by the signs of A and B and by saturation. So many kinds are compiled for one SIMD level only.
macro_rules! of_bytes {
    ($layout:ty, $i:expr, $a:expr, $b:expr, $m:literal, $n:literal, $k:literal) => {{
        let (s, u) = (ScalarType::S8, ScalarType::U8);
        match ($a, $b, $i.modifiers.has(Flag::Satfinite)) {
            (a, b, false) if a == s && b == s => of_bytes!(@ $layout, true, true, false, $m, $n, $k),
            (a, b, false) if a == s && b == u => of_bytes!(@ $layout, true, false, false, $m, $n, $k),
            (a, b, false) if a == u && b == s => of_bytes!(@ $layout, false, true, false, $m, $n, $k),
            (a, b, false) if a == u && b == u => of_bytes!(@ $layout, false, false, false, $m, $n, $k),
            (a, b, true) if a == s && b == s => of_bytes!(@ $layout, true, true, true, $m, $n, $k),
            (a, b, true) if a == s && b == u => of_bytes!(@ $layout, true, false, true, $m, $n, $k),
            (a, b, true) if a == u && b == s => of_bytes!(@ $layout, false, true, true, $m, $n, $k),
            (a, b, true) if a == u && b == u => of_bytes!(@ $layout, false, false, true, $m, $n, $k),
            _ => return None,
        }
    }};
    (@ $layout:ty, $a:literal, $b:literal, $sat:literal, $m:literal, $n:literal, $k:literal) => {
        product_row::<Of<$layout, Bytes<$a>, Bytes<$b>, Word<$sat>, Word<$sat>, $m, $n, $k>>
    };
}

/// `mma` of integers and doubles.
fn grouped(i: &Instruction, shape: Shape, level: Level) -> Option<Selected> {
    let [Some(_), Some(a), Some(b), Some(_)] = i.modifiers.types else { return None };
    let bytes = |ty| matches!(ty, ScalarType::S8 | ScalarType::U8);
    let double = a == ScalarType::F64;
    let run: RowFn = match shape {
        Shape::M8n8k4 if double => product_fn::<Of<Grouped, Double, Double, Double, Double, 8, 8, 4>>(level),
        Shape::M16n8k4 if double => product_fn::<Of<Grouped, Double, Double, Double, Double, 16, 8, 4>>(level),
        Shape::M16n8k8 if double => product_fn::<Of<Grouped, Double, Double, Double, Double, 16, 8, 8>>(level),
        Shape::M16n8k16 if double => product_fn::<Of<Grouped, Double, Double, Double, Double, 16, 8, 16>>(level),
        Shape::M8n8k16 if bytes(a) => of_bytes!(Grouped, i, a, b, 8, 8, 16),
        Shape::M16n8k16 if bytes(a) => of_bytes!(Grouped, i, a, b, 16, 8, 16),
        Shape::M16n8k32 if bytes(a) => of_bytes!(Grouped, i, a, b, 16, 8, 32),
        _ => return None,
    };
    let ([m, n, k], packed) = (sides(shape), if double { 1 } else { 4 });
    let registers = (2 * m * n + (m + n) * k / packed) / WARP;
    Some(Selected { run, operands: vec![if double { Width::W64 } else { Width::W32 }; registers] })
}

macro_rules! of_shape {
    ($level:expr, $shape:expr, $a:ty, $c:ty, $d:ty) => {
        match $shape {
            Shape::M16n16k16 => product_fn::<Of<Dealt, $a, $a, $c, $d, 16, 16, 16>>($level),
            Shape::M32n8k16 => product_fn::<Of<Dealt, $a, $a, $c, $d, 32, 8, 16>>($level),
            Shape::M8n32k16 => product_fn::<Of<Dealt, $a, $a, $c, $d, 8, 32, 16>>($level),
            _ => return None,
        }
    };
}

/// Types are d and c for halves, else d, a, b, c.
fn wmma(i: &Instruction, shape: Shape, level: Level) -> Option<Selected> {
    use ScalarType::{F16, F32, F64, S8, Tf32, U8};
    type Halves = Half<super::half::F16>;
    let (d, a, c, run): (_, _, _, RowFn) = match i.modifiers.types {
        [Some(F32), Some(F32), None, _] => (F32, F16, F32, of_shape!(level, shape, Halves, Single, Single)),
        [Some(F32), Some(F16), None, _] => (F32, F16, F16, of_shape!(level, shape, Halves, Halves, Single)),
        [Some(F16), Some(F32), None, _] => (F16, F16, F32, of_shape!(level, shape, Halves, Single, Halves)),
        [Some(F16), Some(F16), None, _] => (F16, F16, F16, of_shape!(level, shape, Halves, Halves, Halves)),
        [Some(d), Some(a @ ScalarType::Bf16), Some(_), Some(c)] => {
            (d, a, c, of_shape!(level, shape, Half<Bf16>, Single, Single))
        }
        [Some(d), Some(Tf32), Some(_), Some(c)] if shape == Shape::M16n16k8 => {
            (d, Tf32, c, product_fn::<Of<Dealt, Tensor, Tensor, Single, Single, 16, 16, 8>>(level))
        }
        [Some(d), Some(F64), Some(_), Some(c)] if shape == Shape::M8n8k4 => {
            (d, F64, c, product_fn::<Of<Dealt, Double, Double, Double, Double, 8, 8, 4>>(level))
        }
        [Some(d), Some(a @ (S8 | U8)), Some(b), Some(c)] => {
            let run = match shape {
                Shape::M16n16k16 => of_bytes!(Dealt, i, a, b, 16, 16, 16),
                Shape::M32n8k16 => of_bytes!(Dealt, i, a, b, 32, 8, 16),
                Shape::M8n32k16 => of_bytes!(Dealt, i, a, b, 8, 32, 16),
                _ => return None,
            };
            (d, a, c, run)
        }
        _ => return None,
    };
    let [m, n, k] = sides(shape);
    let registers = fragment_registers(d, m * n, true)
        + fragment_registers(a, m * k, false)
        + fragment_registers(a, k * n, false)
        + fragment_registers(c, m * n, true);
    let width = if a == F64 { Width::W64 } else { Width::W32 };
    Some(Selected { run, operands: vec![width; registers] })
}
