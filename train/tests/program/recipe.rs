//! Clipping, accumulation, averages and mixed images, as a user meets them.

use std::fs;

use crate::cli::{Place, TINY};

/// An epoch of 5 steps whose last batch is smaller, three of which make an update and then two.
const LINE: &str = "--data digits --depth 2 --channels 4 --batch 450 --accumulate 3 --clip-blocks 0.5 --ema 0.75 --mixup 0.2 --cutmix 1";

#[test]
fn a_run_of_every_part_of_a_recipe_goes_on_to_the_same_bits_on_other_threads() {
    let place = Place::tiny();
    for optimiser in ["", " --optimiser adamw"] {
        let line = format!("{LINE}{optimiser} --epochs 2");
        let whole = place.succeed(&format!("{line} --threads 2 --out whole"));
        assert!(whole.stderr.contains("tests go by the average of the weights over steps (--ema)"), "{whole}");
        // in the midst of an update's batches, and at the end of some
        for steps in [4, 8] {
            place.succeed(&format!("{line} --threads 1 --max-steps {steps} --out cut"));
            place.succeed("--resume cut --max-steps 10 --threads 2");
            place.assert_same_weights("whole", "cut");
            fs::remove_dir_all(place.path("cut")).unwrap();
        }
        let summary = place.summary("whole");
        assert_eq!(summary["peak_bytes"], summary["planned_peak_bytes"]);
        let names: Vec<String> = place.tensors("whole").into_keys().collect();
        for prefix in
            ["average.stem.bn.running_mean", "average.blocks.1.conv2.weight", "gradient_sum.blocks.0.bn1.bias"]
        {
            assert!(names.iter().any(|name| name == prefix), "{prefix} of {names:?}");
        }
        // a test of the checkpoint is one of the averages, as at the end of the run
        let tested = place.succeed("--resume whole --eval-only");
        let accuracy = summary["test_accuracy"].as_f64().expect("an accuracy");
        assert!(tested.stdout.contains(&format!("{:.2} %", 100.0 * accuracy)), "{tested} of {accuracy}");
        fs::remove_dir_all(place.path("whole")).unwrap();
    }
}

#[test]
fn each_part_changes_a_run_and_says_what_it_takes() {
    let place = Place::tiny();
    let run = |flags: &str, name: &str| place.succeed(&format!("{TINY} --max-steps 4 {flags} --out {name}"));
    run("", "plain");
    let parts = [
        ("--clip 0.1", "clip"),
        ("--clip-blocks 0.1", "clip_blocks"),
        ("--accumulate 2", "accumulate"),
        ("--mixup 0.4", "mixup"),
        ("--cutmix 1", "cutmix"),
    ];
    for (flags, name) in parts {
        let ended = run(flags, name);
        assert!(place.tensors(name) != place.tensors("plain"), "{flags} changes nothing");
        assert_eq!(ended.stderr.contains("keeps the gradients of all blocks"), name == "clip", "{ended}");
        let summary = place.summary(name);
        assert_eq!(summary["peak_bytes"], summary["planned_peak_bytes"], "{flags}");
    }
    assert!(place.text("clip/config.toml").contains("update = \"after\""));
    // an average leaves the weights where they were, and tests something else
    run("--ema 0.5", "ema");
    let weights = |name: &str| -> Vec<_> {
        let all = place.tensors(name).into_iter();
        all.filter(|(name, _)| !name.starts_with("average.")).collect()
    };
    assert!(weights("ema") == weights("plain"));
    // norms that no gradient has change no bit
    run("--clip-blocks 1e9", "far");
    assert!(place.tensors("far") == place.tensors("plain"));
}

#[test]
fn a_net_starts_from_the_averages_that_were_tested() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 4 --ema 0.5 --out before"));
    // at a rate of 0 the weights stay where they began
    place.succeed(&format!("{TINY} --max-steps 1 --lr 0 --init-from before/checkpoint.safetensors --out after"));
    let (before, after) = (place.tensors("before"), place.tensors("after"));
    let weights = || after.iter().filter(|(name, _)| !name.starts_with("velocity.") && !name.contains("running"));
    assert!(weights().all(|(name, tensor)| before[&format!("average.{name}")] == *tensor));
    assert!(weights().any(|(name, tensor)| before[name] != *tensor), "an average that is the weights tests nothing");
}
