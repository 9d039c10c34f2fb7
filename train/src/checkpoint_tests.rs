//! Tests of the checkpoint's format, of what it refuses, and of how it survives a failed write.

use std::sync::LazyLock;

use proptest::prelude::*;
use rewind::data::{IMAGE, IMAGE_LEN, Normalise, Split};
use rewind::scheme::Scheme;
use safetensors::SafeTensors;

use super::save::write_container;
use super::*;
use crate::progress::tests::row;

fn state() -> RunState {
    let mut config = RunConfig { depth: 3, ..RunConfig::default() };
    config.settle("synthetic");
    let mut progress = Progress { epoch: 2, step_in_epoch: 5, global_step: 45, ..Progress::default() };
    progress.history = vec![row(1), row(2)];
    (0..5).for_each(|_| progress.sums.add(256, 0.1 + 0.2, 99, Some(1e-5), 0.125));
    let dataset = DatasetId { name: "synthetic".into(), fingerprint: "0123abcd".into() };
    RunState { config, progress, dataset, pictures: None }
}

struct TensorEntry {
    name: &'static str,
    shape: Vec<usize>,
}

fn entries() -> Vec<TensorEntry> {
    let of_last_block = ("blocks.2.bn1.bias", vec![4]);
    [
        ("stem.conv.weight", vec![5, 5, 3, 4]),
        of_last_block,
        ("head.bias", vec![10]),
        ("empty", vec![0, 4]),
        ("scalar", vec![]),
    ]
    .map(|(name, shape)| TensorEntry { name, shape })
    .into()
}

fn values_of(entry: &TensorEntry) -> Vec<f32> {
    let len: usize = entry.shape.iter().product();
    (0..len).map(|i| (i as f32 - 3.5) / entry.name.len() as f32).collect()
}

/// Shows every entry with its values.
fn each(visit: &mut Visitor<'_>) -> Result<()> {
    entries().iter().try_for_each(|entry| {
        visit(entry.name, &entry.shape, &|values| {
            values.copy_from_slice(&values_of(entry));
            Ok(())
        })
    })
}

fn save_to(path: &Path) {
    save(path, &state(), each).unwrap();
}

fn saved() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    save_to(&path);
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

fn problem(path: &Path) -> String {
    match Checkpoint::open(path) {
        Err(Error::Checkpoint { problem, .. }) => problem,
        other => panic!("expected a checkpoint error, found {other:?}"),
    }
}

/// A file that is whole but for the metadata given here.
fn save_with(path: &Path, metadata: &[(&str, String)]) {
    write_container(path, metadata, each).unwrap();
}

#[test]
fn reads_back_what_was_saved() {
    let (_folder, path, _) = saved();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.state(), &state());
    for entry in entries().iter().rev() {
        assert_eq!(checkpoint.tensor(entry.name, &entry.shape).unwrap(), values_of(entry));
    }
}

#[test]
fn the_file_is_a_safetensors_file_with_aligned_data() {
    let (_folder, _, bytes) = saved();
    let (header_len, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_len % 8, 0);
    assert_eq!(metadata.offset_keys(), entries().iter().map(|e| e.name.to_string()).collect::<Vec<_>>());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bias = tensors.tensor("head.bias").unwrap();
    let expected: Vec<u8> = values_of(&entries()[2]).iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!((bias.shape(), bias.data()), (&[10][..], &expected[..]));
}

#[test]
fn every_truncation_is_refused() {
    let (_folder, path, bytes) = saved();
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let problem = problem(&path);
        assert!(problem.contains("truncated"), "{len} bytes: {problem}");
    }
    std::fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
    assert!(problem(&path).contains("damaged"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_changed_byte_is_refused(place in any::<prop::sample::Index>(), mask in 1_u8..) {
        static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| saved().2);
        let (folder, mut bytes) = (tempfile::tempdir().unwrap(), WHOLE.clone());
        let path = folder.path().join("x");
        let place = place.index(bytes.len());
        bytes[place] ^= mask;
        std::fs::write(&path, &bytes).unwrap();
        problem(&path);
    }

    #[test]
    fn arbitrary_bytes_are_refused(tail in any::<Vec<u8>>(), len in 0_u64..64, braces in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let start: &[u8] = if braces { b"{" } else { b"" };
        std::fs::write(&path, [&len.to_le_bytes(), start, &tail].concat()).unwrap();
        problem(&path);
    }
}

