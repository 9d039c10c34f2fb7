//! How far each gradient mode is from exact backprop, on one batch and one set of weights.

pub mod errors;
pub mod mode;

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::errors::{ModeErrors, compare};
use self::mode::Mode;
use crate::cpu::Cpu;
use crate::data::augment::augment;
use crate::data::{CHANNELS, Dataset, EpochSpec, IMAGE, IMAGE_LEN, Place};
use crate::device::{Device, SgdStep};
use crate::error::Result;
use crate::init::Init;
use crate::net::{Body, Drift, Net, NetSpec, Stem};
use crate::paper::cells::Cell;
use crate::reference::Reference;
use crate::scheme::{Scheme, StepSize};
use crate::sweep::{BnStatistics, Gradient, SweepSpec, Update};
use crate::tensor::Real;

/// The numbers that a gradient is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// By the CPU device.
    F32,
    /// By the reference, which is slow.
    F64,
}

impl Precision {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Time of an operation, in that of f32.
    const fn slowness(self) -> f64 {
        match self {
            Self::F32 => 1.0,
            Self::F64 => 60.0,
        }
    }
}

/// A net and a batch. Every block's second batch norm has gamma = 1: at the paper's start it is 0, all residual functions with
/// it, and so is every mode's error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientSpec {
    /// Residual functions N.
    pub depth: usize,
    /// The scheme.
    pub scheme: Scheme,
    /// The weights.
    pub init: Init,
    /// Statistics of the sweep's recomputations.
    pub bn_stats: BnStatistics,
    /// Of every number.
    pub precision: Precision,
    /// Decides weights and batch.
    pub seed: u64,
    /// Images.
    pub batch: usize,
    /// Channels of the residual stack.
    pub channels: usize,
    /// The data set's name and fingerprint.
    pub data: String,
}

impl Cell for GradientSpec {
    type Result = Vec<ModeErrors>;

    fn key(&self) -> String {
        let init = match self.init {
            Init::Paper => "random",
            Init::Smooth => "smooth",
            Init::Plain => "plain",
        };
        let statistics = match self.bn_stats {
            BnStatistics::Saved => "saved",
            BnStatistics::Batch => "batch",
        };
        let Self { scheme, precision, seed, depth, .. } = self;
        format!("{scheme}-{init}-{statistics}-{}-seed{seed}-depth{depth:04}", precision.name())
    }

    fn work(&self) -> f64 {
        let evaluations: f64 = Mode::ALL.iter().map(|mode| mode.evaluations()).sum();
        (self.depth * self.batch * self.scheme.stages()) as f64 * evaluations * self.precision.slowness()
    }
}

impl GradientSpec {
    fn net(&self, sweep: SweepSpec, classes: usize) -> NetSpec {
        let Self { depth, channels, batch, .. } = *self;
        let (stem, image, image_channels) = (Stem::Strided5x5, IMAGE, CHANNELS);
        let (step_size, body) = (StepSize::OverDepth, Body::default());
        NetSpec { depth, channels, batch, stem, image, image_channels, classes, step_size, sweep, body }
    }

    /// Every mode's distance from backprop; none if it was told to stop.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn run(&self, cpu: &Cpu, dataset: &Dataset, stop: &AtomicBool) -> Result<Option<Vec<ModeErrors>>> {
        let (images, labels) = self.images(dataset);
        let batch = Batch { spec: self, classes: dataset.classes, images: &images, labels: &labels };
        let exact = SweepSpec { bn_stats: self.bn_stats, ..SweepSpec::new(self.scheme, Gradient::Backprop) };
        let of_mode = |mode: Mode, gradients: &dyn Fn(SweepSpec) -> Result<Gradients>, exact: &[Gradient64]| {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let sweep = SweepSpec { bn_stats: self.bn_stats, ..mode.sweep(self.scheme, self.depth) };
            let (found, drift) = gradients(sweep)?;
            Ok(Some(compare(mode, &found, exact, drift)))
        };
        match self.precision {
            Precision::F32 => cpu.install(|| {
                let gradients = |sweep| batch.gradients(cpu, sweep);
                let (exact, _) = gradients(exact)?;
                Mode::ALL.into_iter().map(|mode| of_mode(mode, &gradients, &exact)).collect()
            }),
            // the reference computes on one thread, so the modes share the machine
            Precision::F64 => cpu.install(|| {
                let gradients = |sweep| batch.gradients(&Reference, sweep);
                let (exact, _) = gradients(exact)?;
                Mode::ALL.into_par_iter().map(|mode| of_mode(mode, &gradients, &exact)).collect()
            }),
        }
    }

    /// The first batch of the seed's first epoch, cropped and mirrored as in training.
    fn images(&self, dataset: &Dataset) -> (Vec<f32>, Vec<f32>) {
        let mut places = vec![Place::default(); dataset.train.len()];
        EpochSpec { seed: self.seed, augment: true }.draw(0, &mut places);
        let mut images = vec![0.0; self.batch * IMAGE_LEN];
        let places = &places[..self.batch];
        for (place, image) in places.iter().zip(images.chunks_exact_mut(IMAGE_LEN)) {
            augment(dataset.train.image(place.index as usize), place.change(), image);
        }
        let labels = places.iter().map(|place| f32::from(dataset.train.labels[place.index as usize])).collect();
        (images, labels)
    }
}

