//! A training run inside another program: own pictures, a function that is told what happens, a flag that stops, and no file. `cargo run
//! --release --example embed_a_run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rewind::data::{CHANNELS, Dataset, IMAGE, Normalise, Split};
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::events::Event;
use rewind_train::run::Ending;
use rewind_train::training::Training;

/// Stripes that lie across or stand up: 32 x 32 pixels of three bytes each, and the class of each picture.
fn stripes(images: usize) -> Split {
    let stripe = |n: usize, y: usize, x: usize| if ([y, x][n % 2] + n / 2) % 8 < 4 { 255 } else { 0 };
    let row = IMAGE * CHANNELS;
    let pixel = |i: usize| stripe(i / (IMAGE * row), i / row % IMAGE, i / CHANNELS % IMAGE);
    Split {
        side: IMAGE,
        pixels: (0..images * IMAGE * row).map(pixel).collect(),
        labels: (0..images).map(|n| (n % 2) as u16).collect(),
    }
}

/// Runs it.
pub fn main() -> rewind::Result<()> {
    let (normalise, train, test) = (Normalise::CIFAR_10, stripes(512), stripes(64));
    let data = Dataset { name: "stripes".into(), classes: 2, normalise, train, test, fingerprint: None, part_of: None };
    let (depth, batch, epochs) = (16, 64, Some(20));
    let config = RunConfig { depth, batch, epochs, device: DeviceChoice::Cpu, ..RunConfig::default() };
    let stop = AtomicBool::new(false);
    let mut losses = Vec::new();
    let trained = Training::new(config)
        .dataset(Arc::new(data))
        .stop(&stop)
        .on(|event| match event {
            Event::Note(text) => println!("{text}"),
            // the mean of the epoch so far
            Event::Steps(report) => losses.push(report.loss),
            Event::Drift { sentence, .. } => println!("{sentence}"),
            Event::Epoch(row) => {
                println!("epoch {}: {:.0} % of the test images", row.epoch, 100.0 * row.test_accuracy);
                stop.store(row.test_accuracy == 1.0, Ordering::Relaxed);
            }
            _ => {}
        })
        .train()?;
    println!(
        "{:?} after {} steps, the last with a loss of {:.3}",
        trained.ending,
        losses.len(),
        losses[losses.len() - 1]
    );
    assert_eq!(trained.ending, Ending::Interrupted, "it stops where every test image is right");
    Ok(())
}
