//! Requests that make no sense and runs that cannot be: one sentence, exit code 2 or 1, nothing written.

use std::fs;

use crate::cli::{Ended, Place, TINY};

/// Runs a line that must fail with `code`, say all `phrases` in one sentence, print no result and write nothing.
fn refused(place: &Place, line: &str, code: i32, phrases: &[&str]) -> Ended {
    let before = place.contents();
    let ended = place.run(line);
    assert_eq!(ended.code, Some(code), "{ended}");
    let error = ended.error();
    for phrase in phrases {
        assert!(error.contains(phrase), "no {phrase:?} in the error of {ended}");
    }
    assert_eq!(ended.stdout, "", "{ended}");
    assert!(place.contents() == before, "files changed: {ended}");
    ended
}

#[test]
fn senseless_settings_exit_2_and_name_the_flag() {
    let place = Place::new();
    for (line, phrases) in [
        ("--depth 0", &["--depth 0"][..]),
        ("--depth 1000000000000", &["--depth 1000000000000", "or less"]),
        ("--depth 18446744073709551615 --plan", &["--depth 18446744073709551615", "or less"]),
        ("--depth -3", &["-3"]),
        ("--depth eight", &["eight", "--depth <N>"]),
        ("--scheme heun --depth 1", &["heun", "--depth 2"]),
        ("--scheme rk4", &["--scheme rk4", "--depth 3, 5, 7 and so on, not 8"]),
        ("--scheme rk5", &["rk5", "--scheme", "heun"]),
        ("--gradient magic", &["magic", "--gradient"]),
        ("--channels 0", &["--channels 0"]),
        ("--channels 99999999999", &["--channels 99999999999", "or less"]),
        ("--batch 0", &["--batch 0"]),
        ("--batch 20001 --data synthetic", &["--batch 20001", "20000 images"]),
        ("--epochs 0", &["--epochs 0"]),
        ("--max-steps 0", &["--max-steps 0"]),
        ("--threads 0", &["--threads 0"]),
        ("--threads 100000", &["--threads 100000", "or less"]),
        ("--anchors 0", &["--anchors 0"]),
        ("--anchors 2 --gradient backprop", &["--anchors", "backprop"]),
        ("--fixed-point 1 --gradient checkpoint", &["--fixed-point", "checkpoint"]),
        ("--checkpoint-every 2 --gradient adjoint", &["--checkpoint-every", "adjoint"]),
        ("--checkpoint-every 0 --gradient checkpoint", &["--checkpoint-every 0"]),
        ("--lr NaN", &["--lr", "NaN"]),
        ("--lr -0.1", &["--lr", "-0.1"]),
        ("--lr inf", &["--lr", "inf"]),
        ("--lr fast", &["fast", "--lr <X>"]),
        ("--momentum 1", &["--momentum"]),
        ("--weight-decay -1", &["--weight-decay"]),
        ("--lr-drop 60,30", &["--lr-drop", "later"]),
        ("--lr-drop soon", &["soon", "30,60"]),
        ("--seed -1", &["-1"]),
        ("--seed 18446744073709551615", &["--seed"]),
        ("--memory-limit lots", &["lots", "512MiB"]),
        ("--device tpu", &["tpu", "--device"]),
        ("--device cuda:x", &["cuda:x", "cuda:1"]),
        ("--math fp8", &["fp8", "--math"]),
        ("--round-as fp8", &["fp8", "--round-as"]),
        ("--round-as fp16 --device cuda", &["--round-as fp16 is for the CPU", "--device cpu", "--math"]),
        ("--config x.toml --resume y", &["--config", "--resume"]),
        ("--out x --resume y", &["--out", "--resume"]),
        ("--eval-only", &["--resume"]),
        ("--eval-only --plan --resume x", &["--plan", "--eval-only"]),
        ("--depht 8", &["--depht"]),
        ("extra", &["extra"]),
        ("--resume nowhere", &["--resume nowhere", "not a folder"]),
        ("--config nowhere.toml", &["nowhere.toml"]),
        #[cfg(feature = "download")]
        ("--download --data x", &["--download", "--data"]),
        #[cfg(feature = "download")]
        ("--download --resume x", &["--download", "--resume"]),
        #[cfg(feature = "download")]
        ("--download imagenet", &["imagenet"]),
    ] {
        refused(&place, line, 2, phrases);
    }
    assert!(place.contents().is_empty());
}

#[test]
fn a_bad_config_file_is_named_with_its_line() {
    let place = Place::new();
    for (text, phrases) in [
        ("depth = 8\n\ndepht = 9\n", &["bad.toml, line 3", "depht"][..]),
        ("# fine\ndepth = \"eight\"\n", &["bad.toml, line 2", "eight"]),
        ("depth = -1\n", &["bad.toml, line 1"]),
        ("depth = 8\nscheme = \"rk5\"\n", &["bad.toml, line 2", "rk5", "heun"]),
        ("depth 8\n", &["bad.toml, line 1"]),
        ("memory-limit = \"much\"\n", &["bad.toml, line 1", "much"]),
        ("lr = nan\n", &["--lr", "NaN"]),
        ("batch = 0\n", &["--batch 0"]),
    ] {
        fs::write(place.path("bad.toml"), text).unwrap();
        refused(&place, "--config bad.toml --out out", 2, phrases);
    }
    fs::write(place.path("bad.toml"), b"depth = \xff").unwrap();
    refused(&place, "--config bad.toml", 2, &["bad.toml"]);
}

