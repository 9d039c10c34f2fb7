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
        ("--lr 1e30", &["--lr 1000000000000000000000000000000", "1000 or less"]),
        ("--weight-decay 1e30", &["--weight-decay 1000000000000000000000000000000", "1000 or less"]),
        ("--lr 100 --weight-decay 1", &["--lr 100 and --weight-decay 1", "every weight grow", "3.8"]),
        ("--fixed-point 99999", &["--fixed-point 99999", "or less"]),
        ("--epochs 99999999", &["--epochs 99999999", "or less"]),
        ("--momentum 1", &["--momentum"]),
        ("--nesterov --momentum 0", &["--nesterov looks ahead", "--momentum 0"]),
        (
            "--nesterov --lr 10 --weight-decay 0.14",
            &["--lr 10 and --weight-decay 0.14", "2 (1 + --momentum) / (1 + 2 --momentum)"],
        ),
        ("--optimiser adam", &["adam", "--optimiser", "adamw"]),
        ("--optimiser adamw --betas 0.9,1", &["--betas must be", "below 1", "0.9,1"]),
        ("--optimiser adamw --betas=-0.1,0.9", &["--betas must be", "-0.1,0.9"]),
        ("--optimiser adamw --betas 0.9", &["0.9,0.999", "--betas"]),
        ("--optimiser adamw --eps 0", &["--eps must be", "above 0"]),
        ("--optimiser adamw --eps 1e-60", &["--eps must be", "single precision"]),
        ("--optimiser adamw --momentum 0.9", &["--momentum belongs to --optimiser sgd", "--betas"]),
        ("--optimiser adamw --nesterov", &["--nesterov belongs to --optimiser sgd"]),
        ("--betas 0.9,0.99", &["--betas belongs to --optimiser adamw"]),
        ("--optimiser adamw --lr 4 --weight-decay 0.5", &["--lr 4 and --weight-decay 0.5", "below 2"]),
        ("--clip 0", &["--clip must be", "above 0", "not 0"]),
        ("--clip 1e-60", &["--clip must be", "single precision"]),
        ("--clip-blocks=-1", &["--clip-blocks must be", "-1"]),
        ("--clip 1 --clip-blocks 1", &["--clip is of all gradients", "--clip-blocks", "leave one out"]),
        ("--clip 1 --update in-sweep", &["--clip needs all gradients", "--update after", "--clip-blocks"]),
        ("--accumulate 0", &["--accumulate 0", "1 or more"]),
        ("--accumulate 99999999", &["--accumulate 99999999", "or less"]),
        ("--ema 1", &["--ema must be", "below 1"]),
        ("--ema=-0.1", &["--ema must be", "-0.1"]),
        ("--mixup 0", &["--mixup must be", "above 0"]),
        ("--cutmix 1e9", &["--cutmix must be", "1000 at most"]),
        ("--decay biases", &["biases", "--decay", "weights"]),
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
        ("lr = nan\n", &["bad.toml, line 1: --lr", "NaN"]),
        ("# fine\n\nbatch = 0\n", &["bad.toml, line 3: --batch 0"]),
        ("depth = 4\nbits = 2\ngradient = \"adjoint\"\n", &["bad.toml, line 2: --bits goes with"]),
        ("lr = 2000\n", &["bad.toml, line 1: --lr 2000 trains no net"]),
    ] {
        fs::write(place.path("bad.toml"), text).unwrap();
        refused(&place, "--config bad.toml --out out", 2, phrases);
    }
    fs::write(place.path("bad.toml"), b"depth = \xff").unwrap();
    refused(&place, "--config bad.toml", 2, &["bad.toml"]);
}

#[test]
fn an_out_that_is_taken_is_refused_and_left_as_it_is() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out taken"));
    refused(&place, &format!("{TINY} --out taken"), 2, &["--out taken", "already holds a run", "--resume"]);
    // before the data is looked for, which may take its time
    refused(&place, "--data no/where --out taken", 2, &["--out taken", "already holds a run"]);
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
    let place = Place::tiny();
    let ended = refused(&place, &format!("{TINY} --out /proc/x"), 1, &["cannot create the folder /proc/x"]);
    assert_eq!(ended.error().matches("os error").count(), 1, "the cause is said once: {ended}");
}

