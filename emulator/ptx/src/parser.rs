//! The module's outermost level (sections 4.3 and 11): header, variables, functions and what is skipped.

use std::collections::HashMap;

use super::body::{RawBody, body};
use super::cursor::Cursor;
use super::declaration;
use super::error::{PtxError, Result};
use super::lexer::{self, Kind, Token};
use super::module::{FunctionKind, LaunchBounds, Linkage, Parameter, Target, Variable};
use super::types::Space;

/// Text larger than this is refused before tokens are made of it.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// The versions of PTX that are read.
const OLDEST: (u32, u32) = (6, 0);
/// The newest version of PTX that is read.
pub const NEWEST: (u32, u32) = (9, 4);

/// The targets that are read, newest architectures for what they have in common with sm_90.
const TARGETS: [u32; 21] = [50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103, 110, 120, 121];

/// A module before its instructions are decoded.
pub(super) struct RawModule<'a> {
    pub version: (u32, u32),
    pub target: Target,
    pub variables: Vec<Variable>,
    pub variable_names: HashMap<&'a str, u32>,
    pub functions: Vec<RawFunction<'a>>,
}

pub(super) struct RawFunction<'a> {
    pub name: &'a str,
    pub kind: FunctionKind,
    pub linkage: Linkage,
    pub results: Vec<Parameter>,
    pub parameters: Vec<Parameter>,
    pub bounds: LaunchBounds,
    pub body: Option<RawBody<'a>>,
    pub line: u32,
}

pub(super) fn parse(source: &str) -> Result<RawModule<'_>> {
    if source.len() > MAX_TEXT_BYTES {
        let what = format!("the module's text is larger than {MAX_TEXT_BYTES} bytes");
        return Err(PtxError::Limit { line: 1, what });
    }
    let tokens = lexer::tokens(source)?;
    let mut cursor = Cursor::new(source, &tokens);
    let (version, target) = header(&mut cursor)?;
    let module = RawModule { version, target, variables: vec![], variable_names: HashMap::new(), functions: vec![] };
    let mut parser = Parser { cursor, module, function_names: HashMap::new() };
    while parser.item()? {}
    Ok(parser.module)
}

/// `.version`, `.target` and `.address_size` (section 11.1).
fn header(cursor: &mut Cursor<'_, '_>) -> Result<((u32, u32), Target)> {
    let at = cursor.peek();
    if !cursor.take_dotted("version") {
        return cursor.expected(at, "`.version` at the start of a PTX module");
    }
    let token = cursor.next();
    let text = &cursor.source[token.start..token.end];
    let numbers = text.split_once('.').and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)));
    let Some(version) = numbers else { return cursor.expected(token, "a version such as 9.0") };
    if !(OLDEST..=NEWEST).contains(&version) {
        let ((a, b), (c, d)) = (OLDEST, NEWEST);
        let what = format!("PTX version {text} is not supported; versions {a}.{b} to {c}.{d} are");
        return Err(PtxError::Declaration { line: token.line, what });
    }
    let at = cursor.peek();
    if !cursor.take_dotted("target") {
        return cursor.expected(at, "`.target`");
    }
    let token = cursor.peek();
    let target = target(cursor.word("a target such as sm_80")?, token.line)?;
    while cursor.take(b',') {
        let token = cursor.peek();
        match cursor.word("a target's option")? {
            "debug" => {}
            option => {
                let what = format!("the target option `{option}` is not supported");
                return Err(PtxError::Declaration { line: token.line, what });
            }
        }
    }
    if cursor.take_dotted("address_size") {
        let token = cursor.peek();
        let bits = cursor.integer("32 or 64")?;
        if bits != 64 {
            let what = format!("addresses of {bits} bits are not supported, only of 64");
            return Err(PtxError::Declaration { line: token.line, what });
        }
        Ok((version, target))
    } else {
        // Section 11.1.4: 32 bits when left out.
        let what = "`.address_size 64` is missing; 32-bit addresses are not supported".into();
        Err(PtxError::Declaration { line: token.line, what })
    }
}

fn target(word: &str, line: u32) -> Result<Target> {
    let rest = word.strip_prefix("sm_").unwrap_or("");
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = match &rest[digits.len()..] {
        "" => Some(None),
        "a" => Some(Some('a')),
        "f" => Some(Some('f')),
        _ => None,
    };
    match (digits.parse::<u32>(), suffix) {
        (Ok(sm), Some(suffix)) if TARGETS.contains(&sm) => Ok(Target { sm, suffix }),
        _ => {
            let what = format!("the target `{word}` is not supported; sm_50 to sm_121 are");
            Err(PtxError::Declaration { line, what })
        }
    }
}

struct Parser<'t, 'a> {
    cursor: Cursor<'t, 'a>,
    module: RawModule<'a>,
    function_names: HashMap<&'a str, usize>,
}

