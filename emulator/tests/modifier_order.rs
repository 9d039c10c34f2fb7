//! Modifiers may stand in the orders that NVIDIA's assembler takes, and mean the same in all of them.

mod support;

use proptest::prelude::*;
use rewind_emulator::ptx::{Instruction, Module, PtxError, ScalarType, Space};
use support::{decoded, kernel};

/// An instruction by its words: those whose place is fixed, those that may move, and its operands.
#[derive(Debug, Clone)]
struct Spelling {
    fixed: Vec<&'static str>,
    free: Vec<&'static str>,
    operands: &'static str,
}

impl Spelling {
    fn with(&self, fixed: &[&str], free: &[&str]) -> String {
        format!("{} {};", [fixed, free].concat().join("."), self.operands)
    }

    fn plain(&self) -> Instruction {
        decoded(&self.with(&self.fixed, &self.free))
    }
}

fn spellings() -> Vec<Spelling> {
    let lines = include_str!("modifier_orders.txt").lines().filter(|l| !l.starts_with('#'));
    let split = |line: &'static str| {
        let mut parts = line.splitn(3, '|').map(str::trim);
        let fixed = parts.next().unwrap().split('.').collect();
        let free = parts.next().unwrap().split_whitespace().collect();
        Spelling { fixed, free, operands: parts.next().unwrap() }
    };
    lines.map(split).collect()
}

/// The words of which an instruction may have several, kind by kind in their order.
fn ordered(words: &[&str]) -> [Vec<String>; 3] {
    let of = |is: &dyn Fn(&str) -> bool| words.iter().filter(|w| is(w)).map(ToString::to_string).collect();
    [
        of(&|w| ScalarType::from_spelling(w).is_some()),
        of(&|w| matches!(w, "row" | "col")),
        of(&|w| Space::from_spelling(w).is_some()),
    ]
}

fn one(code: &str) -> Result<Instruction, PtxError> {
    let module = Module::parse(&kernel(code))?;
    Ok(module.functions[0].body.as_ref().unwrap().instructions[0].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn free_words_mean_the_same_in_any_order(
        (spelling, shuffled) in prop::sample::select(spellings())
            .prop_flat_map(|s| (Just(s.clone()), Just(s.free).prop_shuffle()))
    ) {
        let text = spelling.with(&spelling.fixed, &shuffled);
        let found = one(&text);
        if ordered(&shuffled) == ordered(&spelling.free) {
            prop_assert_eq!(found.as_ref(), Ok(&spelling.plain()), "{}", text);
        } else {
            // Another instruction, or none.
            prop_assert_ne!(found.as_ref(), Ok(&spelling.plain()), "{}", text);
        }
    }
}

#[test]
fn fixed_words_stand_first() {
    for spelling in spellings() {
        spelling.plain();
        if spelling.fixed.len() > 1 && !spelling.free.is_empty() {
            let (last, fixed) = spelling.fixed.split_last().unwrap();
            let mut free = spelling.free.clone();
            free.insert(1, last);
            let text = spelling.with(fixed, &free);
            assert!(one(&text).is_err(), "{text}");
        }
    }
}

#[test]
fn a_word_twice_is_refused() {
    for spelling in spellings() {
        for &word in &spelling.free {
            let free = [&spelling.free[..], &[word]].concat();
            let text = spelling.with(&spelling.fixed, &free);
            assert!(one(&text).is_err(), "{text}");
        }
    }
}

#[test]
fn spellings_of_well_known_libraries() {
    // CUTLASS, older headers, Triton, and what compilers make of C++ atomics.
    for (code, plain) in [
        (
            "ldmatrix.sync.aligned.x4.trans.m8n8.shared.b16 {%r1,%r2,%r3,%r4}, [tile];",
            "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r1,%r2,%r3,%r4}, [tile];",
        ),
        ("vote.ballot.sync.b32 %r1, %p1, %r2;", "vote.sync.ballot.b32 %r1, %p1, %r2;"),
        ("ld.global.b32 { %r1 }, [ %d1 + 0 ];", "ld.global.b32 %r1, [%d1];"),
        ("st.global.b32 [ %d1 + 0 ], { %r1 };", "st.global.b32 [%d1], %r1;"),
        ("ld.global.acquire.gpu.u32 %r1, [%d1];", "ld.acquire.gpu.global.u32 %r1, [%d1];"),
        ("st.global.release.gpu.u32 [%d1], %r1;", "st.release.gpu.global.u32 [%d1], %r1;"),
        ("atom.global.gpu.acq_rel.add.u32 %r1, [%d1], 1;", "atom.acq_rel.gpu.global.add.u32 %r1, [%d1], 1;"),
    ] {
        assert_eq!(decoded(code), decoded(plain), "{code}");
    }
}
