//! What a run leaves and prints: the files of its folder, the plan, the test of a checkpoint, the notices.

use crate::cli::{Place, TINY};

const FILES: [&str; 11] = [
    "checkpoint.safetensors",
    "classes.csv",
    "config.toml",
    "confusion.csv",
    "confusion.svg",
    "curves.png",
    "curves.svg",
    "metrics.csv",
    "summary.json",
    "worst.csv",
    "worst.png",
];

#[test]
fn a_run_leaves_files_that_agree() {
    let place = Place::tiny();
    let ended = place.succeed(&format!("{TINY} --epochs 2 --out out"));
    assert_eq!(place.names("out"), FILES);
    assert_eq!(place.names("."), ["digits", "out"]);

    let metrics = place.text("out/metrics.csv");
    let lines: Vec<Vec<&str>> = metrics.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        lines[0].join(","),
        "epoch,train_loss,train_accuracy,test_loss,test_accuracy,learning_rate,epoch_seconds,images_per_second,drift,local_error,\
         activation_peak_bytes,peak_bytes"
    );
    assert_eq!(lines.len(), 3, "a row an epoch: {metrics}");
    for (epoch, row) in lines[1..].iter().enumerate() {
        assert_eq!(row[0], (epoch + 1).to_string());
        let values = row.iter().filter(|value| !value.is_empty());
        let values: Vec<f64> = values.map(|value| value.parse().expect(value)).collect();
        assert!(values.iter().all(|value| value.is_finite() && *value >= 0.0), "{metrics}");
        assert!(values[2] <= 1.0 && values[4] <= 1.0, "accuracies are fractions: {metrics}");
    }

    let summary = place.summary("out");
    let keys: Vec<&str> = summary.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected: Vec<&str> =
        "version device dataset scheme gradient net depth channels batch seed epochs steps test_accuracy test_loss \
        best_test_accuracy train_loss step_seconds_median images_per_second drift failed_sweeps blocks drift_warning memory activation_peak_bytes \
        planned_peak_bytes peak_bytes rss_peak_bytes device_memory"
            .split_whitespace()
            .collect();
    expected.sort_unstable();
    let mut found = keys.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
    let last = &lines[2];
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {summary}"));
    for (key, column) in [("test_accuracy", 4), ("test_loss", 3), ("train_loss", 1), ("drift", 8), ("peak_bytes", 11)] {
        assert_eq!(number(key), last[column].parse::<f64>().unwrap(), "{key}");
    }
    assert_eq!((number("epochs"), number("steps"), number("depth")), (2.0, 40.0, 2.0));
    assert_eq!((&summary["dataset"], &summary["version"]), (&"mnist".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(
        ended.in_table("results in"),
        "out: see curves.svg, curves.png, confusion.svg, worst.png, metrics.csv, classes.csv, summary.json"
    );
    assert_eq!(number("planned_peak_bytes"), number("peak_bytes"));
    let memory = |category: &str| summary["memory"][category].as_u64().expect(category);
    let activations = memory("state") + memory("scratch") + memory("saved");
    assert_eq!(number("activation_peak_bytes"), activations as f64);
    let all: u64 = summary["memory"].as_object().expect("categories").values().map(|v| v.as_u64().unwrap()).sum();
    assert_eq!(number("peak_bytes"), all as f64);
    assert!(number("step_seconds_median") > 0.0 && number("images_per_second") > 0.0);

    assert!(place.text("out/curves.svg").trim_end().ends_with("</svg>"));
    let percent = format!("{:.2} % at the end (epoch 2)", 100.0 * number("test_accuracy"));
    assert_eq!(ended.in_table("test accuracy"), percent);
    assert!(ended.in_table("  stored backprop").contains("activations at this depth"));
}

#[test]
fn a_config_replays_to_the_same_bits() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 1 --seed 5 --scheme heun --lr 0.05 --init smooth --out out"));
    place.succeed("--config out/config.toml --out other");
    place.assert_same_run("out", "other");
    assert_eq!(place.text("out/config.toml"), place.text("other/config.toml"));
    // a flag goes before the file
    place.succeed("--config out/config.toml --seed 6 --out third");
    assert_ne!(place.tensors("out"), place.tensors("third"));
}

#[test]
fn runs_without_out_get_folders_of_their_own() {
    let place = Place::tiny();
    let run = format!("{TINY} --max-steps 1");
    for _ in 0..3 {
        place.succeed(&run);
    }
    let name = "mnist-depth2-euler-auto-seed0";
    assert_eq!(place.names("."), ["digits", "runs"]);
    assert_eq!(place.names("runs"), [name.to_string(), format!("{name}-2"), format!("{name}-3")]);
    place.assert_same_weights(&format!("runs/{name}"), &format!("runs/{name}-3"));
}

#[test]
fn a_plan_is_printed_and_leaves_nothing() {
    let place = Place::new();
    let ended = place.succeed("--data synthetic --gradient corrected --depth 512 --plan");
    assert!(place.contents().is_empty());
    assert!(ended.stderr.is_empty(), "{ended}");
    for category in ["parameters", "gradients", "optimiser", "statistics", "state", "scratch", "saved", "data", "total"]
    {
        assert!(ended.in_table(&format!("  {category} ")).contains(" bytes "), "{ended}");
    }
    let shallow = place.succeed("--data synthetic --gradient corrected --depth 8 --plan");
    assert_eq!(ended.in_table("  of which activations"), shallow.in_table("  of which activations"));
}

