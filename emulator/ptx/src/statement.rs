//! Raw statements: an instruction's words and operands, names still unresolved.

use super::cursor::Cursor;
use super::error::Result;
use super::forms;
use super::lexer::{Kind, Token};

/// An instruction before decoding.
pub(super) struct Statement<'a> {
    /// Index of the scope it stands in.
    pub scope: usize,
    /// Predicate's name, and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// The opcode and its modifiers, without dots.
    pub words: Vec<&'a str>,
    pub operands: Vec<RawOperand<'a>>,
    pub line: u32,
    /// Its text, guard included.
    pub text: &'a str,
}

/// An operand before its names are resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Simple<'a> {
    Name(&'a str),
    /// `%tid.x`: a name and what follows its dot.
    Component(&'a str, &'a str),
    /// `name+4`.
    Offset(&'a str, i64),
    /// Magnitude and sign.
    Integer(u64, bool),
    Single(u32),
    Double(u64),
    /// `!p`.
    Not(&'a str),
    /// `d|p`.
    Pair(&'a str, &'a str),
    /// `[base+offset]`; the base may be missing.
    Memory(Option<&'a str>, i64),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawOperand<'a> {
    Simple(Simple<'a>),
    /// `{a, b}`
    Vector(Vec<Simple<'a>>),
    /// `(a, b)`, of a call.
    Group(Vec<Simple<'a>>),
}

/// Reads one instruction, `;` included.
pub(super) fn statement<'a>(cursor: &mut Cursor<'_, 'a>, scope: usize) -> Result<Statement<'a>> {
    let first = cursor.peek();
    let mut guard = None;
    if cursor.take(b'@') {
        let negated = cursor.take(b'!');
        guard = Some((cursor.word("a predicate")?, negated));
    }
    let mut words = vec![cursor.word("an instruction")?];
    while let Kind::Dotted(word) = cursor.peek().kind {
        cursor.next();
        words.push(word);
    }
    let mut operands = Vec::new();
    if forms::starting_with(words[0]).is_empty() {
        // Its operands may be of a kind unknown here (textures have some); decoding refuses it by name.
        while !matches!(cursor.peek().kind, Kind::Mark(b';') | Kind::End) {
            cursor.next();
        }
    } else if cursor.peek().kind != Kind::Mark(b';') {
        loop {
            operands.push(operand(cursor)?);
            if !cursor.take(b',') {
                break;
            }
        }
    }
    cursor.mark(b';')?;
    let text = &cursor.source[first.start..cursor.end_of_last()];
    Ok(Statement { scope, guard, words, operands, line: first.line, text })
}

fn operand<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<RawOperand<'a>> {
    if cursor.take(b'{') {
        return Ok(RawOperand::Vector(list(cursor, b'}')?));
    }
    if cursor.take(b'(') {
        return Ok(RawOperand::Group(list(cursor, b')')?));
    }
    Ok(RawOperand::Simple(simple(cursor)?))
}

/// Elements of a vector or a call's parameters; these do not nest, so reading them needs no recursion.
fn list<'a>(cursor: &mut Cursor<'_, 'a>, close: u8) -> Result<Vec<Simple<'a>>> {
    let mut out = Vec::new();
    if cursor.take(close) {
        return Ok(out);
    }
    loop {
        out.push(simple(cursor)?);
        if !cursor.take(b',') {
            cursor.mark(close)?;
            return Ok(out);
        }
    }
}

fn simple<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Simple<'a>> {
    let token = cursor.next();
    match token.kind {
        Kind::Word(name) => match cursor.peek().kind {
            Kind::Dotted(part) => {
                cursor.next();
                Ok(Simple::Component(name, part))
            }
            Kind::Mark(b'|') => {
                cursor.next();
                Ok(Simple::Pair(name, cursor.word("a predicate")?))
            }
            Kind::Mark(b'+' | b'-') => Ok(Simple::Offset(name, offset(cursor)?)),
            _ => Ok(Simple::Name(name)),
        },
        Kind::Mark(b'!') => Ok(Simple::Not(cursor.word("a predicate")?)),
        Kind::Mark(b'[') => memory(cursor),
        Kind::Mark(b'-') => number(cursor, true),
        Kind::Integer(_) | Kind::Single(_) | Kind::Double(_) => numeral(cursor, token, false),
        _ => cursor.expected(token, "an operand"),
    }
}

fn number<'a>(cursor: &mut Cursor<'_, 'a>, negative: bool) -> Result<Simple<'a>> {
    let token = cursor.next();
    numeral(cursor, token, negative)
}

fn numeral<'a>(cursor: &Cursor<'_, 'a>, token: Token<'a>, negative: bool) -> Result<Simple<'a>> {
    match token.kind {
        Kind::Integer(value) => Ok(Simple::Integer(value, negative)),
        Kind::Single(bits) => Ok(Simple::Single(bits ^ (u32::from(negative) << 31))),
        Kind::Double(bits) => Ok(Simple::Double(bits ^ (u64::from(negative) << 63))),
        _ => cursor.expected(token, "a number"),
    }
}

fn memory<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Simple<'a>> {
    let base = match cursor.peek().kind {
        Kind::Word(name) => {
            cursor.next();
            Some(name)
        }
        _ => None,
    };
    let offset = match cursor.peek().kind {
        Kind::Mark(b']') if base.is_some() => 0,
        _ => offset(cursor)?,
    };
    cursor.mark(b']')?;
    Ok(Simple::Memory(base, offset))
}

/// `+4`, `-4`, `+-4` or, without a base, `4`. Bounded so that adding offsets cannot overflow.
fn offset(cursor: &mut Cursor<'_, '_>) -> Result<i64> {
    let at = cursor.peek();
    let minus = cursor.take(b'-');
    if !minus {
        cursor.take(b'+');
    }
    let negative = cursor.take(b'-') != minus;
    let magnitude = i64::try_from(cursor.integer("an offset in bytes")?);
    match magnitude {
        Ok(value) if value <= 1 << 48 => Ok(if negative { -value } else { value }),
        _ => cursor.fail(at, "an offset is larger than any address"),
    }
}
