//! Whole runs on the GPU, or on the emulator, from the library: epochs of a data set small enough for it.
#![cfg(all(feature = "cuda", target_os = "linux"))]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::sweep::SweepSpec;
use rewind_train::checkpoint::Checkpoint;
use rewind_train::config::{Math, RunConfig};
use rewind_train::folder::RunFolder;
use rewind_train::log::{Log, LogKind};
use rewind_train::progress::EpochRow;
use rewind_train::run::Run;
use support::gpu::{gpu, no_faults, turn};
use support::{GRADIENTS, SCHEMES, numbered};

const EPOCHS: usize = 3;

/// Trains into a folder, a new one or one that holds a run; gives the rows of all epochs.
fn train<D: Device<Real = f32>>(d: &D, folder: &Path, max_steps: Option<u64>) -> Vec<EpochRow> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let config = RunConfig {
        depth: 3,
        channels: 4,
        batch: 4,
        epochs: Some(EPOCHS),
        max_steps,
        // a rate that changes between recorded epochs
        lr: 0.02,
        lr_drop: Some(vec![1]),
        sweep: SweepSpec::new(SCHEMES[0], GRADIENTS[3]),
        ..RunConfig::default()
    };
    let held = folder.join("checkpoint.safetensors");
    let checkpoint = held.exists().then(|| Checkpoint::open(&held).expect("whole"));
    let folder = match checkpoint {
        Some(_) => RunFolder::open(folder).expect("a run"),
        None => RunFolder::claim(Some(folder), "run").expect("a new folder"),
    };
    // the last batch of an epoch and of a test is smaller than the others
    let mut run = Run::new(d, config, numbered(9, 5), checkpoint.as_ref(), &STOP).expect("run");
    run.train(&folder, &mut Log::new(LogKind::Quiet)).expect("training");
    run.progress().history.clone()
}

/// The checkpoint's tensors and what of the rows no clock decides.
fn bits(folder: &Path, rows: &[EpochRow]) -> (Vec<u8>, Vec<[u64; 5]>) {
    let bytes = std::fs::read(folder.join("checkpoint.safetensors")).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut names = file.names();
    names.sort_unstable();
    let tensors = names.into_iter().flat_map(|name| file.tensor(name).expect(name).data().to_vec()).collect();
    let row = |r: &EpochRow| {
        [r.train_loss, r.train_accuracy, r.test_loss, r.test_accuracy, r.drift.expect("a drift")].map(f64::to_bits)
    };
    (tensors, rows.iter().map(row).collect())
}

#[test]
fn epochs_on_the_gpu_are_those_of_the_cpu_and_a_cut_run_has_the_bits_of_a_whole_one() {
    let _turn = turn();
    let place = tempfile::tempdir().expect("a folder");
    let [on_cpu, whole, eager, cut] = ["cpu", "whole", "eager", "cut"].map(|name| place.path().join(name));
    let (cpu, cuda, mut by_kernel) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32), gpu(Math::Fp32));
    by_kernel.set_eager(true);
    let expected = train(&cpu, &on_cpu, None);
    let rows = train(&cuda, &whole, None);
    assert_eq!((rows.len(), expected.len()), (EPOCHS, EPOCHS));
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row.learning_rate, expected.learning_rate);
        // nine steps in f32 from the same weights on the same batches; another batch would be off by a tenth
        for (a, b) in [(row.train_loss, expected.train_loss), (row.test_loss, expected.test_loss)] {
            assert!((a - b).abs() < 0.02 * b, "epoch {}: {a} and {b}", row.epoch);
        }
    }
    let whole = bits(&whole, &rows);
    let rows = train(&by_kernel, &eager, None);
    assert!(bits(&eager, &rows) == whole, "eager");
    // in the second epoch before its smaller batch, then at the end of it
    for steps in [Some(5), Some(6), None] {
        let rows = train(&cuda, &cut, steps);
        if steps.is_none() {
            assert!(bits(&cut, &rows) == whole, "cut");
        }
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&cut).expect("a folder").map(|f| f.expect("a file").file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["checkpoint.safetensors", "config.toml", "curves.svg", "metrics.csv", "summary.json"]);
    no_faults();
}

/// What ends a run whose rate no program of ours takes, and the files that it leaves.
fn failed<D: Device<Real = f32>>(d: &D, folder: &Path) -> (String, Vec<OsString>) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let config = RunConfig { depth: 3, channels: 4, batch: 4, lr: 1e300, epochs: Some(1), ..RunConfig::default() };
    let claimed = RunFolder::claim(Some(folder), "run").expect("a new folder");
    let mut run = Run::new(d, config, numbered(9, 5), None, &STOP).expect("run");
    let error = run.train(&claimed, &mut Log::new(LogKind::Quiet)).expect_err("the second step cannot be");
    drop(claimed);
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|f| f.expect("a file").file_name()).collect();
    names.sort_unstable();
    (error.to_string(), names)
}

#[test]
fn a_loss_that_is_not_finite_is_told_as_on_the_cpu() {
    let _turn = turn();
    let place = tempfile::tempdir().expect("a folder");
    // The first update makes every weight infinite. At smaller rates squares overflow first, and where is each device's own.
    let (expected, _) = failed(&Cpu::new(Some(2)).expect("cpu"), &place.path().join("cpu"));
    let (error, names) = failed(&gpu(Math::Fp32), &place.path().join("gpu"));
    for phrase in ["epoch 1, step 2", "the stem's output x_0", "the last checkpoint is kept"] {
        assert!(error.contains(phrase), "{error}");
    }
    assert_eq!(error, expected);
    assert_eq!(names, ["checkpoint.safetensors", "config.toml", "metrics.csv"]);
}
