//! A run inside another program: what it tells, that it stops, and that it leaves what was asked for and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rewind::data::{Dataset, IMAGE, IMAGE_LEN, Normalise, Split};
use rewind::error::Error;
use rewind_train::checkpoint::Checkpoint;
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::events::Event;
use rewind_train::folder::RunFolder;
use rewind_train::run::Ending;
use rewind_train::training::Training;

fn images(n: usize) -> Split {
    let pixels = (0..n * IMAGE_LEN).map(|i| (i * 7 % 251) as u8).collect();
    Split { side: IMAGE, pixels, labels: (0..n).map(|i| (i % 3) as u16).collect() }
}

fn dataset() -> Arc<Dataset> {
    let (train, test) = (images(64), images(16));
    Arc::new(Dataset {
        name: "small".into(),
        classes: 3,
        normalise: Normalise::CIFAR_10,
        train,
        test,
        fingerprint: None,
        part_of: None,
    })
}

/// Four steps per epoch.
fn config(epochs: usize) -> RunConfig {
    let device = DeviceChoice::Cpu;
    RunConfig {
        depth: 2,
        channels: 4,
        batch: 16,
        epochs: Some(epochs),
        threads: Some(1),
        device,
        ..RunConfig::default()
    }
}

#[test]
fn a_run_tells_what_happens_and_leaves_no_folder_unless_asked() {
    let mut told = Vec::new();
    let trained = Training::new(config(2))
        .dataset(dataset())
        .on(|event| match event {
            Event::Planned { planned, stored } => {
                told.push(format!("planned {}", planned.total() > 0 && stored.total() > 0))
            }
            Event::EpochStart(extent) => told.push(format!("epoch {} starts", extent.epoch)),
            Event::Steps(report) => told.push(format!("step {}", report.step)),
            Event::Epoch(row) => told.push(format!("epoch {} ends", row.epoch)),
            Event::Checkpoint(file) => told.push(file.display().to_string()),
            Event::Device(_) | Event::Note(_) | Event::Drift { .. } => {}
        })
        .train()
        .expect("a run");
    let epoch = |n| {
        let steps = (1..=4).map(|step| format!("step {step}"));
        [format!("epoch {n} starts")].into_iter().chain(steps).chain([format!("epoch {n} ends")])
    };
    let expected: Vec<String> = ["planned true".to_string()].into_iter().chain(epoch(1)).chain(epoch(2)).collect();
    assert_eq!(told, expected);
    assert_eq!((trained.ending, trained.folder, trained.progress.history.len()), (Ending::Done, None, 2));
    assert_eq!(trained.summary.steps, 8);
}

#[test]
fn a_listener_stops_the_run_and_a_resumed_one_ends_as_if_never_stopped() {
    let place = tempfile::tempdir().expect("a folder");
    let out = place.path().join("out");
    let stop = AtomicBool::new(false);
    let mut checkpoints = 0;
    let stopped = Training::new(config(2))
        .dataset(dataset())
        .folder(&out)
        .stop(&stop)
        .on(|event| match event {
            Event::Steps(report) => stop.store(report.step == 3, Ordering::Relaxed),
            Event::Checkpoint(file) => {
                assert!(file.exists());
                checkpoints += 1;
            }
            _ => {}
        })
        .train()
        .expect("a run");
    assert_eq!((stopped.ending, stopped.progress.step_in_epoch, checkpoints), (Ending::Interrupted, 3, 2));

    let folder = RunFolder::open(&out).expect("a run");
    let checkpoint = Checkpoint::open(&folder.checkpoint()).expect("a checkpoint");
    let resumed = Training::new(config(2)).dataset(dataset()).resume(folder, checkpoint).train().expect("a run");
    let whole = Training::new(config(2)).dataset(dataset()).train().expect("a run");
    let losses = |trained: &rewind_train::training::Trained| {
        let rows = trained.progress.history.iter();
        rows.map(|row| [row.train_loss, row.test_loss].map(f64::to_bits)).collect::<Vec<_>>()
    };
    assert_eq!(losses(&resumed), losses(&whole));
}

#[test]
fn a_plan_takes_nothing_and_what_makes_no_sense_is_an_error() {
    let plan = Training::new(config(1)).dataset(dataset()).plan().expect("a plan");
    assert!(plan.planned.activations() > 0 && plan.stored.activations() > 0);
    let refused = |config: RunConfig| Training::new(config).dataset(dataset()).train().err();
    assert!(matches!(refused(RunConfig { batch: 65, ..config(1) }), Some(Error::Usage(_))));
    assert!(matches!(refused(RunConfig { depth: 0, ..config(1) }), Some(Error::Usage(_))));
    let limited = RunConfig { memory_limit: Some(1 << 10), ..config(1) };
    assert!(matches!(refused(limited), Some(Error::PlanOverLimit { .. })));
    let test = Training::new(config(1)).dataset(dataset()).test().expect("a test").expect("to its end");
    assert_eq!(test.images, 16);
}
