//! The paper's residual function `f = BN2(conv2(relu(BN1(conv1(x)))))`, 3x3 convolutions, C to C, by the device's fused
//! operations.

use super::chain::{Link, Links};
use super::{Evaluated, Field, FieldScratch, Idle, Maps, Normalise, Tensors, apply_mask};
use crate::code::{Code, Coder};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::init::{self, BlockPlace, Init};
use crate::mask::relu_mask;
use crate::memory::{Arena, Category};
use crate::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, Carry, Measure, Scratch};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// conv-BN-ReLU-conv-BN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {}

/// The same as links: the chain of them has Basic's bits on a device that works by the definitions.
pub enum BasicLinks {}

impl Links for BasicLinks {
    fn links(channels: usize) -> Vec<Link> {
        vec![Link::conv(3, channels), Link::Norm, Link::RELU, Link::conv(3, channels), Link::Norm]
    }
}

impl<D: Device> Tensors<D> for BasicTheta<D::Buffer> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        BasicTheta::named(self).into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        BasicTheta::named_mut(self).into_iter()
    }
}

impl<D: Device> Tensors<D> for BasicRunning<D::Buffer> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        BasicRunning::named(self).into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        BasicRunning::named_mut(self).into_iter()
    }
}

impl<D: Device> Maps<D> for BasicStats<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.mask.iter_mut()
    }
}

impl<D: Device> Maps<D> for BasicCache<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        [&mut self.z1, &mut self.z2].into_iter()
    }
}

impl<D: Device> Maps<D> for Scratch<D::Buffer> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.maps.iter_mut().chain([&mut self.grad_u])
    }
}

impl<D: Device> FieldScratch<D> for Scratch<D::Buffer> {
    fn idle(&mut self) -> Idle<'_, D> {
        Idle { map: &mut self.grad_u, sums: &mut self.sums1, workspace: &mut self.workspace }
    }
}

impl<D: Device> Field<D> for Basic {
    type Theta = BasicTheta<D::Buffer>;
    type Stats = BasicStats<D::Buffer>;
    type Running = BasicRunning<D::Buffer>;
    type Cache = BasicCache<D::Buffer>;
    type Scratch = Scratch<D::Buffer>;

    fn first_links(channels: usize, stride: usize) -> Vec<Link> {
        BasicLinks::first_links(channels, stride)
    }

    fn theta(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<BasicTheta<D::Buffer>> {
        BasicTheta::new(arena, category, map.c())
    }

    fn stats(arena: &mut Arena<'_, D>, category: Category, map: Shape, masks: bool) -> Result<BasicStats<D::Buffer>> {
        let mask = masks.then(|| relu_mask(arena, map)).transpose()?;
        Ok(BasicStats { mask, ..BasicStats::new(arena, category, map.c())? })
    }

    fn running(arena: &mut Arena<'_, D>, map: Shape) -> Result<BasicRunning<D::Buffer>> {
        BasicRunning::new(arena, map.c())
    }

    fn cache(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<BasicCache<D::Buffer>> {
        BasicCache::new(arena, category, map)
    }

    fn scratch(arena: &mut Arena<'_, D>, map: Shape, workspace: usize) -> Result<Scratch<D::Buffer>> {
        let workspace = workspace.max(arena.device().block_workspace(map));
        Scratch::new(arena, map, D::SCRATCH_MAPS, workspace)
    }

    fn initialise(
        d: &D,
        init: Init,
        seed: u64,
        at: BlockPlace,
        theta: &mut BasicTheta<D::Buffer>,
        running: &mut BasicRunning<D::Buffer>,
    ) -> Result<()> {
        init::block(d, init, seed, at, theta, running)
    }

    fn running_stats(d: &D, running: &BasicRunning<D::Buffer>, stats: &mut BasicStats<D::Buffer>) -> Result<()> {
        d.bn_running_stats(&running.bn1, &mut stats.bn1)?;
        d.bn_running_stats(&running.bn2, &mut stats.bn2)
    }

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

    fn euler_step(
        d: &D,
        h: f64,
        theta: &BasicTheta<D::Buffer>,
        stats: &mut BasicStats<D::Buffer>,
        running: Option<&mut BasicRunning<D::Buffer>>,
        x: &mut Tensor<D::Buffer>,
        cache: &mut BasicCache<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.euler_step(h, theta, stats, running, x, cache, scratch)
    }

    fn last_norm(theta: &BasicTheta<D::Buffer>) -> Option<&Affine<D::Buffer>> {
        Some(&theta.bn2)
    }

    fn code_step(
        d: &D,
        h: f64,
        theta: &BasicTheta<D::Buffer>,
        stats: &mut BasicStats<D::Buffer>,
        running: Option<&mut BasicRunning<D::Buffer>>,
        coder: &mut Coder<D::Buffer>,
        code: &mut Code<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        carry: &mut Tensor<D::Buffer>,
        cache: &mut BasicCache<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.code_step(h, theta, stats, running, coder, code, x, carry, cache, scratch)
    }

    fn decode_vjp(
        d: &D,
        h: f64,
        theta: &BasicTheta<D::Buffer>,
        stats: &mut BasicStats<D::Buffer>,
        coder: &Coder<D::Buffer>,
        code: &Code<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        cache: &mut BasicCache<D::Buffer>,
        grad_x: &mut Tensor<D::Buffer>,
        grad_theta: &mut BasicTheta<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.decode_vjp(h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
    }

    fn inverse_vjp(
        d: &D,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<D::Buffer>,
        stats: &mut BasicStats<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        x_rec: &mut Tensor<D::Buffer>,
        errors: (&mut Tensor<D::Buffer>, usize),
        cache: &mut BasicCache<D::Buffer>,
        grad_x: &mut Tensor<D::Buffer>,
        grad_theta: &mut BasicTheta<D::Buffer>,
        scratch: &mut Scratch<D::Buffer>,
    ) -> Result<()> {
        d.inverse_vjp(h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
    }

    fn sgd(
        d: &D,
        step: Sgd<'_, D::Buffer>,
        grad: &BasicTheta<D::Buffer>,
        velocity: &mut BasicTheta<D::Buffer>,
        theta: &mut BasicTheta<D::Buffer>,
    ) -> Result<()> {
        d.sgd_block(step, grad, velocity, theta)
    }
}
