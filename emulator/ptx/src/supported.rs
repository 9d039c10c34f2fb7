//! What is accepted, printed from the decoder's own tables.

use super::forms::TABLES;

/// Every accepted instruction form, one a line: alternatives between bars, optional modifiers in braces.
pub fn forms() -> impl Iterator<Item = String> {
    TABLES.iter().copied().flatten().map(ToString::to_string)
}

/// The same as one text.
pub fn supported() -> String {
    forms().map(|form| form + "\n").collect()
}
