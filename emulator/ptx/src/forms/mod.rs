//! The decoder's tables: every instruction form that is accepted, and nothing else is.

mod arithmetic;
mod control;
mod convert;
mod float;
mod logic;
mod matrix;
mod mbarrier;
mod memory;
mod wmma;
mod words;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::expect::Form;

/// All tables, in the order in which [`supported`](super::supported) prints them.
pub(super) const TABLES: &[&[Form]] = &[
    arithmetic::FORMS,
    float::FORMS,
    logic::COMPARISONS,
    logic::FORMS,
    convert::FORMS,
    memory::FORMS,
    matrix::FORMS,
    wmma::LOADS,
    wmma::STORES,
    wmma::PRODUCTS,
    control::FORMS,
    mbarrier::FORMS,
];

/// The forms whose opcode starts with that word.
pub(super) fn starting_with(word: &str) -> &'static [&'static Form] {
    static BY_WORD: OnceLock<HashMap<&str, Vec<&Form>>> = OnceLock::new();
    let by_word = BY_WORD.get_or_init(|| {
        let mut map: HashMap<&str, Vec<&Form>> = HashMap::new();
        for form in TABLES.iter().copied().flatten() {
            let spelling = form.opcode.spelling();
            let first = spelling.split_once('.').map_or(spelling, |(first, _)| first);
            map.entry(first).or_default().push(form);
        }
        map
    });
    by_word.get(word).map_or(&[], Vec::as_slice)
}
