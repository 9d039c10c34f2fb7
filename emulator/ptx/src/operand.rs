//! Operands: names to registers, variables and labels, constants to bits, and each checked against what is expected.

use std::collections::HashMap;

use super::body::RawBody;
use super::cursor::shortened;
use super::expect::{Expect, Form, Ty};
use super::instruction::{Base, Guard, Operand, Register, RegisterClass, SpecialRegister, VariableRef};
use super::modifier::{Modifiers, VectorWidth};
use super::module::Variable;
use super::parser::{RawFunction, RawModule};
use super::statement::{RawOperand, Simple};
use super::types::{Nature, ScalarType, Space};

/// A refusal, in words; the caller adds kernel, line and text.
pub(super) type Checked<T> = std::result::Result<T, String>;

/// Looks names up from one statement's place.
pub(super) struct Resolver<'r, 'a> {
    pub module: &'r RawModule<'a>,
    pub function: &'r RawFunction<'a>,
    pub body: &'r RawBody<'a>,
    pub functions: &'r HashMap<&'r str, u32>,
    pub scope: usize,
}

impl<'a> Resolver<'_, 'a> {
    /// The operands of a form whose modifiers fit; `None` if their number is wrong.
    pub fn operands(
        &self,
        form: &Form,
        modifiers: &Modifiers,
        raw: &[RawOperand<'a>],
    ) -> Checked<Option<Box<[Operand]>>> {
        if form.operands.len() != raw.len() {
            return Ok(None);
        }
        let pairs = form.operands.iter().zip(raw);
        pairs.map(|(&expect, raw)| self.operand(expect, modifiers, raw)).collect::<Checked<_>>().map(Some)
    }

    fn operand(&self, expect: Expect, modifiers: &Modifiers, raw: &RawOperand<'a>) -> Checked<Operand> {
        let of = |ty| resolved(ty, modifiers);
        let width = match modifiers.vector {
            None => 1,
            Some(VectorWidth::V2) => 2,
            Some(VectorWidth::V4) => 4,
        };
        let write = |s: &Simple<'a>, ty, loose| self.write(*s, ty, loose);
        let read = |s: &Simple<'a>, ty, loose| self.read(*s, ty, loose);
        match (expect, raw) {
            (Expect::WriteFragment(ty, n), RawOperand::Vector(all)) => fragment(all, n, |s| write(s, ty, false)),
            (Expect::ReadFragment(ty, n), RawOperand::Vector(all)) => fragment(all, n, |s| read(s, ty, false)),
            (Expect::WriteData, RawOperand::Vector(all)) if width > 1 => {
                let ty = of(Ty::First)?;
                fragment(all, width, |s| self.sink(*s).map_or_else(|| write(s, ty, true), Ok))
            }
            (Expect::ReadData, RawOperand::Vector(all)) if width > 1 => {
                let ty = of(Ty::First)?;
                fragment(all, width, |s| read(s, ty, true))
            }
            (Expect::WriteData | Expect::ReadData, RawOperand::Vector(all)) if all.len() == 1 => {
                self.simple(expect, modifiers, all[0])
            }
            (Expect::WriteData | Expect::ReadData, RawOperand::Simple(_)) if width > 1 => {
                Err(format!("needs {width} registers in braces"))
            }
            (Expect::WriteParts(ty), RawOperand::Vector(all)) => {
                let part = part_of(of(ty)?, all.len())?;
                fragment(all, all.len(), |s| self.sink(*s).map_or_else(|| write(s, part, false), Ok))
            }
            (Expect::ReadParts(ty), RawOperand::Vector(all)) => {
                let part = part_of(of(ty)?, all.len())?;
                fragment(all, all.len(), |s| read(s, part, false))
            }
            (_, RawOperand::Vector(_) | RawOperand::Group(_)) => Err("has braces where none are expected".into()),
            (_, RawOperand::Simple(simple)) => self.simple(expect, modifiers, *simple),
        }
    }

    fn simple(&self, expect: Expect, modifiers: &Modifiers, simple: Simple<'a>) -> Checked<Operand> {
        let of = |ty| resolved(ty, modifiers);
        match expect {
            Expect::Write(ty) => self.write(simple, of(ty)?, false),
            Expect::WriteLoose(ty) => self.write(simple, of(ty)?, true),
            Expect::WriteData => self.write(simple, of(Ty::First)?, true),
            Expect::WriteOrSink(ty) => match self.sink(simple) {
                Some(sink) => Ok(sink),
                None => self.write(simple, of(ty)?, false),
            },
            Expect::WritePair(ty) => self.pair(simple, of(ty)?),
            Expect::Read(ty) => self.read(simple, of(ty)?, false),
            Expect::ReadLoose(ty) => self.read(simple, of(ty)?, true),
            Expect::ReadData => self.read(simple, of(Ty::First)?, true),
            Expect::ReadAny(ty) => self.read_any(simple, of(ty)?),
            Expect::Predicate => match simple {
                Simple::Name(name) => self.predicate(name, false),
                Simple::Not(name) => self.predicate(name, true),
                _ => Err("needs a predicate".into()),
            },
            Expect::Load => self.memory(simple, modifiers.space, false),
            Expect::Store => self.memory(simple, modifiers.space, true),
            Expect::SharedAddress => self.memory(simple, Some(Space::Shared), true),
            Expect::GlobalAddress => self.memory(simple, Some(Space::Global), false),
            Expect::Constant(allowed) => match simple {
                Simple::Integer(v, false) if allowed.contains(&v) => Ok(Operand::Immediate(v)),
                _ => Err(format!("needs one of the constants {allowed:?}")),
            },
            Expect::UpTo(most) => match simple {
                Simple::Integer(v, false) if v <= most => Ok(Operand::Immediate(v)),
                _ => Err(format!("needs a constant from 0 to {most}")),
            },
            Expect::Target => match simple {
                Simple::Name(name) => self.label(name).map(Operand::Target),
                _ => Err("needs a label".into()),
            },
            Expect::Targets => match simple {
                Simple::Name(name) => match self.body.targets(self.scope, name) {
                    Some(labels) => Ok(Operand::Targets(labels.iter().map(|l| self.label(l)).collect::<Checked<_>>()?)),
                    None => Err(format!("`{}` is no list of branch targets", shortened(name))),
                },
                _ => Err("needs the name of a list of branch targets".into()),
            },
            Expect::WriteFragment(_, n) | Expect::ReadFragment(_, n) => Err(format!("needs {n} registers in braces")),
            Expect::WriteParts(_) | Expect::ReadParts(_) => Err("needs registers in braces".into()),
            Expect::Call => Err("needs a function".into()),
        }
    }

    fn label(&self, name: &str) -> Checked<u32> {
        self.body.label(self.scope, name).ok_or_else(|| format!("there is no label `{}` here", shortened(name)))
    }

    /// A register and the type it was declared with.
    pub fn register(&self, name: &str) -> Checked<(Register, ScalarType)> {
        self.body
            .register(self.scope, name)
            .ok_or_else(|| format!("`{}` is not declared as a register here", shortened(name)))
    }

    fn predicate(&self, name: &str, negated: bool) -> Checked<Operand> {
        let (register, _) = self.register(name)?;
        if register.class == RegisterClass::Pred {
            Ok(Operand::Predicate(Guard { register, negated }))
        } else {
            Err(format!("`{name}` is no predicate"))
        }
    }

    fn sink(&self, simple: Simple<'_>) -> Option<Operand> {
        (simple == Simple::Name("_")).then_some(Operand::Sink)
    }

    fn write(&self, simple: Simple<'_>, ty: ScalarType, loose: bool) -> Checked<Operand> {
        match simple {
            Simple::Name(name) => self.typed(name, ty, loose).map(Operand::Register),
            _ => Err("writes to something that is no register".into()),
        }
    }

    /// `d|p`, each of which may be `_`; or `d` alone.
    fn pair(&self, simple: Simple<'_>, ty: ScalarType) -> Checked<Operand> {
        let Simple::Pair(d, p) = simple else { return self.write(simple, ty, false) };
        let first = if d == "_" { None } else { Some(self.typed(d, ty, false)?) };
        if p == "_" {
            return Ok(first.map_or(Operand::Sink, Operand::Register));
        }
        Ok(Operand::Pair(first, self.typed(p, ScalarType::Pred, false)?))
    }

    /// The register, if its declared type may stand for `ty` (section 9.4). Loads, stores and conversions are `loose`:
    /// they may use a register wider than the type.
    fn typed(&self, name: &str, ty: ScalarType, loose: bool) -> Checked<Register> {
        let (register, declared) = self.register(name)?;
        let (have, want) = (declared.nature(), ty.nature());
        let size = declared.bits() == ty.bits() || loose && declared.bits() > ty.bits();
        let nature = match (have, want) {
            (Nature::Predicate, _) | (_, Nature::Predicate) => have == want,
            (Nature::Bits, _) | (_, Nature::Bits) => true,
            _ => have == want || loose,
        };
        if size && nature {
            return Ok(register);
        }
        let (name, declared) = (shortened(name), declared.spelling());
        Err(format!("`{name}` is a .{declared} register where .{} is expected", ty.spelling()))
    }

    fn read(&self, simple: Simple<'_>, ty: ScalarType, loose: bool) -> Checked<Operand> {
        match simple {
            // A constant of the machine, not a register.
            Simple::Name("WARP_SZ") if ty.bits() >= 32 => Ok(Operand::Special(SpecialRegister::WarpSize)),
            Simple::Name(name) => self.typed(name, ty, loose).map(Operand::Register),
            Simple::Integer(..) | Simple::Single(_) | Simple::Double(_) => constant(simple, ty),
            Simple::Not(_) => Err("negates an operand that cannot be negated".into()),
            _ => Err("needs a register or a constant".into()),
        }
    }

    /// What `mov` and `cvta` read: also special registers and addresses of variables.
    fn read_any(&self, simple: Simple<'_>, ty: ScalarType) -> Checked<Operand> {
        let (name, offset) = match simple {
            Simple::Component(name, part) => return special(&format!("{name}.{part}"), ty),
            Simple::Name(name) if self.body.register(self.scope, name).is_none() => (name, 0),
            Simple::Offset(name, offset) => (name, offset),
            _ => return self.read(simple, ty, false),
        };
        if let Some((variable, _)) = self.variable(name) {
            return match ty.nature() {
                Nature::Bits | Nature::Integer if ty.bits() >= 32 => Ok(Operand::Address(variable, offset)),
                _ => Err(format!("an address does not fit .{}", ty.spelling())),
            };
        }
        if offset == 0 && (name.starts_with('%') || name == "WARP_SZ") {
            return special(name, ty);
        }
        if self.functions.contains_key(name) {
            return Err(format!("takes the address of the function `{name}`, which is not supported"));
        }
        Err(format!("`{}` is not declared here", shortened(name)))
    }

    /// A variable visible from here, with its state space.
    pub fn variable(&self, name: &str) -> Option<(VariableRef, Space)> {
        if let Some(index) = self.body.variable(self.scope, name) {
            return Some((VariableRef::Local(index), self.body.variables[index as usize].space));
        }
        let position = |all: &[super::module::Parameter]| all.iter().position(|p| p.name == name).map(|i| i as u32);
        if let Some(index) = position(&self.function.parameters) {
            return Some((VariableRef::Parameter(index), Space::Param));
        }
        if let Some(index) = position(&self.function.results) {
            return Some((VariableRef::Result(index), Space::Param));
        }
        let &index = self.module.variable_names.get(name)?;
        let Variable { space, .. } = self.module.variables[index as usize];
        Some((VariableRef::Module(index), space))
    }

    fn memory(&self, simple: Simple<'_>, space: Option<Space>, written: bool) -> Checked<Operand> {
        let Simple::Memory(base, offset) = simple else { return Err("needs an address in brackets".into()) };
        let Some(name) = base else { return Ok(Operand::Memory(Base::Absolute, offset)) };
        if let Some((register, declared)) = self.body.register(self.scope, name) {
            // Windows of shared, local, constant and parameter memory are small enough for 32-bit addresses.
            let short = !matches!(space, None | Some(Space::Global)) && declared.bits() == 32;
            if !(declared.bits() == 64 || short) || declared.nature() == Nature::Float {
                return Err(format!("`{name}` is a .{} register and holds no address here", declared.spelling()));
            }
            return Ok(Operand::Memory(Base::Register(register), offset));
        }
        let Some((variable, lies_in)) = self.variable(name) else {
            return Err(format!("`{}` is not declared here", shortened(name)));
        };
        // A generic access may name a global variable: its address is the same in both.
        if space.unwrap_or(Space::Global) != lies_in {
            let found = space.map_or("generic".into(), |s| format!(".{}", s.spelling()));
            return Err(format!("`{name}` lies in .{} space, and this is a {found} access", lies_in.spelling()));
        }
        match variable {
            VariableRef::Parameter(_) if written => Err(format!("stores to the parameter `{name}`")),
            VariableRef::Result(_) if !written => Err(format!("loads from the result `{name}`")),
            _ => Ok(Operand::Memory(Base::Variable(variable), offset)),
        }
    }
}

