//! The typed module: everything a PTX file declares, its functions decoded.

use super::instruction::{Instruction, RegisterCounts};
use super::types::{ScalarType, Space};

/// A loaded PTX module.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// `.version`: major and minor.
    pub version: (u32, u32),
    /// `.target`.
    pub target: Target,
    /// Variables outside functions, in order.
    pub variables: Vec<Variable>,
    /// Kernels and device functions, in order of first declaration.
    pub functions: Vec<Function>,
}

/// `.target sm_90a`: compute capability times ten, and the letter behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// 80 for `sm_80`.
    pub sm: u32,
    /// `a` or `f` if it was written.
    pub suffix: Option<char>,
}

/// Who else sees a name (section 11.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linkage {
    /// This module alone.
    #[default]
    Internal,
    /// `.visible`
    Visible,
    /// `.extern`: defined elsewhere.
    Extern,
    /// `.weak`
    Weak,
    /// `.common`
    Common,
}

/// A variable in memory (section 5.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// As written.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Who sees it.
    pub linkage: Linkage,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Type of an element.
    pub ty: ScalarType,
    /// Size in bytes; `None` for `name[]`: dynamic shared memory.
    pub bytes: Option<u64>,
    /// Its first bytes; what is not listed is zero. Empty without initialiser.
    pub initial: Vec<u8>,
    /// Addresses to write into the initial value when the module is placed in memory.
    pub relocations: Vec<Relocation>,
    /// Line of its declaration.
    pub line: u32,
}

/// An address within an initial value: 8 bytes at `offset` become the address of a module variable plus `addend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Byte offset within the variable.
    pub offset: u64,
    /// Index into [`Module::variables`].
    pub variable: u32,
    /// Added to the address.
    pub addend: i64,
    /// `generic(name)`: the generic address instead of the one within its space.
    pub generic: bool,
}

/// A parameter or result of a function; for kernels also its place in the parameter block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As written.
    pub name: String,
    /// Type of an element.
    pub ty: ScalarType,
    /// Alignment in bytes.
    pub align: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Offset within the block of all parameters, each aligned as it asks.
    pub offset: u64,
    /// `.ptr`: the alignment promised for what it points to (section 7.1.2), if written.
    pub pointee_align: Option<u64>,
}

/// What kind of function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// `.entry`: a kernel.
    Entry,
    /// `.func`: called by kernels.
    Device,
}

/// What `.maxntid` and its kin promise or ask (section 11.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaunchBounds {
    /// `.maxntid`: largest block, by dimension; only its product binds.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`: the one block shape allowed.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`
    pub min_blocks_per_sm: Option<u32>,
    /// `.maxnreg`
    pub max_registers: Option<u32>,
}

/// A kernel or device function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// As written.
    pub name: String,
    /// Kernel or not.
    pub kind: FunctionKind,
    /// Who sees it.
    pub linkage: Linkage,
    /// Results; none for kernels.
    pub results: Vec<Parameter>,
    /// Parameters.
    pub parameters: Vec<Parameter>,
    /// Launch bounds.
    pub bounds: LaunchBounds,
    /// Its code; `None` for a function defined elsewhere, such as `vprintf`.
    pub body: Option<Body>,
    /// Line of its declaration.
    pub line: u32,
}

impl Function {
    /// Bytes of the parameter block.
    pub fn parameter_bytes(&self) -> u64 {
        self.parameters.iter().map(|p| p.offset + p.bytes).max().unwrap_or(0)
    }
}

/// A function's code and what it declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Registers, those of inner scopes included.
    pub registers: RegisterCounts,
    /// Variables, those of inner scopes included.
    pub variables: Vec<Variable>,
    /// The code; labels are gone, branches name instructions by index.
    pub instructions: Vec<Instruction>,
}

impl Body {
    /// Bytes that the variables of one space take, each aligned as it asks, in order of declaration.
    /// A module's own shared variables and dynamic shared memory come on top.
    pub fn bytes_in(&self, space: Space) -> u64 {
        let in_space = self.variables.iter().filter(|v| v.space == space);
        in_space.fold(0, |at, v| at.next_multiple_of(v.align) + v.bytes.unwrap_or(0))
    }
}

impl Module {
    /// The kernels.
    pub fn entries(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| f.kind == FunctionKind::Entry)
    }

    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == name)
    }
}