/// One tensor's gradient: its name, and its values.
pub type Gradient64 = (String, Vec<f64>);
/// All gradients of the residual blocks, and what the sweep told of its drift.
type Gradients = (Vec<Gradient64>, Drift);

struct Batch<'a> {
    spec: &'a GradientSpec,
    classes: usize,
    images: &'a [f32],
    labels: &'a [f32],
}

impl Batch<'_> {
    fn gradients<D: Device>(&self, d: &D, sweep: SweepSpec) -> Result<Gradients> {
        // the gradients are to be read, and the weights to stay
        let sweep = SweepSpec { update: Update::After, ..sweep };
        let nothing = SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0 };
        let mut net = Net::new(d, self.spec.net(sweep, self.classes), self.spec.init, self.spec.seed)?;
        for theta in &mut net.stages[0].stack.theta {
            d.fill(1.0, &mut theta.bn2.gamma)?;
        }
        let rounded = |values: &[f32]| values.iter().map(|v| D::Real::from_f64(f64::from(*v))).collect::<Vec<_>>();
        net.load(d, &rounded(self.images), &rounded(self.labels))?;
        net.forward(d)?;
        let drift = net.backward(d, nothing)?;
        let blocks = net.gradients().into_iter().filter(|(name, _)| name.starts_with("blocks."));
        let read = blocks.map(|(name, tensor)| {
            let mut values = vec![D::Real::default(); tensor.shape().len()];
            d.download(tensor, &mut values)?;
            Ok((name, values.into_iter().map(Real::to_f64).collect()))
        });
        Ok((read.collect::<Result<_>>()?, drift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;

    #[test]
    fn errors_fall_with_passes_and_both_precisions_agree() {
        let dataset = synthetic::generate(0);
        let cpu = Cpu::new(Some(1)).expect("cpu");
        let run = |precision| {
            let spec = GradientSpec {
                depth: 8,
                scheme: Scheme::Euler,
                init: Init::Paper,
                bn_stats: BnStatistics::Saved,
                precision,
                seed: 1,
                batch: 8,
                channels: 4,
                data: String::new(),
            };
            spec.run(&cpu, &dataset, &AtomicBool::new(false)).expect("gradients").expect("nobody stops it")
        };
        let (f32s, f64s) = (run(Precision::F32), run(Precision::F64));
        for (a, b) in f32s.iter().zip(&f64s) {
            // a ReLU's input may round to the other side of 0; the errors themselves are 1e-3 and more
            assert!(a.mode == b.mode && (a.error - b.error).abs() < 0.02 * b.error + 1e-4, "{a:?} {b:?}");
            assert_eq!(b.blocks.len(), 8);
        }
        let error = |mode| f64s.iter().find(|of| of.mode == mode).expect("compared").error;
        assert!(error(Mode::Corrected) < error(Mode::Adjoint));
        assert!(error(Mode::FixedPoint2) < error(Mode::FixedPoint1) && error(Mode::FixedPoint1) < error(Mode::Adjoint));
        assert!(error(Mode::FixedPoint3) < error(Mode::FixedPoint2) && error(Mode::AnchorsEach) < error(Mode::Adjoint));
    }
}
