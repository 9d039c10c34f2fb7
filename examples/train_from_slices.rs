//! Trains a net of 32 blocks on pictures that lie in slices, without storing its activations: `cargo run --release --example
//! train_from_slices`.

use rewind::cpu::Cpu;
use rewind::device::SgdStep;
use rewind::init::Init;
use rewind::memory::human;
use rewind::net::{Net, NetSpec};

/// Runs it.
pub fn main() -> rewind::Result<()> {
    let cpu = Cpu::new(None)?;
    let spec = NetSpec { depth: 32, batch: 64, classes: 2, ..NetSpec::default() };
    let mut net = Net::new(&cpu, spec, Init::Paper, 0)?;
    // [N, 32, 32, 3]: stripes that lie across or stand up
    let class = |n: usize| n % 2;
    let stripe = |n: usize, y: usize, x: usize| if ([y, x][class(n)] + n / 2) % 4 < 2 { 1.0 } else { -1.0 };
    let images: Vec<f32> = (0..64 * 32 * 32 * 3).map(|i| stripe(i / 3072, i / 96 % 32, i / 3 % 32)).collect();
    let labels: Vec<f32> = (0..64).map(|n| class(n) as f32).collect();
    net.load(&cpu, &images, &labels)?;
    for step in 1..=20 {
        let (batch, drift) = net.train_step(&cpu, SgdStep { lr: 0.05, ..SgdStep::PAPER })?;
        println!("step {step:>2}: loss {:.3}, drift {:.1e}", batch.loss, drift.stem.unwrap_or(0.0));
    }
    println!("{} of activations", human(net.memory().activations()));
    Ok(())
}
