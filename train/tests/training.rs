//! What training reaches: the default run on the built-in set, and on the real CIFAR-10, where it is, three epochs in three
//! gradient modes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The default folder, or the one that REWIND_CIFAR10 names.
fn cifar10() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/cifar-10-batches-bin");
    let folder = std::env::var_os("REWIND_CIFAR10").map_or(default, PathBuf::from);
    folder.join("test_batch.bin").exists().then_some(folder)
}

/// The summary of a finished run of the program.
fn trained(arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Command::new(env!("CARGO_BIN_EXE_train_cifar"))
        .args(arguments)
        .args(["--quiet", "--out", "run"])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_default_run_passes_85_percent_on_the_built_in_set() {
    let summary = trained(&[]);
    let accuracy = summary["test_accuracy"].as_f64().expect("an accuracy");
    println!("{:.2} % after {} epochs", 100.0 * accuracy, summary["epochs"]);
    assert_eq!(summary["dataset"], "synthetic");
    assert!(summary["epochs"].as_u64().is_some_and(|epochs| epochs <= 5), "{summary}");
    // three PyTorch runs at a rate that did not fall ended between 94 and 97 %
    assert!(accuracy >= 0.85, "{accuracy}");
}

#[test]
fn the_default_does_not_fall_behind_backprop_in_a_shallow_net() {
    // four blocks at the recipe's learning rate: what reconstruction alone lost by 5 to 40 points, or by NaN
    for seed in ["0", "1"] {
        let accuracy = |gradient: &[&str]| {
            let net = ["--data", "synthetic", "--depth", "4", "--channels", "8", "--epochs", "10", "--seed", seed];
            trained(&[&net[..], gradient].concat())["test_accuracy"].as_f64().expect("an accuracy")
        };
        let (default, backprop) = (accuracy(&[]), accuracy(&["--gradient", "backprop"]));
        println!("seed {seed}: {default}, backprop {backprop}");
        assert!(default > backprop - 0.03, "seed {seed}: {default}, backprop {backprop}");
    }
}

#[test]
fn three_epochs_reach_47_percent_in_each_mode() {
    let Some(data) = cifar10() else {
        println!("did not run: no CIFAR-10 in datasets/cifar-10-batches-bin, nor where REWIND_CIFAR10 says");
        return;
    };
    let data = data.to_str().expect("a path in UTF-8");
    for gradient in ["auto", "adjoint", "backprop"] {
        // at the recipe's first rate throughout, as the peer
        let rate = ["--lr-drop", "30,60"];
        let net = ["--depth", "8", "--epochs", "3", "--seed", "0", "--gradient", gradient, "--data", data];
        let arguments = [&net[..], &rate].concat();
        let summary = trained(&arguments);
        let accuracy = summary["test_accuracy"].as_f64().expect("an accuracy");
        println!("{gradient}: {:.2} % after 3 epochs", 100.0 * accuracy);
        // the same net in PyTorch reaches 50.6 % (adjoint) and 49.8 % (backprop); seeds differ by a point or two
        assert!(accuracy >= 0.47, "{gradient}: {accuracy}");
        assert_eq!(summary["dataset"], "cifar-10");
    }
}
