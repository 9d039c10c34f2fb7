//! From a text to a module.

use std::collections::HashMap;

use super::error::PtxError;
use super::module::Module;
use super::{call, decode, parser};

impl Module {
    /// Reads, checks and decodes a module.
    ///
    /// ```
    /// let source = ".version 9.0 .target sm_80 .address_size 64 .visible .entry nothing() { ret; }";
    /// let module = rewind_ptx::Module::parse(source)?;
    /// assert_eq!(module.functions[0].name, "nothing");
    /// # Ok::<(), rewind_ptx::PtxError>(())
    /// ```
    ///
    /// # Errors
    /// Everything in [`PtxError`]; the first thing found, with its line.
    pub fn parse(source: &str) -> Result<Module, PtxError> {
        let raw = parser::parse(source)?;
        let names: HashMap<&str, u32> = raw.functions.iter().enumerate().map(|(i, f)| (f.name, i as u32)).collect();
        let module = decode::module(&raw, &names)?;
        call::refuse_recursion(&module)?;
        Ok(module)
    }

    /// The same from bytes as a driver gets them: text up to the first zero byte or the end.
    ///
    /// # Errors
    /// As [`Module::parse`]; also text that is not UTF-8.
    pub fn from_bytes(image: &[u8]) -> Result<Module, PtxError> {
        let text = image.split(|&b| b == 0).next().unwrap_or_default();
        match std::str::from_utf8(text) {
            Ok(source) => Self::parse(source),
            Err(e) => {
                let before = &text[..e.valid_up_to()];
                let line = 1 + before.iter().filter(|&&b| b == b'\n').count() as u32;
                let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count() as u32;
                Err(PtxError::Lexical { line, column, what: "the text is not UTF-8".into() })
            }
        }
    }
}
