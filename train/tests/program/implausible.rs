//! Checkpoints whose checksum is right and whose contents cannot be: refused in a sentence, at once, with nothing written.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Place, TINY};
use crate::crafted;

/// Changes the checkpoint of `out` and expects that `--resume`, `--eval-only` and `--plan` refuse it in these words.
fn refused(place: &Place, what: &str, phrase: &str, change: impl FnOnce(&std::path::Path)) {
    refused_by(&["--resume out", "--resume out --eval-only", "--resume out --plan"], place, what, phrase, change);
}

fn refused_by(lines: &[&str], place: &Place, what: &str, phrase: &str, change: impl FnOnce(&std::path::Path)) {
    let path = place.path("out/checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    change(&path);
    let before = place.contents();
    for line in lines {
        let ended = place.run(line);
        assert_eq!(ended.code, Some(1), "{what}: {ended}");
        assert!(ended.error().contains(phrase) && ended.error().contains("checkpoint.safetensors"), "{what}: {ended}");
        assert_eq!(ended.stdout, "", "{what}: {ended}");
        assert!(place.contents() == before, "{what}: files changed");
    }
    fs::write(&path, whole).unwrap();
}

#[test]
fn a_config_of_another_net_than_the_tensors_is_refused_before_anything_is_built() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 5 --max-steps 3 --out out"));
    for (from, to, phrase) in [
        ("depth = 2", "depth = 1000000", "its config says 1000000 blocks and it holds tensors of 2"),
        ("depth = 2", "depth = 1", "its config says 1 blocks"),
        ("depth = 2", "depth = 9223372036854775807", "its config makes no sense (--depth 9223372036854775807"),
        ("channels = 4", "channels = 65536", "of shape [5, 5, 3, 4], and this net needs F32 of shape [5, 5, 3, 65536]"),
        ("channels = 4", "channels = 8", "needs F32 of shape [5, 5, 3, 8]"),
        ("lr = 0.1", "lr = 1e300", "its config makes no sense (--lr "),
        ("weight-decay = 0.0005", "weight-decay = 1e30", "its config makes no sense (--weight-decay "),
        ("fixed-point = 0", "fixed-point = 9223372036854775807", "its config makes no sense (--fixed-point "),
        ("epochs = 5", "epochs = 9223372036854775807", "its config makes no sense (--epochs "),
        ("epochs = 5", "epochs = 18446744073709551615", "its config makes no sense"),
        ("batch = 100", "batch = 0", "its config makes no sense (--batch 0"),
    ] {
        refused(&place, to, phrase, |path| crafted::config(path, from, to));
    }
    place.succeed("--resume out --max-steps 4");
}

#[test]
fn every_number_of_the_progress_has_a_range() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 23 --out out"));
    let edges = [json!(u64::MAX), json!(1_u64 << 40), json!(-1), json!("many")];
    for pointer in [
        "/epoch",
        "/step_in_epoch",
        "/sums/steps",
        "/sums/images",
        "/sums/correct",
        "/sums/failed",
        "/failed_in_a_row",
        "/failed_sweeps",
        "/history/0/epoch",
    ] {
        for edge in &edges {
            refused(&place, &format!("{pointer} = {edge}"), "its ", |path| {
                crafted::progress(path, pointer, edge.clone())
            });
        }
    }
    for pointer in ["/sums/loss", "/sums/seconds", "/history/0/train_accuracy", "/history/0/learning_rate"] {
        for edge in ["NaN", "inf", "-inf"] {
            refused(&place, pointer, "its ", |path| crafted::progress(path, pointer, json!(edge)));
        }
    }
    // what the data alone can tell
    for (pointer, value, phrase) in [
        ("/global_step", json!(24), "its global_step is 24, where 1 epochs of 20 steps and 3 more were done"),
        ("/global_step", json!(u64::MAX), "its global_step is 18446744073709551615"),
    ] {
        let lines = ["--resume out", "--resume out --eval-only"];
        refused_by(&lines, &place, pointer, phrase, |path| crafted::progress(path, pointer, value));
    }
    let ways: Value = json!([[{ "coded": u64::MAX }, { "coded": 0 }]]);
    refused_by(&["--resume out"], &place, "ways", "its choice of coded blocks is of another net", |path| {
        crafted::progress(path, "/ways", ways);
    });
    place.succeed("--resume out --max-steps 24");
}

