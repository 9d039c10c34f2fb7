//! PTX, from text to checked instructions.
//!
//! The stages, each in its own file: [`lexer`] makes tokens, [`parser`] makes declarations and raw statements (with
//! `declaration`, `body` and `statement`), and `decode` turns each statement into an [`Instruction`] by the tables in
//! `forms`. Whatever the tables do not list is refused when the module loads, never guessed at run time.
//!
//! Section numbers in these docs are those of NVIDIA's "PTX ISA" document, version 9.0.
#![forbid(unsafe_code)]

mod body;
mod call;
mod cursor;
mod declaration;
mod decode;
mod error;
mod expect;
mod forms;
mod instruction;
pub mod lexer;
mod modifier;
mod module;
mod opcode;
mod operand;
pub mod parser;
mod read;
mod spelled;
mod statement;
mod supported;
mod types;

pub use error::PtxError;
pub use instruction::{
    Base, Guard, Instruction, Operand, Register, RegisterClass, RegisterCounts, SpecialRegister, VariableRef,
};
pub use modifier::{
    AtomicOp, BarrierOp, BoolOp, CacheOp, Comparison, Flag, Layout, MatrixCount, Modifier, Modifiers, Part, PrmtMode,
    Rounding, Scope, Semantics, Shape, TestProperty, VectorWidth,
};
pub use module::{
    Body, Function, FunctionKind, LaunchBounds, Linkage, Module, Parameter, Relocation, Target, Variable,
};
pub use opcode::Opcode;
pub use supported::{forms, supported};
pub use types::{ScalarType, Space};
