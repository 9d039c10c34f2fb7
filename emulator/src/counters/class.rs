//! What an instruction counts as: its category, the FLOP it does and where.

use serde::{Deserialize, Serialize};

use crate::ptx::{CacheOp, Instruction, MatrixCount, Opcode, ScalarType, Scope, Semantics, Space};

/// Kinds of instructions, for the table of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Sums, products, quotients of `f32`.
    Fp32,
    /// The same of `f64`.
    Fp64,
    /// The same of `f16`, `bf16` and their pairs.
    Half,
    /// Integer arithmetic and bit counting.
    Integer,
    /// Logic, shifts, comparison, selection; minimum, maximum and signs of any type.
    Logic,
    /// `mov` and `cvta`, which the assembler mostly removes.
    Move,
    /// `cvt`
    Convert,
    /// `cvt` to `tf32`, which machine code takes two instructions for.
    ConvertTf32,
    /// Reciprocals, roots, exponentials, logarithms, sines.
    Special,
    /// `mma` of `tf32`.
    TensorTf32,
    /// `mma` of `bf16`.
    TensorBf16,
    /// `mma` of `f16`.
    TensorF16,
    /// `mma` of 8-bit integers.
    TensorInteger,
    /// `mma` of `f64`.
    TensorF64,
    /// Loads from global memory.
    LoadGlobal,
    /// Stores to global memory.
    StoreGlobal,
    /// Loads from shared memory, `ldmatrix` among them.
    LoadShared,
    /// Stores to shared memory, `stmatrix` among them.
    StoreShared,
    /// Loads from local memory.
    LoadLocal,
    /// Stores to local memory.
    StoreLocal,
    /// Loads by generic address.
    LoadGeneric,
    /// Stores by generic address.
    StoreGeneric,
    /// Loads from constant memory.
    LoadConstant,
    /// Loads and stores of parameters, which machine code reads in passing or keeps in registers.
    Parameter,
    /// `cp.async`
    AsyncCopy,
    /// `atom` and `red`.
    Atomic,
    /// Barriers, fences, waits.
    Synchronize,
    /// Shuffles, votes, matches, reductions over a warp.
    Warp,
    /// Branches, calls, returns, hints.
    Control,
}

impl Category {
    /// Instructions of machine code for one of these: none where it folds them into others.
    pub const fn issued(self) -> u64 {
        match self {
            Category::Move | Category::Parameter => 0,
            Category::ConvertTf32 => 2,
            _ => 1,
        }
    }
}

/// A unit that does FLOP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pipe {
    /// FP32 lanes.
    Fp32,
    /// FP64 lanes.
    Fp64,
    /// FP16 and BF16 lanes.
    Half,
    /// Tensor cores on `tf32`, sums in `f32`.
    TensorTf32,
    /// Tensor cores on `bf16`, sums in `f32`.
    TensorBf16,
    /// Tensor cores on `f16`, sums in `f32`.
    TensorF16,
    /// Tensor cores on `f16`, sums in `f16`.
    TensorF16SumF16,
}

/// What an instruction's result is waited for, by the figures of [`Latencies`](crate::profile::Latencies).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Nothing: there is no result, or machine code folds the instruction into others.
    Nothing,
    /// [`arithmetic`](crate::profile::Latencies::arithmetic)
    Arithmetic,
    /// [`special`](crate::profile::Latencies::special)
    Special,
    /// [`short_product`](crate::profile::Latencies::short_product)
    ShortProduct,
    /// [`product`](crate::profile::Latencies::product)
    Product,
    /// [`shuffle`](crate::profile::Latencies::shuffle)
    Shuffle,
    /// [`matrices`](crate::profile::Latencies::matrices), by place.
    Matrices(u8),
    /// The memory that the address lies in; its L1 is of no use where it `bypasses_l1`.
    Memory {
        /// `.cg`, `.cv`, and whatever must see what other blocks write.
        bypasses_l1: bool,
    },
}

/// What [`class_of`] tells about an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Its kind.
    pub category: Category,
    /// Where its FLOP are done, if it does any.
    pub pipe: Option<Pipe>,
    /// FLOP that each lane does: two for a fused multiply-add, one for a sum, product or quotient, twice that for pairs.
    pub flop_per_lane: u32,
    /// FLOP that the warp does as a whole: `2 M N K` for a matrix product.
    pub flop_per_warp: u32,
    /// Special functions that each lane needs at least; a quotient or exact root needs one approximation to start from.
    pub special_per_lane: u32,
    /// How long its result takes.
    pub wait: Wait,
    /// Line of the module's text.
    pub line: u32,
}