#[test]
fn eval_only_prints_the_accuracy_of_the_summary_and_changes_nothing() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 1 --out out"));
    let before = place.contents();
    let accuracy = place.summary("out")["test_accuracy"].as_f64().expect("an accuracy");
    for line in ["--eval-only --resume out", "--eval-only --resume out --threads 1 --quiet"] {
        let ended = place.succeed(line);
        let expected = format!("accuracy {:.2} % on 500 images\n", 100.0 * accuracy);
        assert!(ended.stdout.ends_with(&expected), "{ended}");
        assert_eq!(ended.stdout.lines().count(), 1, "{ended}");
    }
    assert!(place.contents() == before);
}

#[test]
fn a_plan_tells_how_long_a_run_would_take_and_leaves_nothing() {
    let place = Place::tiny();
    // an epoch of more steps than are measured, one of fewer, and one of a single step
    for (batch, steps) in [(100, "5 steps"), (700, "2 steps"), (2000, "1 step")] {
        let run = TINY.replace("--batch 100", &format!("--batch {batch}"));
        let ended = place.succeed(&format!("{run} --epochs 3 --plan --time"));
        let last = ended.stdout.lines().last().expect("a line");
        let seconds = |mark: &str| {
            let words: Vec<&str> = last.split(mark).next().expect("a figure").split_whitespace().collect();
            words.last().expect("a figure").parse::<f64>().unwrap_or_else(|_| panic!("{mark}: {last}"))
        };
        assert!(last.starts_with(&format!("  from {steps}: ")) && last.ends_with(" for the whole run"), "{ended}");
        assert!(seconds(" s per step") > 0.0, "{ended}");
        assert!(ended.stdout.starts_with("memory plan: depth 2"), "{ended}");
    }
    assert_eq!(place.names("."), ["digits"]);
    assert_eq!(place.run("--time").code, Some(2));
}

#[test]
fn checkpoints_of_epochs_are_kept_and_can_be_tested() {
    let place = Place::tiny();
    // at so high a rate the last epoch is not the best
    place.succeed(&format!("{TINY} --epochs 4 --lr 0.3 --lr-drop none --keep-best --keep-every 2 --out out"));
    let kept: Vec<String> = place.names("out").into_iter().filter(|name| name.ends_with(".safetensors")).collect();
    assert_eq!(
        kept,
        ["best.safetensors", "checkpoint.safetensors", "epoch-0002.safetensors", "epoch-0004.safetensors"]
    );
    let metrics = place.text("out/metrics.csv");
    let accuracies: Vec<f64> =
        metrics.lines().skip(1).map(|line| line.split(',').nth(4).unwrap().parse().unwrap()).collect();
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    assert!(best > accuracies[3], "a test of nothing: {accuracies:?}");
    for (name, accuracy) in
        [("best", best), ("checkpoint", accuracies[3]), ("epoch-0002", accuracies[1]), ("epoch-0004", accuracies[3])]
    {
        let ended = place.succeed(&format!("--resume out/{name}.safetensors --eval-only"));
        assert!(ended.stdout.contains(&format!("accuracy {:.2} % on 500 images", 100.0 * accuracy)), "{name}: {ended}");
    }
    let refused = place.run("--resume out/best.safetensors --eval-only --report");
    assert!(refused.code == Some(2) && refused.error().contains("--report leaves files in the folder"), "{refused}");
    let refused = place.run("--resume out/best.safetensors");
    assert!(refused.code == Some(2) && refused.error().contains("is not a folder"), "{refused}");
}

#[test]
fn without_cifar_one_sentence_says_where_it_was_looked_for_and_how_to_get_it() {
    let place = Place::tiny();
    let line = "--depth 2 --channels 4 --batch 1000 --max-steps 1 --out out";
    let ended = place.succeed(line);
    let notice = ended.stderr.lines().next().expect("a notice");
    for part in ["datasets/", "synthetic", "--download", "--data"] {
        assert!(notice.contains(part), "{ended}");
    }
    assert_eq!(ended.stderr.matches("no CIFAR").count(), 1, "{ended}");
    assert!(place.text("out/config.toml").starts_with("data = \"synthetic\"\n"));
    // asked for by name, it is no news
    assert!(!place.succeed(&format!("{TINY} --max-steps 1 --out named")).stderr.contains("no CIFAR"));
}

#[test]
fn quiet_prints_only_the_final_table() {
    let place = Place::tiny();
    let ended = place.succeed(&format!("--quiet {TINY} --epochs 1 --out out"));
    assert_eq!(ended.stderr, "");
    assert!(ended.stdout.starts_with("net  "), "{ended}");
    ended.in_table("test accuracy");
    let refused = place.run(&format!("--quiet {TINY} --out out"));
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    refused.error();
}

#[test]
fn an_exit_by_max_steps_in_mid_epoch_is_tested_and_resumable() {
    let place = Place::tiny();
    let ended = place.succeed(&format!("{TINY} --epochs 1 --max-steps 7 --out out"));
    let summary = place.summary("out");
    assert_eq!((summary["epochs"].as_u64(), summary["steps"].as_u64()), (Some(0), Some(7)));
    assert!(summary["test_accuracy"].is_f64(), "{summary}");
    assert_eq!(place.text("out/metrics.csv").lines().count(), 1, "no epoch is done");
    assert!(ended.in_table("test accuracy").contains("step 7"), "{ended}");
}

#[test]
fn a_reader_that_goes_away_causes_no_panic() {
    let place = Place::new();
    let mut child = place.command("--data synthetic --plan").spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = crate::cli::Ended::of("--plan, nobody reads", child);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
}
