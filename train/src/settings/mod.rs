//! The settings that a user may give: each is a flag of `train_cifar` and, under the same name, a key of a config file.
//!
//! All are declared in one table, `table.rs`. A setting that was not given falls back to the next source: flags, then `--config`, then
//! the defaults of [`RunConfig`]. A key is its flag without the dashes (`weight-decay = 5e-4`), but for `--no-augment`, whose key is
//! `augment = false`.

mod declare;
mod held;
mod table;

use rewind::error::Error;

pub(crate) use self::held::as_typed;
pub use self::table::{Owner, Resume, RunConfig, SETTINGS, Setting, Settings};
pub use crate::values::{ByteSize, LrDrop, Sizes};

/// A refusal of the engine's, in the flags' words: to be asked where the engine is called, since a refusal of this program's may hold
/// what its user typed.
pub fn flagged(error: Error) -> Error {
    match error {
        Error::Usage(sentence) => Error::Usage(with_flags(&sentence)),
        other => other,
    }
}

/// A sentence of the library's with the settings in it by the names of their flags: "`fixed_point`" is "--fixed-point".
pub fn with_flags(sentence: &str) -> String {
    let mut parts = sentence.split('`');
    let mut text = parts.next().unwrap_or_default().to_string();
    while let Some(inside) = parts.next() {
        let setting = inside.starts_with(|c: char| c.is_ascii_lowercase())
            && inside.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        match (setting, parts.next()) {
            (true, Some(after)) => text += &format!("--{}{after}", inside.replace('_', "-")),
            (false, Some(after)) => text += &format!("`{inside}`{after}"),
            (_, None) => text += &format!("`{inside}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_get_their_flags_names_and_nothing_else_changes() {
        assert_eq!(
            with_flags("`fixed_point` 3 goes with `gradient` auto"),
            "--fixed-point 3 goes with --gradient auto"
        );
        for text in ["no setting at all", "a `File.txt` and `a b`", "an odd ` one", ""] {
            assert_eq!(with_flags(text), text);
        }
    }
}
