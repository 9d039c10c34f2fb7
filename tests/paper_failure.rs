//! `paper failure`, as a person uses it.

#[path = "support/cli.rs"]
mod cli;

use cli::Place;

#[test]
fn failure_compares_ways_and_derives_levels() {
    let place = Place::new();
    let line = "failure --quick --data synthetic --depths 2 --modes adjoint,corrected,anchors-1 --epochs 1 --batch 1000 \
                --channels 4 --seeds 1 --threads 2 --quiet --out out";
    let ended = place.paper(line);
    assert_eq!(ended.code, Some(0), "{ended}");
    let expected = [
        "accuracy.png",
        "accuracy.svg",
        "cells",
        "drift.csv",
        "drift.png",
        "drift.svg",
        "failure.csv",
        "level.png",
        "level.svg",
        "probes.csv",
        "summary.json",
    ];
    assert_eq!(place.names("out/failure"), expected);
    // two step sizes, two starts, backprop and three ways
    assert_eq!(place.names("out/failure/cells").len(), 16 + 1, "and the lock");
    assert_eq!(place.text("out/failure/failure.csv").lines().count(), 1 + 16);
    let summary = place.summary("out/failure");
    let drift = |step: &str, mode: &str| {
        let runs = summary["runs"].as_array().expect("runs");
        let of = |run: &&serde_json::Value| {
            run["net"]["step_size"] == step && run["net"]["init"] == "plain" && run["mode"] == mode
        };
        runs.iter().find(of).expect("a run")["largest_drift"]["mean"].as_f64()
    };
    assert!(drift("1", "adjoint") > drift("1/N", "adjoint"), "{summary:#}");
    assert_eq!(drift("1", "backprop"), None);
    assert!(summary["levels"].as_array().is_some_and(|levels| levels.len() == 3), "{summary:#}");
    let before = place.contents();
    assert_eq!(place.paper(line).stdout, ended.stdout);
    assert!(place.contents() == before);
}

#[test]
fn senseless_requests_exit_2() {
    let place = Place::new();
    for (line, phrase) in [
        ("--allowed -1", "--allowed"),
        ("--schemes heun --depths 1", "--depth 2"),
        ("--modes magic", "--modes"),
        ("--step-sizes 2", "--step-sizes"),
        ("--epochs 0", "--epochs 0"),
        ("--batch 100000", "--batch 100000"),
    ] {
        let ended = place.paper(&format!("failure --data synthetic {line}"));
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.error().contains(phrase), "no {phrase:?} in the error of {ended}");
    }
    assert!(place.contents().is_empty());
}
