//! Decodes of single instructions, one or more of every class, against what the ISA says they mean.

mod support;

use rewind_emulator::ptx::Operand::{self, *};
use rewind_emulator::ptx::{
    AtomicOp, Base, BoolOp, CacheOp, Comparison, Flag, Guard, Instruction, Opcode, Part, PrmtMode, Register,
    RegisterClass, Rounding, ScalarType as T, Scope, Semantics, Shape, Space, SpecialRegister, VariableRef,
    VectorWidth,
};
use support::{decoded, kernel, parsed};

const fn reg(class: RegisterClass, index: u32) -> Register {
    Register { class, index }
}
/// `%r`, `%f` (which follow `%r`'s 16 among those of 32 bits), `%d`, `%h` and `%p` of the test kernel.
fn r(i: u32) -> Operand {
    Register(reg(RegisterClass::B32, i))
}
fn f(i: u32) -> Operand {
    Register(reg(RegisterClass::B32, 16 + i))
}
fn d(i: u32) -> Operand {
    Register(reg(RegisterClass::B64, i))
}
fn g(i: u32) -> Operand {
    Register(reg(RegisterClass::B64, 8 + i))
}
fn h(i: u32) -> Operand {
    Register(reg(RegisterClass::B16, i))
}
fn p(i: u32) -> Operand {
    Register(reg(RegisterClass::Pred, i))
}
fn q(i: u32, negated: bool) -> Operand {
    Predicate(Guard { register: reg(RegisterClass::Pred, i), negated })
}
fn at(base: u32, offset: i64) -> Operand {
    Memory(Base::Register(reg(RegisterClass::B64, base)), offset)
}
fn vector<const N: usize>(all: [Operand; N]) -> Operand {
    Vector(Box::new(all))
}

#[track_caller]
fn check<const N: usize>(code: &str, opcode: Opcode, types: &[T], operands: [Operand; N]) -> Instruction {
    let found = decoded(code);
    assert_eq!(found.opcode, opcode, "{code}");
    let found_types: Vec<T> = found.modifiers.types.iter().flatten().copied().collect();
    assert_eq!(found_types, types, "{code}");
    assert_eq!(*found.operands, operands, "{code}");
    found
}

#[test]
fn integer_arithmetic() {
    check("add.s32 %r1, %r2, -1;", Opcode::Add, &[T::S32], [r(1), r(2), Immediate(0xFFFF_FFFF)]);
    check("sub.u64 %d1, %d2, 0xFFFFFFFFFFFFFFFF;", Opcode::Sub, &[T::U64], [d(1), d(2), Immediate(u64::MAX)]);
    let i = check("mul.wide.u32 %d1, %r2, 7U;", Opcode::Mul, &[T::U32], [d(1), r(2), Immediate(7)]);
    assert_eq!(i.modifiers.part, Some(Part::Wide));
    let i = check("mad.lo.cc.u32 %r1, %r2, %r3, %r1;", Opcode::Mad, &[T::U32], [r(1), r(2), r(3), r(1)]);
    assert!(i.modifiers.has(Flag::Cc) && i.modifiers.part == Some(Part::Lo));
    check("mad.wide.s16 %r1, %h2, %h3, %r4;", Opcode::Mad, &[T::S16], [r(1), h(2), h(3), r(4)]);
    check("bfind.shiftamt.u64 %r1, %d2;", Opcode::Bfind, &[T::U64], [r(1), d(2)]);
    check("popc.b64 %r1, %d2;", Opcode::Popc, &[T::B64], [r(1), d(2)]);
    check("bfe.s64 %d1, %d2, %r3, 8;", Opcode::Bfe, &[T::S64], [d(1), d(2), r(3), Immediate(8)]);
    check("dp4a.s32.u32 %r1, %r2, %r3, %r4;", Opcode::Dp4a, &[T::S32, T::U32], [r(1), r(2), r(3), r(4)]);
}

