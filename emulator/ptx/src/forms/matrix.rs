//! Tensor-core products and the moves of their fragments (sections 9.7.14.5.14 to 9.7.14.5.16).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{Flag, Layout, MatrixCount, Modifier, Shape};
use super::super::opcode::Opcode::*;
use super::super::types::{ScalarType, Space};
use super::words::*;

const ROW: Slot = Slot::One(&[Modifier::Layout(Layout::Row)]);
const COL: Slot = Slot::One(&[Modifier::Layout(Layout::Col)]);
const K4: Slot = Slot::One(&[Modifier::Shape(Shape::M16n8k4)]);
const K8: Slot = Slot::One(&[Modifier::Shape(Shape::M16n8k8)]);
const K16: Slot = Slot::One(&[Modifier::Shape(Shape::M16n8k16)]);
const K32: Slot = Slot::One(&[Modifier::Shape(Shape::M16n8k32)]);
const SMALL_K4: Slot = Slot::One(&[Modifier::Shape(Shape::M8n8k4)]);
const SMALL_K16: Slot = Slot::One(&[Modifier::Shape(Shape::M8n8k16)]);
const SMALL_K32: Slot = Slot::One(&[Modifier::Shape(Shape::M8n8k32)]);
const K64: Slot = Slot::One(&[Modifier::Shape(Shape::M16n8k64)]);
const HALF: Slot = Slot::One(&[F16]);
const BFLOAT: Slot = Slot::One(&[BF16]);
const TENSOR: Slot = Slot::One(&[TF32]);
const BYTE: Slot = Slot::One(&[S8, U8]);
const NIBBLE: Slot = Slot::One(&[ty(ScalarType::S4), ty(ScalarType::U4)]);
const WORD: Slot = Slot::One(&[S32]);
const SATFINITE: Slot = Slot::Maybe(&[flag(Flag::Satfinite)]);

const TRANSPOSED: Slot = Slot::One(&[flag(Flag::Trans)]);
const D_BITS: Expect = Expect::Write(Ty::Is(ScalarType::B32));
const A_BITS: Expect = Expect::Read(Ty::Is(ScalarType::B32));
const TRANS: Slot = Slot::Maybe(&[flag(Flag::Trans)]);
const SHARED: Slot = Slot::Maybe(&[Modifier::Space(Space::Shared)]);
const B16_ONLY: Slot = Slot::One(&[B16]);
const X1: Slot = Slot::One(&[Modifier::Matrices(MatrixCount::X1)]);
const X2: Slot = Slot::One(&[Modifier::Matrices(MatrixCount::X2)]);
const X4: Slot = Slot::One(&[Modifier::Matrices(MatrixCount::X4)]);

const fn d(registers: usize) -> Expect {
    Expect::WriteFragment(ScalarType::B32, registers)
}
const fn a(registers: usize) -> Expect {
    Expect::ReadFragment(ScalarType::B32, registers)
}
/// Accumulators: four singles a lane, or four halves in two registers.
const D4: Expect = Expect::WriteFragment(ScalarType::F32, 4);
const C4: Expect = Expect::ReadFragment(ScalarType::F32, 4);

const fn dd(registers: usize) -> Expect {
    Expect::WriteFragment(ScalarType::F64, registers)
}
const fn ad(registers: usize) -> Expect {
    Expect::ReadFragment(ScalarType::F64, registers)
}

