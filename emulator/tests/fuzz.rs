//! Malformed modules are errors, never panics: whatever is done to real PTX, and bytes that never were any.

mod support;

use proptest::prelude::*;
use rewind_emulator::ptx::lexer::{Kind, tokens};
use rewind_emulator::ptx::{Module, PtxError, supported};
use support::{compiled, kernel};

/// Small modules that together use most of the grammar.
const SAMPLES: [&str; 6] = ["vector_add", "divergence", "printf", "mma", "calls", "grid_barrier"];

/// Parses, and checks that an error has a line within the text and says something.
fn survives(text: &[u8]) {
    let Err(e) = Module::from_bytes(text) else { return };
    let line = match &e {
        PtxError::Lexical { line, .. } | PtxError::Syntax { line, .. } | PtxError::Declaration { line, .. } => *line,
        PtxError::Instruction { line, .. } | PtxError::Recursion { line, .. } | PtxError::Limit { line, .. } => *line,
    };
    let lines = text.iter().filter(|&&b| b == b'\n').count() + 1;
    assert!((1..=lines).contains(&(line as usize)), "{e} of {lines} lines");
    assert!(e.to_string().len() < 1000, "{e}");
}

#[test]
fn a_module_cut_at_any_byte_is_an_error_with_a_line() {
    for text in [kernel("add.s32 %r1, %r2, 3; @!%p1 bra L; { .reg .b32 t; L: } ret;"), compiled("calls", 80)] {
        let end = text.trim_end().len();
        for at in 0..end {
            survives(&text.as_bytes()[..at]);
        }
        assert!(Module::parse(&text[..end - 1]).is_err());
    }
}

/// Byte ranges of a text's tokens.
fn pieces(text: &str) -> Vec<&str> {
    let all = tokens(text).expect("real PTX has tokens");
    all.iter().filter(|t| t.kind != Kind::End).map(|t| &text[t.start..t.end]).collect()
}

#[derive(Debug, Clone)]
enum Damage {
    Delete(prop::sample::Index),
    Duplicate(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Replace(prop::sample::Index, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Damage::Delete),
        index().prop_map(Damage::Duplicate),
        (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (index(), "[-+{}\\[\\]();:,.@!|<>%$_a-z0-9]{0,6}").prop_map(|(i, s)| Damage::Replace(i, s)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
        survives(&[b".version 9.0\n.target sm_80\n.address_size 64\n", bytes.as_slice()].concat());
    }

    #[test]
    fn any_text_in_a_body(code in "[-+{}\\[\\]();:,.@!|<>%$_a-z0-9 \n]{0,200}") {
        survives(kernel(&code).as_bytes());
    }

    #[test]
    fn damaged_tokens(sample in 0..SAMPLES.len(), damages in prop::collection::vec(damage(), 1..6)) {
        let text = compiled(SAMPLES[sample], 80);
        let mut pieces: Vec<String> = pieces(&text).into_iter().map(str::to_string).collect();
        for damage in damages {
            let len = pieces.len();
            match damage {
                Damage::Delete(i) => drop(pieces.remove(i.index(len))),
                Damage::Duplicate(i) => pieces.insert(i.index(len), pieces[i.index(len)].clone()),
                Damage::Swap(a, b) => pieces.swap(a.index(len), b.index(len)),
                Damage::Replace(i, s) => pieces[i.index(len)] = s,
            }
        }
        survives(pieces.join(" ").as_bytes());
        survives(pieces.join("\n").as_bytes());
    }

    /// Words of the tables in any order, so that the decoder is reached with every opcode.
    #[test]
    fn shuffled_modifiers(row in any::<prop::sample::Index>(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let all = supported();
        let lines: Vec<&str> = all.lines().collect();
        let line = lines[row.index(lines.len())];
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').filter(|w| !w.is_empty());
        let opcode = words.next().unwrap_or("add");
        let words: Vec<&str> = words.collect();
        let mut code = opcode.to_string();
        for pick in picks {
            if !words.is_empty() {
                code += ".";
                code += words[pick.index(words.len())];
            }
        }
        for operands in ["", " %r1, %r2", " %r1, %r2, %r3", " {%f1,%f2}, [%d1+4], -1, %p1", " [tile], [%d1], 16", " %r1|%p1, 0f00000000, L"] {
            survives(kernel(&format!("L: {code}{operands};")).as_bytes());
        }
    }
}

#[test]
fn deep_braces_are_refused_and_not_followed() {
    let deep = kernel(&"{".repeat(1 << 16));
    assert!(matches!(Module::parse(&deep), Err(PtxError::Limit { line: 5, .. })));
    let section = format!("{}.section .debug {}", support::kernel("ret;"), "{".repeat(1 << 16));
    assert!(matches!(Module::parse(&section), Err(PtxError::Syntax { .. })));
}

#[test]
fn huge_numbers_take_no_memory() {
    for code in [
        ".reg .b32 %z<4294967295>;",
        ".reg .b32 %z<4294967296>;",
        ".local .b8 z[18446744073709551615];",
        ".local .b64 z[4294967296][4294967296];",
        ".local .align 9223372036854775808 .b8 z[1];",
        "ld.global.u32 %r1, [%d1+18446744073709551615];",
    ] {
        assert!(Module::parse(&kernel(code)).is_err(), "{code}");
    }
}

#[test]
fn a_long_chain_of_calls_is_walked_without_recursion() {
    let mut text = String::from(".version 9.0 .target sm_80 .address_size 64\n.func f0 { ret; }\n");
    for i in 1..20_000 {
        text += &format!(".func f{i} {{ call f{}; ret; }}\n", i - 1);
    }
    let module = support::parsed(&text);
    assert_eq!(module.functions.len(), 20_000);
    // Declared ahead, the first may call the last: a circle through all of them.
    let circle = text.replacen(".func f0 { ret; }", ".func f19999; .func f0 { call f19999; ret; }", 1);
    assert!(matches!(Module::parse(&circle), Err(PtxError::Recursion { .. })));
}
