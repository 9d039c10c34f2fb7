//! The binary `paper`, as a person uses it: what it leaves, that it goes on where it stopped, what it refuses.

#[path = "../../tests/support/cli.rs"]
mod cli;

use std::fs;
use std::path::Path;

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

/// Trainings of seconds.
const DEPTH: &str = "depth --quick --data synthetic --channels 2 --batch 1000 --device cpu --quiet";

#[test]
fn depth_compares_the_test_errors_of_every_mode_by_seed() {
    let place = Place::new();
    let line = format!("{DEPTH} --modes backprop,adjoint --depths 4,2 --epochs 2 --seeds 2 --out out");
    let ended = place.paper(&line);
    assert_eq!(ended.code, Some(0), "{ended}");
    let expected = [
        "cells",
        "depth.csv",
        "depth.png",
        "depth.svg",
        "epochs.csv",
        "statistics.png",
        "statistics.svg",
        "summary.json",
    ];
    assert_eq!(place.names("out/depth"), expected);
    // two depths and seeds; two schemes with two modes, and Euler's adjoint with batch statistics; the lock
    assert_eq!(place.names("out/depth/cells").len(), 2 * 2 * 5 + 1);
    assert_eq!(place.text("out/depth/epochs.csv").lines().count(), 1 + 20 * 2);
    let csv = place.text("out/depth/depth.csv");
    let error = |scheme: &str, mode: &str, statistics: &str, seed: u64, depth: usize| -> f64 {
        let start = format!("{scheme},{mode},{statistics},{seed},{depth},2,0.1,1000,2,");
        let line = csv.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {start}"));
        100.0 * line.split(',').next().expect("a value").parse::<f64>().expect("a number")
    };
    let summary = place.summary("out/depth");
    let mean = |of: &serde_json::Value, depth: u64| -> f64 {
        let entry = of.as_array().expect("depths").iter().find(|entry| entry["depth"] == depth);
        entry.and_then(|entry| entry["spread"]["mean"].as_f64()).expect("a mean")
    };
    for curve in summary["curves"].as_array().expect("curves") {
        let series = &curve["series"];
        let name = |key: &str| series[key].as_str().expect("a name").to_string();
        let (scheme, mode, statistics) = (name("scheme"), name("mode"), name("bn_stats"));
        for depth in [2, 4] {
            let seeds = [0, 1];
            let of = |mode: &str, statistics: &str| seeds.map(|seed| error(&scheme, mode, statistics, seed, depth));
            let (own, exact) = (of(&mode, &statistics), of("backprop", "saved"));
            let depth = depth as u64;
            assert!((mean(&curve["test_error_last_epoch"], depth) - (own[0] + own[1]) / 2.0).abs() < 1e-9, "{curve:#}");
            let gap = (own[0] - exact[0] + own[1] - exact[1]) / 2.0;
            match mode.as_str() {
                "backprop" => assert!(curve["last_minus_backprop_same_seed"].is_null()),
                _ => assert!((mean(&curve["last_minus_backprop_same_seed"], depth) - gap).abs() < 1e-9, "{curve:#}"),
            }
        }
    }
    let compared = &summary["statistics"][0]["last_saved_minus_batch"];
    let gap = |seed| error("euler", "adjoint", "saved", seed, 4) - error("euler", "adjoint", "batch", seed, 4);
    assert!((mean(compared, 4) - (gap(0) + gap(1)) / 2.0).abs() < 1e-9, "{summary:#}");

    // one cell that is missing is trained again to the same error; the best epoch's takes no training
    let cell = "out/depth/cells/seed1-depth0004-heun-adjoint-epochs2-dropnone-batch1000-channels2.json";
    fs::remove_file(place.path(cell)).expect(cell);
    assert_eq!(place.paper(&line).stdout, ended.stdout);
    assert_eq!(place.text("out/depth/depth.csv"), csv);
    let best = place.paper(&format!("{line} --metric best"));
    assert!(best.stdout.contains("of the best epoch, chosen on test data"), "{best}");
}

