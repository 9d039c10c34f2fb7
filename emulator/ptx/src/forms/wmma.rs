//! Tensor cores as the C++ interface has them: fragments whose layout nobody knows (section 9.7.14.4).

use super::super::expect::{Expect, Form, Slot, form};
use super::super::modifier::{Flag, Layout, Modifier, Shape};
use super::super::opcode::Opcode::*;
use super::super::types::{ScalarType, Space};
use super::words::*;

const LAYOUT: Slot = Slot::One(&[Modifier::Layout(Layout::Row), Modifier::Layout(Layout::Col)]);
const SPACE: Slot = Slot::Maybe(&[Modifier::Space(Space::Global), Modifier::Space(Space::Shared)]);
const SATFINITE: Slot = Slot::Maybe(&[flag(Flag::Satfinite)]);
const NEAREST: Slot = Slot::Maybe(&[RN]);
const SQUARE: Slot = Slot::One(&[Modifier::Shape(Shape::M16n16k16)]);
const TALL: Slot = Slot::One(&[Modifier::Shape(Shape::M32n8k16)]);
const FLAT: Slot = Slot::One(&[Modifier::Shape(Shape::M8n32k16)]);
const SIXTEENS: Slot =
    Slot::One(&[Modifier::Shape(Shape::M16n16k16), Modifier::Shape(Shape::M32n8k16), Modifier::Shape(Shape::M8n32k16)]);
const TENSOR_SHAPE: Slot = Slot::One(&[Modifier::Shape(Shape::M16n16k8)]);
const DOUBLE_SHAPE: Slot = Slot::One(&[Modifier::Shape(Shape::M8n8k4)]);
const HALF: Slot = Slot::One(&[F16]);
const BFLOAT: Slot = Slot::One(&[BF16]);
const TENSOR: Slot = Slot::One(&[TF32]);
const BYTE: Slot = Slot::One(&[S8, U8]);
const WORD: Slot = Slot::One(&[S32]);

const fn d(registers: usize) -> Expect {
    Expect::WriteFragment(ScalarType::B32, registers)
}
const fn a(registers: usize) -> Expect {
    Expect::ReadFragment(ScalarType::B32, registers)
}
const fn d_double(registers: usize) -> Expect {
    Expect::WriteFragment(ScalarType::F64, registers)
}
const fn a_double(registers: usize) -> Expect {
    Expect::ReadFragment(ScalarType::F64, registers)
}

/// A load, without and with the distance of rows or columns, and the smallest target that has it.
macro_rules! loads {
    ($($opcode:ident $shape:ident $type:ident $to:expr, $sm:literal;)+) => {
        &[$(
            form($opcode, &[SYNC, ALIGNED, LAYOUT, $shape, SPACE, $type], &[$to, Expect::Load]).since($sm),
            form($opcode, &[SYNC, ALIGNED, LAYOUT, $shape, SPACE, $type], &[$to, Expect::Load, A32]).since($sm),
        )+]
    };
}
macro_rules! stores {
    ($($shape:ident $type:ident $from:expr, $sm:literal;)+) => {
        &[$(
            form(WmmaStoreD, &[SYNC, ALIGNED, LAYOUT, $shape, SPACE, $type], &[Expect::Store, $from]).since($sm),
            form(WmmaStoreD, &[SYNC, ALIGNED, LAYOUT, $shape, SPACE, $type], &[Expect::Store, $from, A32]).since($sm),
        )+]
    };
}