#[test]
fn floating_point() {
    let i = check(
        "fma.rn.f32 %f1, %f2, 0fBF800000, %f3;",
        Opcode::Fma,
        &[T::F32],
        [f(1), f(2), Immediate(0xBF80_0000), f(3)],
    );
    assert_eq!(i.modifiers.rounding, Some(Rounding::Rn));
    let i = check("add.rz.ftz.sat.f32 %f1, %f2, %f3;", Opcode::Add, &[T::F32], [f(1), f(2), f(3)]);
    assert!(i.modifiers.has(Flag::Ftz) && i.modifiers.has(Flag::Sat) && !i.modifiers.has(Flag::Approx));
    // A decimal is a double; where a single is expected it is rounded to one, and the other way round widened.
    check("mul.f32 %f1, %f2, 1.5;", Opcode::Mul, &[T::F32], [f(1), f(2), Immediate(0x3FC0_0000)]);
    check("mul.f64 %g1, %g2, 0f3FC00000;", Opcode::Mul, &[T::F64], [g(1), g(2), Immediate(1.5f64.to_bits())]);
    check("neg.f64 %g1, -0d3FF0000000000000;", Opcode::Neg, &[T::F64], [g(1), Immediate((-1f64).to_bits())]);
    let i = check("max.NaN.xorsign.abs.f16x2 %r1, %r2, %r3;", Opcode::Max, &[T::F16x2], [r(1), r(2), r(3)]);
    assert!(i.modifiers.has(Flag::NaN) && i.modifiers.has(Flag::XorsignAbs));
    check("fma.rn.relu.bf16 %h1, %h2, %h3, %h4;", Opcode::Fma, &[T::Bf16], [h(1), h(2), h(3), h(4)]);
    check("rcp.approx.ftz.f64 %g1, %g2;", Opcode::Rcp, &[T::F64], [g(1), g(2)]);
    let i = check("ex2.approx.ftz.f32 %f1, %f2;", Opcode::Ex2, &[T::F32], [f(1), f(2)]);
    assert!(i.modifiers.has(Flag::Approx) && i.modifiers.has(Flag::Ftz));
}

#[test]
fn comparison_and_logic() {
    let i = check(
        "setp.lt.and.f32 %p1|%p2, %f1, %f2, !%p3;",
        Opcode::Setp,
        &[T::F32],
        [Pair(Some(reg(RegisterClass::Pred, 1)), reg(RegisterClass::Pred, 2)), f(1), f(2), q(3, true)],
    );
    assert_eq!((i.modifiers.comparison, i.modifiers.bool_op), (Some(Comparison::Lt), Some(BoolOp::And)));
    // `.lo` compares here and takes the low half of products.
    let i = check("setp.lo.u32 %p1, %r1, %r2;", Opcode::Setp, &[T::U32], [p(1), r(1), r(2)]);
    assert_eq!((i.modifiers.comparison, i.modifiers.part), (Some(Comparison::Lo), None));
    check("set.ge.u32.f16x2 %r1, %r2, %r3;", Opcode::Set, &[T::U32, T::F16x2], [r(1), r(2), r(3)]);
    check("selp.b32 %r1, 4, %r2, %p1;", Opcode::Selp, &[T::B32], [r(1), Immediate(4), r(2), q(1, false)]);
    check("slct.u64.s32 %d1, %d2, %d3, %r1;", Opcode::Slct, &[T::U64, T::S32], [d(1), d(2), d(3), r(1)]);
    check("and.pred %p1, %p2, %p3;", Opcode::And, &[T::Pred], [p(1), p(2), p(3)]);
    let operands = [r(1), r(2), r(3), r(4), Immediate(0x96)];
    check("lop3.b32 %r1, %r2, %r3, %r4, 0x96;", Opcode::Lop3, &[T::B32], operands);
    check("shr.s64 %d1, %d2, %r1;", Opcode::Shr, &[T::S64], [d(1), d(2), r(1)]);
    let i = check("shf.l.wrap.b32 %r1, %r2, %r3, 5;", Opcode::Shf, &[T::B32], [r(1), r(2), r(3), Immediate(5)]);
    assert!(i.modifiers.has(Flag::Left) && i.modifiers.has(Flag::Wrap));
    let i = check("prmt.b32.f4e %r1, %r2, %r3, %r4;", Opcode::Prmt, &[T::B32], [r(1), r(2), r(3), r(4)]);
    assert_eq!(i.modifiers.prmt, Some(PrmtMode::F4e));
}

