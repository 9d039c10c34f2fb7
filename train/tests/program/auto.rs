//! The default gradient mode as a user meets it: what it says, what it stores, what it refuses, and that it resumes to the same
//! bits in the midst of its choices.

use crate::cli::{Place, TINY};

#[test]
fn a_shallow_net_is_coded_and_says_so() {
    let place = Place::tiny();
    let ended = place.succeed(&format!("{TINY} --max-steps 3 --out out"));
    assert!(ended.stderr.contains("auto: all 2 blocks are coded in 4 bits"), "{ended}");
    assert!(ended.stdout.contains("2 of 2 coded"), "{ended}");
    assert!(!ended.stderr.contains("warning"), "{ended}");
    let blocks = &place.summary("out")["blocks"][0];
    assert_eq!((blocks[0]["way"].as_str(), blocks[1]["way"].as_str()), (Some("coded"), Some("coded")), "{blocks}");
}

#[test]
fn a_deep_net_stores_nothing_and_measures_its_blocks() {
    let place = Place::tiny();
    let ended = place.succeed("--data digits --depth 40 --channels 4 --batch 100 --max-steps 3 --out out");
    assert!(ended.stderr.contains("auto: all 40 blocks are rebuilt by their reverse step"), "{ended}");
    let summary = place.summary("out");
    for block in summary["blocks"][0].as_array().expect("blocks") {
        assert_eq!(block["way"], "reconstructed");
        assert!(block["local_error"].as_f64().is_some_and(|error| error < 0.003), "{block}");
    }
}

#[test]
fn a_run_whose_choice_moves_goes_on_to_the_same_bits() {
    let place = Place::tiny();
    // a plain start moves every state by a part of a whole step: some blocks must be coded after the first
    let run = "--data digits --depth 32 --channels 4 --batch 100 --init plain --epochs 2 --lr 0.05";
    let whole = place.succeed(&format!("{run} --threads 2 --out whole"));
    place.succeed(&format!("{run} --threads 1 --max-steps 7 --out cut"));
    place.succeed("--resume cut --threads 2");
    place.assert_same_run("whole", "cut");
    assert_eq!(place.summary("whole")["blocks"], place.summary("cut")["blocks"]);
    let coded = |name: &str| place.summary(name)["blocks"].to_string().matches("coded").count();
    assert!(coded("whole") > 0, "a choice that never moved tests nothing: {whole}");
}

#[test]
fn a_memory_limit_leaves_fewer_bits_then_fewer_blocks_then_a_refusal() {
    let place = Place::with_digits([200, 100]);
    let run = "--data digits --depth 40 --channels 16 --batch 64 --step-size 1 --bits 2 --max-steps 1";
    // what the plans themselves say
    let planned = |flags: &str| -> u64 {
        // a flag given twice is refused
        let run = if flags.contains("--bits") { run.replace("--bits 2 ", "") } else { run.to_string() };
        let plan = place.succeed(&format!("{run} {flags} --plan"));
        let total = plan.stdout.lines().find(|line| line.trim_start().starts_with("total")).expect("a total");
        total.split_whitespace().nth(1).and_then(|bytes| bytes.parse().ok()).expect("bytes")
    };
    let (two, one) = (planned(""), planned("--bits 1"));
    let (half, none) = (planned("--bits 1 --code-room 20"), planned("--bits 1 --code-room 0"));
    assert!(two > one && one > half && half > none, "{two} {one} {half} {none}");
    let says = |limit: u64, name: &str| place.run(&format!("{run} --memory-limit {limit} --out {name}"));
    let all = says(two, "all");
    assert!(all.code == Some(0) && !all.stderr.contains("leaves room"), "{all}");
    let fewer = says(two - 1, "fewer");
    assert!(fewer.code == Some(0) && fewer.stderr.contains("room for codes of 1 bit for all blocks"), "{fewer}");
    let some = says(half, "some");
    assert!(some.stderr.contains("room for codes of 1 bit for 20 of 40 blocks"), "{some}");
    assert!(some.stderr.contains("20 of 40 blocks are coded in 1 bit, 20 take 3 fixed-point passes"), "{some}");
    let refused = says(none - 1, "refused");
    assert!(refused.code == Some(1) && refused.error().contains("--memory-limit"), "{refused}");
    for name in ["all", "fewer", "some"] {
        let summary = place.summary(name);
        assert_eq!(summary["peak_bytes"], summary["planned_peak_bytes"], "{name}");
    }
}

#[test]
fn saved_signs_train_to_the_same_bits_for_any_threads_and_resumed() {
    let place = Place::tiny();
    // an epoch ends with a smaller batch
    let line = "--data digits --depth 2 --channels 4 --batch 700 --masks saved --bn-stats hybrid --epochs 2";
    place.succeed(&format!("{line} --threads 1 --out one"));
    place.succeed(&format!("{line} --threads 2 --max-steps 5 --out two"));
    place.succeed("--resume two --max-steps 8 --threads 2");
    place.assert_same_weights("one", "two");
    let (config, summary) = (place.text("one/config.toml"), place.summary("one"));
    assert!(config.contains("masks = \"saved\"") && config.contains("bn-stats = \"hybrid\""), "{config}");
    assert_eq!(summary["peak_bytes"], summary["planned_peak_bytes"]);
    place.succeed(&format!("{line} --masks recomputed --threads 1 --out recomputed").replace("--masks saved ", ""));
    assert!(place.tensors("one") != place.tensors("recomputed"), "signs that are saved change nothing");
}

#[test]
fn flags_of_codes_belong_to_the_modes_that_code() {
    let place = Place::new();
    for (line, expected) in [
        ("--gradient adjoint --bits 2", "--bits goes with --gradient coded or auto, not adjoint"),
        ("--gradient backprop --coded-pass plain", "--coded-pass goes with --gradient coded or auto, not backprop"),
        ("--gradient coded --code-room 2", "--code-room goes with --gradient auto, not coded"),
        ("--gradient coded --fixed-point 1", "--fixed-point repeats a reverse step and --gradient coded has none"),
        ("--gradient backprop --masks saved", "--gradient backprop rebuilds none"),
        ("--masks saved --bn-stats batch", "not with --bn-stats batch"),
        ("--masks kept", "invalid value 'kept'"),
        ("--gradient light", "invalid value 'light'"),
        ("--bits 3", "invalid value '3'"),
    ] {
        let ended = place.run(&format!("--data synthetic {line}"));
        assert!(ended.code == Some(2) && ended.stderr.contains(expected), "{line}: {ended}");
    }
}

#[test]
fn a_sweep_that_rebuilds_nothing_ends_the_run_in_words_and_spares_the_weights() {
    let place = Place::new();
    let line = "--gradient corrected --step-size 1 --init plain --depth 8 --channels 8 --batch 500 --epochs 1";
    let ended = place.run(&format!("--data synthetic {line} --out out"));
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in ["could not rebuild the state before block", "in the last 20 steps", "--gradient auto"] {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    let test = place.succeed("--resume out --eval-only");
    assert!(test.stdout.starts_with("test loss"), "{test}");
}
