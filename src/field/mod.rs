//! Residual functions f: their evaluation and their VJP. A field owns nothing between calls: weights, statistics, caches and
//! scratch memory are handed in.

pub mod basic;
pub mod bottleneck;
pub mod chain;
pub mod linear;
pub mod pre_activation;

pub use basic::Basic;
pub use bottleneck::Bottleneck;
pub use chain::{Chain, Link, Links};
pub use linear::Linear;
pub use pre_activation::PreActivation;

use crate::code::{Code, Coder};
use crate::device::{Device, Sgd, whole};
use crate::error::Result;
use crate::init::{BlockPlace, Init};
use crate::memory::{Arena, Category};
use crate::operands::Carry;
pub use crate::residual::{Evaluated, FieldScratch, Idle, Maps, Normalise, Residual, Tensors};
use crate::shape::Shape;
use crate::sweep::run::{BackRun, ForwardRun};
use crate::tensor::Tensor;

/// A residual function f(x, theta) on states `[N, H, W, C]`, as nets are made of it: its memory, its start, and the operations that
/// cover a whole block, which a field may hand to the device. Their default bodies are those of [`crate::device::whole`].
///
/// The memory plan is a dry run of the constructors, see [`crate::memory::dry_run`]: they take tensors from the arena, and run no
/// operation on them.
///
/// # Errors
/// Constructors fail if the arena is full, everything else with whatever the device reports.
#[allow(clippy::missing_errors_doc, reason = "the section above holds for every method")]
pub trait Field<D: Device>: Residual<D> + 'static {
    /// The convolutions of the plain block that begins a stage, from any map to one of `channels` with a stride.
    fn first_links(channels: usize, stride: usize) -> Vec<Link>;

    /// New weights for states of this shape, uninitialised.
    fn theta(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<Self::Theta>;
    /// New statistics, uninitialised; with `masks` those that also keep, where they are measured, the masks of the ReLUs, and
    /// replay them where they are given, see [`crate::device::ReluMask::relu_mask`].
    fn stats(arena: &mut Arena<'_, D>, category: Category, map: Shape, masks: bool) -> Result<Self::Stats>;
    /// New running statistics, uninitialised.
    fn running(arena: &mut Arena<'_, D>, map: Shape) -> Result<Self::Running>;
    /// A new cache, uninitialised.
    fn cache(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<Self::Cache>;
    /// Scratch memory, with a workspace of as many elements as the device asks for and at least `workspace`.
    fn scratch(arena: &mut Arena<'_, D>, map: Shape, workspace: usize) -> Result<Self::Scratch>;

    /// The weights and running statistics at the start.
    fn initialise(
        d: &D,
        init: Init,
        seed: u64,
        at: BlockPlace,
        theta: &mut Self::Theta,
        running: &mut Self::Running,
    ) -> Result<()>;

    /// The statistics that evaluation uses, from the running ones.
    fn running_stats(d: &D, running: &Self::Running, stats: &mut Self::Stats) -> Result<()>;

    /// One Euler step of training's forward pass, in place: `x += h f(x)` with f's statistics measured on the batch, and the
    /// running statistics moved where given. What the cache then holds is the device's affair.
    fn euler_step(
        d: &D,
        h: f64,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        running: Option<&mut Self::Running>,
        x: &mut Tensor<D::Buffer>,
        cache: &mut Self::Cache,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        whole::euler_step::<D, Self>(d, h, theta, stats, running, x, cache, scratch)
    }

    /// One coded Euler step of training's forward pass: see [`crate::device::ResidualBlock::code_step`].
    fn code_step(
        d: &D,
        h: f64,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        running: Option<&mut Self::Running>,
        coder: &mut Coder<D::Buffer>,
        code: &mut Code<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        carry: &mut Tensor<D::Buffer>,
        cache: &mut Self::Cache,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        whole::code_step::<D, Self>(d, h, theta, stats, running, coder, code, x, carry, cache, scratch)
    }

    /// The way back through one coded block with given statistics: see [`crate::device::ResidualBlock::decode_vjp`].
    fn decode_vjp(
        d: &D,
        h: f64,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        coder: &Coder<D::Buffer>,
        code: &Code<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        cache: &mut Self::Cache,
        grad_x: &mut Tensor<D::Buffer>,
        grad_theta: &mut Self::Theta,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        whole::decode_vjp::<D, Self>(d, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
    }

    /// The inverse Euler step and VJP of one block with given statistics: from `x = x_{n+1}` and `grad_x = dL/dx_{n+1}` to
    /// `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n` at `x~_n = x - h f(x)`; `x` becomes the state that the sweep carries
    /// on from, as `carry` says. `errors.0[errors.1..errors.1 + 4]` receives the local error. What `x_rec` and the cache then hold is the
    /// device's affair.
    fn inverse_vjp(
        d: &D,
        h: f64,
        carry: Carry,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        x: &mut Tensor<D::Buffer>,
        x_rec: &mut Tensor<D::Buffer>,
        errors: (&mut Tensor<D::Buffer>, usize),
        cache: &mut Self::Cache,
        grad_x: &mut Tensor<D::Buffer>,
        grad_theta: &mut Self::Theta,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        whole::inverse_vjp::<D, Self>(d, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
    }

    /// How blocks on such a map are launched: see [`crate::device::ResidualBlock::block_form`].
    fn block_form(d: &D, map: Shape, runs: bool) -> Option<&'static str> {
        let _ = (d, map, runs);
        None
    }

    /// Takes a run of blocks forward at one go, where the device does such things; says whether it did.
    fn forward_run(d: &D, run: ForwardRun<'_, D, Self>) -> Result<bool> {
        let _ = (d, run);
        Ok(false)
    }

    /// The same on the way back.
    fn back_run(d: &D, run: BackRun<'_, D, Self>) -> Result<bool> {
        let _ = (d, run);
        Ok(false)
    }

    /// One SGD step on one block.
    fn sgd(
        d: &D,
        step: Sgd<'_, D::Buffer>,
        grad: &Self::Theta,
        velocity: &mut Self::Theta,
        theta: &mut Self::Theta,
    ) -> Result<()> {
        whole::sgd_block(d, step, grad, velocity, theta)
    }
}
