//! A residual function of one's own, as a list of links: what there is to say of it, then some steps of training. `cargo run --release
//! --example own_residual_function`.

use rewind::cpu::Cpu;
use rewind::device::{Activation, SgdStep};
use rewind::field::{Chain, Link, Links};
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::shape::Shape;

/// Twice: a batch norm, GELU, and a 3x3 convolution.
enum PreActivation {}

impl Links for PreActivation {
    fn links(channels: usize) -> Vec<Link> {
        let half = [Link::Norm, Link::Act(Activation::Gelu), Link::conv(3, channels)];
        half.repeat(2)
    }
}

/// Runs it.
pub fn main() -> rewind::Result<()> {
    println!("{}", rewind::check::<Chain<PreActivation>>(Shape::map(4, 6, 6, 8))?);
    let cpu = Cpu::new(None)?;
    let spec = NetSpec { depth: 16, batch: 32, ..NetSpec::default() };
    let mut net = Net::<_, Chain<PreActivation>>::build(&cpu, spec, Init::Paper, 0)?;
    let images: Vec<f32> = (0..32 * 32 * 32 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels: Vec<f32> = (0..32).map(|n| (n % 10) as f32).collect();
    net.load(&cpu, &images, &labels)?;
    for step in 1..=10 {
        let (batch, _) = net.train_step(&cpu, SgdStep { lr: 0.05, ..SgdStep::PAPER })?;
        println!("step {step:>2}: loss {:.3}", batch.loss);
    }
    Ok(())
}
