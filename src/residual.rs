//! What a residual function computes: its evaluation and its VJP. A function owns nothing between calls: weights, statistics, caches
//! and scratch memory are handed in. What else a net needs of it, [`crate::field::Field`] says.

use crate::error::Result;
use crate::memory::{Lent, Memory};
use crate::operands::Affine;
use crate::tensor::Tensor;

/// Whether a tensor of such a name is the weight of a convolution or a linear layer, and neither a bias nor of a batch norm: its name
/// ends in `weight`, as `conv1.weight` does, and does not begin with `bn`, as `bn1.weight` does.
pub fn is_weight(name: &str) -> bool {
    (name == "weight" || name.ends_with(".weight")) && !name.starts_with("bn")
}

/// Tensors with the names that they have in a checkpoint, in a fixed order. By its name an optimiser knows a weight: see [`is_weight`].
pub trait Tensors<D: Memory> {
    /// All of them.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)>;
    /// The same, to be written.
    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)>;
}

/// Memory with tensors whose first extent is the batch.
pub trait Maps<D: Memory> {
    /// Those tensors.
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>>;
}

/// A field's scratch memory.
pub trait FieldScratch<D: Memory>: Maps<D> {
    /// What lies idle between two of the field's operations.
    fn idle(&mut self) -> Idle<'_, D>;

    /// Every buffer that the constructor took.
    fn lent_mut(&mut self) -> impl Iterator<Item = Lent<'_, D::Buffer>>;
}

/// Scratch memory that others may use between a field's operations.
pub struct Idle<'a, D: Memory> {
    /// A state-shaped tensor, `[N, H, W, C]`.
    pub map: &'a mut Tensor<D::Buffer>,
    /// Two vectors, `[C]`.
    pub sums: &'a mut Affine<D::Buffer>,
    /// The device's workspace.
    pub workspace: &'a mut D::Buffer,
}

/// Where an evaluation's batch-norm statistics come from. `R` holds one residual function's running statistics.
pub enum Normalise<'a, R: ?Sized> {
    /// Measured on this batch, and written to the stage's statistics; the forward pass of training also hands in the running
    /// statistics to move.
    Batch(Option<&'a mut R>),
    /// Read from the stage's statistics.
    Given,
}

impl<R> Normalise<'_, [R]> {
    /// Of several residual functions, those of number `i`.
    pub fn of(&mut self, i: usize) -> Normalise<'_, R> {
        match self {
            Self::Given => Normalise::Given,
            Self::Batch(running) => Normalise::Batch(running.as_deref_mut().map(|running| &mut running[i])),
        }
    }
}

/// A residual function at a point where it was evaluated: what its value and its VJP are made of.
pub struct Evaluated<'a, D: Memory, F: Residual<D>> {
    /// The weights.
    pub theta: &'a F::Theta,
    /// The statistics that it was normalised with.
    pub stats: &'a F::Stats,
    /// What the evaluation left.
    pub cache: &'a F::Cache,
}

impl<D: Memory, F: Residual<D>> Clone for Evaluated<'_, D, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Memory, F: Residual<D>> Copy for Evaluated<'_, D, F> {}

/// A residual function f(x, theta) on states `[N, H, W, C]`, as it is computed.
///
/// Its VJP comes in two halves, because `grad_f`, the cotangent of f, and `grad_x`, that of x, may be one tensor: the step's
/// pullback is `grad_x = g + (df/dx)^T scale g` in place. The outer half is the last to read `grad_f`; the inner half adds to
/// `grad_x`. What goes from one to the other lies in the scratch memory, so nothing may use that in between.
///
/// # Errors
/// Everything fails with whatever the device reports.
#[allow(clippy::missing_errors_doc, reason = "the section above holds for every method")]
pub trait Residual<D: Memory>: Sized {
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

    /// `y = x + h f`, from the cache of [`Residual::eval`].
    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        at: Evaluated<'_, D, Self>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()>;

    /// `x += h f`, from the cache of [`Residual::eval`].
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

    /// The affine map of the batch norm that f ends in, from which the scale of its values is known before they are; none where f
    /// ends otherwise.
    fn last_norm(theta: &Self::Theta) -> Option<&Affine<D::Buffer>>;
}