fn resolved(ty: Ty, modifiers: &Modifiers) -> Checked<ScalarType> {
    let nth = |n: usize| modifiers.types[n].ok_or_else(|| "has no type".to_string());
    match ty {
        Ty::First => nth(0),
        Ty::Second => nth(1),
        Ty::Is(ty) => Ok(ty),
        Ty::Wide => match nth(0)? {
            ScalarType::U16 => Ok(ScalarType::U32),
            ScalarType::S16 => Ok(ScalarType::S32),
            ScalarType::U32 => Ok(ScalarType::U64),
            ScalarType::S32 => Ok(ScalarType::S64),
            ty => Err(format!("has no type twice as wide as .{}", ty.spelling())),
        },
    }
}

/// The type of an element when `mov` packs or unpacks `ty` from `count` registers.
fn part_of(ty: ScalarType, count: usize) -> Checked<ScalarType> {
    match (ty.bits(), count) {
        (64, 2) => Ok(ScalarType::B32),
        (32, 2) | (64, 4) => Ok(ScalarType::B16),
        (32, 4) => Ok(ScalarType::B8),
        _ => Err(format!("packs {count} registers into .{}, which is not supported", ty.spelling())),
    }
}

fn fragment<'s, 'a: 's>(
    all: &'s [Simple<'a>],
    count: usize,
    each: impl FnMut(&'s Simple<'a>) -> Checked<Operand>,
) -> Checked<Operand> {
    if all.len() != count {
        return Err(format!("has {} registers in braces where {count} are expected", all.len()));
    }
    Ok(Operand::Vector(all.iter().map(each).collect::<Checked<_>>()?))
}