/// The class of a decoded instruction.
pub fn class_of(instruction: &Instruction) -> Class {
    let ty = instruction.modifiers.first_type();
    let mut class = Class {
        category: category(instruction, ty),
        pipe: None,
        flop_per_lane: 0,
        flop_per_warp: 0,
        special_per_lane: 0,
        wait: Wait::Nothing,
        line: instruction.line,
    };
    let float = ty.and_then(float_pipe);
    match instruction.opcode {
        Opcode::Add | Opcode::Sub | Opcode::Mul => {
            class.pipe = float;
            class.flop_per_lane = float.map_or(0, |_| values(ty));
        }
        Opcode::Fma | Opcode::Mad => {
            class.pipe = float;
            class.flop_per_lane = float.map_or(0, |_| 2 * values(ty));
        }
        Opcode::Div => {
            class.pipe = float;
            class.flop_per_lane = float.map_or(0, |_| values(ty));
            class.special_per_lane = class.flop_per_lane;
        }
        Opcode::Mma | Opcode::WmmaMma => {
            class.pipe = tensor_pipe(instruction);
            class.flop_per_warp = product_flop(instruction);
        }
        _ if class.category == Category::Special => class.special_per_lane = values(ty),
        _ => {}
    }
    class.wait = wait(instruction, &class);
    class
}

/// Constants come from a cache of their own; what is not known better counts as arithmetic, the shortest.
fn wait(instruction: &Instruction, class: &Class) -> Wait {
    use Category::*;
    match class.category {
        Move | Parameter | Control | Synchronize => Wait::Nothing,
        StoreGlobal | StoreShared | StoreLocal | StoreGeneric => Wait::Nothing,
        Special => Wait::Special,
        _ if class.special_per_lane > 0 => Wait::Special,
        TensorTf32 | TensorBf16 | TensorF16 => {
            // a product of 2^12 FLOP on 16 bits takes as long as one of half as many on 32
            let wide = class.category == TensorTf32;
            let long = class.flop_per_warp >= if wide { 2048 } else { 4096 };
            if long && class.pipe != Some(Pipe::TensorF16SumF16) { Wait::Product } else { Wait::ShortProduct }
        }
        TensorInteger | TensorF64 => Wait::ShortProduct,
        Warp if instruction.opcode == Opcode::Shfl => Wait::Shuffle,
        LoadShared if instruction.opcode == Opcode::Ldmatrix => Wait::Matrices(match instruction.modifiers.matrices {
            Some(MatrixCount::X4) => 2,
            Some(MatrixCount::X2) => 1,
            _ => 0,
        }),
        LoadGlobal | LoadShared | LoadLocal | LoadGeneric | AsyncCopy | Atomic => {
            Wait::Memory { bypasses_l1: bypasses_l1(instruction) }
        }
        _ => Wait::Arithmetic,
    }
}

/// Whether a load goes to L2 whatever L1 holds. One whose threads are all in its own block need not.
fn bypasses_l1(instruction: &Instruction) -> bool {
    let modifiers = &instruction.modifiers;
    let strong = match modifiers.semantics {
        None | Some(Semantics::Weak) => false,
        Some(Semantics::Volatile) => true,
        Some(_) => modifiers.scope.is_some_and(|scope| scope != Scope::Cta),
    };
    strong || matches!(modifiers.cache, Some(CacheOp::Cg | CacheOp::Cv))
}

