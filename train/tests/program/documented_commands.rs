//! Every command of `train_cifar` in the README and in `docs/` is understood, and makes a plan where it needs neither network nor an
//! earlier run.

use std::fs;
use std::path::Path;

use crate::cli::{Ended, Place, program};

/// The words behind a program of every line of a shell block that starts it.
fn commands(program: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).chain([root.join("README.md")]);
    let mut all = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let mut shell = false;
        for line in text.lines() {
            match line {
                "```sh" => shell = true,
                "```" => shell = false,
                _ if shell => {
                    let line = line.split(" #").next().unwrap_or(line);
                    let starts = ["--bin ", "release/"].map(|before| format!("{before}{program} "));
                    // so that no program is taken for one whose name begins as its own
                    let line = format!("{line} ");
                    let words = starts.iter().find_map(|start| line.split_once(start));
                    all.extend(words.map(|(_, words)| words.trim().trim_start_matches("-- ").to_string()));
                }
                _ => {}
            }
        }
    }
    all
}

#[test]
fn every_documented_command_is_understood() {
    let all = commands("train_cifar");
    assert!(all.len() >= 8, "the documents have commands: {all:?}");
    for words in all {
        let place = Place::new();
        // what comes before --help is read all the same
        place.succeed(&format!("{words} --help"));
        let elsewhere = ["--download", "--resume", "--init-from", "--device cuda"];
        if !elsewhere.iter().any(|flag| words.contains(flag)) {
            let plan = if words.contains("--plan") { "" } else { "--plan" };
            let planned = place.succeed(&format!("{words} --data synthetic --device cpu {plan}"));
            assert!(planned.stdout.contains("activations"), "{words}: {planned}");
        }
    }
}

#[test]
fn every_documented_command_of_the_other_programs_is_understood() {
    let programs = [
        ("train", program(option_env!("CARGO_BIN_EXE_train"), "train")),
        ("predict", program(option_env!("CARGO_BIN_EXE_predict"), "predict")),
        ("export", program(option_env!("CARGO_BIN_EXE_export"), "export")),
    ];
    for (name, path) in programs {
        let all = commands(name);
        assert!(!all.is_empty(), "the documents have commands of {name}");
        for words in all {
            let place = Place::new();
            let line = format!("{words} --help");
            let ended = Ended::of(&line, place.command_of(&path, &line).spawn().expect("it starts"));
            assert!(ended.code == Some(0) && ended.stdout.contains(&format!("Usage: {name} ")), "{ended}");
        }
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = place.succeed(&format!("completions {shell}")).stdout;
        assert!(printed.contains("train_cifar") && printed.contains("fixed-point"), "{shell}: {printed}");
    }
    let page = place.succeed("man").stdout;
    assert!(page.contains(".TH") && page.contains("train_cifar"), "{page}");
    for (line, word) in [("completions tcsh", "zsh"), ("man depth", "one manual page")] {
        let refused = place.run(line);
        assert_eq!(refused.code, Some(2), "{refused}");
        assert!(refused.stderr.contains(word), "{refused}");
    }
}

#[test]
fn help_and_errors_have_colour_where_it_is_wanted() {
    let place = Place::new();
    let run = |line: &str, variable: &str| {
        let mut command = place.command(line);
        command.env(variable, "1");
        crate::cli::Ended::of(line, command.spawn().expect("it starts"))
    };
    let escape = '\u{1b}';
    for (line, text) in [("--help", "Gradient:"), ("--depth 0", "error:")] {
        let printed = |ended: crate::cli::Ended| ended.stdout + &ended.stderr;
        let (forced, piped) = (printed(run(line, "CLICOLOR_FORCE")), printed(run(line, "NO_COLOR")));
        assert!(forced.contains(escape) && forced.contains(text), "{forced}");
        assert!(!piped.contains(escape) && piped.contains(text), "{piped}");
        assert!(!printed(place.run(line)).contains(escape), "a pipe has no colour");
    }
}
