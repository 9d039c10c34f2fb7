//! The `report` program: its table, and one sentence with exit code 2 for whatever it cannot use.

use std::path::PathBuf;
use std::process::{Command, Output};

use rewind_emulator::counters::{Class, Counters, Launch, LaunchCounts};

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_report")).args(arguments).output().unwrap()
}

/// A file of this test's own.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn refused(arguments: &[&str], expected: &str) {
    let output = report(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.contains(expected), "{said}");
    assert!(said.lines().count() == 1 && said.ends_with(".\n"), "{said}");
}

#[test]
fn prints_a_table_for_counters_from_a_file() {
    let launch = Launch { kernel: "scale".into(), grid: [4, 1, 1], block: [32, 1, 1], ..Launch::default() };
    let code: [Class; 0] = [];
    let counts: Vec<LaunchCounts> = vec![Counters::new(0).summary(&code, &launch)];
    let path = file("counters.json", &serde_json::to_string(&counts).unwrap());
    for gpu in ["h100-sxm", "a100-sxm", "rtx-4090", "rtx-5090", "t4"] {
        let output = report(&[path.to_str().unwrap(), "--gpu", gpu]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(text.starts_with("Lower bound") && text.contains(gpu) && text.contains("not a measurement"), "{text}");
        assert!(text.lines().any(|l| l.trim_end().ends_with("scale")), "{text}");
    }
}

#[test]
fn refuses_bad_input_in_one_sentence() {
    let good = file("empty.json", "[]");
    let good = good.to_str().unwrap();
    refused(&[], "Usage");
    refused(&[good], "Usage");
    refused(&[good, "--gpu"], "Usage");
    refused(&[good, good, "--gpu", "h100-sxm"], "Usage");
    refused(&[good, "--gpu", "h100-sxm", "--gpu", "h100-sxm"], "Usage");
    refused(&[good, "--json"], "Usage");
    refused(&[good, "--gpu", "h200"], "no GPU profile \"h200\", only h100-sxm, a100-sxm, rtx-4090, rtx-5090, t4");
    refused(&["no/such/file.json", "--gpu", "h100-sxm"], "Cannot read");
    for (name, content) in [("text.json", "counters"), ("object.json", "{}"), ("field.json", "[{\"launch\": 1}]")] {
        let path = file(name, content);
        refused(&[path.to_str().unwrap(), "--gpu", "h100-sxm"], "does not hold counters");
    }
    refused(&[file("cut.json", "[{").to_str().unwrap(), "--gpu", "h100-sxm"], "does not hold counters");
}
