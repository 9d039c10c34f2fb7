//! Modifiers: the dotted words behind an opcode, as typed fields.

use super::spelled::spelled;
use super::types::{ScalarType, Space};

spelled! {
    /// Rounding of floating-point results, and to integers (section 9.7.3, 9.7.9.21).
    Rounding {
        Rn = "rn", Rz = "rz", Rm = "rm", Rp = "rp", Rna = "rna",
        Rni = "rni", Rzi = "rzi", Rmi = "rmi", Rpi = "rpi",
    }
}
spelled! {
    /// A comparison of `setp` and `set`; those that end in `u` are true when an operand is NaN (section 9.7.6).
    Comparison {
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge",
        Lo = "lo", Ls = "ls", Hi = "hi", Hs = "hs",
        Equ = "equ", Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu",
        Num = "num", Nan = "nan",
    }
}
spelled! {
    /// How `setp` and `set` join their result with a predicate.
    BoolOp { And = "and", Or = "or", Xor = "xor", }
}
spelled! {
    /// Which part of a product `mul` and `mad` keep; which half-words `dp2a` takes.
    Part { Lo = "lo", Hi = "hi", Wide = "wide", }
}
spelled! {
    /// Number of registers of a vector access.
    VectorWidth { V2 = "v2", V4 = "v4", }
}
spelled! {
    /// Cache operator of a load or store (section 9.7.9.1): a hint without effect on values.
    CacheOp { Ca = "ca", Cg = "cg", Cs = "cs", Lu = "lu", Cv = "cv", Wb = "wb", Wt = "wt", }
}
spelled! {
    /// Memory ordering of an access or fence (section 8.4).
    Semantics {
        Weak = "weak", Volatile = "volatile", Relaxed = "relaxed", Acquire = "acquire", Release = "release",
        AcqRel = "acq_rel", Sc = "sc",
    }
}
spelled! {
    /// The threads an ordering concerns (section 8.5); `Gl` is how `membar` spells `Gpu`.
    Scope { Cta = "cta", Cluster = "cluster", Gpu = "gpu", Gl = "gl", Sys = "sys", }
}
spelled! {
    /// What `atom`, `red` and `redux` do, and `vabsdiff4` with its differences.
    AtomicOp {
        Add = "add", Min = "min", Max = "max", Inc = "inc", Dec = "dec",
        And = "and", Or = "or", Xor = "xor", Exch = "exch", Cas = "cas",
    }
}
spelled! {
    /// What `bar.red` reduces by.
    BarrierOp { Popc = "popc", And = "and", Or = "or", }
}
spelled! {
    /// Byte-selection mode of `prmt` (section 9.7.8.7); absent means the selector's nibbles choose.
    PrmtMode { F4e = "f4e", B4e = "b4e", Rc8 = "rc8", Ecl = "ecl", Ecr = "ecr", Rc16 = "rc16", }
}
spelled! {
    /// The property that `testp` asks for.
    TestProperty {
        Finite = "finite", Infinite = "infinite", Number = "number", NotANumber = "notanumber", Normal = "normal",
        Subnormal = "subnormal",
    }
}
spelled! {
    /// M, N and K of a matrix product (section 9.7.14).
    Shape {
        M8n8k4 = "m8n8k4", M8n8k16 = "m8n8k16", M8n8k32 = "m8n8k32",
        M16n8k4 = "m16n8k4", M16n8k8 = "m16n8k8", M16n8k16 = "m16n8k16", M16n8k32 = "m16n8k32", M16n8k64 = "m16n8k64",
        M16n16k8 = "m16n16k8", M16n16k16 = "m16n16k16", M32n8k16 = "m32n8k16", M8n32k16 = "m8n32k16",
    }
}
spelled! {
    /// How a matrix operand lies: by rows or by columns.
    Layout { Row = "row", Col = "col", }
}
spelled! {
    /// How many 8x8 matrices `ldmatrix` or `stmatrix` moves.
    MatrixCount { X1 = "x1", X2 = "x2", X4 = "x4", }
}
spelled! {
    /// Modifiers that are there or not.
    Flag {
        Ftz = "ftz", Sat = "sat", Approx = "approx", Full = "full", Cc = "cc", Noftz = "noftz", NaN = "NaN",
        XorsignAbs = "xorsign", Relu = "relu", Satfinite = "satfinite", Uni = "uni", Trans = "trans", Nc = "nc", Shiftamt = "shiftamt",
        Wrap = "wrap", Clamp = "clamp", Left = "l", Right = "r", Aligned = "aligned",
        Up = "up", Down = "down", Bfly = "bfly", Idx = "idx",
        All = "all", Any = "any", Ballot = "ballot",
        Async = "async", Noinc = "noinc", L1 = "L1", L2 = "L2", Unchanged = "nop",
        EvictFirst = "L1::evict_first", EvictLast = "L1::evict_last", NoAllocate = "L1::no_allocate",
        EvictNormal = "L1::evict_normal", EvictUnchanged = "L1::evict_unchanged",
        L2Line64 = "L2::64B", L2Line128 = "L2::128B", L2Line256 = "L2::256B",
    }
}

