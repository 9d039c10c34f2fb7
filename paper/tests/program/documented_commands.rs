//! Every command of `paper` that the README and `docs/` name is understood, and the generated files are printed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::Place;
use clap::Parser;

/// The pages that may name commands.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.chain(["README.md", "docs/results/README.md", "benches/README.md"].map(|page| root.join(page))).collect()
}

/// The words behind `paper` of every line of a shell block that starts it, and of every piece of code within a text.
fn commands() -> Vec<String> {
    let mut all = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let (mut shell, mut other) = (false, false);
        for line in text.lines() {
            match line {
                "```sh" => shell = true,
                "```" => (shell, other) = (false, !(shell || other)),
                _ if line.starts_with("```") => other = true,
                _ if shell => {
                    let line = line.split(" #").next().unwrap_or(line);
                    let words = line.split_once("--bin paper").or_else(|| line.split_once("release/paper"));
                    all.extend(words.map(|(_, words)| words.trim().trim_start_matches("-- ").to_string()));
                }
                _ if other => {}
                _ => {
                    let code = line.split('`').skip(1).step_by(2);
                    all.extend(code.filter_map(|code| code.strip_prefix("paper ")).map(str::to_string));
                }
            }
        }
    }
    all
}

#[test]
fn every_documented_command_is_understood() {
    let all = commands();
    assert!(all.iter().any(|words| words.contains("--checkpoint")), "the documents have commands: {all:?}");
    for experiment in ["linear-weights", "gradient-error", "depth", "memory", "tied", "untie", "failure"] {
        assert!(all.iter().any(|words| words.starts_with(experiment)), "no {experiment} in {all:?}");
    }
    // the generated files have a test of their own
    for words in all.iter().filter(|words| !words.starts_with("man ")) {
        let line = ["paper"].into_iter().chain(words.split_whitespace());
        if let Err(error) = rewind_paper::cli::Cli::try_parse_from(line) {
            panic!("paper {words}: {error}");
        }
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = place.paper(&format!("completions {shell}"));
        assert_eq!(printed.code, Some(0), "{printed}");
        assert!(printed.stdout.contains("gradient-error") && printed.stdout.contains("train-epochs"), "{printed}");
    }
    let page = place.paper("man");
    assert_eq!(page.code, Some(0), "{page}");
    assert!(page.stdout.contains(".TH paper") && page.stdout.contains("linear"), "{page}");
    let page = place.paper("man gradient-error");
    assert_eq!(page.code, Some(0), "{page}");
    // an option of its own, and one that all experiments share
    for option in [".TH paper-gradient-error", "f64\\-to", "quick"] {
        assert!(page.stdout.contains(option), "no {option}: {page}");
    }
    let refused = place.paper("man nothing");
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("gradient-error"), "{refused}");
}