impl<'a> Parser<'_, 'a> {
    /// Reads one item; false at the end of the text.
    fn item(&mut self) -> Result<bool> {
        if self.cursor.skip_line_information()? {
            return Ok(true);
        }
        let mut linkage = Linkage::Internal;
        loop {
            let token = self.cursor.next();
            let Kind::Dotted(word) = token.kind else {
                return match token.kind {
                    Kind::End if linkage == Linkage::Internal => Ok(false),
                    _ => self.cursor.expected(token, "a directive"),
                };
            };
            match word {
                "visible" => linkage = Linkage::Visible,
                "extern" => linkage = Linkage::Extern,
                "weak" => linkage = Linkage::Weak,
                "common" => linkage = Linkage::Common,
                "file" => self.file()?,
                "section" => self.section(token)?,
                "entry" => self.function(token, FunctionKind::Entry, linkage)?,
                "func" => self.function(token, FunctionKind::Device, linkage)?,
                _ => self.variable(token, word, linkage)?,
            }
            if !matches!(word, "visible" | "extern" | "weak" | "common") {
                return Ok(true);
            }
        }
    }

    /// `.file 1 "name"[, timestamp, size]`
    fn file(&mut self) -> Result<()> {
        self.cursor.integer("a file's number")?;
        match self.cursor.next() {
            Token { kind: Kind::Text(_), .. } => {}
            token => return self.cursor.expected(token, "a file's name"),
        }
        while self.cursor.take(b',') {
            self.cursor.integer("a number")?;
        }
        Ok(())
    }

    /// Debug information: skipped up to the brace that closes it.
    fn section(&mut self, at: Token<'a>) -> Result<()> {
        while !matches!(self.cursor.peek().kind, Kind::Mark(b'{') | Kind::End) {
            self.cursor.next();
        }
        let mut depth = 0usize;
        loop {
            match self.cursor.next().kind {
                Kind::Mark(b'{') => depth += 1,
                Kind::Mark(b'}') => depth -= 1,
                Kind::End => return self.cursor.fail(at, "a section is not closed before the text ends"),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn variable(&mut self, token: Token<'a>, word: &str, linkage: Linkage) -> Result<()> {
        let space = match Space::from_spelling(word) {
            Some(space @ (Space::Global | Space::Const | Space::Shared)) => space,
            Some(_) => {
                return self.cursor.fail(token, format!("a `.{word}` variable outside functions is not supported"));
            }
            None => return self.cursor.fail(token, format!("the directive `.{word}` is not supported")),
        };
        let RawModule { variables, variable_names, .. } = &mut self.module;
        let (name, variable) = declaration::variable(&mut self.cursor, space, linkage, variable_names)?;
        if linkage == Linkage::Extern && space != Space::Shared {
            let what = format!("`{name}` is defined in another module, and linking is not supported");
            return Err(PtxError::Declaration { line: token.line, what });
        }
        let index = variables.len() as u32;
        if self.function_names.contains_key(name) || variable_names.insert(name, index).is_some() {
            return self.cursor.fail(token, format!("`{name}` is declared twice"));
        }
        variables.push(variable);
        Ok(())
    }

    fn function(&mut self, token: Token<'a>, kind: FunctionKind, linkage: Linkage) -> Result<()> {
        let cursor = &mut self.cursor;
        let mut results = Vec::new();
        if kind == FunctionKind::Device && cursor.peek().kind == Kind::Mark(b'(') {
            results = declaration::parameters(cursor)?;
        }
        let name = cursor.word("a function's name")?;
        let mut parameters = Vec::new();
        if cursor.peek().kind == Kind::Mark(b'(') {
            parameters = declaration::parameters(cursor)?;
        }
        let bounds = launch_bounds(cursor)?;
        let body = if cursor.take(b';') { None } else { Some(body(cursor)?) };
        let line = token.line;
        if body.is_none() && kind == FunctionKind::Entry {
            let what = format!("kernel `{name}` is declared without its code, and linking is not supported");
            return Err(PtxError::Declaration { line, what });
        }
        let function = RawFunction { name, kind, linkage, results, parameters, bounds, body, line };
        let functions = &mut self.module.functions;
        match self.function_names.get(name) {
            None if self.module.variable_names.contains_key(name) => {}
            None => {
                self.function_names.insert(name, functions.len());
                functions.push(function);
                return Ok(());
            }
            // A declaration ahead of its definition; the two must agree, or calls were checked against the wrong one.
            Some(&index) if same_signature(&functions[index], &function) => {
                if functions[index].body.is_none() {
                    functions[index] = function;
                    return Ok(());
                }
                if function.body.is_none() {
                    return Ok(());
                }
            }
            Some(_) => {
                return cursor.fail(token, format!("`{name}` is declared before with other parameters"));
            }
        }
        cursor.fail(token, format!("`{name}` is declared twice"))
    }
}

fn same_signature(a: &RawFunction<'_>, b: &RawFunction<'_>) -> bool {
    let same = |a: &[Parameter], b: &[Parameter]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.bytes, a.offset) == (b.bytes, b.offset))
    };
    a.kind == b.kind && same(&a.results, &b.results) && same(&a.parameters, &b.parameters)
}

/// The directives between a function's parameters and its body (section 11.4).
fn launch_bounds(cursor: &mut Cursor<'_, '_>) -> Result<LaunchBounds> {
    let mut bounds = LaunchBounds::default();
    loop {
        if cursor.skip_line_information()? {
            continue;
        }
        let token = cursor.peek();
        let Kind::Dotted(word) = token.kind else { return Ok(bounds) };
        cursor.next();
        match word {
            "maxntid" => bounds.max_threads = Some(block_shape(cursor)?),
            "reqntid" => bounds.required_threads = Some(block_shape(cursor)?),
            "minnctapersm" => bounds.min_blocks_per_sm = Some(cursor.small("a number of blocks")?),
            "maxnctapersm" => drop(cursor.small("a number of blocks")?),
            "maxnreg" => bounds.max_registers = Some(cursor.small("a number of registers")?),
            "noreturn" => {}
            _ => return cursor.fail(token, format!("the directive `.{word}` of a function is not supported")),
        }
    }
}

fn block_shape(cursor: &mut Cursor<'_, '_>) -> Result<[u32; 3]> {
    let mut shape = [1; 3];
    for (axis, threads) in shape.iter_mut().enumerate() {
        if axis > 0 && !cursor.take(b',') {
            break;
        }
        let at = cursor.peek();
        *threads = cursor.small("a number of threads")?;
        if *threads == 0 {
            return cursor.fail(at, "a block has at least one thread along each axis");
        }
    }
    Ok(shape)
}
