//! The binary `paper`, as a person uses it: what it leaves, that it goes on where it stopped, what it refuses.

#[path = "support/cli.rs"]
mod cli;

use std::fs;

use cli::Place;

const LINEAR: &str = "linear-weights --quick --seeds 1 --time-step 0.5 --quiet --out out";

#[test]
fn linear_weights_leaves_tables_pictures_and_slopes() {
    let place = Place::new();
    let ended = place.paper(LINEAR);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stdout.contains("zero start, mean over seeds (1)"), "{ended}");
    let expected =
        ["cells", "linear-weights.csv", "linear-weights.png", "linear-weights.svg", "summary.json", "weights.csv"];
    assert_eq!(place.names("out/linear-weights"), expected);
    assert_eq!(place.names("out/linear-weights/cells").len(), 3 * 7 + 1, "and the lock");
    let summary = place.summary("out/linear-weights");
    assert_eq!(summary["left_out"].as_array().map(Vec::len), Some(0));
    let slope = |start: &str, of: &str| summary["starts"][start][of]["log_log_slope"]["mean"].as_f64();
    for start in ["zero", "smooth"] {
        for of in ["weights_from_limit", "states_from_limit"] {
            let slope = slope(start, of).expect(of);
            assert!((slope + 1.0).abs() < 0.05, "{start} {of}: {slope}");
        }
        assert!(slope(start, "roughness").expect(start).abs() < 0.05);
    }
    assert!(slope("rough", "roughness").expect("rough") > 0.8);
    assert_eq!(slope("rough", "weights_from_limit"), None);
    let png = fs::read(place.path("out/linear-weights/linear-weights.png")).expect("a picture");
    assert!(png.starts_with(b"\x89PNG"));

    // finished cells are skipped, one that is missing is computed again, and everything is as it was
    let before = place.contents();
    assert_eq!(place.paper(LINEAR).stdout, ended.stdout);
    assert!(place.contents() == before);
    for name in ["summary.json", "cells/d2-smooth-seed0-depth0064.json"] {
        fs::remove_file(place.path("out/linear-weights").join(name)).expect(name);
    }
    assert_eq!(place.paper(LINEAR).stdout, ended.stdout);
    assert!(place.contents() == before);
}

#[test]
fn gradient_error_compares_every_mode_at_every_depth() {
    let place = Place::new();
    let line = "gradient-error --quick --seeds 1 --batch 4 --depth-to 8 --data synthetic --threads 2 --quiet --out out";
    let ended = place.paper(line);
    assert_eq!(ended.code, Some(0), "{ended}");
    let expected =
        ["blocks.csv", "cells", "gradient-error.csv", "gradient-error.png", "gradient-error.svg", "summary.json"];
    assert_eq!(place.names("out/gradient-error"), expected);
    // two depths, schemes, weights, statistics and precisions; eight modes
    assert_eq!(place.names("out/gradient-error/cells").len(), 32 + 1, "and the lock");
    assert_eq!(place.text("out/gradient-error/gradient-error.csv").lines().count(), 1 + 32 * 8);
    assert_eq!(place.text("out/gradient-error/blocks.csv").lines().count(), 1 + 16 * 8 * (4 + 8));
    let summary = place.summary("out/gradient-error");
    for curve in summary["curves"].as_array().expect("curves") {
        let slope = curve["error"]["log_log_slope"].as_f64().expect("two depths");
        assert!(slope < 0.0, "{curve:#}");
    }
    let squared = place.paper(&format!("{line} --metric squared"));
    assert!(squared.stdout.contains("mean over tensors"), "{squared}");
}

#[test]
fn senseless_requests_exit_2_and_damaged_cells_1() {
    let place = Place::new();
    for (line, phrase) in [
        ("", "subcommand"),
        ("figure-2", "figure-2"),
        ("linear-weights --dim 0", "--dim 0"),
        ("linear-weights --dim 65", "--dim 65"),
        ("linear-weights --time-step -1", "--time-step -1"),
        ("linear-weights --distance NaN", "--distance NaN"),
        ("linear-weights --seeds 0", "--seeds 0"),
        ("gradient-error --data synthetic --batch 0", "--batch 0"),
        ("gradient-error --data synthetic --depth-to 3", "--depth-to 3"),
        ("gradient-error --metric cubic", "--metric"),
        ("gradient-error --threads 0", "--threads 0"),
        ("failure --data synthetic --allowed -1", "--allowed"),
        ("failure --data synthetic --schemes heun --depths 1", "--depth 2"),
        ("failure --data synthetic --modes magic", "--modes"),
    ] {
        let ended = place.paper(line);
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.error().contains(phrase), "no {phrase:?} in the error of {ended}");
    }
    assert!(place.contents().is_empty());
    fs::create_dir_all(place.path("out/linear-weights/cells")).expect("a folder");
    fs::write(place.path("out/linear-weights/cells/d2-zero-seed0-depth0016.json"), "half of i").expect("a file");
    let ended = place.paper(LINEAR);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.error().contains("depth0016.json: this is no cell"), "{ended}");
    fs::write(place.path("file"), "").expect("a file");
    let ended = place.paper("linear-weights --quick --out file");
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.error().contains("cannot create the folder"), "{ended}");
}

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
