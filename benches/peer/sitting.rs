//! One sitting: the search for the peer's best setting, the rounds, and what only ours is asked for.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rewind::scheme::Scheme;
use rewind::sweep::Gradient;

use crate::measured::{Measured, extent, median};
use crate::ours::Ours;
use crate::results::{Ratio, Results, What};
use crate::rows::{Comparison, MEMORY, MEMORY_DEPTH, Net, ROUND, Row, Side, narrow};
use crate::torch::{Length, SETTINGS, Setting, Torch};

/// Depths over which a step's time should be linear, and within how much.
const LINEAR_DEPTHS: [usize; 4] = [16, 64, 256, 1024];
const LINEAR_WITHIN: f64 = 0.1;
/// Rounds of what only ours is asked for, at most.
const OWN_ROUNDS: usize = 3;
/// Seconds of a run in a quick sitting, and of one that searches the best setting.
const SHORT: f64 = 1.0;

/// Both programs, how often and how long they run, and where their figures go.
pub struct Sitting<'a> {
    pub ours: Ours<'a>,
    pub torch: Torch,
    pub threads: usize,
    pub rounds: usize,
    pub quick: bool,
    pub results: &'a mut Results,
}

/// The peer's fastest setting for a gradient.
struct Best {
    gradient: Gradient,
    setting: Setting,
}

