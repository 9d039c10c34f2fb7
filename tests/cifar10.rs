//! On the real CIFAR-10, where it is: three epochs of the default net in three gradient modes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The default folder, or the one that REWIND_CIFAR10 names.
fn cifar10() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/cifar-10-batches-bin");
    let folder = std::env::var_os("REWIND_CIFAR10").map_or(default, PathBuf::from);
    folder.join("test_batch.bin").exists().then_some(folder)
}

#[test]
fn three_epochs_reach_47_percent_in_each_mode() {
    let Some(data) = cifar10() else {
        println!("did not run: no CIFAR-10 in datasets/cifar-10-batches-bin, nor where REWIND_CIFAR10 says");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    for gradient in ["adjoint", "corrected", "backprop"] {
        let out = folder.path().join(gradient);
        let run = Command::new(env!("CARGO_BIN_EXE_train_cifar"))
            .args(["--depth", "8", "--epochs", "3", "--seed", "0", "--quiet", "--gradient", gradient, "--data"])
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .output()
            .expect("the program starts");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let text = std::fs::read_to_string(out.join("summary.json")).expect("a summary");
        let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let accuracy = summary["test_accuracy"].as_f64().expect("an accuracy");
        println!("{gradient}: {:.2} % after 3 epochs", 100.0 * accuracy);
        // the same net in PyTorch reaches 50.6 % (adjoint) and 49.8 % (backprop); seeds differ by a point or two
        assert!(accuracy >= 0.47, "{gradient}: {accuracy}");
        assert_eq!(summary["dataset"], "cifar-10");
    }
}
