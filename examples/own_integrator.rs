//! An integrator of one's own, as a Butcher tableau: Kutta's method of third order. `cargo run --release --example own_integrator`.

use rewind::cpu::Cpu;
use rewind::device::SgdStep;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::scheme::{Scheme, Tableau};
use rewind::sweep::{Gradient, SweepSpec};

/// Three stages over three neighbouring blocks; the next step begins with the last of them.
static KUTTA: Tableau = Tableau {
    name: "kutta",
    net: "Kutta's net",
    a: &[&[], &[0.5], &[-1.0, 2.0]],
    b: &[1.0 / 6.0, 2.0 / 3.0, 1.0 / 6.0],
    theta: &[0, 1, 2],
    stride: 2,
};

/// Runs it.
pub fn main() -> rewind::Result<()> {
    let cpu = Cpu::new(None)?;
    let sweep = SweepSpec::new(Scheme::Own(&KUTTA), Gradient::Corrected);
    let mut net = Net::new(&cpu, NetSpec { depth: 17, batch: 32, sweep, ..NetSpec::default() }, Init::Paper, 0)?;
    let images: Vec<f32> = (0..32 * 32 * 32 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels: Vec<f32> = (0..32).map(|n| (n % 10) as f32).collect();
    net.load(&cpu, &images, &labels)?;
    for step in 1..=10 {
        let (batch, drift) = net.train_step(&cpu, SgdStep { lr: 0.05, ..SgdStep::PAPER })?;
        println!("step {step:>2}: loss {:.3}, drift {:.1e}", batch.loss, drift.stem.unwrap_or(0.0));
    }
    Ok(())
}
