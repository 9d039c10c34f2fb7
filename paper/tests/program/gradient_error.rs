//! `paper gradient-error`, as a person uses it.

use std::fs;

use crate::cli::Place;

const GRADIENTS: &str = "gradient-error --quick --seeds 1 --batch 4 --channels 4 --depth-to 8 --train-to 4 --train-epochs 1 \
                         --f64-to 8 --data synthetic --device cpu --threads 2 --quiet --out out";

#[test]
fn gradient_error_compares_every_mode_at_every_depth() {
    let place = Place::new();
    let ended = place.paper(GRADIENTS);
    assert_eq!(ended.code, Some(0), "{ended}");
    let mut expected: Vec<String> =
        vec!["cells".into(), "gradient-error.csv".into(), "runs".into(), "summary.json".into()];
    expected.push("blocks.csv".into());
    for picture in ["altered", "blocks", "coded", "drift", "gradient-error", "signs"] {
        expected.extend(["png", "svg"].map(|ending| format!("{picture}.{ending}")));
    }
    expected.sort();
    assert_eq!(place.names("out/gradient-error"), expected);
    // two schemes; two depths of two kinds of drawn weights and one of trained ones; four ways to recompute in f32, one in f64
    let nets = 2 * (2 * 2 + 1);
    assert_eq!(place.names("out/gradient-error/cells").len(), 5 * nets + 1, "and the lock");
    assert_eq!(place.names("out/gradient-error/runs"), ["euler-seed0-depth0004", "heun-seed0-depth0004"]);
    // seven modes and four that code, and in f64 rounding
    let csv = place.text("out/gradient-error/gradient-error.csv");
    assert_eq!(csv.lines().count(), 1 + 5 * nets * 11 + nets);
    let blocks = 2 * (2 * (4 + 8) + 4);
    assert_eq!(place.text("out/gradient-error/blocks.csv").lines().count(), 1 + (5 * 11 + 1) * blocks);
    // codes are exact for the pass that they alter: in f32 to the bit, in f64 but for rounding, which the nets' conditioning
    // multiplies by less than ten thousand
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<f64>().unwrap_or_else(|_| panic!("no number {at} in {line}"));
        if !fields[8].starts_with("coded") {
            assert_eq!(fields[14..], ["", "", ""], "{line}");
            continue;
        }
        let rounding = if fields[4] == "f32" { 0.0 } else { 1e-12 };
        let [error, own, drift] = [14, 15, 16].map(number);
        assert!(error > 0.0 && own <= rounding && drift <= rounding, "{line}");
        // what is left of the plain pass's is no number of a state's
        assert!(number(9) > 0.0 && number(12) < 1e-4, "{line}");
    }
    let summary = place.summary("out/gradient-error");
    for curve in summary["curves"].as_array().expect("curves") {
        let slope = curve["error"]["log_log_slope"]["mean"].as_f64();
        // the error of a code follows no power of the depth
        if curve["mode"].as_str().is_some_and(|mode| mode.starts_with("coded")) {
            let own = curve["altered_pass"]["own_error"][0]["spread"]["mean"].as_f64();
            assert!(own.is_some_and(|own| own < 1e-12), "{curve:#}");
            continue;
        }
        assert!(curve["altered_pass"].is_null());
        // what is near rounding has none
        assert!(slope.is_some() != (curve["weights"] == "trained") || curve["mode"] != "adjoint", "{curve:#}");
        assert!(slope.is_none_or(|slope| slope < 0.0), "{curve:#}");
    }
    // corrected ends nearer to x_0 than adjoint, and costs the same
    for gain in summary["adjoint_over_corrected"].as_array().expect("gains") {
        let ratio = |at: usize, of: &str| gain[of][at]["spread"]["mean"].as_f64();
        let last = gain["error"].as_array().expect("depths").len() - 1;
        // the trained net is so far from an ODE that corrected may not rebuild it
        let trained = gain["weights"] == "trained";
        assert!(ratio(last, "drift").map_or(trained, |ratio| ratio > 1.0 || trained), "{gain:#}");
    }
    for floor in summary["rounding"].as_array().expect("rounding") {
        let error = floor["error"][0]["spread"]["mean"].as_f64().expect("a number");
        assert!(error > 1e-9 && error < 1e-4, "{floor:#}");
    }
    assert_eq!(summary["trained_nets"].as_array().map(Vec::len), Some(2));
    assert!(ended.stdout.contains("adjoint's drift over corrected's"), "{ended}");
    assert!(ended.stdout.contains("the altered pass 0 from its own exact gradient, drift 0,"), "{ended}");
    let svg = place.text("out/gradient-error/altered.svg");
    assert!(svg.contains("own exact gradient: at most 0 in f32"), "{svg}");

    // nothing is trained or measured again, but what is missing
    let before = place.contents();
    fs::remove_file(place.path("out/gradient-error/cells/euler-trained-saved-f32-seed0-depth0004.json"))
        .expect("a cell");
    fs::remove_dir_all(place.path("out/gradient-error/runs/heun-seed0-depth0004")).expect("a run");
    // as a program left it that measured other modes
    let old = place.path("out/gradient-error/cells/euler-random-saved-f32-seed0-depth0004.json");
    let mut held: serde_json::Value = serde_json::from_slice(&before[&old]).expect("JSON");
    held["settings"].as_object_mut().expect("settings").remove("modes").expect("modes");
    held["result"]["errors"][0]["mode"] = "light".into();
    fs::write(&old, held.to_string()).expect("a cell");
    assert_eq!(place.paper(GRADIENTS).stdout, ended.stdout);
    let after = place.contents();
    for (path, bytes) in &before {
        let is_of_a_run = path.to_string_lossy().contains("runs");
        assert!(is_of_a_run || after.get(path) == Some(bytes), "{}", path.display());
    }
    assert_eq!(place.names("out/gradient-error/runs"), ["euler-seed0-depth0004"]);

    let squared = place.paper(&format!("{GRADIENTS} --metric squared --weights random"));
    assert!(squared.stdout.contains("mean over tensors") && !squared.stdout.contains("smooth"), "{squared}");
    // one net for all depths, which is another net than those
    let resampled = place.paper(&format!("{GRADIENTS} --weights resampled").replace("--f64-to 8", "--f64-to 0"));
    assert!(resampled.stdout.contains("euler, resampled weights, batch statistics, f32"), "{resampled}");
    assert!(place.path("out/gradient-error/runs/heun-seed0-depth0032").exists());
}

