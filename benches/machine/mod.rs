//! What this machine can do at best, measured: multiply-adds in registers, and copying through memory. The benches print
//! their results as fractions of it.

mod copy;
mod fma;

use std::fmt;
use std::sync::Barrier;
use std::time::Instant;

use rewind::cpu::Cpu;

/// The measured peak. Rates are the best of several rounds: what disturbs a round only ever slows it down.
pub struct Peak {
    /// The vector unit that multiplied.
    unit: &'static str,
    threads: usize,
    /// FLOP a second on one thread.
    pub flop_one: f64,
    /// FLOP a second on all threads of the pool at once.
    pub flop: f64,
    /// Bytes read and written a second, by all threads of the pool.
    pub bytes: f64,
    /// Bytes of each of the two buffers that were copied between.
    buffer_bytes: usize,
}

impl Peak {
    /// Measures in the device's pool, in 2 to 3 seconds, or in a moment if `quick`: then the figures mean nothing.
    pub fn measure(cpu: &Cpu, quick: bool) -> Self {
        let (rounds, chain_steps) = if quick { (1, 1_000) } else { (20, 2_000_000) };
        let unit = fma::Unit::widest();
        let threads = cpu.threads();
        let flop_per_thread = unit.flop(chain_steps) as f64;
        let flop_one = best(rounds, || {
            let start = Instant::now();
            unit.multiply_add(chain_steps);
            flop_per_thread / start.elapsed().as_secs_f64()
        });
        let flop = best(rounds, || threads as f64 * flop_per_thread / slowest(cpu, |_| unit.multiply_add(chain_steps)));
        let mut buffers = copy::Buffers::new(quick);
        let buffer_bytes = buffers.bytes();
        let bytes = best(rounds, || {
            let parts = buffers.parts(threads);
            2.0 * buffer_bytes as f64 / slowest(cpu, |thread| parts.copy(thread))
        });
        Self { unit: unit.name(), threads, flop_one, flop, bytes, buffer_bytes }
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, threads, flop_one, flop, bytes, buffer_bytes } = self;
        writeln!(f, "machine: {:.0} GFLOP/s multiply-add on 1 thread ({unit})", flop_one / 1e9)?;
        writeln!(f, "         {:.0} GFLOP/s on {threads} (the FMA peak below)", flop / 1e9)?;
        let mib = buffer_bytes >> 20;
        write!(f, "         {:.1} GB/s read and written by a copy of {mib} MiB on {threads}", bytes / 1e9)
    }
}

fn best(rounds: usize, mut rate: impl FnMut() -> f64) -> f64 {
    (0..rounds).map(|_| rate()).fold(0.0, f64::max)
}

/// Runs `work` on every thread of the pool, all starting together, and gives the seconds that the slowest took.
fn slowest(cpu: &Cpu, work: impl Fn(usize) + Sync) -> f64 {
    let start_line = Barrier::new(cpu.threads());
    let seconds = cpu.install(|| {
        rayon::broadcast(|thread| {
            start_line.wait();
            let start = Instant::now();
            work(thread.index());
            start.elapsed().as_secs_f64()
        })
    });
    seconds.into_iter().fold(0.0, f64::max)
}