pub const LOADS: &[Form] = loads! {
    WmmaLoadA SIXTEENS HALF d(8), 70;
    WmmaLoadB SIXTEENS HALF d(8), 70;
    WmmaLoadC SIXTEENS HALF d(4), 70;
    WmmaLoadC SIXTEENS SINGLE d(8), 70;
    WmmaLoadC SIXTEENS WORD d(8), 72;
    WmmaLoadA SQUARE BFLOAT d(4), 80;
    WmmaLoadA TALL BFLOAT d(8), 80;
    WmmaLoadA FLAT BFLOAT d(2), 80;
    WmmaLoadB SQUARE BFLOAT d(4), 80;
    WmmaLoadB TALL BFLOAT d(2), 80;
    WmmaLoadB FLAT BFLOAT d(8), 80;
    WmmaLoadA SQUARE BYTE d(2), 72;
    WmmaLoadA TALL BYTE d(4), 72;
    WmmaLoadA FLAT BYTE d(1), 72;
    WmmaLoadB SQUARE BYTE d(2), 72;
    WmmaLoadB TALL BYTE d(1), 72;
    WmmaLoadB FLAT BYTE d(4), 72;
    WmmaLoadA TENSOR_SHAPE TENSOR d(4), 80;
    WmmaLoadB TENSOR_SHAPE TENSOR d(4), 80;
    WmmaLoadC TENSOR_SHAPE SINGLE d(8), 80;
    WmmaLoadA DOUBLE_SHAPE DOUBLE d_double(1), 80;
    WmmaLoadB DOUBLE_SHAPE DOUBLE d_double(1), 80;
    WmmaLoadC DOUBLE_SHAPE DOUBLE d_double(2), 80;
};

pub const STORES: &[Form] = stores! {
    SIXTEENS HALF a(4), 70;
    SIXTEENS SINGLE a(8), 70;
    SIXTEENS WORD a(8), 72;
    TENSOR_SHAPE SINGLE a(8), 80;
    DOUBLE_SHAPE DOUBLE a_double(2), 80;
};

/// Types are d and c for halves, otherwise d, a, b and c.
pub const PRODUCTS: &[Form] = &[
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, SIXTEENS, HALF, HALF], &[d(4), a(8), a(8), a(4)]).since(70),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, SIXTEENS, HALF, SINGLE], &[d(4), a(8), a(8), a(8)]).since(70),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, SIXTEENS, SINGLE, HALF], &[d(8), a(8), a(8), a(4)]).since(70),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, SIXTEENS, SINGLE, SINGLE], &[d(8), a(8), a(8), a(8)]).since(70),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, SQUARE, SINGLE, BFLOAT, BFLOAT, SINGLE], &[d(8), a(4), a(4), a(8)])
        .since(80),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, TALL, SINGLE, BFLOAT, BFLOAT, SINGLE], &[d(8), a(8), a(2), a(8)])
        .since(80),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, FLAT, SINGLE, BFLOAT, BFLOAT, SINGLE], &[d(8), a(2), a(8), a(8)])
        .since(80),
    form(
        WmmaMma,
        &[SYNC, ALIGNED, LAYOUT, LAYOUT, SQUARE, WORD, BYTE, BYTE, WORD, SATFINITE],
        &[d(8), a(2), a(2), a(8)],
    )
    .since(72),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, TALL, WORD, BYTE, BYTE, WORD, SATFINITE], &[d(8), a(4), a(1), a(8)])
        .since(72),
    form(WmmaMma, &[SYNC, ALIGNED, LAYOUT, LAYOUT, FLAT, WORD, BYTE, BYTE, WORD, SATFINITE], &[d(8), a(1), a(4), a(8)])
        .since(72),
    form(
        WmmaMma,
        &[SYNC, ALIGNED, LAYOUT, LAYOUT, TENSOR_SHAPE, SINGLE, TENSOR, TENSOR, SINGLE],
        &[d(8), a(4), a(4), a(8)],
    )
    .since(80),
    form(
        WmmaMma,
        &[SYNC, ALIGNED, LAYOUT, LAYOUT, DOUBLE_SHAPE, DOUBLE, DOUBLE, DOUBLE, DOUBLE, NEAREST],
        &[d_double(2), a_double(1), a_double(1), a_double(2)],
    )
    .since(80),
];