#[test]
fn gradient_error_judges_the_modes_on_a_checkpoint() {
    let place = Place::new();
    place.succeed(
        "--data synthetic --depth 4 --channels 4 --batch 1000 --max-steps 5 --scheme heun --gradient corrected --device cpu -q \
         --out run",
    );
    let line =
        "gradient-error --quick --batch 4 --device cpu --quiet --out out --checkpoint run/checkpoint.safetensors";
    let ended = place.paper(line);
    assert_eq!(ended.code, Some(0), "{ended}");
    for phrase in [
        "heun, depth 4, 4 channels",
        "5 training steps",
        "What this means",
        "it was trained with (corrected)",
        "--coded-pass altered",
    ] {
        assert!(ended.stdout.contains(phrase), "no {phrase:?} in {ended}");
    }
    let expected = ["blocks.csv", "blocks.png", "blocks.svg", "cells", "gradient-error-checkpoint.csv", "summary.json"];
    assert_eq!(place.names("out/gradient-error-checkpoint"), expected);
    // two batches in f32 with either kind of signs, one in f64
    assert_eq!(place.names("out/gradient-error-checkpoint/cells").len(), 5 + 1, "and the lock");
    assert_eq!(place.paper(line).stdout, ended.stdout);
    let of_folder = place.paper(line.trim_end_matches("/checkpoint.safetensors"));
    assert_eq!(of_folder.stdout, ended.stdout);

    // of backprop's gradient, eight bits of a factor lose far more than its sums in f32 do
    let rounded = place.paper(&format!("{line} --round-as bf16").replace("--out out", "--out rounded"));
    assert!(rounded.stdout.contains("f32 on cpu bf16:"), "{rounded}");
    let rounding = |folder: &str| {
        let summary = place.summary(&format!("{folder}/gradient-error-checkpoint"));
        summary["rounding"][0]["error"][0]["spread"]["mean"].as_f64().expect("a number")
    };
    assert!(rounding("rounded") > 100.0 * rounding("out"), "{} {}", rounding("rounded"), rounding("out"));

    let checkpoint = fs::read(place.path("run/checkpoint.safetensors")).expect("a checkpoint");
    let mut damaged = checkpoint.clone();
    damaged[checkpoint.len() / 2] ^= 1;
    for (name, bytes, phrase) in [
        ("damaged", damaged, "damaged"),
        ("half", checkpoint[..checkpoint.len() / 2].to_vec(), "truncated"),
        ("text", b"these are no weights".to_vec(), "not a safetensors file"),
    ] {
        fs::write(place.path(name), bytes).expect(name);
        let ended = place.paper(&format!("gradient-error --quick --out none --checkpoint {name}"));
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.error().starts_with(&format!("{name}: ")) && ended.error().contains(phrase), "{ended}");
    }
    let ended = place.paper("gradient-error --out none --checkpoint run --depth-to 8");
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(!place.path("none").exists());
}