/// One modifier of any kind: what the decoder's tables are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modifier {
    /// A type; an instruction has up to four.
    Type(ScalarType),
    /// A state space.
    Space(Space),
    /// Rounding.
    Rounding(Rounding),
    /// Comparison.
    Comparison(Comparison),
    /// Join with a predicate.
    Bool(BoolOp),
    /// Part of a product.
    Part(Part),
    /// Vector width.
    Vector(VectorWidth),
    /// Cache operator.
    Cache(CacheOp),
    /// Memory ordering.
    Semantics(Semantics),
    /// Threads an ordering concerns.
    Scope(Scope),
    /// Atomic or warp reduction.
    Atomic(AtomicOp),
    /// Barrier reduction.
    Barrier(BarrierOp),
    /// Byte selection.
    Prmt(PrmtMode),
    /// Property of a number.
    Test(TestProperty),
    /// Shape of a matrix product.
    Shape(Shape),
    /// Layout of a matrix operand; a product has two.
    Layout(Layout),
    /// Number of matrices.
    Matrices(MatrixCount),
    /// A plain flag.
    Flag(Flag),
}

impl Modifier {
    /// Whether this is how the word spells it; spaces have more than one spelling.
    pub(super) fn is_spelled(self, word: &str) -> bool {
        match self {
            Modifier::Space(space) => Space::from_spelling(word) == Some(space),
            other => other.spelling() == word,
        }
    }

    /// How PTX spells it, without the leading dot.
    pub const fn spelling(self) -> &'static str {
        match self {
            Modifier::Type(m) => m.spelling(),
            Modifier::Space(m) => m.spelling(),
            Modifier::Rounding(m) => m.spelling(),
            Modifier::Comparison(m) => m.spelling(),
            Modifier::Bool(m) => m.spelling(),
            Modifier::Part(m) => m.spelling(),
            Modifier::Vector(m) => m.spelling(),
            Modifier::Cache(m) => m.spelling(),
            Modifier::Semantics(m) => m.spelling(),
            Modifier::Scope(m) => m.spelling(),
            Modifier::Atomic(m) => m.spelling(),
            Modifier::Barrier(m) => m.spelling(),
            Modifier::Prmt(m) => m.spelling(),
            Modifier::Test(m) => m.spelling(),
            Modifier::Shape(m) => m.spelling(),
            Modifier::Layout(m) => m.spelling(),
            Modifier::Matrices(m) => m.spelling(),
            Modifier::Flag(m) => m.spelling(),
        }
    }
}

/// An instruction's modifiers. `None` and absent flags mean that the text did not say; the ISA's default applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modifiers {
    /// Types in the order written: `cvt.rn.f32.s32` has `[F32, S32]`.
    pub types: [Option<ScalarType>; 4],
    /// State space of the access; `None` is generic.
    pub space: Option<Space>,
    /// Rounding.
    pub rounding: Option<Rounding>,
    /// Comparison.
    pub comparison: Option<Comparison>,
    /// Join with a predicate.
    pub bool_op: Option<BoolOp>,
    /// Part of a product.
    pub part: Option<Part>,
    /// Vector width; `None` is scalar.
    pub vector: Option<VectorWidth>,
    /// Cache operator.
    pub cache: Option<CacheOp>,
    /// Memory ordering.
    pub semantics: Option<Semantics>,
    /// Threads an ordering concerns.
    pub scope: Option<Scope>,
    /// Atomic or warp reduction.
    pub atomic: Option<AtomicOp>,
    /// Barrier reduction.
    pub barrier: Option<BarrierOp>,
    /// Byte selection.
    pub prmt: Option<PrmtMode>,
    /// Property of a number.
    pub test: Option<TestProperty>,
    /// Shape of a matrix product.
    pub shape: Option<Shape>,
    /// Layouts of a matrix product's operands.
    pub layouts: [Option<Layout>; 2],
    /// Number of matrices.
    pub matrices: Option<MatrixCount>,
    flags: u64,
}

impl Modifiers {
    /// Whether the flag was written.
    pub const fn has(&self, flag: Flag) -> bool {
        self.flags >> flag as u32 & 1 == 1
    }

    /// The type that was written first: the one most instructions compute in.
    pub const fn first_type(&self) -> Option<ScalarType> {
        self.types[0]
    }

    /// Takes in one more modifier; false if it says a second time what was said before.
    pub(super) fn add(&mut self, modifier: Modifier) -> bool {
        fn put<T>(slot: &mut Option<T>, value: T) -> bool {
            slot.replace(value).is_none()
        }
        fn append<T>(slots: &mut [Option<T>], value: T) -> bool {
            slots.iter_mut().find(|s| s.is_none()).is_some_and(|s| put(s, value))
        }
        match modifier {
            Modifier::Type(m) => append(&mut self.types, m),
            Modifier::Space(m) => put(&mut self.space, m),
            Modifier::Rounding(m) => put(&mut self.rounding, m),
            Modifier::Comparison(m) => put(&mut self.comparison, m),
            Modifier::Bool(m) => put(&mut self.bool_op, m),
            Modifier::Part(m) => put(&mut self.part, m),
            Modifier::Vector(m) => put(&mut self.vector, m),
            Modifier::Cache(m) => put(&mut self.cache, m),
            Modifier::Semantics(m) => put(&mut self.semantics, m),
            Modifier::Scope(m) => put(&mut self.scope, m),
            Modifier::Atomic(m) => put(&mut self.atomic, m),
            Modifier::Barrier(m) => put(&mut self.barrier, m),
            Modifier::Prmt(m) => put(&mut self.prmt, m),
            Modifier::Test(m) => put(&mut self.test, m),
            Modifier::Shape(m) => put(&mut self.shape, m),
            Modifier::Layout(m) => append(&mut self.layouts, m),
            Modifier::Matrices(m) => put(&mut self.matrices, m),
            Modifier::Flag(m) => {
                let fresh = !self.has(m);
                self.flags |= 1 << m as u32;
                fresh
            }
        }
    }
}