#[test]
fn a_value_that_no_net_can_train_from_is_named_with_its_tensor() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --max-steps 1 --out out"));
    for (tensor, value) in [
        ("blocks.1.conv2.weight", 3e38),
        ("head.bias", -2e15),
        ("velocity.stem.conv.weight", f32::NAN),
        ("stem.bn.running_var", -1.0),
        ("blocks.0.bn1.running_mean", f32::INFINITY),
    ] {
        let phrase = format!("{tensor} holds {value:e}, which is out of range");
        refused_by(&["--resume out", "--resume out --eval-only"], &place, tensor, &phrase, |path| {
            crafted::values(path, |name, values| {
                if name == tensor {
                    values[0] = value;
                }
            });
        });
    }
    let start = format!("{TINY} --seed 1 --init-from out/checkpoint.safetensors --max-steps 1");
    crafted::values(&place.path("out/checkpoint.safetensors"), |name, values| {
        if name == "blocks.1.bn1.weight" {
            values.fill(3e38);
        }
    });
    let ended = place.run(&format!("{start} --out other"));
    assert!(ended.code == Some(1) && ended.error().contains("blocks.1.bn1.weight holds 3e38"), "{ended}");
}

/// Weights within their range, whose products are not: a block squares what is large twice.
fn overflow(name: &str, values: &mut [f32]) {
    match name {
        "blocks.0.bn1.weight" | "blocks.0.conv2.weight" => values.fill(1e15),
        _ => {}
    }
}

#[test]
fn a_step_whose_loss_is_not_finite_names_the_block_and_the_settings_and_keeps_the_checkpoint() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --lr 0.5 --weight-decay 0.25 --max-steps 1 --out out"));
    crafted::values(&place.path("out/checkpoint.safetensors"), overflow);
    let weights = place.tensors("out");
    let ended = place.run("--resume out");
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in [
        "epoch 1, step 2",
        "the state after block 0 went non-finite first",
        "try a lower --lr than 0.5",
        "a lower --weight-decay than 0.25",
        "the last checkpoint is kept",
    ] {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    assert_eq!(ended.stdout, "", "{ended}");
    assert!(place.tensors("out") == weights, "the checkpoint is kept");
}

/// A net whose steps are sound: batch norm takes what it measures from the states, and all classes have the same logit. In a test it takes
/// what ran along, which is far off, and a state overflows.
fn off_in_tests(name: &str, values: &mut [f32]) {
    match name {
        "head.weight" => values.fill(1e15),
        name if name.ends_with("bn2.running_mean") => values.fill(-1e15),
        name if name.ends_with("bn2.weight") && !name.starts_with("velocity.") => values.fill(1e8),
        _ => {}
    }
}

#[test]
fn a_test_whose_loss_is_not_finite_exits_1_and_replaces_nothing() {
    let place = Place::tiny();
    let run = "--data digits --depth 4 --channels 4 --batch 100 --gradient backprop --lr 0";
    place.succeed(&format!("{run} --max-steps 19 --out out"));
    let path = place.path("out/checkpoint.safetensors");
    crafted::values(&path, off_in_tests);
    let (before, weights) = (place.contents(), place.tensors("out"));
    let ended = place.run("--resume out --eval-only");
    assert_eq!(ended.code, Some(1), "{ended}");
    for phrase in
        ["its test loss is ", "in the test the state after block ", "went non-finite first; use another checkpoint"]
    {
        assert!(ended.error().contains(phrase), "{ended}");
    }
    assert!(ended.stdout.is_empty() && place.contents() == before, "{ended}");
    // one step more ends the epoch, and its test is not finite; so does a limit in the midst of it
    for line in ["--resume out", "--resume out --max-steps 20"] {
        let ended = place.run(line);
        assert_eq!(ended.code, Some(1), "{ended}");
        for phrase in ["epoch 1, step 20", "in the test ", "went non-finite first", "--lr"] {
            assert!(ended.error().contains(phrase), "{ended}");
        }
        assert!(place.tensors("out") == weights, "the checkpoint is kept: {ended}");
        assert_eq!(place.text("out/metrics.csv").lines().count(), 1, "no epoch is done: {ended}");
    }
}