#[test]
fn depth_trains_the_coded_modes_and_auto_beside_the_others() {
    let place = Place::new();
    let ended =
        place.paper(&format!("{DEPTH} --depths 2 --schemes euler --bn-stats saved --epochs 1 --seeds 1 --out out"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let csv = place.text("out/depth/depth.csv");
    let fields = |mode: &str| -> Vec<String> {
        let line =
            csv.lines().find(|line| line.starts_with(&format!("euler,{mode},"))).unwrap_or_else(|| panic!("no {mode}"));
        line.split(',').map(str::to_string).collect()
    };
    let (corrected, coded, auto) = (fields("corrected"), fields("coded-2"), fields("auto"));
    // two blocks start coded
    assert!(auto[15].parse::<f64>().is_ok_and(|drift| drift < 1e-5), "{auto:?}");
    assert!(corrected[15].parse::<f64>().is_ok_and(|drift| drift > 0.0), "{corrected:?}");
    // no carry is left at x_0
    assert!(coded[15].parse::<f64>().is_ok_and(|drift| drift < 1e-5), "{coded:?}");
    let svg = place.text("out/depth/depth.svg");
    assert!(svg.contains("coded, 2 bits") && svg.contains("auto"), "{svg}");
    let all =
        format!("{DEPTH} --depths 2 --schemes euler --modes coded-1,coded-4,coded-8 --epochs 1 --seeds 1 --out out");
    assert_eq!(place.paper(&all).code, Some(0));
    assert_eq!(place.text("out/depth/depth.csv").lines().count(), 1 + 3);
}

#[test]
fn a_training_that_diverges_counts_as_guessing() {
    let place = Place::new();
    let line = format!("{DEPTH} --modes backprop,adjoint --depths 2 --schemes euler --lr 1e6 --epochs 1 --seeds 1");
    let ended = place.paper(&format!("{line} --out out"));
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stdout.contains("90.00 [90.00, 90.00] (1) 1*"), "{ended}");
    assert!(ended.stdout.contains("(3 of 3 in all)"), "{ended}");
    for line in place.text("out/depth/depth.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(fields[9] == "0.9" && fields[16] == "1", "{line}");
    }
    let svg = place.text("out/depth/depth.svg");
    assert!(svg.contains("diverged: 1") && svg.contains("diverged runs count as guessing"), "{svg}");
    assert!(svg.contains("Test error against depth, saved statistics"), "{svg}");
    // of the same runs the other kind
    assert_eq!(place.paper(&format!("{line} --bn-stats batch --out out")).code, Some(0));
    assert!(place.text("out/depth/depth.svg").contains("statistics of the reconstructed batch"));
}

#[test]
#[cfg(unix)]
fn a_training_stopped_by_ctrl_c_goes_on_to_the_same_bits() {
    use std::time::{Duration, Instant};
    let place = Place::new();
    let line = |out: &str| {
        format!(
            "{DEPTH} --depths 4 --schemes euler --modes corrected --bn-stats saved --epochs 6 --seeds 1 --out {out}"
        )
    };
    let child = place.command_of(Path::new(env!("CARGO_BIN_EXE_paper")), &line("cut")).spawn().expect("it starts");
    // the second epoch is under way
    let run = "cut/depth/runs/seed0-depth0004-euler-corrected-epochs6-drop4-batch1000-channels2";
    let start = Instant::now();
    while !place.path(run).join("summary.json").exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no epoch was done");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill can be run").success());
    let ended = cli::Ended::of("depth", child);
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(place.path(run).join("checkpoint.safetensors").exists());
    assert_eq!(place.text("cut/depth/depth.csv").lines().count(), 1);

    assert_eq!(place.paper(&line("cut")).code, Some(0));
    assert_eq!(place.paper(&line("whole")).code, Some(0));
    assert_eq!(place.text("cut/depth/epochs.csv"), place.text("whole/depth/epochs.csv"));
    assert_eq!(place.text("cut/depth/epochs.csv").lines().count(), 1 + 6);
    assert!(!place.path("cut/depth/runs").exists(), "a run that is done leaves its cell alone");
}

#[test]
fn memory_takes_what_is_planned_and_says_what_grows() {
    let place = Place::new();
    let line = "memory --quick --seeds 2 --depth-to 64 --measure-to 4 --channels 4 --batch 8 --device cpu --threads 1 --quiet --out out";
    let ended = place.paper(line);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(place.names("out/memory"), ["cells", "memory.csv", "memory.png", "memory.svg", "summary.json"]);
    // depth 4, both schemes, ten modes, two seeds; the lock
    assert_eq!(place.names("out/memory/cells").len(), 2 * 10 * 2 + 1);
    assert_eq!(place.text("out/memory/memory.csv").lines().count(), 1 + 20 * 2 + 80);
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
