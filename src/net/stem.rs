//! The stem: a convolution, its batch norm, a ReLU and, in some, max pooling between the images and the first stage.

use super::spec::NetSpec;
use super::trained::Trained;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::field::Tensors;
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
    /// The average of the running statistics over steps, if one is kept.
    pub running_average: Option<StemRunning<D>>,
    stats: BnStats<D::Buffer>,
    /// The images' convolution, kept for the backward.
    z: Tensor<D::Buffer>,
    pool: Option<Pool<D>>,
}

/// Max pooling between `u = relu(bn(z))` and the first stage.
struct Pool<D: Device> {
    window: Conv,
    /// Kept for the backward, whose last operation uses it up.
    u: Tensor<D::Buffer>,
    grad_u: Tensor<D::Buffer>,
}

impl<D: Device> StemLayers<D> {
    pub fn new(arena: &mut Arena<'_, D>, spec: &NetSpec) -> Result<Self> {
        let map = spec.stem_conv_map();
        let pool = spec.stem.pool().map(|window| {
            let (u, grad_u) = (arena.tensor(Category::Saved, map)?, arena.tensor(Category::Scratch, map)?);
            Ok::<_, Error>(Pool { window, u, grad_u })
        });
        let pool = pool.transpose()?;
        let theta = |category| {
            let conv = arena.tensor(category, spec.stem_weight())?;
            Ok(StemTheta { conv, bn: Affine::new(arena, category, map.c())? })
        };
        Ok(Self {
            conv: spec.stem.conv(),
            weights: Trained::new(spec.second_moments, spec.recipe, theta)?,
            running: StemRunning(BnRunning::new(arena, map.c())?),
            running_average: match spec.recipe.average {
                Some(_) => Some(StemRunning(BnRunning::new(arena, map.c())?)),
                None => None,
            },
            stats: BnStats::new(arena, Category::Statistics, map.c())?,
            z: arena.tensor(Category::Saved, map)?,
            pool,
        })
    }

    /// Elements of workspace that the device asks for.
    pub fn workspace(d: &D, spec: &NetSpec) -> usize {
        let map = spec.stem_conv_map();
        d.conv_workspace(spec.images(), spec.stem.conv(), map.c()).max(d.bn_workspace(map))
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
        let Self { z, pool, .. } = self;
        [z].into_iter().chain(pool.iter_mut().flat_map(|Pool { u, grad_u, .. }| [u, grad_u]))
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
        let Self { conv, weights: Trained { theta, .. }, running: StemRunning(running), stats, z, .. } = self;
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

    /// The output, from what the last forward pass left.
    pub fn output(&mut self, d: &D, y: &mut Tensor<D::Buffer>) -> Result<()> {
        let Self { z, stats, weights: Trained { theta, .. }, pool, .. } = self;
        match pool {
            None => d.norm_relu(z, stats, &theta.bn, y),
            Some(Pool { window, u, .. }) => {
                d.norm_relu(z, stats, &theta.bn, u)?;
                d.max_pool(u, *window, y)
            }
        }
    }

    /// The norm's gradients, from that of the output y, which becomes that of the ReLU's input where nothing is between them.
    pub fn grad_sums(
        &mut self,
        d: &D,
        y: &Tensor<D::Buffer>,
        grad: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        if self.pool.is_some() {
            return self.pool_grad_sums(d, grad, workspace);
        }
        d.relu_grad(y, grad)?;
        let Self { weights: Trained { grad: grad_theta, .. }, stats, z, .. } = self;
        // the norm's sums are its own gradients
        d.bn_grad_sums(grad, 1.0, z, stats, &mut grad_theta.bn, workspace)
    }

    /// The same back through the pooling.
    fn pool_grad_sums(&mut self, d: &D, grad: &Tensor<D::Buffer>, workspace: &mut D::Buffer) -> Result<()> {
        let Self { weights: Trained { theta, grad: grad_theta, .. }, stats, z, pool, .. } = self;
        let Some(Pool { window, u, grad_u }) = pool else { return Ok(()) };
        d.max_pool_grad(u, grad, *window, grad_u)?;
        d.norm_relu_grad_sums(z, stats, &theta.bn, None, u, grad_u, &mut grad_theta.bn, workspace)
    }

    /// As [`Self::grad_sums`]; and how far a reconstruction of the output is from it, `y`, which is worked out anew.
    pub fn output_grad_sums(
        &mut self,
        d: &D,
        of: Option<Reconstruction<'_, D::Buffer>>,
        y: &mut Tensor<D::Buffer>,
        grad: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        if let Some(Pool { window, u, .. }) = &self.pool {
            if let Some(of) = of {
                d.max_pool(u, *window, y)?;
                d.drift(of, y, workspace)?;
            }
            return self.pool_grad_sums(d, grad, workspace);
        }
        let Self { weights: Trained { theta, grad: grad_theta, .. }, stats, z, .. } = self;
        d.norm_relu_grad_sums(z, stats, &theta.bn, of, y, grad, &mut grad_theta.bn, workspace)
    }

    /// The convolution's gradient, from that of the output as the norm's gradients left it, and the norm's.
    pub fn backward(
        &mut self,
        d: &D,
        images: &Tensor<D::Buffer>,
        grad: &Tensor<D::Buffer>,
        grad_z: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        let Self { conv, weights: Trained { theta, grad: grad_theta, .. }, stats, z, pool, .. } = self;
        let StemTheta { conv: grad_w, bn: sums } = grad_theta;
        let (grad, grad_z) = match pool {
            None => (grad, grad_z),
            Some(Pool { u, grad_u, .. }) => (&*grad_u, u),
        };
        d.norm_conv_grad_w(images, *conv, grad, z, stats, &theta.bn, sums, grad_z, grad_w, workspace)
    }
}
