//! Residual functions f: their evaluation and their VJP. A field owns nothing between calls: weights, statistics, caches and
//! scratch memory are handed in.

pub mod basic;
pub mod bottleneck;
pub mod chain;
pub mod linear;

pub use basic::Basic;
pub use bottleneck::Bottleneck;
pub use chain::{Chain, Link, Links};
pub use linear::Linear;

use crate::code::{Code, CodedPass, Coder};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::init::{BlockPlace, Init};
use crate::memory::{Arena, Category};
use crate::operands::{Affine, BnStats, Carry, Measure};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Tensors with the names that they have in a checkpoint, in a fixed order.
pub trait Tensors<D: Device> {
    /// All of them.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)>;
    /// The same, to be written.
    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)>;
}

/// Memory with tensors whose first extent is the batch.
pub trait Maps<D: Device> {
    /// Those tensors.
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>>;
}

/// A field's scratch memory.
pub trait FieldScratch<D: Device>: Maps<D> {
    /// What lies idle between two of the field's operations.
    fn idle(&mut self) -> Idle<'_, D>;
}

/// Scratch memory that others may use between a field's operations.
pub struct Idle<'a, D: Device> {
    /// A state-shaped tensor, `[N, H, W, C]`.
    pub map: &'a mut Tensor<D::Buffer>,
    /// Two vectors, `[C]`.
    pub sums: &'a mut Affine<D::Buffer>,
    /// The device's workspace.
    pub workspace: &'a mut D::Buffer,
}

/// Where an evaluation's batch-norm statistics come from. `R` holds one residual function's running statistics.
pub enum Normalise<'a, R> {
    /// Measured on this batch, and written to the stage's statistics; the forward pass of training also hands in the running
    /// statistics to move.
    Batch(Option<&'a mut R>),
    /// Read from the stage's statistics.
    Given,
}

impl<R> Normalise<'_, R> {
    /// The same for another evaluation.
    pub fn again(&mut self) -> Normalise<'_, R> {
        match self {
            Self::Given => Normalise::Given,
            Self::Batch(running) => Normalise::Batch(running.as_deref_mut()),
        }
    }
}

/// What an evaluation does with a ReLU's mask before it reads `z`: keeps it where statistics are measured, replays it where they
/// are given.
fn apply_mask<D: Device>(
    d: &D,
    given: bool,
    mask: &mut Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    z: &mut Tensor<D::Buffer>,
) -> Result<()> {
    if given { d.relu_replay(mask, stats, affine, z) } else { d.relu_mask(z, stats, affine, mask) }
}

/// A residual function at a point where it was evaluated: what its value and its VJP are made of.
pub struct Evaluated<'a, D: Device, F: Field<D>> {
    /// The weights.
    pub theta: &'a F::Theta,
    /// The statistics that it was normalised with.
    pub stats: &'a F::Stats,
    /// What the evaluation left.
    pub cache: &'a F::Cache,
}

impl<D: Device, F: Field<D>> Clone for Evaluated<'_, D, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device, F: Field<D>> Copy for Evaluated<'_, D, F> {}