/// Types in the order of the operands: d, a, b, c.
pub const FORMS: &[Form] = &[
    form(Mma, &[SYNC, ALIGNED, K4, ROW, COL, SINGLE, TENSOR, TENSOR, SINGLE], &[D4, a(2), a(1), C4]).since(80),
    form(Mma, &[SYNC, ALIGNED, K8, ROW, COL, SINGLE, TENSOR, TENSOR, SINGLE], &[D4, a(4), a(2), C4]).since(80),
    form(Mma, &[SYNC, ALIGNED, K8, ROW, COL, SINGLE, BFLOAT, BFLOAT, SINGLE], &[D4, a(2), a(1), C4]).since(80),
    form(Mma, &[SYNC, ALIGNED, K16, ROW, COL, SINGLE, BFLOAT, BFLOAT, SINGLE], &[D4, a(4), a(2), C4]).since(80),
    form(Mma, &[SYNC, ALIGNED, K8, ROW, COL, SINGLE, HALF, HALF, SINGLE], &[D4, a(2), a(1), C4]).since(75),
    form(Mma, &[SYNC, ALIGNED, K16, ROW, COL, SINGLE, HALF, HALF, SINGLE], &[D4, a(4), a(2), C4]).since(80),
    form(Mma, &[SYNC, ALIGNED, K8, ROW, COL, HALF, HALF, HALF, HALF], &[d(2), a(2), a(1), a(2)]).since(75),
    form(Mma, &[SYNC, ALIGNED, K16, ROW, COL, HALF, HALF, HALF, HALF], &[d(2), a(4), a(2), a(2)]).since(80),
    form(Mma, &[SYNC, ALIGNED, SMALL_K16, ROW, COL, SATFINITE, WORD, BYTE, BYTE, WORD], &[d(2), a(1), a(1), a(2)])
        .since(75),
    form(Mma, &[SYNC, ALIGNED, K16, ROW, COL, SATFINITE, WORD, BYTE, BYTE, WORD], &[d(4), a(2), a(1), a(4)]).since(80),
    form(Mma, &[SYNC, ALIGNED, K32, ROW, COL, SATFINITE, WORD, BYTE, BYTE, WORD], &[d(4), a(4), a(2), a(4)]).since(80),
    form(Mma, &[SYNC, ALIGNED, SMALL_K32, ROW, COL, SATFINITE, WORD, NIBBLE, NIBBLE, WORD], &[d(2), a(1), a(1), a(2)])
        .since(75),
    form(Mma, &[SYNC, ALIGNED, K32, ROW, COL, SATFINITE, WORD, NIBBLE, NIBBLE, WORD], &[d(4), a(2), a(1), a(4)])
        .since(80),
    form(Mma, &[SYNC, ALIGNED, K64, ROW, COL, SATFINITE, WORD, NIBBLE, NIBBLE, WORD], &[d(4), a(4), a(2), a(4)])
        .since(80),
    form(Mma, &[SYNC, ALIGNED, SMALL_K4, ROW, COL, DOUBLE, DOUBLE, DOUBLE, DOUBLE], &[dd(2), ad(1), ad(1), ad(2)])
        .since(80),
    form(Mma, &[SYNC, ALIGNED, K4, ROW, COL, DOUBLE, DOUBLE, DOUBLE, DOUBLE], &[dd(4), ad(2), ad(1), ad(4)]).since(90),
    form(Mma, &[SYNC, ALIGNED, K8, ROW, COL, DOUBLE, DOUBLE, DOUBLE, DOUBLE], &[dd(4), ad(4), ad(2), ad(4)]).since(90),
    form(Mma, &[SYNC, ALIGNED, K16, ROW, COL, DOUBLE, DOUBLE, DOUBLE, DOUBLE], &[dd(4), ad(8), ad(4), ad(4)]).since(90),
    form(Movmatrix, &[SYNC, ALIGNED, M8N8, TRANSPOSED, B16_ONLY], &[D_BITS, A_BITS]).since(75),
    form(Ldmatrix, &[SYNC, ALIGNED, M8N8, X1, TRANS, SHARED, B16_ONLY], &[d(1), Expect::SharedAddress]).since(75),
    form(Ldmatrix, &[SYNC, ALIGNED, M8N8, X2, TRANS, SHARED, B16_ONLY], &[d(2), Expect::SharedAddress]).since(75),
    form(Ldmatrix, &[SYNC, ALIGNED, M8N8, X4, TRANS, SHARED, B16_ONLY], &[d(4), Expect::SharedAddress]).since(75),
    form(Stmatrix, &[SYNC, ALIGNED, M8N8, X1, TRANS, SHARED, B16_ONLY], &[Expect::SharedAddress, a(1)]).since(90),
    form(Stmatrix, &[SYNC, ALIGNED, M8N8, X2, TRANS, SHARED, B16_ONLY], &[Expect::SharedAddress, a(2)]).since(90),
    form(Stmatrix, &[SYNC, ALIGNED, M8N8, X4, TRANS, SHARED, B16_ONLY], &[Expect::SharedAddress, a(4)]).since(90),
];
