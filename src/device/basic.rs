//! The paper's residual function `f = BN2(conv2(relu(BN1(conv1(x)))))`, 3x3 convolutions, C to C, by the device's fused operations.

use super::{ResidualBlock, apply_mask};
use crate::error::Result;
use crate::memory::{Lent, Memory};
use crate::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, Measure, Scratch};
use crate::residual::{Evaluated, FieldScratch, Idle, Maps, Normalise, Residual, Tensors};
use crate::shape::Conv;
use crate::tensor::Tensor;

/// conv-BN-ReLU-conv-BN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {}

impl<D: Memory> Tensors<D> for BasicTheta<D::Buffer> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        BasicTheta::named(self).into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        BasicTheta::named_mut(self).into_iter()
    }
}

impl<D: Memory> Tensors<D> for BasicRunning<D::Buffer> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        BasicRunning::named(self).into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        BasicRunning::named_mut(self).into_iter()
    }
}

impl<D: Memory> Maps<D> for BasicStats<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.mask.iter_mut()
    }
}

impl<D: Memory> Maps<D> for BasicCache<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        [&mut self.z1, &mut self.z2].into_iter()
    }
}

impl<D: Memory> Maps<D> for Scratch<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.maps.iter_mut().chain([&mut self.grad_u])
    }
}

impl<D: Memory> FieldScratch<D> for Scratch<D::Buffer> {
    fn idle(&mut self) -> Idle<'_, D> {
        Idle { map: &mut self.grad_u, sums: &mut self.sums1, workspace: &mut self.workspace }
    }

    fn lent_mut(&mut self) -> impl Iterator<Item = Lent<'_, D::Buffer>> {
        let Self { maps, grad_u, sums1, sums2, workspace, workspace_len } = self;
        let sums = [sums1, sums2].into_iter().flat_map(Affine::both_mut);
        let tensors = maps.iter_mut().chain([grad_u]).chain(sums).map(Tensor::lent);
        tensors.chain([Lent { len: *workspace_len, buffer: workspace }])
    }
}

impl<D: ResidualBlock> Residual<D> for Basic {
    type Theta = BasicTheta<D::Buffer>;
    type Stats = BasicStats<D::Buffer>;
    type Running = BasicRunning<D::Buffer>;
    type Cache = BasicCache<D::Buffer>;
    type Scratch = Scratch<D::Buffer>;

    fn eval(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &BasicTheta<D::Buffer>,
        stats: &mut BasicStats<D::Buffer>,
        normalise: Normalise<'_, BasicRunning<D::Buffer>>,
        cache: &mut BasicCache<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        let BasicCache { z1, z2 } = cache;
        let BasicStats { bn1, bn2, mask } = stats;
        let given = matches!(normalise, Normalise::Given);
        let (measure1, measure2) = match normalise {
            Normalise::Given => (None, None),
            Normalise::Batch(running) => {
                let (running1, running2) = running.map_or((None, None), |r| (Some(&mut r.bn1), Some(&mut r.bn2)));
                (Some(Measure { stats: bn1, running: running1 }), Some(Measure { stats: bn2, running: running2 }))
            }
        };
        d.conv_stats(x, &theta.conv1, Conv::SAME_3X3, z1, measure1, &mut scratch.workspace)?;
        if let Some(mask) = mask {
            apply_mask(d, given, mask, &stats.bn1, &theta.bn1, z1)?;
        }
        d.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure2, scratch)
    }

    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()> {
        d.norm_step(x, h, &cache.z2, &stats.bn2, &theta.bn2, y)
    }

    fn advance_acc(
        d: &D,
        h: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.norm_step_acc(h, &cache.z2, &stats.bn2, &theta.bn2, x_acc, scratch)
    }

    fn vjp_outer(
        d: &D,
        grad_f: &Tensor<D::Buffer>,
        scale: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        grad_theta_acc: &mut BasicTheta<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.basic_vjp_outer(grad_f, scale, theta, stats, cache, grad_theta_acc, scratch)
    }

    fn vjp_inner(
        d: &D,
        x: &Tensor<D::Buffer>,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        grad_theta_acc: &mut BasicTheta<D::Buffer>,
        grad_x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.basic_vjp_inner(x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch)
    }

    fn last_norm(theta: &BasicTheta<D::Buffer>) -> Option<&Affine<D::Buffer>> {
        Some(&theta.bn2)
    }
}