/// A residual function f(x, theta) on states `[N, H, W, C]`.
///
/// Its VJP comes in two halves, because `grad_f`, the cotangent of f, and `grad_x`, that of x, may be one tensor: the step's
/// pullback is `grad_x = g + (df/dx)^T scale g` in place. The outer half is the last to read `grad_f`; the inner half adds to
/// `grad_x`. What goes from one to the other lies in the scratch memory, so nothing may use that in between.
///
/// The memory plan is a dry run of the constructors, see [`crate::memory::dry_run`]: they take tensors from the arena, and run no
/// operation on them.
///
/// # Errors
/// Constructors fail if the arena is full, everything else with whatever the device reports.
#[allow(clippy::missing_errors_doc, reason = "the section above holds for every method")]
pub trait Field<D: Device>: Sized + 'static {
    /// The weights, or their gradients, or their velocities.
    type Theta: Tensors<D> + Send + Sync;
    /// The batch-norm statistics of one evaluation.
    type Stats: Maps<D> + Send + Sync;
    /// The running statistics.
    type Running: Tensors<D> + Send + Sync;
    /// What an evaluation leaves for its VJP and from which the value f is made.
    type Cache: Maps<D> + Send + Sync;
    /// Memory that lives within one operation or one block.
    type Scratch: FieldScratch<D> + Send + Sync;

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

    /// Evaluates f at `x`: fills the cache, and the statistics where they are measured.
    fn eval(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        normalise: Normalise<'_, Self::Running>,
        cache: &mut Self::Cache,
        scratch: &mut Self::Scratch,
    ) -> Result<()>;

    /// `y = x + h f`, from the cache of [`Field::eval`].
    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        at: Evaluated<'_, D, Self>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()>;

    /// `x += h f`, from the cache of [`Field::eval`].
    fn advance_acc(
        d: &D,
        h: f64,
        at: Evaluated<'_, D, Self>,
        x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut Self::Scratch,
    ) -> Result<()>;

    /// The first half of the VJP of `scale f` at the point whose cache it is.
    fn vjp_outer(
        d: &D,
        grad_f: &Tensor<D::Buffer>,
        scale: f64,
        at: Evaluated<'_, D, Self>,
        grad_theta_acc: &mut Self::Theta,
        scratch: &mut Self::Scratch,
    ) -> Result<()>;

    /// The second half: `grad_x += (df/dx)^T scale grad_f`.
    fn vjp_inner(
        d: &D,
        x: &Tensor<D::Buffer>,
        at: Evaluated<'_, D, Self>,
        grad_theta_acc: &mut Self::Theta,
        grad_x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut Self::Scratch,
    ) -> Result<()>;

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
        Self::eval(d, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
        Self::advance_acc(d, h, Evaluated { theta, stats, cache }, x, scratch)
    }

    /// The affine map of the batch norm that f ends in, from which the scale of its values is known before they are; none where f
    /// ends otherwise.
    fn last_norm(theta: &Self::Theta) -> Option<&Affine<D::Buffer>>;

    /// Codes the carry, which an increment `h sum_k f_k` has been added to, f_k with theta_k: see [`crate::device::Coding::encode`].
    fn code_carry(
        d: &D,
        h: f64,
        thetas: &[Option<&Self::Theta>; 2],
        coder: &mut Coder<D::Buffer>,
        code: &mut Code<D::Buffer>,
        x: &mut Tensor<D::Buffer>,
        carry: &mut Tensor<D::Buffer>,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        let mut norms = thetas.iter().flatten().map(|theta| Self::last_norm(theta));
        let workspace = scratch.idle().workspace;
        match (norms.next().flatten(), norms.next().flatten()) {
            (Some(first), Some(second)) => d.code_scale(h, &[first, second], &coder.rest, &mut code.scale)?,
            (Some(norm), None) => d.code_scale(h, &[norm], &coder.rest, &mut code.scale)?,
            // nothing is known before: measured on what is coded, at the cost of a pass
            (None, _) => d.bn_stats(carry, Measure { stats: &mut code.scale, running: None }, workspace)?,
        }
        let moved = (coder.pass == CodedPass::Altered).then_some(x);
        d.encode(coder, carry, moved, code, workspace)
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
        Self::eval(d, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
        Self::advance_acc(d, h, Evaluated { theta, stats, cache }, carry, scratch)?;
        if coder.pass == CodedPass::Plain {
            Self::advance_acc(d, h, Evaluated { theta, stats, cache }, x, scratch)?;
        }
        Self::code_carry(d, h, &[Some(theta), None], coder, code, x, carry, scratch)
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
        grad_theta.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
        d.decode(coder, code, x, scratch.idle().workspace)?;
        Self::eval(d, x, theta, stats, Normalise::Given, cache, scratch)?;
        let at = Evaluated { theta, stats, cache };
        Self::vjp_outer(d, grad_x, h, at, grad_theta, scratch)?;
        Self::vjp_inner(d, x, at, grad_theta, grad_x, scratch)
    }

    /// The inverse Euler step and VJP of one block with given statistics: from `x = x_{n+1}` and `grad_x = dL/dx_{n+1}` to
    /// `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n` at `x~_n = x - h f(x)`; `x` becomes the state that the sweep carries
    /// on from, as `carry` says. `errors[at..at + 4]` receives the local error. What `x_rec` and the cache then hold is the
    /// device's affair.
    fn inverse_vjp(
        d: &D,
        h: f64,
        carry: Carry,
        theta: &Self::Theta,
        stats: &mut Self::Stats,
        x: &mut Tensor<D::Buffer>,
        x_rec: &mut Tensor<D::Buffer>,
        (errors, at): (&mut Tensor<D::Buffer>, usize),
        cache: &mut Self::Cache,
        grad_x: &mut Tensor<D::Buffer>,
        grad_theta: &mut Self::Theta,
        scratch: &mut Self::Scratch,
    ) -> Result<()> {
        grad_theta.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
        Self::eval(d, x, theta, stats, Normalise::Given, cache, scratch)?;
        Self::advance(d, x, -h, Evaluated { theta, stats, cache }, x_rec)?;
        d.squared_distance(x_rec, x, errors, at, scratch.idle().workspace)?;
        Self::eval(d, x_rec, theta, stats, Normalise::Given, cache, scratch)?;
        Self::advance_acc(d, -h, Evaluated { theta, stats, cache }, x, scratch)?;
        d.squared_distance(x_rec, x, errors, at + 2, scratch.idle().workspace)?;
        if carry == Carry::Reconstruction {
            d.copy(x_rec, x)?;
        }
        let at = Evaluated { theta, stats, cache };
        Self::vjp_outer(d, grad_x, h, at, grad_theta, scratch)?;
        Self::vjp_inner(d, x_rec, at, grad_theta, grad_x, scratch)
    }

    /// One SGD step on one block.
    fn sgd(
        d: &D,
        step: Sgd<'_, D::Buffer>,
        grad: &Self::Theta,
        velocity: &mut Self::Theta,
        theta: &mut Self::Theta,
    ) -> Result<()> {
        let moved = velocity.named_mut().zip(theta.named_mut());
        for ((_, grad), ((_, velocity), (_, theta))) in grad.named().zip(moved) {
            d.sgd(step, grad, velocity, theta)?;
        }
        Ok(())
    }
}
