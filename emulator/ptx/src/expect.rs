//! What the decoder's tables are made of: a form is an opcode with its modifiers and what each operand must be.

use super::modifier::Modifier;
use super::opcode::Opcode;
use super::types::{ScalarType, Space};

/// One row of the tables: a family of instructions that are written alike.
pub(super) struct Form {
    pub opcode: Opcode,
    pub slots: &'static [Slot],
    pub operands: &'static [Expect],
    /// The smallest target that has it; 0 for all that are supported.
    pub sm: u32,
}

/// One of a form's modifiers. As in NVIDIA's assembler, their order is free, but for those of one [`Ordered`] kind.
pub(super) enum Slot {
    /// One of these, right behind the opcode.
    First(&'static [Modifier]),
    /// One of these.
    One(&'static [Modifier]),
    /// One of these, or none.
    Maybe(&'static [Modifier]),
    /// One of these words, which means nothing further.
    Word(&'static [&'static str]),
}

/// Kinds of which an instruction has several, told apart by their order.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ordered {
    Types,
    Layouts,
    Spaces,
}

impl Slot {
    /// Whether the form needs it.
    pub fn is_required(&self) -> bool {
        !matches!(self, Slot::Maybe(_))
    }

    /// The kind, if order counts among slots of that kind.
    pub fn ordered(&self) -> Option<Ordered> {
        match self {
            Slot::First(all) | Slot::One(all) | Slot::Maybe(all) => match all.first()? {
                Modifier::Type(_) => Some(Ordered::Types),
                Modifier::Layout(_) => Some(Ordered::Layouts),
                Modifier::Space(_) => Some(Ordered::Spaces),
                _ => None,
            },
            Slot::Word(all) => all.iter().any(|w| Space::from_spelling(w).is_some()).then_some(Ordered::Spaces),
        }
    }

    /// Whether the word fits; what it means, if that is anything.
    pub fn take(&self, word: &str) -> Option<Option<Modifier>> {
        match self {
            Slot::First(all) | Slot::One(all) | Slot::Maybe(all) => {
                all.iter().find(|choice| choice.is_spelled(word)).map(|&choice| Some(choice))
            }
            Slot::Word(all) => all.contains(&word).then_some(None),
        }
    }
}

/// The type of an operand.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ty {
    /// The type written first or second.
    First,
    Second,
    /// Twice as wide as the type written first.
    Wide,
    Is(ScalarType),
}

/// What an operand must be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Expect {
    /// A register of just this type.
    Write(Ty),
    /// A register of this type, or of a wider one (section 9.4.1).
    WriteLoose(Ty),
    /// A register or `_`.
    WriteOrSink(Ty),
    /// A register, `_`, or either with a predicate: `d|p`.
    WritePair(Ty),
    /// A register or constant of just this type.
    Read(Ty),
    ReadLoose(Ty),
    /// Also the address of a variable, and special registers.
    ReadAny(Ty),
    /// `{a, b}` or `{a, b, c, d}`: halves or quarters of the type.
    WriteParts(Ty),
    ReadParts(Ty),
    /// `p` or `!p`.
    Predicate,
    /// Data of a load or store: scalar, perhaps in braces, or as many as `.v2` or `.v4` says.
    WriteData,
    ReadData,
    /// So many registers of this type in braces.
    WriteFragment(ScalarType, usize),
    ReadFragment(ScalarType, usize),
    /// Memory in the space that the modifiers name, read or written.
    Load,
    Store,
    /// Memory in shared or in global space, whatever the modifiers say.
    SharedAddress,
    GlobalAddress,
    /// An integer constant, one of these.
    Constant(&'static [u64]),
    /// An integer constant up to this.
    UpTo(u64),
    /// A label.
    Target,
    /// The name of a `.branchtargets` list.
    Targets,
    /// A call's results, function and arguments: all operands at once.
    Call,
}

pub(super) const fn form(opcode: Opcode, slots: &'static [Slot], operands: &'static [Expect]) -> Form {
    Form { opcode, slots, operands, sm: 0 }
}

impl Form {
    pub const fn since(self, sm: u32) -> Form {
        Form { sm, ..self }
    }
}

impl std::fmt::Display for Form {
    /// As the ISA writes it: optional modifiers in braces, alternatives between bars.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joined = |words: &mut dyn Iterator<Item = &'static str>| {
            words.map(|w| format!(".{w}")).collect::<Vec<_>>().join("|")
        };
        f.write_str(self.opcode.spelling())?;
        for slot in self.slots {
            match slot {
                Slot::First(all @ [_]) | Slot::One(all @ [_]) => {
                    f.write_str(&joined(&mut all.iter().map(|m| m.spelling())))?
                }
                Slot::First(all) | Slot::One(all) => write!(f, "({})", joined(&mut all.iter().map(|m| m.spelling())))?,
                Slot::Maybe(all) => write!(f, "{{{}}}", joined(&mut all.iter().map(|m| m.spelling())))?,
                Slot::Word(all) => f.write_str(&joined(&mut all.iter().take(1).copied()))?,
            }
        }
        let operands: Vec<String> = self.operands.iter().map(ToString::to_string).collect();
        write!(f, "{}{}", if operands.is_empty() { "" } else { " " }, operands.join(", "))?;
        if self.sm > 50 { write!(f, "  (sm_{})", self.sm) } else { Ok(()) }
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expect::Write(_) | Expect::WriteLoose(_) | Expect::WriteOrSink(_) | Expect::WriteData => f.write_str("d"),
            Expect::WritePair(_) => f.write_str("d{|p}"),
            Expect::Read(_) | Expect::ReadLoose(_) | Expect::ReadAny(_) | Expect::ReadData => f.write_str("a"),
            Expect::WriteParts(_) => f.write_str("{d..}"),
            Expect::ReadParts(_) => f.write_str("{a..}"),
            Expect::Predicate => f.write_str("{!}p"),
            Expect::WriteFragment(_, n) => write!(f, "{{d x{n}}}"),
            Expect::ReadFragment(_, n) => write!(f, "{{a x{n}}}"),
            Expect::Load | Expect::Store | Expect::SharedAddress | Expect::GlobalAddress => f.write_str("[a]"),
            Expect::Constant(_) | Expect::UpTo(_) => f.write_str("imm"),
            Expect::Target => f.write_str("label"),
            Expect::Targets => f.write_str("list"),
            Expect::Call => f.write_str("{(d..),} function{, (a..)}"),
        }
    }
}
