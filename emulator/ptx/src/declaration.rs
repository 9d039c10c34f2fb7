//! Variables and parameters (sections 5.4 and 7.1): one parser for every state space.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::error::{PtxError, Result};
use super::lexer::Kind;
use super::module::{Linkage, Parameter, Relocation, Variable};
use super::types::{ScalarType, Space};

/// Largest variable: beyond any GPU's memory, and far from overflow when sizes are added.
const MAX_BYTES: u64 = 1 << 40;
const MAX_ALIGN: u64 = 1 << 20;
/// What a kernel's parameters may take (section 7.1.1, PTX 8.1 and newer).
const MAX_PARAMETER_BYTES: u64 = 32764;

/// The part that variables and parameters share: `.align 8 .b8 name[16]`.
struct Declarator<'a> {
    name: &'a str,
    ty: ScalarType,
    align: u64,
    /// `None`: `name[]`.
    bytes: Option<u64>,
    dimensions: usize,
    pointee_align: Option<u64>,
    line: u32,
}

fn alignment(cursor: &mut Cursor<'_, '_>) -> Result<u64> {
    let token = cursor.peek();
    match cursor.integer("an alignment")? {
        align if align.is_power_of_two() && align <= MAX_ALIGN => Ok(align),
        align => cursor.fail(token, format!("an alignment must be a power of two up to {MAX_ALIGN}, found {align}")),
    }
}

fn declarator<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Declarator<'a>> {
    let (mut align, mut ty, mut lanes, mut pointee_align) = (None, None, 1, None);
    let mut pointer = false;
    loop {
        let token = cursor.peek();
        let Kind::Dotted(word) = token.kind else { break };
        cursor.next();
        match word {
            "align" if pointer => pointee_align = Some(alignment(cursor)?),
            "align" => align = Some(alignment(cursor)?),
            "ptr" => pointer = true,
            "v2" => lanes = 2,
            "v4" => lanes = 4,
            _ if pointer && Space::from_spelling(word).is_some() => {}
            _ => match ScalarType::from_spelling(word) {
                Some(ScalarType::Pred) | None => {
                    return cursor.fail(token, format!("`.{word}` is no type or attribute of a variable"));
                }
                Some(found) => ty = Some(found),
            },
        }
    }
    let at = cursor.peek();
    let Some(ty) = ty else { return cursor.expected(at, "a variable's type") };
    let name = cursor.word("a variable's name")?;
    let element = ty.bytes() * lanes;
    let (mut bytes, mut dimensions) = (Some(element), 0);
    while cursor.take(b'[') {
        dimensions += 1;
        if cursor.take(b']') {
            if dimensions > 1 {
                return cursor.fail(at, format!("only the one dimension of `{name}` may be left open"));
            }
            bytes = None;
            continue;
        }
        let count = cursor.integer("an array's size")?;
        cursor.mark(b']')?;
        let Some(all) = bytes else {
            return cursor.fail(at, format!("only the one dimension of `{name}` may be left open"));
        };
        bytes = match all.checked_mul(count).filter(|&b| b <= MAX_BYTES) {
            Some(all) => Some(all),
            None => {
                let what = format!("`{name}` is larger than {MAX_BYTES} bytes");
                return Err(PtxError::Limit { line: at.line, what });
            }
        };
    }
    let align = align.unwrap_or(element);
    Ok(Declarator { name, ty, align, bytes, dimensions, pointee_align, line: at.line })
}

/// `( .param ..., .param ... )`, with each parameter's offset in the block.
pub(super) fn parameters(cursor: &mut Cursor<'_, '_>) -> Result<Vec<Parameter>> {
    let mut out: Vec<Parameter> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut end = 0u64;
    cursor.mark(b'(')?;
    if cursor.take(b')') {
        return Ok(out);
    }
    loop {
        let at = cursor.peek();
        if cursor.take_dotted("reg") {
            return cursor.fail(at, "parameters in registers are not supported, only `.param`");
        }
        if !cursor.take_dotted("param") {
            return cursor.expected(at, "`.param`");
        }
        let d = declarator(cursor)?;
        if !names.insert(d.name) {
            return cursor.fail(at, format!("two parameters are called `{}`", d.name));
        }
        let Some(bytes) = d.bytes else {
            return cursor.fail(at, format!("parameter `{}` has no size", d.name));
        };
        let offset = end.next_multiple_of(d.align);
        end = offset + bytes;
        if end > MAX_PARAMETER_BYTES {
            let what = format!("the parameters take more than {MAX_PARAMETER_BYTES} bytes");
            return Err(PtxError::Limit { line: at.line, what });
        }
        let (name, pointee_align) = (d.name.to_string(), d.pointee_align);
        out.push(Parameter { name, ty: d.ty, align: d.align, bytes, offset, pointee_align });
        if !cursor.take(b',') {
            cursor.mark(b')')?;
            return Ok(out);
        }
    }
}

