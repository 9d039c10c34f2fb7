//! A position in the tokens, with the few moves every parser here is made of.

use super::error::{PtxError, Result};
use super::lexer::{Kind, Token};

/// Reads tokens one by one; the last is [`Kind::End`] and is never passed.
pub(super) struct Cursor<'t, 'a> {
    pub source: &'a str,
    tokens: &'t [Token<'a>],
    at: usize,
}

/// What a token looks like in a message.
fn shown(source: &str, token: Token<'_>) -> String {
    match token.kind {
        Kind::End => "the end of the text".into(),
        _ => format!("`{}`", shortened(&source[token.start..token.end])),
    }
}

/// Text on one line and not too long to read.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().take(LONGEST));
        if out.len() > LONGEST {
            out = out.chars().take(LONGEST).collect();
            out.push_str("...");
            break;
        }
    }
    out
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// Starts at the first of `tokens`, which end with [`Kind::End`].
    pub fn new(source: &'a str, tokens: &'t [Token<'a>]) -> Self {
        Self { source, tokens, at: 0 }
    }

    pub fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    pub fn peek_second(&self) -> Kind<'a> {
        self.tokens.get(self.at + 1).map_or(Kind::End, |t| t.kind)
    }

    pub fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    /// End of the token read last, for cutting an instruction's text out.
    pub fn end_of_last(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].end
    }

    pub fn fail<T>(&self, token: Token<'a>, what: impl Into<String>) -> Result<T> {
        Err(PtxError::Syntax { line: token.line, column: token.column, what: what.into() })
    }

    pub fn expected<T>(&self, token: Token<'a>, what: &str) -> Result<T> {
        self.fail(token, format!("expected {what}, found {}", shown(self.source, token)))
    }

    /// Takes the mark if it is next.
    pub fn take(&mut self, mark: u8) -> bool {
        let there = self.peek().kind == Kind::Mark(mark);
        if there {
            self.at += 1;
        }
        there
    }

    /// Takes the directive or modifier if it is next.
    pub fn take_dotted(&mut self, word: &str) -> bool {
        let there = self.peek().kind == Kind::Dotted(word);
        if there {
            self.at += 1;
        }
        there
    }

    pub fn mark(&mut self, mark: u8) -> Result<()> {
        let token = self.peek();
        if self.take(mark) { Ok(()) } else { self.expected(token, &format!("`{}`", mark as char)) }
    }

    pub fn word(&mut self, what: &str) -> Result<&'a str> {
        match self.next() {
            Token { kind: Kind::Word(word), .. } => Ok(word),
            token => self.expected(token, what),
        }
    }

    pub fn integer(&mut self, what: &str) -> Result<u64> {
        match self.next() {
            Token { kind: Kind::Integer(value), .. } => Ok(value),
            token => self.expected(token, what),
        }
    }

    /// An integer that must fit 32 bits.
    pub fn small(&mut self, what: &str) -> Result<u32> {
        let token = self.peek();
        match u32::try_from(self.integer(what)?) {
            Ok(value) => Ok(value),
            Err(_) => self.fail(token, format!("{what} does not fit 32 bits")),
        }
    }

    /// Skips the line information that nvcc may write between statements; true if there was some.
    /// `.loc` is 1 to 3 numbers and perhaps `, function_name name, inlined_at ...` (section 11.5.5).
    pub fn skip_line_information(&mut self) -> Result<bool> {
        match self.peek().kind {
            Kind::Dotted("loc") => {
                self.next();
                for _ in 0..3 {
                    self.integer("a number of `.loc`")?;
                }
                while self.take(b',') {
                    match self.word("`function_name` or `inlined_at`")? {
                        "function_name" => {
                            self.word("a label")?;
                            if self.take(b'+') {
                                self.integer("an offset")?;
                            }
                        }
                        _ => {
                            for _ in 0..3 {
                                self.integer("a number of `inlined_at`")?;
                            }
                        }
                    }
                }
                Ok(true)
            }
            Kind::Dotted("pragma") => {
                self.next();
                loop {
                    match self.next() {
                        Token { kind: Kind::Text(_), .. } => {}
                        token => return self.expected(token, "a string"),
                    }
                    if !self.take(b',') {
                        break;
                    }
                }
                self.mark(b';')?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
