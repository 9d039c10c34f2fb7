//! `paper failure`, as a person uses it.

use crate::cli::Place;

#[test]
fn failure_compares_ways_and_derives_levels() {
    let place = Place::new();
    let line = "failure --quick --data synthetic --depths 2 --modes adjoint,corrected,coded-2,auto,anchors-1 --epochs 1 --batch 1000 \
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
    // two step sizes, two starts, backprop and five ways
    assert_eq!(place.names("out/failure/cells").len(), 24 + 1, "and the lock");
    assert_eq!(place.text("out/failure/failure.csv").lines().count(), 1 + 24);
    let summary = place.summary("out/failure");
    let of = |step: &str, mode: &str, value: &str| {
        let runs = summary["runs"].as_array().expect("runs");
        let of = |run: &&serde_json::Value| {
            run["net"]["step_size"] == step && run["net"]["init"] == "paper" && run["mode"] == mode
        };
        runs.iter().find(of).expect("a run")[value]["mean"].as_f64()
    };
    let drift = |step, mode| of(step, mode, "largest_drift");
    assert!(drift("1", "adjoint") > drift("1/N", "adjoint"), "{summary:#}");
    assert_eq!(drift("1", "backprop"), None);
    for step in ["1", "1/N"] {
        // no carry is left at x_0, whose numbers round
        assert!(drift(step, "coded-2").is_some_and(|drift| drift < 1e-5), "{summary:#}");
        assert!(of(step, "coded-2", "gradient_error").is_some_and(|error| error > 0.0), "{summary:#}");
        assert!(of(step, "corrected", "largest_local_error").is_some_and(|error| error > 0.0), "{summary:#}");
        assert_eq!(of(step, "coded-2", "largest_local_error"), None);
    }
    // so shallow a net starts coded, all of it
    assert!(drift("1", "auto").is_some_and(|drift| drift < 1e-5), "{summary:#}");
    // with gamma at 1 reverse steps cannot rebuild a block, which is a result: the run ends there and counts as guessing
    let csv = place.text("out/failure/failure.csv");
    let row = csv.lines().find(|line| line.starts_with("2,euler,1,plain,adjoint,0,")).expect("a run");
    let fields: Vec<&str> = row.split(',').collect();
    assert!(fields[6].parse::<f64>().is_ok_and(|accuracy| (accuracy - 10.0).abs() < 1e-9) && fields[8] == "1", "{row}");
    let svg = place.text("out/failure/drift.svg");
    assert!(svg.contains("(coded: rounding) at the lower edge"), "{svg}");
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
