//! The stem: a convolution, its batch norm and a ReLU between the images and the first stage.

use super::spec::NetSpec;
use super::trained::Trained;
use crate::device::Device;
use crate::error::Result;
use crate::field::{Idle, Tensors};
use crate::init::{self, Draw};
use crate::memory::{Arena, Category};
use crate::operands::{Affine, BnRunning, BnStats, Measure, Reconstruction};
use crate::scheme::Statistics;
use crate::shape::Conv;
use crate::tensor::Tensor;

/// What stands before the names of the stem's tensors.
pub(super) const NAME: &str = "stem.";

/// The stem's weights, or their gradients, or their velocities.
pub(super) struct StemTheta<D: Device> {
    /// `[K, K, C_in, C_out]`.
    conv: Tensor<D::Buffer>,
    bn: Affine<D::Buffer>,
}

impl<D: Device> Tensors<D> for StemTheta<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        let Self { conv, bn } = self;
        [("conv.weight", conv), ("bn.weight", &bn.gamma), ("bn.bias", &bn.beta)].into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        let Self { conv, bn } = self;
        [("conv.weight", conv), ("bn.weight", &mut bn.gamma), ("bn.bias", &mut bn.beta)].into_iter()
    }
}

/// The stem's running statistics.
pub(super) struct StemRunning<D: Device>(BnRunning<D::Buffer>);

impl<D: Device> Tensors<D> for StemRunning<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        let BnRunning { mean, var } = &self.0;
        [("bn.running_mean", mean), ("bn.running_var", var)].into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        let BnRunning { mean, var } = &mut self.0;
        [("bn.running_mean", mean), ("bn.running_var", var)].into_iter()
    }
}

/// The stem, and all memory that training it takes.
pub(super) struct StemLayers<D: Device> {
    conv: Conv,
    pub weights: Trained<StemTheta<D>>,
    pub running: StemRunning<D>,
    stats: BnStats<D::Buffer>,
    /// The images' convolution, kept for the backward; the stem's output is `relu(bn(.))` of it.
    z: Tensor<D::Buffer>,
}

impl<D: Device> StemLayers<D> {
    pub fn new(arena: &mut Arena<'_, D>, spec: &NetSpec) -> Result<Self> {
        let map = spec.stem_map();
        let theta = |category| {
            let conv = arena.tensor(category, spec.stem_weight())?;
            Ok(StemTheta { conv, bn: Affine::new(arena, category, map.c())? })
        };
        Ok(Self {
            conv: spec.stem_conv(),
            weights: Trained::new(theta)?,
            running: StemRunning(BnRunning::new(arena, map.c())?),
            stats: BnStats::new(arena, Category::Statistics, map.c())?,
            z: arena.tensor(Category::Saved, map)?,
        })
    }

    /// Elements of workspace that the device asks for.
    pub fn workspace(d: &D, spec: &NetSpec) -> usize {
        let map = spec.stem_map();
        d.conv_workspace(spec.images(), spec.stem_conv(), map.c()).max(d.bn_workspace(map))
    }

    /// Weights and running statistics at the start.
    pub fn initialise(&mut self, d: &D, seed: u64) -> Result<()> {
        let Self { weights: Trained { theta, .. }, running, .. } = self;
        init::conv(d, seed, Draw::Stem, &mut theta.conv)?;
        init::affine(d, 1.0, 0.0, &mut theta.bn)?;
        init::running(d, &mut running.0)
    }

    /// The maps whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        [&mut self.z].into_iter()
    }

    /// From the images to `y`.
    pub fn forward(
        &mut self,
        d: &D,
        images: &Tensor<D::Buffer>,
        statistics: Statistics,
        y: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        let Self { conv, weights: Trained { theta, .. }, running: StemRunning(running), stats, z } = self;
        let measure = match statistics {
            Statistics::Running => {
                d.bn_running_stats(running, stats)?;
                None
            }
            Statistics::Saved => None,
            Statistics::Measure => Some(Measure { stats, running: None }),
            Statistics::MeasureAndRun => Some(Measure { stats, running: Some(running) }),
        };
        d.conv_stats(images, &theta.conv, *conv, z, measure, workspace)?;
        self.output(d, y)
    }

    /// `y = relu(bn(z))` from what the last forward pass left.
    pub fn output(&self, d: &D, y: &mut Tensor<D::Buffer>) -> Result<()> {
        d.norm_relu(&self.z, &self.stats, &self.weights.theta.bn, y)
    }

    /// The norm's gradients, from that of the ReLU's input.
    pub fn grad_sums(&mut self, d: &D, grad: &Tensor<D::Buffer>, workspace: &mut D::Buffer) -> Result<()> {
        let Self { weights: Trained { grad: grad_theta, .. }, stats, z, .. } = self;
        // the norm's sums are its own gradients
        d.bn_grad_sums(grad, 1.0, z, stats, &mut grad_theta.bn, workspace)
    }

    /// The same from that of the output, which becomes that of the ReLU's input; and how far a reconstruction of the output is from it,
    /// `y`.
    pub fn output_grad_sums(
        &mut self,
        d: &D,
        of: Option<Reconstruction<'_, D::Buffer>>,
        y: &mut Tensor<D::Buffer>,
        grad: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        let Self { weights: Trained { theta, grad: grad_theta, .. }, stats, z, .. } = self;
        d.norm_relu_grad_sums(z, stats, &theta.bn, of, y, grad, &mut grad_theta.bn, workspace)
    }

    /// The convolution's gradient, from that of the ReLU's input and the norm's.
    pub fn backward(
        &mut self,
        d: &D,
        images: &Tensor<D::Buffer>,
        grad: &Tensor<D::Buffer>,
        Idle { map: grad_z, workspace, .. }: Idle<'_, D>,
    ) -> Result<()> {
        let Self { conv, weights: Trained { theta, grad: grad_theta, .. }, stats, z, .. } = self;
        let StemTheta { conv: grad_w, bn: sums } = grad_theta;
        d.norm_conv_grad_w(images, *conv, grad, z, stats, &theta.bn, sums, grad_z, grad_w, workspace)
    }
}
