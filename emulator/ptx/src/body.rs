//! Function bodies (section 4.2, 6.4): scopes with their registers, variables and labels, and the statements in order.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::cursor::Cursor;
use super::declaration;
use super::error::{PtxError, Result};
use super::instruction::{Register, RegisterClass, RegisterCounts};
use super::lexer::{Kind, Token};
use super::module::{Linkage, Variable};
use super::statement::{Statement, statement};
use super::types::{ScalarType, Space};

/// Registers per class and function; nvcc stays far below.
const MAX_REGISTERS: u32 = 1 << 20;
/// `{` within `{`; names are looked up outwards, so this also bounds the work for a name.
const MAX_DEPTH: usize = 64;

/// A body before decoding.
pub(super) struct RawBody<'a> {
    /// The first is the function's own.
    pub scopes: Vec<Scope<'a>>,
    pub registers: RegisterCounts,
    pub variables: Vec<Variable>,
    pub statements: Vec<Statement<'a>>,
}

/// Registers' names are short, and looked up for every operand: several times where a number has several digits.
type ByName<'a, V> = HashMap<&'a str, V, BuildHasherDefault<Short>>;

/// A hash of few bytes (FNV-1a, with the upper bits mixed into the lower).
#[derive(Default)]
struct Short(u64);

impl Hasher for Short {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// What one pair of braces declares.
#[derive(Default)]
pub(super) struct Scope<'a> {
    parent: Option<usize>,
    depth: usize,
    registers: ByName<'a, (Register, ScalarType)>,
    /// `%r<9>`: first register and how many, by prefix.
    ranges: ByName<'a, (Register, u32, ScalarType)>,
    variables: HashMap<&'a str, u32>,
    labels: HashMap<&'a str, u32>,
    targets: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Scope<'a> {
    fn register(&self, name: &str) -> Option<(Register, ScalarType)> {
        if let Some(&found) = self.registers.get(name) {
            return Some(found);
        }
        // A prefix may itself end in digits, so every way to cut the number off is tried; numbers have at most 7 digits.
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        (1..=digits.min(7)).find_map(|len| {
            let (prefix, number) = name.split_at(name.len() - len);
            if len > 1 && number.starts_with('0') {
                return None;
            }
            let &(first, count, ty) = self.ranges.get(prefix)?;
            let number: u32 = number.parse().ok()?;
            (number < count).then_some((Register { class: first.class, index: first.index + number }, ty))
        })
    }
}

impl<'a> RawBody<'a> {
    fn outwards(&self, scope: usize) -> impl Iterator<Item = &Scope<'a>> {
        std::iter::successors(Some(&self.scopes[scope]), |s| s.parent.map(|p| &self.scopes[p]))
    }

    pub fn register(&self, scope: usize, name: &str) -> Option<(Register, ScalarType)> {
        self.outwards(scope).find_map(|s| s.register(name))
    }

    pub fn variable(&self, scope: usize, name: &str) -> Option<u32> {
        self.outwards(scope).find_map(|s| s.variables.get(name).copied())
    }

    pub fn label(&self, scope: usize, name: &str) -> Option<u32> {
        self.outwards(scope).find_map(|s| s.labels.get(name).copied())
    }

    pub fn targets(&self, scope: usize, name: &str) -> Option<&[&'a str]> {
        self.outwards(scope).find_map(|s| s.targets.get(name).map(Vec::as_slice))
    }
}

/// Reads a body, from its `{` to the `}` that closes it. Braces are kept on a list, not on the stack.
pub(super) fn body<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<RawBody<'a>> {
    cursor.mark(b'{')?;
    let mut body = RawBody {
        scopes: vec![Scope::default()],
        registers: RegisterCounts::default(),
        variables: Vec::new(),
        statements: Vec::new(),
    };
    let mut scope = 0;
    loop {
        if cursor.skip_line_information()? {
            continue;
        }
        let token = cursor.peek();
        match token.kind {
            Kind::Mark(b'{') => {
                cursor.next();
                let depth = body.scopes[scope].depth + 1;
                if depth > MAX_DEPTH {
                    let what = format!("braces are nested deeper than {MAX_DEPTH}");
                    return Err(PtxError::Limit { line: token.line, what });
                }
                body.scopes.push(Scope { parent: Some(scope), depth, ..Scope::default() });
                scope = body.scopes.len() - 1;
            }
            Kind::Mark(b'}') => {
                cursor.next();
                match body.scopes[scope].parent {
                    Some(parent) => scope = parent,
                    None => return Ok(body),
                }
            }
            Kind::Dotted("reg") => {
                cursor.next();
                registers(cursor, &mut body, scope)?;
            }
            Kind::Dotted(word) => {
                cursor.next();
                variable(cursor, &mut body, scope, token, word)?;
            }
            Kind::Word(name) if cursor.peek_second() == Kind::Mark(b':') => {
                cursor.next();
                cursor.next();
                label(cursor, &mut body, scope, token, name)?;
            }
            Kind::Word(_) | Kind::Mark(b'@') => body.statements.push(statement(cursor, scope)?),
            // An empty statement is harmless; inline assembly may leave one behind.
            Kind::Mark(b';') => {
                cursor.next();
            }
            Kind::End => return cursor.expected(token, "`}` to close the function"),
            _ => return cursor.expected(token, "an instruction, a declaration or a label"),
        }
    }
}

