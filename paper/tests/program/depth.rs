//! `paper depth`, as a person uses it, and what holds for every experiment that trains: divergence, stopping, going on.

use std::fs;
use std::path::Path;

use crate::cli::Place;

/// Trainings of seconds.
const DEPTH: &str = "depth --quick --data synthetic --channels 2 --batch 1000 --device cpu --quiet";

#[test]
fn depth_compares_the_test_errors_of_every_mode_by_seed() {
    let place = Place::new();
    let line = format!("{DEPTH} --modes backprop,adjoint --depths 4,2 --epochs 1 --seeds 2 --out out");
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
    assert_eq!(place.text("out/depth/epochs.csv").lines().count(), 1 + 20);
    let csv = place.text("out/depth/depth.csv");
    let error = |scheme: &str, mode: &str, statistics: &str, seed: u64, depth: usize| -> f64 {
        let start = format!("{scheme},{mode},{statistics},{seed},{depth},1,0.1,1000,2,");
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
    let cell = "out/depth/cells/seed1-depth0004-heun-adjoint-epochs1-dropnone-batch1000-channels2.json";
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
    let place = Place::new();
    let line = |out: &str| {
        format!(
            "{DEPTH} --depths 4 --schemes euler --modes corrected --bn-stats saved --epochs 3 --seeds 1 --out {out}"
        )
    };
    // a busy machine may let a training end before the signal reaches it: then the next one is cut
    let cut = (0..10).map(|i| format!("cut{i}")).find(|out| interrupted_in_its_second_epoch(&place, &line(out), out));
    let cut = cut.expect("ten trainings ended before they could be interrupted");
    let written = |name: &str| place.text(&format!("{cut}/depth/{name}"));
    assert_eq!(written("depth.csv").lines().count(), 1);

    assert_eq!(place.paper(&line(&cut)).code, Some(0));
    assert_eq!(place.paper(&line("whole")).code, Some(0));
    assert_eq!(written("epochs.csv"), place.text("whole/depth/epochs.csv"));
    assert_eq!(written("epochs.csv").lines().count(), 1 + 3);
    assert!(!place.path(&format!("{cut}/depth/runs")).exists(), "a run that is done leaves its cell alone");
}

/// Starts a line that writes to `out` and interrupts it as soon as its training has come to its second epoch. False if it was over by then.
#[cfg(unix)]
fn interrupted_in_its_second_epoch(place: &Place, line: &str, out: &str) -> bool {
    use std::time::{Duration, Instant};
    let child = place.command_of(Path::new(env!("CARGO_BIN_EXE_paper")), line).spawn().expect("it starts");
    let run = format!("{out}/depth/runs/seed0-depth0004-euler-corrected-epochs3-drop2-batch1000-channels2");
    let over = place.path(&format!("{out}/depth/summary.json"));
    let start = Instant::now();
    while !place.path(&run).join("summary.json").exists() && !over.exists() {
        assert!(start.elapsed() < Duration::from_secs(300), "no epoch was done");
        std::thread::sleep(Duration::from_millis(2));
    }
    crate::cli::interrupt(&child);
    let ended = crate::cli::Ended::of("depth", child);
    if ended.code == Some(0) {
        return false;
    }
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(place.path(&run).join("checkpoint.safetensors").exists());
    true
}
