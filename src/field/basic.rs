//! The paper's residual function as a field: its memory, its start, and whole blocks by the device's own operations.

use super::Field;
use super::chain::{Link, Links};
use crate::code::{Code, Coder};
pub use crate::device::Basic;
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::init::{self, BlockPlace, Init};
use crate::mask::relu_mask;
use crate::memory::{Arena, Category};
use crate::operands::{BasicCache, BasicRunning, BasicStats, BasicTheta, Carry, Scratch};
use crate::shape::Shape;
use crate::sweep::run::{BackRun, ForwardRun};
use crate::tensor::Tensor;

/// The same as links: the chain of them has Basic's bits on a device that works by the definitions.
pub enum BasicLinks {}

impl Links for BasicLinks {
    fn links(channels: usize) -> Vec<Link> {
        vec![Link::conv(3, channels), Link::Norm, Link::RELU, Link::conv(3, channels), Link::Norm]
    }
}

impl<D: Device> Field<D> for Basic {
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

    fn block_form(d: &D, map: Shape, runs: bool) -> Option<&'static str> {
        d.block_form(map, runs)
    }

    fn forward_run(d: &D, run: ForwardRun<'_, D, Self>) -> Result<bool> {
        d.forward_run(run)
    }

    fn back_run(d: &D, run: BackRun<'_, D, Self>) -> Result<bool> {
        d.back_run(run)
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
