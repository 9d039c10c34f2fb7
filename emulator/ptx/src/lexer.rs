//! Tokens of PTX (section 4.2 to 4.5): words, dotted words, numbers, strings and punctuation, each with its position.

use super::error::{PtxError, Result};

/// One token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset behind its last character.
    pub end: usize,
}

/// The kinds of token. Text is borrowed from the module's source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind<'a> {
    /// An identifier, with its `%` or `$` if it has one; `_` alone too.
    Word(&'a str),
    /// A directive, type or modifier, without its leading dot: `entry`, `b32`, `L2::128B`.
    Dotted(&'a str),
    /// An integer without its sign. A trailing `U` is accepted and dropped: operands are checked by width alone.
    Integer(u64),
    /// `0f3F800000`: the bits of a single.
    Single(u32),
    /// `0d3FF0000000000000` or `1.5`: the bits of a double.
    Double(u64),
    /// What stands between two quotes, escapes left as they are.
    Text(&'a str),
    /// One punctuation character.
    Mark(u8),
    /// Behind the last token.
    End,
}

/// All tokens of `source`, the last one of kind [`Kind::End`].
///
/// # Errors
/// [`PtxError::Lexical`] at a character that starts no token, a number that does not fit, or an open string or comment.
pub fn tokens(source: &str) -> Result<Vec<Token<'_>>> {
    let mut lexer = Lexer { source, at: 0, line: 1, line_start: 0 };
    let mut out = Vec::new();
    loop {
        let token = lexer.next()?;
        out.push(token);
        if token.kind == Kind::End {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
}

fn continues_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$'
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + ahead).copied()
    }

    fn fail<T>(&self, start: usize, what: impl Into<String>) -> Result<T> {
        let column = (start.saturating_sub(self.line_start) + 1) as u32;
        Err(PtxError::Lexical { line: self.line, column, what: what.into() })
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.at + 1;
    }

    /// Skips white space and both kinds of comment.
    fn skip_blank(&mut self) -> Result<()> {
        while let Some(b) = self.peek(0) {
            match (b, self.peek(1)) {
                (b'\n', _) => self.newline(),
                (b'/', Some(b'/')) => {
                    while self.peek(1).is_some_and(|b| b != b'\n') {
                        self.at += 1;
                    }
                }
                (b'/', Some(b'*')) => {
                    let start = self.at;
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (Some(b'*'), Some(b'/')) {
                        match self.peek(0) {
                            Some(b'\n') => self.newline(),
                            Some(_) => {}
                            None => return self.fail(start, "a comment is not closed before the text ends"),
                        }
                        self.at += 1;
                    }
                    self.at += 1;
                }
                _ if b.is_ascii_whitespace() => {}
                _ => return Ok(()),
            }
            self.at += 1;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Token<'a>> {
        self.skip_blank()?;
        let (start, line) = (self.at, self.line);
        let column = (start - self.line_start + 1) as u32;
        let kind = match self.peek(0) {
            None => Kind::End,
            Some(b'0'..=b'9') => self.number()?,
            Some(b'"') => self.text()?,
            Some(b'.') => {
                self.at += 1;
                self.dotted()?
            }
            Some(b) if b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'%') => {
                self.at += 1;
                self.skip_word();
                match &self.source[start..self.at] {
                    "%" => return self.fail(start, "a register's name must follow `%`"),
                    word => Kind::Word(word),
                }
            }
            Some(b) if b"{}()[]<>,;:=+-!|@".contains(&b) => {
                self.at += 1;
                Kind::Mark(b)
            }
            Some(_) => {
                let found = self.source[start..].chars().next().unwrap_or('?');
                return self.fail(start, format!("no token starts with {found:?}"));
            }
        };
        Ok(Token { kind, line, column, start, end: self.at })
    }

    fn skip_word(&mut self) {
        while self.peek(0).is_some_and(continues_word) {
            self.at += 1;
        }
    }

    /// The word behind a dot; `::` may stand within, as in `.L2::128B`.
    fn dotted(&mut self) -> Result<Kind<'a>> {
        let start = self.at;
        self.skip_word();
        while self.peek(0) == Some(b':') && self.peek(1) == Some(b':') && self.peek(2).is_some_and(continues_word) {
            self.at += 2;
            self.skip_word();
        }
        match &self.source[start..self.at] {
            "" => self.fail(start, "a directive or modifier must follow `.`"),
            word => Ok(Kind::Dotted(word)),
        }
    }

    fn text(&mut self) -> Result<Kind<'a>> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(b'"') => break,
                Some(b'\\') if self.peek(1).is_some_and(|b| b != b'\n') => self.at += 2,
                Some(b'\n') | None => return self.fail(start, "a string is not closed on its line"),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        // Both ends are quotes, so the slice cannot cut a character.
        Ok(Kind::Text(&self.source[start + 1..self.at - 1]))
    }

    /// Section 4.5: decimal, hexadecimal, octal and binary integers; `0f`, `0d` and decimal floating point.
    fn number(&mut self) -> Result<Kind<'a>> {
        let start = self.at;
        self.skip_word();
        let word = &self.source[start..self.at];
        let bits = |digits: &str, len: usize| {
            let hex = digits.len() == len && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if hex { u64::from_str_radix(digits, 16).ok() } else { None }
        };
        if let Some(digits) = word.strip_prefix("0f").or(word.strip_prefix("0F")) {
            return match bits(digits, 8) {
                Some(value) => Ok(Kind::Single(value as u32)),
                None => self.fail(start, format!("`{word}` needs exactly 8 hexadecimal digits")),
            };
        }
        if let Some(digits) = word.strip_prefix("0d").or(word.strip_prefix("0D")) {
            return match bits(digits, 16) {
                Some(value) => Ok(Kind::Double(value)),
                None => self.fail(start, format!("`{word}` needs exactly 16 hexadecimal digits")),
            };
        }
        let hexadecimal = word.starts_with("0x") || word.starts_with("0X");
        let fraction = self.peek(0) == Some(b'.') && self.peek(1).is_some_and(|b| b.is_ascii_digit());
        if !hexadecimal && (fraction || word.contains(['e', 'E'])) {
            return self.decimal_fraction(start, fraction);
        }
        let digits = word.strip_suffix(['u', 'U']).unwrap_or(word);
        let (digits, radix) = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
            [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
            [b'0', _, ..] => (&digits[1..], 8),
            _ => (digits, 10),
        };
        match u64::from_str_radix(digits, radix) {
            Ok(value) => Ok(Kind::Integer(value)),
            Err(_) => self.fail(start, format!("`{word}` is not an integer of at most 64 bits")),
        }
    }

    fn decimal_fraction(&mut self, start: usize, fraction: bool) -> Result<Kind<'a>> {
        if fraction {
            self.at += 1;
            self.skip_word();
        }
        let exponent = self.source[start..self.at].ends_with(['e', 'E']);
        if exponent && matches!(self.peek(0), Some(b'+' | b'-')) {
            self.at += 1;
            self.skip_word();
        }
        let word = &self.source[start..self.at];
        match word.parse::<f64>() {
            Ok(value) => Ok(Kind::Double(value.to_bits())),
            Err(_) => self.fail(start, format!("`{word}` is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind<'_>> {
        let mut kinds: Vec<_> = tokens(source).unwrap().iter().map(|t| t.kind).collect();
        assert_eq!(kinds.pop(), Some(Kind::End));
        kinds
    }

    #[test]
    fn numbers_of_every_notation() {
        use Kind::*;
        assert_eq!(kinds("10 0x1F 017 0b101 7U 0"), [10, 31, 15, 5, 7, 0].map(Integer));
        assert_eq!(kinds("0f3F800000 0d4000000000000000"), [Single(0x3F80_0000), Double(2f64.to_bits())]);
        assert_eq!(kinds("1.5 2.5e-3 1e3"), [1.5f64, 2.5e-3, 1e3].map(|v| Double(v.to_bits())));
        assert_eq!(kinds("0xFFFFFFFFFFFFFFFF"), [Integer(u64::MAX)]);
        for bad in ["0f12", "0d12", "08", "0x", "0b2", "18446744073709551616", "12abc", "1.5z", "0x1_0"] {
            assert!(tokens(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_directives_and_marks() {
        use Kind::*;
        assert_eq!(
            kinds("@!%p1 cp.async.L2::128B $L_0: .reg.b32 _ /* a\n b */ \"x\\\"y\" // end"),
            [
                Mark(b'@'),
                Mark(b'!'),
                Word("%p1"),
                Word("cp"),
                Dotted("async"),
                Dotted("L2::128B"),
                Word("$L_0"),
                Mark(b':'),
                Dotted("reg"),
                Dotted("b32"),
                Word("_"),
                Text("x\\\"y")
            ]
        );
    }

    #[test]
    fn positions_count_lines_and_columns() {
        let all = tokens("a\n  bb /* \n */ c").unwrap();
        let places: Vec<_> = all.iter().map(|t| (t.line, t.column)).collect();
        assert_eq!(places, [(1, 1), (2, 3), (3, 5), (3, 6)]);
    }

    #[test]
    fn open_strings_comments_and_strange_characters_are_errors() {
        for bad in ["\"abc", "\"abc\n\"", "\"\\", "/* abc", "#", "é", "%", ". ", "\"é\\"] {
            assert!(matches!(tokens(bad), Err(PtxError::Lexical { .. })), "{bad}");
        }
    }
}