#[test]
fn an_out_that_is_taken_is_refused_and_left_as_it_is() {
    let place = Place::new();
    place.succeed(&format!("{TINY} --max-steps 1 --out taken"));
    refused(&place, &format!("{TINY} --out taken"), 2, &["--out taken", "already holds a run", "--resume"]);
    fs::write(place.path("file"), "text").unwrap();
    refused(&place, &format!("{TINY} --out file"), 2, &["--out file", "is a file"]);
    refused(&place, &format!("{TINY} --out file/below"), 1, &["file/below"]);
    fs::create_dir(place.path("empty")).unwrap();
    refused(&place, "--resume empty", 2, &["--resume empty", "checkpoint.safetensors"]);
}

#[test]
fn a_place_that_cannot_be_written_exits_1() {
    if !std::path::Path::new("/proc/self").exists() {
        println!("there is no /proc here, so no place that even root cannot write: the case did not run");
        return;
    }
    let place = Place::new();
    let ended = refused(&place, &format!("{TINY} --out /proc/x"), 1, &["cannot create the folder /proc/x"]);
    assert_eq!(ended.error().matches("os error").count(), 1, "the cause is said once: {ended}");
}

#[test]
#[cfg(unix)]
fn a_runs_folder_that_cannot_be_made_exits_1() {
    let place = Place::new();
    fs::write(place.path("runs"), "a file where the folder should be").unwrap();
    refused(&place, TINY, 1, &["runs"]);
}

#[test]
fn a_plan_over_the_limit_names_the_largest_depth_that_fits() {
    let place = Place::new();
    let planned = place.succeed("--data synthetic --gradient corrected --depth 20 --plan");
    let limit = planned.in_table("  total ").split_whitespace().next().expect("bytes");
    let line = format!("--data synthetic --gradient corrected --memory-limit {limit}");
    let ended = refused(&place, &format!("{line} --depth 64"), 1, &["--memory-limit", "--depth 20"]);
    for category in ["parameters", "scratch", "total", "of which activations"] {
        assert!(
            ended.stderr.contains(&format!("\n  {category} ")) || ended.stderr.starts_with("  parameters"),
            "{ended}"
        );
    }
    place.succeed(&format!("{line} --depth 20 --plan"));
    refused(&place, &format!("{line} --depth 21 --plan"), 1, &["--depth 20"]);
    refused(
        &place,
        "--data synthetic --memory-limit 1MiB",
        1,
        &["--memory-limit", "not even", "--batch", "--channels"],
    );
}

#[test]
fn a_loss_that_is_not_finite_names_the_block_and_keeps_the_checkpoint() {
    let place = Place::new();
    // Weight decay alone scales the weights by -5e14 in the first step: the stem stays finite, block 0 squares it twice.
    let ended = place.run("--data synthetic --depth 3 --channels 4 --batch 1000 --lr 1e18 --out out");
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in ["epoch 1, step 2", "the state after block 0", "--lr", "the last checkpoint is kept"] {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    assert_eq!(ended.stdout, "", "{ended}");
    assert_eq!(place.names("out"), ["checkpoint.safetensors", "config.toml", "metrics.csv"]);
    let test = place.succeed("--resume out --eval-only");
    assert!(test.stdout.starts_with("test loss 2."), "{test}");
}

#[test]
fn weights_that_are_not_finite_never_replace_a_checkpoint() {
    let place = Place::new();
    // The loss of the only step is finite; its update is not.
    let ended = place.run(&format!("{TINY} --lr 1e300 --max-steps 1 --out out"));
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in ["epoch 1, step 1", "went non-finite first", "--lr"] {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    assert_eq!(place.names("out"), ["checkpoint.safetensors", "config.toml", "metrics.csv"]);
    let test = place.succeed("--resume out --eval-only");
    assert!(test.stdout.starts_with("test loss 2."), "{test}");
}

#[test]
fn less_than_what_is_done_is_refused_on_resume() {
    let place = Place::new();
    place.succeed(&format!("{TINY} --epochs 2 --out out"));
    refused(&place, "--resume out --epochs 1", 2, &["--epochs 1", "2 epochs"]);
    refused(&place, "--resume out --max-steps 39", 2, &["--max-steps 39", "40 steps"]);
    for (flag, held) in [
        ("--depth 3", "--depth 2"),
        ("--channels 5", "--channels 4"),
        ("--scheme heun", "--scheme euler"),
        ("--gradient adjoint", "--gradient auto"),
        ("--batch 500", "--batch 1000"),
        ("--no-augment", "without --no-augment"),
    ] {
        refused(&place, &format!("--resume out {flag}"), 2, &[flag, "contradicts the checkpoint", held]);
    }
}