#[test]
#[cfg(unix)]
fn a_runs_folder_that_cannot_be_made_exits_1() {
    let place = Place::tiny();
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
fn a_plan_over_the_limit_with_stored_activations_names_the_mode_that_fits() {
    let place = Place::new();
    let total = |mode: &str| -> u64 {
        let plan = place.succeed(&format!("--data synthetic --depth 32 --gradient {mode} --plan"));
        plan.in_table("  total ").split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("bytes")
    };
    let (backprop, checkpoint, adjoint) = (total("backprop"), total("checkpoint"), total("adjoint"));
    assert!(backprop > checkpoint && checkpoint > adjoint, "{backprop} {checkpoint} {adjoint}");
    let over = |mode: &str, limit: u64| {
        let line = format!("--data synthetic --depth 32 --gradient {mode} --memory-limit {limit} --plan");
        refused(&place, &line, 1, &["--memory-limit", "in this mode the largest depth that fits is --depth"])
    };
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let ended = over("backprop", backprop - 1);
    assert!(ended.error().contains(&format!("--gradient checkpoint would take {}", mib(checkpoint))), "{ended}");
    for mode in ["backprop", "checkpoint"] {
        let ended = over(mode, checkpoint - 1);
        assert!(ended.error().contains("--gradient auto would take "), "{ended}");
    }
    // nothing to gain where nothing is stored
    let line = format!("--data synthetic --depth 32 --gradient adjoint --memory-limit {} --plan", adjoint - 1);
    assert!(!refused(&place, &line, 1, &["--depth"]).error().contains("would take"));
}

#[test]
fn a_net_that_could_not_be_saved_is_refused_in_the_plan() {
    let place = Place::new();
    let net = "--data synthetic --channels 1 --batch 1 --gradient adjoint";
    let ended = refused(&place, &format!("{net} --depth 100000 --plan"), 2, &["could not be written", "give --depth "]);
    let rest = ended.error().split("give --depth ").nth(1).expect("a depth");
    let depth: usize = rest.split(' ').next().and_then(|depth| depth.parse().ok()).expect("a number");
    assert!((20_000..100_000).contains(&depth), "{ended}");
    place.succeed(&format!("{net} --depth {depth} --plan"));
    // the most that is taken at all, where only the first blocks are looked at
    for line in ["--depth 1000000", "--net staged --blocks 1000000,4 --widths 4,4"] {
        refused(&place, &format!("--data synthetic {line} --plan"), 2, &["could not be written", " or less"]);
    }
}

#[test]
fn long_values_are_shown_by_their_start() {
    let place = Place::tiny();
    let digits = "7".repeat(5000);
    for line in [
        format!("--depth {digits}"),
        format!("--data={}", "d/".repeat(2500)),
        format!("--config {}", "c/".repeat(2500)),
        format!("--out {} {TINY}", "o".repeat(5000)),
        format!("--resume {}", "r".repeat(5000)),
        format!("--init-from {} {TINY}", "i".repeat(5000)),
        format!("--{}", "f".repeat(5000)),
    ] {
        let ended = place.run(&line);
        assert!(ended.code.is_some_and(|code| code == 1 || code == 2), "{}", ended.stderr);
        let error = ended.error();
        assert!(error.chars().count() < 700 && error.contains("characters)"), "{error}");
    }
}

#[test]
fn less_than_what_is_done_is_refused_on_resume() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 2 --out out"));
    refused(&place, "--resume out --epochs 1", 2, &["--epochs 1", "2 epochs"]);
    refused(&place, "--resume out --max-steps 39", 2, &["--max-steps 39", "40 steps"]);
    for (flag, held) in [
        ("--depth 3", "--depth 2"),
        ("--channels 5", "--channels 4"),
        ("--scheme heun", "--scheme euler"),
        ("--gradient adjoint", "--gradient auto"),
        ("--batch 50", "--batch 100"),
        ("--no-augment", "without --no-augment"),
    ] {
        refused(&place, &format!("--resume out {flag}"), 2, &[flag, "contradicts the checkpoint", held]);
    }
}
