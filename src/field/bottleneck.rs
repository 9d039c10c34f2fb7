//! The bottleneck `f = BN3(conv3(relu(BN2(conv2(relu(BN1(conv1(x))))))))`: 1x1 to a quarter of the channels, 3x3 there, 1x1 back.

use super::chain::{self, ChainCache, ChainRunning, ChainScratch, ChainStats, ChainTheta, Link};
use super::{Field, FieldBytes, FieldScratch, Idle, Maps, Normalise};
use crate::device::Device;
use crate::error::Result;
use crate::init::{BlockPlace, Draw, Init};
use crate::memory::{Arena, Category};
use crate::operands::Affine;
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {}

/// Channels of the state for one channel inside.
pub const EXPANSION: usize = 4;

impl Bottleneck {
    /// The three layers from and to maps of `channels`. The 3x3 convolution may step.
    pub const fn links(channels: usize, conv3x3: Conv) -> [Link; 3] {
        // a state of fewer channels than the expansion has one inside
        let inner = if channels < EXPANSION { 1 } else { channels / EXPANSION };
        [
            Link { conv: Conv::POINTWISE, channels: inner },
            Link { conv: conv3x3, channels: inner },
            Link { conv: Conv::POINTWISE, channels },
        ]
    }

    /// The layers of a residual block.
    const fn residual(map: Shape) -> [Link; 3] {
        Self::links(map.c(), Conv::SAME_3X3)
    }
}

const LAST: usize = 2;

/// Scratch memory of the bottleneck.
pub struct BottleneckScratch<D: Device> {
    chain: ChainScratch<D>,
    workspace: D::Buffer,
}

impl<D: Device> Maps<D> for BottleneckScratch<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.chain.maps_mut()
    }
}

impl<D: Device> FieldScratch<D> for BottleneckScratch<D> {
    fn idle(&mut self) -> Idle<'_, D> {
        let ChainScratch { grad_z, sums, .. } = &mut self.chain;
        Idle { map: &mut grad_z[LAST], sums: &mut sums[LAST], workspace: &mut self.workspace }
    }
}

impl<D: Device> Field<D> for Bottleneck {
    type Theta = ChainTheta<D>;
    type Stats = ChainStats<D>;
    type Running = ChainRunning<D>;
    type Cache = ChainCache<D>;
    type Scratch = BottleneckScratch<D>;

    fn first_links(channels: usize, stride: usize) -> Vec<Link> {
        Self::links(channels, Conv { stride, ..Conv::SAME_3X3 }).into()
    }

    fn theta(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<ChainTheta<D>> {
        ChainTheta::new(arena, category, &Self::residual(map), map)
    }

    fn stats(arena: &mut Arena<'_, D>, category: Category, map: Shape, masks: bool) -> Result<ChainStats<D>> {
        let links = Self::residual(map);
        let stats = ChainStats::new(arena, category, &links)?;
        if masks { stats.with_masks(arena, &links, map) } else { Ok(stats) }
    }

    fn running(arena: &mut Arena<'_, D>, map: Shape) -> Result<ChainRunning<D>> {
        ChainRunning::new(arena, &Self::residual(map))
    }

    fn cache(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<ChainCache<D>> {
        ChainCache::new(arena, category, &Self::residual(map), map)
    }

    fn scratch(arena: &mut Arena<'_, D>, map: Shape, workspace: usize) -> Result<BottleneckScratch<D>> {
        Ok(BottleneckScratch {
            chain: ChainScratch::new(arena, &Self::residual(map), map)?,
            workspace: arena.tensor(Category::Scratch, Shape::vector(workspace))?.buffer,
        })
    }

    fn workspace(d: &D, map: Shape) -> usize {
        chain::workspace(d, &Self::residual(map), map)
    }

    fn bytes(map: Shape) -> FieldBytes {
        chain::bytes::<D>(&Self::residual(map), map)
    }

    fn initialise(
        d: &D,
        init: Init,
        seed: u64,
        at: BlockPlace,
        theta: &mut ChainTheta<D>,
        running: &mut ChainRunning<D>,
    ) -> Result<()> {
        let drawn = at.drawn_by(init);
        chain::initialise(d, seed, |conv| Draw::Block(drawn, conv), init.last_gamma(), theta, running)
    }

    fn running_stats(d: &D, running: &ChainRunning<D>, stats: &mut ChainStats<D>) -> Result<()> {
        chain::running_stats(d, running, stats)
    }

    fn eval(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &ChainTheta<D>,
        stats: &mut ChainStats<D>,
        normalise: Normalise<'_, ChainRunning<D>>,
        cache: &mut ChainCache<D>,
        scratch: &mut BottleneckScratch<D>,
    ) -> Result<()> {
        chain::eval(d, x, theta, stats, normalise, cache, &mut scratch.chain, &mut scratch.workspace)
    }

    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        theta: &ChainTheta<D>,
        stats: &ChainStats<D>,
        cache: &ChainCache<D>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()> {
        chain::advance(d, x, h, theta, stats, cache, y)
    }

    fn advance_acc(
        d: &D,
        h: f64,
        theta: &ChainTheta<D>,
        stats: &ChainStats<D>,
        cache: &ChainCache<D>,
        x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut BottleneckScratch<D>,
    ) -> Result<()> {
        let f = scratch.idle().map;
        chain::value(d, theta, stats, cache, f)?;
        d.axpby(h, f, 1.0, x_acc)
    }

    fn last_norm(theta: &ChainTheta<D>) -> Option<&Affine<D::Buffer>> {
        theta.layers.last().map(|layer| &layer.bn)
    }

    fn vjp_outer(
        d: &D,
        grad_f: &Tensor<D::Buffer>,
        scale: f64,
        theta: &ChainTheta<D>,
        stats: &ChainStats<D>,
        cache: &ChainCache<D>,
        _grad_theta_acc: &mut ChainTheta<D>,
        scratch: &mut BottleneckScratch<D>,
    ) -> Result<()> {
        chain::vjp_outer(d, grad_f, scale, theta, stats, cache, &mut scratch.chain, &mut scratch.workspace)
    }

    fn vjp_inner(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &ChainTheta<D>,
        stats: &ChainStats<D>,
        cache: &ChainCache<D>,
        grad_theta_acc: &mut ChainTheta<D>,
        grad_x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut BottleneckScratch<D>,
    ) -> Result<()> {
        let BottleneckScratch { chain, workspace } = scratch;
        chain::vjp_inner(d, x, theta, stats, cache, grad_theta_acc, chain, workspace)?;
        // the last convolution's cotangent is done with, and state-shaped
        let [first, _, grad_x] = &mut chain.grad_z[..] else { unreachable!("a bottleneck has three layers") };
        d.conv_grad_x(first, &theta.layers[0].conv, Conv::POINTWISE, grad_x, workspace)?;
        d.axpby(1.0, grad_x, 1.0, grad_x_acc)
    }
}