/// A variable behind its state space, up to and with the `;`. `known` are the module's variables so far, which an
/// initialiser may name.
pub(super) fn variable<'a>(
    cursor: &mut Cursor<'_, 'a>,
    space: Space,
    linkage: Linkage,
    known: &HashMap<&'a str, u32>,
) -> Result<(&'a str, Variable)> {
    let at = cursor.peek();
    let d = declarator(cursor)?;
    let mut variable = Variable {
        name: d.name.to_string(),
        space,
        linkage,
        align: d.align,
        ty: d.ty,
        bytes: d.bytes,
        initial: Vec::new(),
        relocations: Vec::new(),
        line: d.line,
    };
    if cursor.take(b'=') {
        if !matches!(space, Space::Global | Space::Const) {
            return cursor.fail(at, format!("a .{} variable cannot have an initial value", space.spelling()));
        }
        if d.dimensions > 1 {
            return cursor.fail(at, "an initial value of more than one dimension is not supported");
        }
        initialiser(cursor, &mut variable, d.dimensions == 1, known)?;
    }
    let dynamic = space == Space::Shared && linkage == Linkage::Extern;
    if variable.bytes.is_none() && !dynamic {
        return cursor.fail(at, format!("`{}` has no size; only `.extern .shared` may leave it open", d.name));
    }
    if cursor.peek().kind == Kind::Mark(b',') {
        return cursor.fail(cursor.peek(), "several variables in one declaration are not supported");
    }
    cursor.mark(b';')?;
    Ok((d.name, variable))
}

fn initialiser<'a>(
    cursor: &mut Cursor<'_, 'a>,
    variable: &mut Variable,
    array: bool,
    known: &HashMap<&'a str, u32>,
) -> Result<()> {
    let at = cursor.peek();
    if array {
        cursor.mark(b'{')?;
        if !cursor.take(b'}') {
            loop {
                initial_value(cursor, variable, known)?;
                if !cursor.take(b',') {
                    break;
                }
            }
            cursor.mark(b'}')?;
        }
    } else {
        initial_value(cursor, variable, known)?;
    }
    let len = variable.initial.len() as u64;
    match variable.bytes {
        Some(bytes) if len > bytes => {
            cursor.fail(at, format!("`{}` has {bytes} bytes and {len} bytes of initial values", variable.name))
        }
        Some(_) => Ok(()),
        None => {
            variable.bytes = Some(len);
            Ok(())
        }
    }
}

fn initial_value<'a>(
    cursor: &mut Cursor<'_, 'a>,
    variable: &mut Variable,
    known: &HashMap<&'a str, u32>,
) -> Result<()> {
    let negative = cursor.take(b'-');
    let token = cursor.next();
    let width = variable.ty.bytes() as usize;
    let bits = match (token.kind, variable.ty) {
        (Kind::Integer(v), _) => {
            if negative {
                v.wrapping_neg()
            } else {
                v
            }
        }
        (Kind::Single(v), ScalarType::F32 | ScalarType::B32) => (v ^ (u32::from(negative) << 31)).into(),
        (Kind::Double(v), ScalarType::F32) => {
            (f64::from_bits(v) as f32 * if negative { -1.0 } else { 1.0 }).to_bits().into()
        }
        (Kind::Double(v), ScalarType::F64 | ScalarType::B64) => v ^ (u64::from(negative) << 63),
        (Kind::Word(name), ScalarType::U64 | ScalarType::B64 | ScalarType::S64) if !negative => {
            let generic = name == "generic" && cursor.take(b'(');
            let target = if generic { cursor.word("a variable's name")? } else { name };
            if generic {
                cursor.mark(b')')?;
            }
            let Some(&index) = known.get(target) else {
                return cursor.fail(
                    token,
                    format!("`{target}` is no variable declared before; addresses of functions are not supported"),
                );
            };
            let mut addend = 0;
            if let Kind::Mark(sign @ (b'+' | b'-')) = cursor.peek().kind {
                cursor.next();
                let negative = cursor.take(b'-') != (sign == b'-');
                let offset = i64::from(cursor.small("an offset")?);
                addend = if negative { -offset } else { offset };
            }
            let offset = variable.initial.len() as u64;
            variable.relocations.push(Relocation { offset, variable: index, addend, generic });
            0
        }
        _ => return cursor.expected(token, "an initial value that fits the variable's type"),
    };
    let bytes = bits.to_le_bytes();
    variable.initial.extend((0..width).map(|i| bytes.get(i).copied().unwrap_or(0)));
    Ok(())
}
