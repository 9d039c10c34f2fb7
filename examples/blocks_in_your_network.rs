//! Residual blocks in a network whose other parts are yours: you hand over states and cotangents, in slices, or on a GPU in cudarc's own.
//! `cargo run --release --example blocks_in_your_network`.

use rewind::Result;
use rewind::cpu::Cpu;
use rewind::device::SgdStep;
use rewind::init::Init;
use rewind::net::{Blocks, BlocksSpec};
use rewind::scheme::{Scheme, StepSize};
use rewind::shape::Shape;
use rewind::sweep::{Gradient, SweepSpec};

const SGD: SgdStep = SgdStep { lr: 0.02, momentum: 0.9, weight_decay: 0.0, ..SgdStep::PAPER };

/// 24 blocks on states of 8 images, [8, 6, 6, 16].
fn spec() -> BlocksSpec {
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Coded);
    BlocksSpec {
        map: Shape::map(8, 6, 6, 16),
        depth: 24,
        step_size: StepSize::OverDepth,
        tied: false,
        second_moments: false,
        sweep,
    }
}

/// What comes in, and what should come out: the same picture shifted by a pixel.
fn pictures() -> (Vec<f32>, Vec<f32>) {
    let at = |i: usize| ((i as f32) * 0.61).sin();
    let len = spec().map.len();
    ((0..len).map(at).collect(), (0..len).map(|i| at(i + 16)).collect())
}

/// A loss of your own, |y - wanted|^2 / 2 for each image, and its cotangent in `grad`.
fn loss(y: &[f32], wanted: &[f32], grad: &mut [f32]) -> f32 {
    let images = spec().map.n() as f32;
    let differences = y.iter().zip(wanted).map(|(y, wanted)| y - wanted);
    grad.iter_mut().zip(differences.clone()).for_each(|(grad, difference)| *grad = difference / images);
    differences.map(|d| d * d).sum::<f32>() / 2.0 / images
}

/// Trains on slices, and returns the first and the last loss.
pub fn on_slices() -> Result<[f32; 2]> {
    let cpu = Cpu::new(None)?;
    let mut blocks: Blocks<_> = Blocks::new(&cpu, spec(), Init::Paper, 0)?;
    let (x, wanted) = pictures();
    let (mut y, mut grad) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut losses = Vec::new();
    for _ in 0..10 {
        blocks.forward_slices(&cpu, &x, &mut y)?;
        losses.push(loss(&y, &wanted, &mut grad));
        blocks.backward_slice(&cpu, &mut grad, SGD)?; // now dL/dx_0, for what comes before
    }
    Ok([losses[0], losses[9]])
}

/// The same on a GPU, in memory that you took from cudarc.
#[cfg(feature = "cuda")]
pub fn on_a_gpu() -> std::result::Result<[f32; 2], Box<dyn std::error::Error>> {
    use std::sync::Arc;

    let gpu = rewind::cuda::Cuda::open(0, rewind::device::Math::Tf32)?;
    let stream = gpu.stream().clone(); // yours to launch on; another one you would have to order with it
    let mut blocks: Blocks<_> = Blocks::new(&gpu, spec(), Init::Paper, 0)?;
    let (x, wanted) = pictures();
    let (x, y) = (Arc::new(stream.clone_htod(&x)?), Arc::new(stream.alloc_zeros::<f32>(wanted.len())?));
    let mut losses = Vec::new();
    for _ in 0..10 {
        blocks.forward(&gpu, &gpu.tensor(spec().map, &x)?, &mut gpu.tensor(spec().map, &y)?)?;
        let mut grad = vec![0.0; wanted.len()];
        losses.push(loss(&stream.clone_dtoh(&*y)?, &wanted, &mut grad));
        let grad = Arc::new(stream.clone_htod(&grad)?);
        blocks.backward(&gpu, &mut gpu.tensor(spec().map, &grad)?, SGD)?;
    }
    Ok([losses[0], losses[9]])
}

/// Runs it.
pub fn main() -> Result<()> {
    let [first, last] = on_slices()?;
    println!("on the CPU the loss goes from {first:.2} to {last:.2} in 10 steps");
    #[cfg(feature = "cuda")]
    match on_a_gpu() {
        Ok([first, last]) => println!("on the GPU from {first:.2} to {last:.2}"),
        Err(error) => println!("no GPU: {error}"),
    }
    Ok(())
}