fn special(name: &str, ty: ScalarType) -> Checked<Operand> {
    let Some(&found) = SpecialRegister::ALL.iter().find(|s| s.spelling() == name) else {
        return Err(format!("the special register `{}` is not supported", shortened(name)));
    };
    // `mov.u32 %r, %gridid` and `%clock64` would cut, `mov.u64 %rd, %tid.x` widen; ptxas takes neither.
    if found.bits() != ty.bits() || ty.nature() == Nature::Float {
        return Err(format!("`{name}` has {} bits and does not fit .{}", found.bits(), ty.spelling()));
    }
    Ok(Operand::Special(found))
}

/// A constant's bits in the width of `ty` (section 4.5): integers must fit signed or unsigned, floats are converted.
fn constant(simple: Simple<'_>, ty: ScalarType) -> Checked<Operand> {
    let bits = ty.bits();
    let misfit = || format!("the constant does not fit .{}", ty.spelling());
    let value = match (simple, ty.nature()) {
        (Simple::Integer(v, _), Nature::Predicate) => u64::from(v != 0),
        (Simple::Integer(v, negative), Nature::Bits | Nature::Integer) if bits <= 64 => {
            let largest = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let limit = if negative { 1 << (bits - 1) } else { largest };
            if v > limit {
                return Err(misfit());
            }
            (if negative { v.wrapping_neg() } else { v }) & largest
        }
        (Simple::Single(v), Nature::Bits | Nature::Float) if bits == 32 => v.into(),
        (Simple::Single(v), Nature::Float) => f64::from(f32::from_bits(v)).to_bits(),
        (Simple::Double(v), Nature::Bits | Nature::Float) if bits == 64 => v,
        (Simple::Double(v), Nature::Float) => (f64::from_bits(v) as f32).to_bits().into(),
        _ => return Err(misfit()),
    };
    Ok(Operand::Immediate(value))
}