#[test]
fn moves_and_conversions() {
    check("mov.u32 %r1, %tid.x;", Opcode::Mov, &[T::U32], [r(1), Special(SpecialRegister::TidX)]);
    check("mov.u64 %d1, %clock64;", Opcode::Mov, &[T::U64], [d(1), Special(SpecialRegister::Clock64)]);
    check("mov.u32 %r1, tile;", Opcode::Mov, &[T::U32], [r(1), Address(VariableRef::Local(0), 0)]);
    check("mov.u64 %d1, total+4;", Opcode::Mov, &[T::U64], [d(1), Address(VariableRef::Module(0), 4)]);
    check("mov.b64 {%r1, _}, %d1;", Opcode::Mov, &[T::B64], [vector([r(1), Sink]), d(1)]);
    check("mov.b32 %r1, {%h1, %h2};", Opcode::Mov, &[T::B32], [r(1), vector([h(1), h(2)])]);
    check("cvta.to.global.u64 %d1, %d2;", Opcode::CvtaTo, &[T::U64], [d(1), d(2)]);
    let i = check("cvta.shared.u64 %d1, tile;", Opcode::Cvta, &[T::U64], [d(1), Address(VariableRef::Local(0), 0)]);
    assert_eq!(i.modifiers.space, Some(Space::Shared));
    let i = check("cvt.rzi.s32.f64 %r1, %g1;", Opcode::Cvt, &[T::S32, T::F64], [r(1), g(1)]);
    assert_eq!(i.modifiers.rounding, Some(Rounding::Rzi));
    check("cvt.u16.u8 %h1, %r1;", Opcode::Cvt, &[T::U16, T::U8], [h(1), r(1)]);
    check("cvt.rn.bf16x2.f32 %r1, %f1, %f2;", Opcode::Cvt, &[T::Bf16x2, T::F32], [r(1), f(1), f(2)]);
    let i = check("cvt.rna.tf32.f32 %r1, %f1;", Opcode::Cvt, &[T::Tf32, T::F32], [r(1), f(1)]);
    assert_eq!(i.modifiers.rounding, Some(Rounding::Rna));
}

#[test]
fn loads_and_stores() {
    let i = check(
        "ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%d1+16];",
        Opcode::Ld,
        &[T::F32],
        [vector([f(1), f(2), f(3), f(4)]), at(1, 16)],
    );
    assert!(i.modifiers.has(Flag::Nc));
    assert_eq!((i.modifiers.space, i.modifiers.vector), (Some(Space::Global), Some(VectorWidth::V4)));
    // A register wider than the type of the access.
    check(
        "ld.shared.u8 %r1, [tile+-2];",
        Opcode::Ld,
        &[T::U8],
        [r(1), Memory(Base::Variable(VariableRef::Local(0)), -2)],
    );
    let parameter = Memory(Base::Variable(VariableRef::Parameter(1)), 0);
    check("ld.param.u32 %r1, [n];", Opcode::Ld, &[T::U32], [r(1), parameter]);
    let i = check("ld.acquire.gpu.u32 %r1, [%d1];", Opcode::Ld, &[T::U32], [r(1), at(1, 0)]);
    assert_eq!((i.modifiers.semantics, i.modifiers.scope), (Some(Semantics::Acquire), Some(Scope::Gpu)));
    let i = check("st.global.cs.s32 [%d1-4], 7;", Opcode::St, &[T::S32], [at(1, -4), Immediate(7)]);
    assert_eq!(i.modifiers.cache, Some(CacheOp::Cs));
    let i = check(
        "ld.volatile.shared::cta.f32 %f1, [%r1];",
        Opcode::Ld,
        &[T::F32],
        [f(1), Memory(Base::Register(reg(RegisterClass::B32, 1)), 0)],
    );
    assert_eq!((i.modifiers.semantics, i.modifiers.space), (Some(Semantics::Volatile), Some(Space::Shared)));
}

