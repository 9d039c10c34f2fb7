//! Whole blocks by their definition, for any residual function: a step, a coded step, and the two ways back. Each is the default body
//! of the method of the same name in [`crate::field::Field`], and of [`super::ResidualBlock`]'s for the basic function, and the
//! oracle of every device's own.
//!
//! # Errors
//! Every function fails with whatever the device reports.

use super::{BatchNorm, Coding, Elementwise, Moved, Optimiser, Sgd};
use crate::code::{Code, CodedPass, Coder};
use crate::error::Result;
use crate::memory::Memory;
use crate::operands::{Carry, Measure};
use crate::residual::{Evaluated, FieldScratch, Normalise, Residual, Tensors, is_weight};
use crate::tensor::Tensor;

/// One Euler step of training's forward pass, in place: `x += h f(x)` with f's statistics measured on the batch, and the
/// running statistics moved where given. What the cache then holds is the device's affair.
pub fn euler_step<D: Memory, F: Residual<D>>(
    d: &D,
    h: f64,
    theta: &F::Theta,
    stats: &mut F::Stats,
    running: Option<&mut F::Running>,
    x: &mut Tensor<D::Buffer>,
    cache: &mut F::Cache,
    scratch: &mut F::Scratch,
) -> Result<()> {
    F::eval(d, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
    F::advance_acc(d, h, Evaluated { theta, stats, cache }, x, scratch)
}

/// Codes the carry, which an increment `h sum_k f_k` has been added to, f_k with theta_k: see [`crate::device::Coding::encode`].
pub fn code_carry<D: Elementwise + BatchNorm + Coding, F: Residual<D>>(
    d: &D,
    h: f64,
    thetas: &[Option<&F::Theta>; 2],
    coder: &mut Coder<D::Buffer>,
    code: &mut Code<D::Buffer>,
    x: &mut Tensor<D::Buffer>,
    carry: &mut Tensor<D::Buffer>,
    scratch: &mut F::Scratch,
) -> Result<()> {
    let mut norms = thetas.iter().flatten().map(|theta| F::last_norm(theta));
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
pub fn code_step<D: Elementwise + BatchNorm + Coding, F: Residual<D>>(
    d: &D,
    h: f64,
    theta: &F::Theta,
    stats: &mut F::Stats,
    running: Option<&mut F::Running>,
    coder: &mut Coder<D::Buffer>,
    code: &mut Code<D::Buffer>,
    x: &mut Tensor<D::Buffer>,
    carry: &mut Tensor<D::Buffer>,
    cache: &mut F::Cache,
    scratch: &mut F::Scratch,
) -> Result<()> {
    F::eval(d, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
    F::advance_acc(d, h, Evaluated { theta, stats, cache }, carry, scratch)?;
    if coder.pass == CodedPass::Plain {
        F::advance_acc(d, h, Evaluated { theta, stats, cache }, x, scratch)?;
    }
    code_carry::<D, F>(d, h, &[Some(theta), None], coder, code, x, carry, scratch)
}

/// The way back through one coded block with given statistics: see [`crate::device::ResidualBlock::decode_vjp`].
pub fn decode_vjp<D: Elementwise + BatchNorm + Coding, F: Residual<D>>(
    d: &D,
    h: f64,
    theta: &F::Theta,
    stats: &mut F::Stats,
    coder: &Coder<D::Buffer>,
    code: &Code<D::Buffer>,
    x: &mut Tensor<D::Buffer>,
    cache: &mut F::Cache,
    grad_x: &mut Tensor<D::Buffer>,
    grad_theta: &mut F::Theta,
    scratch: &mut F::Scratch,
) -> Result<()> {
    grad_theta.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
    d.decode(coder, code, x, scratch.idle().workspace)?;
    F::eval(d, x, theta, stats, Normalise::Given, cache, scratch)?;
    let at = Evaluated { theta, stats, cache };
    F::vjp_outer(d, grad_x, h, at, grad_theta, scratch)?;
    F::vjp_inner(d, x, at, grad_theta, grad_x, scratch)
}

/// The inverse Euler step and VJP of one block with given statistics: from `x = x_{n+1}` and `grad_x = dL/dx_{n+1}` to
/// `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n` at `x~_n = x - h f(x)`; `x` becomes the state that the sweep carries
/// on from, as `carry` says. `errors[at..at + 4]` receives the local error. What `x_rec` and the cache then hold is the
/// device's affair.
pub fn inverse_vjp<D: Elementwise + BatchNorm + Coding, F: Residual<D>>(
    d: &D,
    h: f64,
    carry: Carry,
    theta: &F::Theta,
    stats: &mut F::Stats,
    x: &mut Tensor<D::Buffer>,
    x_rec: &mut Tensor<D::Buffer>,
    (errors, at): (&mut Tensor<D::Buffer>, usize),
    cache: &mut F::Cache,
    grad_x: &mut Tensor<D::Buffer>,
    grad_theta: &mut F::Theta,
    scratch: &mut F::Scratch,
) -> Result<()> {
    grad_theta.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
    F::eval(d, x, theta, stats, Normalise::Given, cache, scratch)?;
    F::advance(d, x, -h, Evaluated { theta, stats, cache }, x_rec)?;
    d.squared_distance(x_rec, x, errors, at, scratch.idle().workspace)?;
    F::eval(d, x_rec, theta, stats, Normalise::Given, cache, scratch)?;
    F::advance_acc(d, -h, Evaluated { theta, stats, cache }, x, scratch)?;
    d.squared_distance(x_rec, x, errors, at + 2, scratch.idle().workspace)?;
    if carry == Carry::Reconstruction {
        d.copy(x_rec, x)?;
    }
    let at = Evaluated { theta, stats, cache };
    F::vjp_outer(d, grad_x, h, at, grad_theta, scratch)?;
    F::vjp_inner(d, x_rec, at, grad_theta, grad_x, scratch)
}

/// The tensors of some weights, each with its gradient, its velocity and, where there is one, its second moment.
pub fn moved<'a, D: Memory + 'a, T: Tensors<D>>(
    grad: &'a T,
    velocity: &'a mut T,
    second: Option<&'a mut T>,
    theta: &'a mut T,
) -> impl Iterator<Item = Moved<'a, D::Buffer>> {
    let mut seconds = second.map(|second| second.named_mut());
    let both = velocity.named_mut().zip(theta.named_mut());
    grad.named().zip(both).map(move |((name, grad), ((_, velocity), (_, theta)))| {
        let second = seconds.as_mut().and_then(Iterator::next).map(|(_, second)| second);
        Moved { is_weight: is_weight(name), grad, velocity, second, theta }
    })
}

/// One SGD step on all tensors of a block.
pub fn sgd_block<D: Optimiser, T: Tensors<D>>(
    d: &D,
    step: Sgd<'_, D::Buffer>,
    grad: &T,
    velocity: &mut T,
    theta: &mut T,
) -> Result<()> {
    d.sgd_all(step, &mut moved::<D, T>(grad, velocity, None, theta))
}
