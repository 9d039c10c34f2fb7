//! The typed instruction: what the decoder hands to an executor, with every name resolved.

use super::modifier::Modifiers;
use super::opcode::Opcode;
use super::spelled::spelled;
use super::types::ScalarType;

/// One checked instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub opcode: Opcode,
    /// Its modifiers.
    pub modifiers: Modifiers,
    /// Destinations first, then sources, in the order of PTX.
    pub operands: Box<[Operand]>,
    /// The predicate in front, if any (section 9.3).
    pub guard: Option<Guard>,
    /// Its line in the module's text, from 1.
    pub line: u32,
}

/// `@p` or `@!p`: the lanes where the instruction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// A register of class [`RegisterClass::Pred`].
    pub register: Register,
    /// Runs where the predicate is false.
    pub negated: bool,
}

/// Registers by width. Types play no part: PTX lets a `.b32` register hold a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterClass {
    /// Predicates.
    Pred,
    /// 8 and 16 bits: registers of 8 bits count here, as hardware has none.
    B16,
    /// 32 bits.
    B32,
    /// 64 bits.
    B64,
    /// 128 bits.
    B128,
}

impl RegisterClass {
    /// The class that holds values of this type.
    pub const fn of(ty: ScalarType) -> RegisterClass {
        match ty.bits() {
            1 => RegisterClass::Pred,
            4 | 8 | 16 => RegisterClass::B16,
            32 => RegisterClass::B32,
            64 => RegisterClass::B64,
            _ => RegisterClass::B128,
        }
    }
}

/// A register of a function: dense within its class, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register {
    /// Its width.
    pub class: RegisterClass,
    /// Its number among those of its class in this function, inner scopes included.
    pub index: u32,
}

/// How many registers of each class a function declares; PTX registers are virtual, so this is no occupancy figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterCounts {
    /// Predicates.
    pub pred: u32,
    /// 16 bits.
    pub b16: u32,
    /// 32 bits.
    pub b32: u32,
    /// 64 bits.
    pub b64: u32,
    /// 128 bits.
    pub b128: u32,
}

impl RegisterCounts {
    pub(super) fn of_mut(&mut self, class: RegisterClass) -> &mut u32 {
        match class {
            RegisterClass::Pred => &mut self.pred,
            RegisterClass::B16 => &mut self.b16,
            RegisterClass::B32 => &mut self.b32,
            RegisterClass::B64 => &mut self.b64,
            RegisterClass::B128 => &mut self.b128,
        }
    }

    /// How many of a class there are.
    pub fn of(&self, class: RegisterClass) -> u32 {
        *self.clone().of_mut(class)
    }
}

/// An operand with its names resolved and its type checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register, read or written.
    Register(Register),
    /// `_`: a destination whose value nobody wants.
    Sink,
    /// A predicate that is read, perhaps negated.
    Predicate(Guard),
    /// A constant: its bits, cut to the operand's width; of a float, those of that float's type.
    Immediate(u64),
    /// A read-only register of the machine.
    Special(SpecialRegister),
    /// The address of a variable in its own state space, plus an offset.
    Address(VariableRef, i64),
    /// Memory at a base plus an offset in bytes.
    Memory(Base, i64),
    /// `{a, b}`: elements of a vector access, a fragment, or the halves that `mov` packs or unpacks.
    Vector(Box<[Operand]>),
    /// `d|p`: a result and the predicate written with it.
    Pair(Option<Register>, Register),
    /// Index of the instruction a branch goes to; one past the last means the end of the function.
    Target(u32),
    /// The targets of an indexed branch, in order.
    Targets(Box<[u32]>),
    /// The function called: an index into [`Module::functions`](super::Module::functions).
    Function(u32),
    /// A call's results or arguments: parameters declared in the caller, see [`VariableRef::Local`].
    Parameters(Box<[VariableRef]>),
}

/// Where an access starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The address that a register of 32 or 64 bits holds.
    Register(Register),
    /// A variable or parameter.
    Variable(VariableRef),
    /// No base: the offset is the address.
    Absolute,
}

/// A variable, by where it was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariableRef {
    /// Index into [`Module::variables`](super::Module::variables).
    Module(u32),
    /// Index into [`Body::variables`](super::Body::variables): shared, local, or a call's parameter.
    Local(u32),
    /// Index into [`Function::parameters`](super::Function::parameters).
    Parameter(u32),
    /// Index into [`Function::results`](super::Function::results).
    Result(u32),
}

spelled! {
    /// Read-only registers (section 10) that can be read here.
    SpecialRegister {
        TidX = "%tid.x", TidY = "%tid.y", TidZ = "%tid.z",
        NtidX = "%ntid.x", NtidY = "%ntid.y", NtidZ = "%ntid.z",
        CtaidX = "%ctaid.x", CtaidY = "%ctaid.y", CtaidZ = "%ctaid.z",
        NctaidX = "%nctaid.x", NctaidY = "%nctaid.y", NctaidZ = "%nctaid.z",
        Laneid = "%laneid", Warpid = "%warpid", Nwarpid = "%nwarpid", Smid = "%smid", Nsmid = "%nsmid",
        Gridid = "%gridid", Clock = "%clock", ClockHi = "%clock_hi", Clock64 = "%clock64",
        Globaltimer = "%globaltimer", GlobaltimerLo = "%globaltimer_lo", GlobaltimerHi = "%globaltimer_hi",
        LanemaskEq = "%lanemask_eq", LanemaskLt = "%lanemask_lt", LanemaskLe = "%lanemask_le",
        LanemaskGt = "%lanemask_gt", LanemaskGe = "%lanemask_ge",
        DynamicSmemSize = "%dynamic_smem_size", TotalSmemSize = "%total_smem_size",
        ReservedSmemBegin = "%reserved_smem_offset_begin", ReservedSmemEnd = "%reserved_smem_offset_end",
        ReservedSmemCap = "%reserved_smem_offset_cap",
        ReservedSmem0 = "%reserved_smem_offset_0", ReservedSmem1 = "%reserved_smem_offset_1",
        Envreg1 = "%envreg1", Envreg2 = "%envreg2", WarpSize = "WARP_SZ",
    }
}

impl SpecialRegister {
    /// Whether it tells of the part of shared memory that the system keeps (section 10: `%reserved_smem_offset`).
    pub const fn is_reserved_smem(self) -> bool {
        use SpecialRegister::{ReservedSmem0, ReservedSmem1, ReservedSmemBegin, ReservedSmemCap, ReservedSmemEnd};
        matches!(self, ReservedSmemBegin | ReservedSmemEnd | ReservedSmemCap | ReservedSmem0 | ReservedSmem1)
    }

    /// 64 for the clocks and the grid's number, else 32.
    pub const fn bits(self) -> u32 {
        match self {
            SpecialRegister::Clock64 | SpecialRegister::Globaltimer | SpecialRegister::Gridid => 64,
            _ => 32,
        }
    }
}