/// `.reg .b32 %r<9>, x;`
fn registers<'a>(cursor: &mut Cursor<'_, 'a>, body: &mut RawBody<'a>, scope: usize) -> Result<()> {
    let token = cursor.next();
    let ty = match token.kind {
        Kind::Dotted(word @ ("v2" | "v4")) => {
            return cursor.fail(token, format!("registers of type `.{word}` are not supported"));
        }
        Kind::Dotted(word) => ScalarType::from_spelling(word),
        _ => None,
    };
    let Some(ty) = ty else { return cursor.expected(token, "a register's type") };
    let class = RegisterClass::of(ty);
    loop {
        let at = cursor.peek();
        let name = cursor.word("a register's name")?;
        let mut range = None;
        if cursor.take(b'<') {
            range = Some(cursor.small("the number of registers")?);
            cursor.mark(b'>')?;
        }
        let count = body.registers.of_mut(class);
        let first = Register { class, index: *count };
        *count = count.saturating_add(range.unwrap_or(1));
        if *count > MAX_REGISTERS {
            let what = format!("a function declares more than {MAX_REGISTERS} registers of one width");
            return Err(PtxError::Limit { line: at.line, what });
        }
        let names = &mut body.scopes[scope];
        let old = match range {
            Some(range) => names.ranges.insert(name, (first, range, ty)).is_some(),
            None => names.registers.insert(name, (first, ty)).is_some() || names.variables.contains_key(name),
        };
        if old {
            return cursor.fail(at, format!("`{name}` is declared twice in one scope"));
        }
        if !cursor.take(b',') {
            return cursor.mark(b';');
        }
    }
}

fn variable<'a>(
    cursor: &mut Cursor<'_, 'a>,
    body: &mut RawBody<'a>,
    scope: usize,
    token: Token<'a>,
    word: &'a str,
) -> Result<()> {
    let space = match Space::from_spelling(word) {
        Some(space @ (Space::Shared | Space::Local | Space::Param)) => space,
        // nvcc places these outside functions; within, they would need names of their own in the module.
        Some(Space::Global | Space::Const) => {
            return cursor.fail(token, format!("a `.{word}` variable within a function is not supported"));
        }
        None => return cursor.fail(token, format!("the directive `.{word}` is not supported within a function")),
    };
    let (name, variable) = declaration::variable(cursor, space, Linkage::Internal, &HashMap::new())?;
    let index = body.variables.len() as u32;
    body.variables.push(variable);
    let names = &mut body.scopes[scope];
    if names.variables.insert(name, index).is_some() || names.registers.contains_key(name) {
        return cursor.fail(token, format!("`{name}` is declared twice in one scope"));
    }
    Ok(())
}

/// A label, or the list of targets or prototype that it may name (sections 9.7.12.3, 11.2).
fn label<'a>(
    cursor: &mut Cursor<'_, 'a>,
    body: &mut RawBody<'a>,
    scope: usize,
    token: Token<'a>,
    name: &'a str,
) -> Result<()> {
    let next = body.statements.len() as u32;
    let names = &mut body.scopes[scope];
    if names.labels.contains_key(name) || names.targets.contains_key(name) {
        return cursor.fail(token, format!("the label `{name}` stands twice in one scope"));
    }
    if cursor.take_dotted("branchtargets") {
        let mut targets = Vec::new();
        loop {
            targets.push(cursor.word("a label")?);
            if !cursor.take(b',') {
                break;
            }
        }
        names.targets.insert(name, targets);
        return cursor.mark(b';');
    }
    let at = cursor.peek();
    if let Kind::Dotted(word @ ("callprototype" | "calltargets")) = at.kind {
        return cursor.fail(at, format!("`.{word}`, which indirect calls need, is not supported"));
    }
    names.labels.insert(name, next);
    Ok(())
}