#[test]
fn gradient_error_takes_checkpoints_of_every_net() {
    let place = Place::new();
    for (net, name, blocks) in [
        ("--net staged --blocks 2,3 --widths 4,8", "stages of 2,3 residual blocks, 4,8 channels", 2 + 3),
        ("--net staged --blocks 2,3 --widths 4,8 --tied", "stages of 2,3 residual blocks, 4,8 channels, tied", 2),
        ("--depth 4 --channels 8 --block bottleneck", "depth 4, 8 channels, bottleneck", 4),
    ] {
        place.succeed(&format!("--data synthetic {net} --batch 50 --max-steps 4 --device cpu -q --out run"));
        let ended = place.paper("gradient-error --quick --batch 2 --device cpu --quiet --out out --checkpoint run");
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stdout.contains(name), "no {name:?} in {ended}");
        let summary = place.summary("out/gradient-error-checkpoint");
        let curves = summary["curves"].as_array().expect("curves");
        let of = |mode: &str, precision: &str, value: &str| {
            let curve = curves.iter().find(|curve| curve["mode"] == mode && curve["precision"] == precision);
            curve.expect(mode)[value]["by_depth"][0]["spread"]["mean"].as_f64().expect(value)
        };
        for precision in ["f32", "f64"] {
            let (adjoint, passes) = (of("adjoint", precision, "error"), of("fixed-point-3", precision, "error"));
            assert!(0.0 < passes && passes < adjoint && adjoint < 2.0, "{net}, {precision}: {passes} {adjoint}");
            assert!(of("adjoint", precision, "drift") > 0.0);
            let rounding = if precision == "f32" { 0.0 } else { 1e-12 };
            let coded = curves.iter().find(|curve| curve["mode"] == "coded-2" && curve["precision"] == precision);
            let altered = &coded.expect("coded-2")["altered_pass"];
            for value in ["own_error", "drift"] {
                let found = altered[value][0]["spread"]["mean"].as_f64();
                assert!(found.is_some_and(|found| found <= rounding), "{net}, {precision}: {altered:#}");
            }
        }
        let csv = fs::read_to_string(place.path("out/gradient-error-checkpoint/blocks.csv")).expect("a table");
        let of_mode = csv.lines().filter(|line| line.contains("f64,0,") && line.contains(",coded-1,")).count();
        assert_eq!(of_mode, blocks, "one gradient a theta: {csv}");
        for folder in ["run", "out"] {
            fs::remove_dir_all(place.path(folder)).expect(folder);
        }
    }
}