fn category(instruction: &Instruction, ty: Option<ScalarType>) -> Category {
    use Opcode::*;
    let space = instruction.modifiers.space;
    match instruction.opcode {
        Add | Sub | Mul | Fma | Mad | Div => match ty.and_then(float_pipe) {
            Some(Pipe::Fp32) => Category::Fp32,
            Some(Pipe::Fp64) => Category::Fp64,
            Some(_) => Category::Half,
            None => Category::Integer,
        },
        Addc | Subc | Madc | Mul24 | Mad24 | Sad | Rem | Dp2a | Dp4a | Vabsdiff4 | Popc | Clz | Bfind | Brev | Bfe
        | Bfi | Bmsk | Fns => Category::Integer,
        Abs | Neg | Min | Max if ty.and_then(float_pipe).is_none() => Category::Integer,
        Abs | Neg | Min | Max | Copysign | Testp | And | Or | Xor | Not | Cnot | Lop3 | Shl | Shr | Shf | Prmt
        | Selp | Slct | Set | Setp | Isspacep => Category::Logic,
        Mov | Cvta | CvtaTo => Category::Move,
        Cvt if ty == Some(ScalarType::Tf32) => Category::ConvertTf32,
        Cvt => Category::Convert,
        Rcp | Sqrt | Rsqrt | Sin | Cos | Lg2 | Ex2 | Tanh => Category::Special,
        Mma | WmmaMma => match instruction.modifiers.types[1] {
            Some(ScalarType::Tf32) => Category::TensorTf32,
            Some(ScalarType::Bf16) => Category::TensorBf16,
            Some(ScalarType::S8 | ScalarType::U8 | ScalarType::S4 | ScalarType::U4) => Category::TensorInteger,
            Some(ScalarType::F64) => Category::TensorF64,
            _ => Category::TensorF16,
        },
        Ld | Ldu => match space {
            Some(Space::Global) => Category::LoadGlobal,
            Some(Space::Shared) => Category::LoadShared,
            Some(Space::Local) => Category::LoadLocal,
            Some(Space::Const) => Category::LoadConstant,
            Some(Space::Param) => Category::Parameter,
            None => Category::LoadGeneric,
        },
        St => match space {
            Some(Space::Global) => Category::StoreGlobal,
            Some(Space::Shared) => Category::StoreShared,
            Some(Space::Local) => Category::StoreLocal,
            Some(Space::Param | Space::Const) => Category::Parameter,
            None => Category::StoreGeneric,
        },
        Movmatrix => Category::Warp,
        Ldmatrix => Category::LoadShared,
        Stmatrix => Category::StoreShared,
        WmmaLoadA | WmmaLoadB | WmmaLoadC => match space {
            Some(Space::Global) => Category::LoadGlobal,
            Some(Space::Shared) => Category::LoadShared,
            _ => Category::LoadGeneric,
        },
        WmmaStoreD => match space {
            Some(Space::Global) => Category::StoreGlobal,
            Some(Space::Shared) => Category::StoreShared,
            _ => Category::StoreGeneric,
        },
        CpAsync | CpAsyncBulk => Category::AsyncCopy,
        Atom | Red => Category::Atomic,
        BarArrive
        | BarRed
        | BarSync
        | BarWarpSync
        | BarrierArrive
        | BarrierRed
        | BarrierSync
        | Fence
        | Membar
        | MbarrierArrive
        | MbarrierArriveDrop
        | MbarrierArriveDropExpectTx
        | MbarrierArriveDropNoComplete
        | MbarrierArriveExpectTx
        | MbarrierArriveNoComplete
        | MbarrierCompleteTx
        | MbarrierExpectTx
        | MbarrierInit
        | MbarrierInval
        | MbarrierPendingCount
        | MbarrierTestWait
        | MbarrierTestWaitParity
        | MbarrierTryWait
        | MbarrierTryWaitParity
        | CpAsyncMbarrierArrive
        | CpAsyncCommitGroup
        | CpAsyncWaitAll
        | CpAsyncWaitGroup
        | FenceMbarrierInit => Category::Synchronize,
        Activemask | ElectSync | Shfl | Vote | MatchAll | MatchAny | Redux => Category::Warp,
        Bra | BrxIdx | Call | Ret | Exit | Trap | Brkpt | Nanosleep | Pmevent | Prefetch | Setmaxnreg => {
            Category::Control
        }
    }
}

/// Where arithmetic of a type is done; `None` for integers and bits.
const fn float_pipe(ty: ScalarType) -> Option<Pipe> {
    match ty {
        ScalarType::F32 => Some(Pipe::Fp32),
        ScalarType::F64 => Some(Pipe::Fp64),
        ScalarType::F16 | ScalarType::F16x2 | ScalarType::Bf16 | ScalarType::Bf16x2 => Some(Pipe::Half),
        _ => None,
    }
}

/// Values that a lane's register holds of a type.
const fn values(ty: Option<ScalarType>) -> u32 {
    match ty {
        Some(ScalarType::F16x2 | ScalarType::Bf16x2) => 2,
        _ => 1,
    }
}

/// By the types of the product (section 9.7.14.5.14), in the order d, a, b, c.
fn tensor_pipe(instruction: &Instruction) -> Option<Pipe> {
    match instruction.modifiers.types {
        // The product of halves says only what d and c are.
        [Some(ScalarType::F16), Some(_), None, _] => Some(Pipe::TensorF16SumF16),
        [Some(ScalarType::F32), Some(_), None, _] => Some(Pipe::TensorF16),
        [_, Some(ScalarType::Tf32), ..] => Some(Pipe::TensorTf32),
        [_, Some(ScalarType::Bf16), ..] => Some(Pipe::TensorBf16),
        [Some(ScalarType::F16), ..] => Some(Pipe::TensorF16SumF16),
        [_, Some(ScalarType::F16), ..] => Some(Pipe::TensorF16),
        _ => None,
    }
}

/// `2 M N K` of a shape such as `m16n8k8`.
fn product_flop(instruction: &Instruction) -> u32 {
    let Some(shape) = instruction.modifiers.shape else { return 0 };
    let sides = shape.spelling().split(['m', 'n', 'k']).skip(1);
    sides.map(|side| side.parse::<u32>().unwrap_or(0)).fold(2, |flop, side| flop * side)
}