#[test]
fn atomics_and_asynchronous_copies() {
    // nvcc writes order and scope in three places.
    for code in
        ["atom.release.gpu.global.add.u32", "atom.global.release.gpu.add.u32", "atom.global.add.release.gpu.u32"]
    {
        let i = check(&format!("{code} %r1, [%d1], 1;"), Opcode::Atom, &[T::U32], [r(1), at(1, 0), Immediate(1)]);
        let m = i.modifiers;
        let found = (m.atomic, m.semantics, m.scope, m.space);
        assert_eq!(found, (Some(AtomicOp::Add), Some(Semantics::Release), Some(Scope::Gpu), Some(Space::Global)));
    }
    check(
        "atom.shared.cas.b64 %d1, [%r1], %d2, %d3;",
        Opcode::Atom,
        &[T::B64],
        [d(1), Memory(Base::Register(reg(RegisterClass::B32, 1)), 0), d(2), d(3)],
    );
    check("red.global.add.f64 [%d1], %g1;", Opcode::Red, &[T::F64], [at(1, 0), g(1)]);
    let i = check(
        "cp.async.ca.shared.global.L2::128B [%r1], [%d1], 16, %r2;",
        Opcode::CpAsync,
        &[],
        [Memory(Base::Register(reg(RegisterClass::B32, 1)), 0), at(1, 0), Immediate(16), r(2)],
    );
    assert!(i.modifiers.has(Flag::L2Line128) && i.modifiers.cache == Some(CacheOp::Ca));
    check("cp.async.wait_group 2;", Opcode::CpAsyncWaitGroup, &[], [Immediate(2)]);
}

#[test]
fn matrices() {
    let code = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \
                {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};";
    let c = || vector([f(1), f(2), f(3), f(4)]);
    let (a, b) = (vector([r(1), r(2), r(3), r(4)]), vector([r(5), r(6)]));
    let i = check(code, Opcode::Mma, &[T::F32, T::Bf16, T::Bf16, T::F32], [c(), a, b, c()]);
    assert_eq!(i.modifiers.shape, Some(Shape::M16n8k16));
    let i = check(
        "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r1, %r2}, [tile];",
        Opcode::Ldmatrix,
        &[T::B16],
        [vector([r(1), r(2)]), Memory(Base::Variable(VariableRef::Local(0)), 0)],
    );
    assert!(i.modifiers.has(Flag::Trans));
}

#[test]
fn warps_and_barriers() {
    let pair = Pair(Some(reg(RegisterClass::B32, 1)), reg(RegisterClass::Pred, 1));
    let operands = [pair, r(2), Immediate(1), Immediate(31), Immediate(0xFFFF_FFFF)];
    let i = check("shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, -1;", Opcode::Shfl, &[T::B32], operands);
    assert!(i.modifiers.has(Flag::Bfly));
    check("vote.sync.ballot.b32 %r1, !%p1, %r2;", Opcode::Vote, &[T::B32], [r(1), q(1, true), r(2)]);
    check("bar.sync 1, 64;", Opcode::BarSync, &[], [Immediate(1), Immediate(64)]);
    check("bar.red.popc.u32 %r1, 0, %p1;", Opcode::BarRed, &[T::U32], [r(1), Immediate(0), q(1, false)]);
    let i = check("redux.sync.min.s32 %r1, %r2, %r3;", Opcode::Redux, &[T::S32], [r(1), r(2), r(3)]);
    assert_eq!(i.modifiers.atomic, Some(AtomicOp::Min));
    let i = check("membar.gl;", Opcode::Membar, &[], []);
    assert_eq!(i.modifiers.scope, Some(Scope::Gl));
}

#[test]
fn branches_find_the_innermost_label_and_guards_their_predicate() {
    let i = decoded("@!%p2 bra L; trap; L: ret;");
    assert_eq!(i.guard, Some(Guard { register: reg(RegisterClass::Pred, 2), negated: true }));
    assert_eq!(*i.operands, [Target(2)]);
    assert_eq!(*decoded("{ bra L; L: } trap; L:").operands, [Target(1)]);
    // Behind the last instruction.
    assert_eq!(*decoded("bra L; L:").operands, [Target(1)]);
    let i = decoded("brx.idx %r1, list; A: trap; B: ret; list: .branchtargets B, A, B;");
    assert_eq!(*i.operands, [r(1), Targets(Box::new([2, 1, 2]))]);
}

#[test]
fn inner_registers_hide_outer_ones_and_get_numbers_of_their_own() {
    let code = "{ .reg .b32 t, %r<2>; mov.b32 t, 1; mov.b32 %r1, t; mov.b32 %r2, t; } mov.b32 %r1, 2;";
    let module = parsed(&kernel(code));
    let body = module.functions[0].body.as_ref().unwrap();
    let written: Vec<Operand> = body.instructions.iter().map(|i| i.operands[0].clone()).collect();
    assert_eq!(written, [r(32), r(34), r(2), r(1)]);
    assert_eq!((body.registers.b32, body.registers.b64, body.registers.pred), (35, 12, 4));
    assert_eq!(body.instructions[0].line, 5);
}
