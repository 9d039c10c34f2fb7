//! `paper linear-weights` and `paper memory`, as a person uses them, and what every experiment refuses.

use std::fs;

use crate::cli::Place;

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
fn memory_takes_what_is_planned_and_says_what_grows() {
    let place = Place::new();
    let line = "memory --quick --seeds 1 --depth-to 64 --measure-to 4 --channels 4 --batch 8 --device cpu --threads 1 --quiet --out out";
    let ended = place.paper(line);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(place.names("out/memory"), ["cells", "memory.csv", "memory.png", "memory.svg", "summary.json"]);
    // depth 4, both schemes, ten modes; the lock
    assert_eq!(place.names("out/memory/cells").len(), 2 * 10 + 1);
    assert_eq!(place.text("out/memory/memory.csv").lines().count(), 1 + 20 + 80);
    assert!(ended.stdout.contains("* measured (20 of 100 nets)"), "{ended}");
    let summary = place.summary("out/memory");
    let nets = summary["nets"].as_array().expect("nets");
    let activations = |scheme: &str, mode: &str, depth: u64| {
        let net = nets.iter().find(|net| net["scheme"] == scheme && net["mode"] == mode && net["depth"] == depth);
        net.and_then(|net| net["planned_activation_bytes"].as_u64()).expect("a net")
    };
    for scheme in ["euler", "heun"] {
        for mode in ["adjoint", "corrected"] {
            assert_eq!(activations(scheme, mode, 4), activations(scheme, mode, 64), "{scheme} {mode}");
        }
        assert!(activations(scheme, "backprop", 64) > 6 * activations(scheme, "backprop", 4));
    }
    for growth in summary["what_a_block_more_takes"].as_array().expect("modes") {
        let bytes = |category: &str| growth["bytes_a_block"][category].as_f64().expect("a number");
        // two 3 x 3 convolutions of 4 channels, and two batch norms' gamma and beta, each on a line of 64 bytes
        let parameters = 2.0 * 576.0 + 4.0 * 64.0;
        assert_eq!([bytes("parameters"), bytes("optimiser"), bytes("gradients")], [parameters, parameters, 0.0]);
        let stages = if growth["scheme"] == "heun" { 2.0 } else { 1.0 };
        assert_eq!(growth["saved_statistics_bytes_a_block"].as_f64(), Some(stages * 256.0));
        let mode = growth["mode"].as_str().expect("a mode");
        // the modes that take reverse steps measure four sums of each, 512 bytes for 32 blocks
        let sums = if ["anchors-sqrt", "adjoint", "corrected", "auto"].contains(&mode) { 16.0 } else { 0.0 };
        assert_eq!(bytes("statistics"), 256.0 + stages * 256.0 + sums, "{growth:#}");
        // B/32 of a state, 8 x 10 x 10 x 4 floats, each image's to whole words and all to lines of 64 bytes, and two vectors
        let code = |words: f64| (words * 8.0 * 4.0 / 64.0).ceil() * 64.0 + 2.0 * 64.0;
        let saved = match mode {
            "coded-1" => Some(code(13.0)),
            "coded-2" => Some(code(25.0)),
            "coded-4" | "auto" => Some(code(50.0)),
            "coded-8" => Some(code(100.0)),
            "adjoint" | "corrected" => Some(0.0),
            _ => None,
        };
        assert!(saved.is_none_or(|saved| saved == bytes("saved")), "{growth:#}");
        assert_eq!(growth["gradient_bytes_a_block_with_update_after"].as_f64(), Some(parameters));
    }
    let before = place.contents();
    assert_eq!(place.paper(line).stdout, ended.stdout);
    assert!(place.contents() == before, "a cell that is there is not measured again");
    // one of a program that planned otherwise is
    let cell = place.path("out/memory/cells/depth0004-euler-coded-2-channels4-batch8-seed0.json");
    let held: serde_json::Value = serde_json::from_slice(&before[&cell]).expect("JSON");
    let mut stale = held.clone();
    stale["settings"]["planned"]["saved"] = 1.into();
    fs::write(&cell, stale.to_string()).expect("a cell");
    assert_eq!(place.paper(line).code, Some(0));
    let again: serde_json::Value = serde_json::from_slice(&place.contents()[&cell]).expect("JSON");
    assert_eq!(again["settings"], held["settings"]);
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
        ("gradient-error --data synthetic --train-epochs 0", "--train-epochs 0"),
        ("gradient-error --data synthetic --channels 0", "--channels 0"),
        ("gradient-error --weights checkpoint", "--weights"),
        ("gradient-error --metric cubic", "--metric"),
        ("gradient-error --threads 0", "--threads 0"),
        ("depth --data synthetic --depths 0", "--depths <N,N>': expected whole numbers of 1 or more"),
        ("depth --data synthetic --depths 1,8", "--scheme heun"),
        ("depth --data synthetic --depths two", "--depths"),
        ("depth --data synthetic --modes exact", "exact"),
        ("depth --data synthetic --epochs 0", "--epochs 0"),
        ("depth --data synthetic --batch 0", "--batch 0"),
        ("depth --data synthetic --batch 100000", "--batch 100000"),
        ("depth --data synthetic --lr-drop 3,1", "--lr-drop"),
        ("depth --data synthetic --device gpu", "`gpu`"),
        ("memory --depth-to 4", "--depth-to 4"),
        ("memory --step-seconds 0", "--step-seconds"),
        ("memory --batch 0", "--batch 0"),
        ("memory --modes none", "none"),
        ("memory --seeds 0", "--seeds 0"),
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