#[test]
fn each_refusal_has_its_own_sentence() {
    let (folder, path, bytes) = saved();
    assert!(problem(&folder.path().join("none")).contains("no such file"));
    std::fs::write(&path, "epoch,train_loss,train_accuracy\n").unwrap();
    assert!(problem(&path).contains("not a safetensors file"));
    std::fs::write(&path, u64::MAX.to_le_bytes().iter().chain(b"{}").copied().collect::<Vec<_>>()).unwrap();
    assert!(problem(&path).contains("not a safetensors file"));
    std::fs::write(&path, [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat()).unwrap();
    assert!(problem(&path).contains("checksum"));
    save_with(&path, &[]);
    assert!(problem(&path).contains("another program"));
    save_with(&path, &[("format", "rewind-2".into())]);
    assert_eq!(problem(&path), "it has format rewind-2 and this program reads rewind-1: update the program");
    let format = ("format", "rewind-1".to_string());
    save_with(&path, std::slice::from_ref(&format));
    assert!(problem(&path).contains("lacks \"config\""));
    save_with(&path, &[format.clone(), ("config", "depth = 0".into())]);
    assert!(problem(&path).contains("config makes no sense (--depth 0"));
    save_with(&path, &[format, ("config", "depth = 3".into()), ("progress", "{}".into())]);
    assert!(problem(&path).contains("progress makes no sense"));
    let sentence = Checkpoint::open(&path).unwrap_err();
    assert_eq!(sentence.exit_code(), 1);
    assert!(sentence.to_string().starts_with(path.to_str().unwrap()));
}

#[test]
fn what_cannot_be_true_is_refused_though_its_checksum_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let of = |change: &dyn Fn(&mut RunState)| {
        let mut state = state();
        change(&mut state);
        save(&path, &state, each).unwrap();
        problem(&path)
    };
    let deep = of(&|state| state.config.depth = 1_000_000);
    assert_eq!(deep, "its config says 1000000 blocks and it holds tensors of 3: use another checkpoint");
    assert!(of(&|state| state.config.depth = 2).contains("its config says 2 blocks and it holds tensors of 3"));
    assert!(
        of(&|state| state.config.sweep.fixed_point = 1 << 40).contains("its config makes no sense (--fixed-point ")
    );
    save(&path, &RunState { config: RunConfig { lr: 1e300, ..state().config }, ..state() }, each).unwrap();
    let fast = Checkpoint::open(&path).unwrap().check_rates().unwrap_err().to_string();
    assert!(fast.contains("its config makes no sense (--lr 1"), "{fast}");
    assert!(of(&|state| state.progress.step_in_epoch = 1 << 40).contains("its step_in_epoch is 1099511627776"));
    save_to(&path);
    let checkpoint = Checkpoint::open(&path).unwrap();
    checkpoint.check_steps(20).unwrap();
    assert!(
        checkpoint.check_steps(4).unwrap_err().to_string().contains("its step_in_epoch is 5, and it can be 4 at most")
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    save(&path, &state(), |visit| {
        entries().iter().try_for_each(|entry| {
            visit(entry.name, &entry.shape, &|values| {
                values.fill(if entry.name == "head.bias" { 3e38 } else { 1.0 });
                Ok(())
            })
        })
    })
    .unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    checkpoint.tensor("blocks.2.bn1.bias", &[4]).unwrap();
    let text = checkpoint.tensor("head.bias", &[10]).unwrap_err().to_string();
    assert!(text.contains("head.bias holds 3e38, which is out of range (at most 1e15 in amount)"), "{text}");
}

#[test]
fn files_of_other_programs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for (start, expected) in [
        (&b"PK\x03\x04"[..], "a zip archive, as PyTorch saves"),
        (b"\x80\x04", "a Python pickle"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"# notes", "not a safetensors file"),
    ] {
        std::fs::write(&path, [start, &[b' '; 64]].concat()).unwrap();
        let problem = problem(&path);
        assert!(problem.contains(expected) && problem.contains("name a checkpoint.safetensors"), "{problem}");
    }
    assert!(problem(folder.path()).contains("this is a folder: name a checkpoint.safetensors"));
}

#[test]
fn another_net_or_data_set_is_refused_by_name() {
    let (_folder, path, _) = saved();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let message = |result: Result<()>| result.unwrap_err().to_string();
    let RunState { mut config, mut dataset, .. } = state();
    checkpoint.check_net(&config).unwrap();
    checkpoint.check_dataset(&dataset).unwrap();
    config.sweep.scheme = Scheme::Heun;
    let text = message(checkpoint.check_net(&config));
    assert!(text.contains("--depth 3 --channels 16 --stem 5x5 --scheme euler --step-size 1/N, and"), "{text}");
    assert!(text.ends_with("--depth 3 --channels 16 --stem 5x5 --scheme heun --step-size 1/N"), "{text}");
    dataset.fingerprint = "ffff".into();
    let text = message(checkpoint.check_dataset(&dataset));
    assert!(text.contains("synthetic (0123abcd)") && text.contains("synthetic (ffff)"), "{text}");
    let text = message(checkpoint.tensor("head.bias", &[100]).map(drop));
    assert!(text.ends_with("head.bias is F32 of shape [10], and this net needs F32 of shape [100]"), "{text}");
    assert!(message(checkpoint.tensor("head.bile", &[10]).map(drop)).ends_with("it holds no tensor head.bile"));
}

#[test]
fn a_failed_write_keeps_the_former_checkpoint() {
    let (folder, path, bytes) = saved();
    let error = save(&path, &state(), |visit| {
        entries().iter().try_for_each(|entry| {
            visit(entry.name, &entry.shape, &|_| match entry.name {
                "scalar" => Err(Error::OutOfMemory { bytes: 7 }),
                _ => Ok(()),
            })
        })
    })
    .unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { bytes: 7 }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_fingerprint_sees_every_byte_and_both_splits() {
    let tiny = || {
        let pixels = (0..2 * IMAGE_LEN).map(|i| i as u8).collect();
        let split = Split { side: IMAGE, pixels, labels: vec![3, 1] };
        let normalise = Normalise::CIFAR_10;
        Dataset {
            name: "tiny".into(),
            classes: 4,
            normalise,
            train: split.clone(),
            test: split,
            fingerprint: None,
            part_of: None,
        }
    };
    let of = |dataset: &Dataset| DatasetId::of(dataset).fingerprint;
    let base = of(&tiny());
    assert_eq!(base.len(), 16);
    assert_eq!(base, of(&tiny()));
    let (mut pixel, mut label, mut moved, mut mean) = (tiny(), tiny(), tiny(), tiny());
    pixel.test.pixels[2 * IMAGE_LEN - 1] ^= 1;
    label.train.labels[0] = 2;
    moved.test.labels.pop();
    mean.normalise = Normalise::CIFAR_100;
    for other in [pixel, label, moved, mean] {
        assert_ne!(base, of(&other));
    }
}