impl Sitting<'_> {
    /// All rounds of a row and its ratios.
    pub fn row(&mut self, row: &Row) -> Result<Vec<Ratio>> {
        let net = self.shortened(row.net);
        let id = net.id();
        println!("\n{id}: scheme, channels, map, batch, depth");
        let mut best = Vec::new();
        for gradient in [Gradient::Adjoint, Gradient::Backprop] {
            if row.needs((Side::Peer, gradient)) {
                best.push(self.best_setting(&id, net, gradient)?);
            }
        }
        let mut runs = Vec::new();
        for round in 1..=self.rounds {
            for (side, gradient) in ROUND.into_iter().filter(|run| row.needs(*run)) {
                let run = match side {
                    Side::Ours => self.ours.run(net, gradient, self.ours.data, self.threads)?,
                    Side::Peer => {
                        let of = best.iter().find(|b| b.gradient == gradient);
                        let setting = of.context("every mode of the peer has its best setting")?.setting;
                        self.torch.run(net, gradient, setting, self.length(net))?
                    }
                };
                self.results.run(&id, round, &run)?;
                runs.push(run);
            }
        }
        let ratios: Vec<Ratio> = row.comparisons.iter().map(|c| step_ratio(&id, &runs, c)).collect();
        self.results.ratios(&ratios)?;
        Ok(ratios)
    }

    /// One short run of each setting. A setting that fails, such as one that needs a compiler, is told and left out.
    fn best_setting(&mut self, id: &str, net: Net, gradient: Gradient) -> Result<Best> {
        let length = Length { seconds: SHORT, min_steps: if net.is_slow() { 2 } else { 5 }, ..self.length(net) };
        let mut found: Vec<(Setting, Measured)> = Vec::new();
        for setting in SETTINGS {
            match self.torch.run(net, gradient, setting, length) {
                Ok(run) => {
                    self.results.run(id, 0, &run)?;
                    found.push((setting, run));
                }
                Err(error) => println!("  setting  torch  {gradient} ({}) left out: {error:#}", setting.name),
            }
        }
        let fastest = found.iter().min_by(|(_, a), (_, b)| a.step_ms.total_cmp(&b.step_ms));
        let Some((setting, _)) = fastest else {
            bail!("PyTorch ran {id} in no setting, see above");
        };
        Ok(Best { gradient, setting: *setting })
    }

    fn length(&self, net: Net) -> Length {
        let min_steps = if self.quick { 2 } else { 5 };
        Length { seconds: net.seconds, min_steps, warmup: if net.is_slow() { 1 } else { 3 } }
    }

    fn shortened(&self, net: Net) -> Net {
        if self.quick { Net { seconds: SHORT, ..net } } else { net }
    }

    /// Ours, adjoint, at depth 16: images per second on one thread and on all.
    pub fn images_a_second(&mut self, id: &str) -> Result<()> {
        let net = self.shortened(narrow(Scheme::Euler, 16, 3.0));
        println!("\n{id}: rewind's adjoint, {}", net.id());
        let mut counts = vec![1, self.threads];
        counts.dedup();
        let rounds = self.rounds.min(OWN_ROUNDS);
        let mut speeds = vec![Vec::new(); counts.len()];
        for round in 1..=rounds {
            for (threads, speeds) in counts.iter().zip(&mut speeds) {
                let run = self.ours.run(net, Gradient::Adjoint, self.ours.data, *threads)?;
                self.results.run(id, round, &run)?;
                speeds.push(net.batch as f64 / run.step_ms * 1e3);
            }
        }
        for (threads, speeds) in counts.iter().zip(&speeds) {
            let (middle, (low, high)) = (median(speeds), extent(speeds));
            let plural = if *threads == 1 { "" } else { "s" };
            println!("{middle:>10.0} images/s on {threads} thread{plural} ({low:.0} to {high:.0})");
            self.results.own(&net.id(), &format!("{threads} threads"), "images/s", middle, rounds)?;
        }
        Ok(())
    }

    /// Both, adjoint, at depth 256: peaks of resident memory of whole processes; ours on each data set, the peer in every
    /// setting. Both programs keep their data set in memory, which is most of what ours takes.
    pub fn memory(&mut self, id: &str) -> Result<Vec<Ratio>> {
        let net = Net { seconds: SHORT, ..narrow(Scheme::Euler, MEMORY_DEPTH, SHORT) };
        println!("\n{id}: adjoint, {}", net.id());
        let rounds = self.rounds.min(OWN_ROUNDS);
        let sets = [("built-in set", Path::new("synthetic")), ("CIFAR-10", self.ours.data)];
        let mut ours = sets.map(|_| Vec::new());
        let mut peer = SETTINGS.map(|_| Vec::new());
        let length = Length { seconds: SHORT, min_steps: 2, warmup: 1 };
        let mib = |run: &Measured| run.peak_rss_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
        for round in 1..=rounds {
            for ((_, data), peaks) in sets.iter().zip(&mut ours) {
                let run = self.ours.run(net, Gradient::Adjoint, data, self.threads)?;
                self.results.run(id, round, &run)?;
                peaks.extend(mib(&run));
            }
            for (setting, peaks) in SETTINGS.iter().zip(&mut peer) {
                match self.torch.run(net, Gradient::Adjoint, *setting, length) {
                    Ok(run) => {
                        self.results.run(id, round, &run)?;
                        peaks.extend(mib(&run));
                    }
                    Err(error) => println!("  setting  torch  adjoint ({}) left out: {error:#}", setting.name),
                }
            }
        }
        let mut ratios = Vec::new();
        for ((set, _), ours) in sets.iter().zip(&ours) {
            for (setting, peer) in SETTINGS.iter().zip(&peer) {
                if ours.is_empty() || ours.len() != peer.len() {
                    continue;
                }
                ratios.push(Ratio {
                    id: net.id(),
                    what: What::Memory,
                    ours: format!("adjoint, {set}"),
                    peer: format!("adjoint ({})", setting.name),
                    values: (median(ours), median(peer)),
                    ratios: peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect(),
                    at_least: MEMORY.0,
                    aim: MEMORY.1,
                });
            }
        }
        self.results.ratios(&ratios)?;
        Ok(ratios)
    }

    /// Ours, adjoint: the time of a block at four depths. The stem, the head and the drawing of the batch are in it, so that
    /// a shallow net's blocks look dearer.
    pub fn linear_in_depth(&mut self, id: &str) -> Result<()> {
        let rounds = self.rounds.min(OWN_ROUNDS);
        println!("\n{id}: rewind's adjoint, 16 channels, 10x10, batch 256; a step's time over its depth");
        let mut steps = LINEAR_DEPTHS.map(|_| Vec::new());
        for round in 1..=rounds {
            for (depth, steps) in LINEAR_DEPTHS.into_iter().zip(&mut steps) {
                let net = self.shortened(narrow(Scheme::Euler, depth, 3.0));
                let run = self.ours.run(net, Gradient::Adjoint, self.ours.data, self.threads)?;
                self.results.run(id, round, &run)?;
                steps.push(run.step_ms);
            }
        }
        let blocks: Vec<f64> = LINEAR_DEPTHS.iter().zip(&steps).map(|(d, ms)| median(ms) / *d as f64).collect();
        for (depth, (ms, all)) in LINEAR_DEPTHS.into_iter().zip(blocks.iter().zip(&steps)) {
            println!("{depth:>10} blocks: {ms:.3} ms per block, {:.1} ms per step", median(all));
            self.results.own(&narrow(Scheme::Euler, depth, 0.0).id(), "block", "ms", *ms, rounds)?;
        }
        let (low, high) = extent(&blocks);
        let spread = high / low - 1.0;
        let verdict = if spread <= LINEAR_WITHIN { "reached" } else { "missed" };
        println!("largest over smallest: {:.1} % more, asked for within 10 %: {verdict}", 100.0 * spread);
        self.results.own(id, "spread of a block's time", "fraction", spread, rounds)
    }
}

fn of(runs: &[Measured], side: Side, gradient: Gradient) -> Vec<&Measured> {
    runs.iter().filter(|run| run.side == side && run.gradient == gradient).collect()
}

/// The other run's time over ours, round by round.
fn step_ratio(id: &str, runs: &[Measured], c: &Comparison) -> Ratio {
    let (side, gradient) = c.other;
    let (ours, peer) = (of(runs, Side::Ours, c.ours), of(runs, side, gradient));
    let times = |runs: &[&Measured]| -> Vec<f64> { runs.iter().map(|run| run.step_ms).collect() };
    let (ours_ms, peer_ms) = (times(&ours), times(&peer));
    Ratio {
        id: id.into(),
        what: What::Step,
        ours: c.ours.to_string(),
        peer: match side {
            Side::Ours => format!("rewind's {gradient}"),
            Side::Peer => format!("{gradient} ({})", peer.first().map_or("", |run| run.setting)),
        },
        values: (median(&ours_ms), median(&peer_ms)),
        ratios: peer_ms.iter().zip(&ours_ms).map(|(peer, ours)| peer / ours).collect(),
        at_least: c.at_least,
        aim: c.aim,
    }
}
