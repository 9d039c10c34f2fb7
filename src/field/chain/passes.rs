//! A chain's evaluation and its VJP, in the device's primitives and its smaller fused operations.
//!
//! # Errors
//! Every function returns whatever the device reports.
#![allow(clippy::missing_errors_doc, reason = "the section above holds for every function")]

use super::link::{Between, Layout};
use super::memory::{ChainCache, ChainRunning, ChainScratch, ChainStats, ChainTheta};
use crate::device::{Activation, Device, apply_mask};
use crate::error::Result;
use crate::field::Normalise;
use crate::init::{self, Draw};
use crate::operands::{Affine, BnStats, Measure};
use crate::shape::Conv;
use crate::tensor::Tensor;

/// What a batch norm normalises with.
struct Norm<'a, D: Device> {
    stats: &'a BnStats<D::Buffer>,
    affine: &'a Affine<D::Buffer>,
}

impl<D: Device> Clone for Norm<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Norm<'_, D> {}

impl Layout {
    /// The number among all batch norms of the one in front of convolution `l`, or behind the last; none where there is none.
    fn norm(&self, l: usize) -> Option<usize> {
        self.between[l].norm.then(|| self.between[..l].iter().filter(|b| b.norm).count())
    }

    /// The same among the masks.
    fn mask(&self, l: usize) -> Option<usize> {
        (l > 0 && self.between[l].has_mask()).then(|| self.between[1..l].iter().filter(|b| b.has_mask()).count())
    }

    fn norm_of<'a, D: Device>(
        &self,
        l: usize,
        theta: &'a ChainTheta<D>,
        stats: &'a ChainStats<D>,
    ) -> Option<Norm<'a, D>> {
        self.norm(l).map(|n| Norm { stats: &stats.norms[n], affine: &theta.norms[n] })
    }
}

/// The weights and running statistics at the start: `draw` names the stream of each convolution, `last_gamma` is the scale of a
/// batch norm at the chain's end, which decides how large the value is.
pub fn initialise<D: Device>(
    d: &D,
    seed: u64,
    draw: impl Fn(usize) -> Draw,
    last_gamma: f64,
    theta: &mut ChainTheta<D>,
    running: &mut ChainRunning<D>,
) -> Result<()> {
    for (l, conv) in theta.convs.iter_mut().enumerate() {
        init::conv(d, seed, draw(l), conv)?;
    }
    let last = theta.layout.norm(theta.layout.layers.len());
    for (n, norm) in theta.norms.iter_mut().enumerate() {
        init::affine(d, if Some(n) == last { last_gamma } else { 1.0 }, 0.0, norm)?;
    }
    running.0.iter_mut().try_for_each(|bn| init::running(d, bn))
}

/// Elements of workspace that the device asks for.
pub fn workspace<D: Device>(d: &D, layout: &Layout) -> usize {
    let convs = layout.layers.iter().map(|layer| d.conv_workspace(layer.input, layer.conv, layer.channels));
    convs.chain(layout.normed().map(|map| d.bn_workspace(map))).max().unwrap_or(0)
}

/// The statistics that evaluation uses, from the running ones.
pub fn running_stats<D: Device>(d: &D, running: &ChainRunning<D>, stats: &mut ChainStats<D>) -> Result<()> {
    running.0.iter().zip(&mut stats.norms).try_for_each(|(running, stats)| d.bn_running_stats(running, stats))
}

/// `y = between(z)`.
fn pass<D: Device>(
    d: &D,
    between: Between,
    z: &Tensor<D::Buffer>,
    norm: Option<Norm<'_, D>>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    match (norm, between.act) {
        (Some(norm), Some(Activation::Relu)) => d.norm_relu(z, norm.stats, norm.affine, y)?,
        _ => {
            before_act(d, z, norm, y)?;
            between.act.map_or(Ok(()), |act| d.activate(act, y))?;
        }
    }
    if between.scale == 1.0 { Ok(()) } else { d.axpby(0.0, z, between.scale, y) }
}

/// What the activation takes: `u = norm(z)`, or z.
fn before_act<D: Device>(
    d: &D,
    z: &Tensor<D::Buffer>,
    norm: Option<Norm<'_, D>>,
    u: &mut Tensor<D::Buffer>,
) -> Result<()> {
    match norm {
        None => d.copy(z, u),
        Some(norm) => d.bn_apply(z, norm.stats, norm.affine, u),
    }
}

/// From the cotangent of `between(z)`, which it uses up, to that of z, but for the factor: returns what is left of it. `a` holds the
/// value without its factor, and is used up too.
fn pull_act<D: Device>(
    d: &D,
    act: Activation,
    z: &Tensor<D::Buffer>,
    norm: Option<Norm<'_, D>>,
    a: &mut Tensor<D::Buffer>,
    grad: &mut Tensor<D::Buffer>,
) -> Result<()> {
    if act == Activation::Relu {
        return d.relu_grad(a, grad);
    }
    before_act(d, z, norm, a)?;
    d.activate_grad(act, a, grad)
}

/// Where batch norm `n` measures its statistics, if it does.
fn measure<'a, D: Device>(
    n: Option<usize>,
    norms: &'a mut [BnStats<D::Buffer>],
    normalise: &'a mut Normalise<'_, ChainRunning<D>>,
) -> Option<Measure<'a, D::Buffer>> {
    let (Some(n), Normalise::Batch(running)) = (n, normalise) else { return None };
    Some(Measure { stats: &mut norms[n], running: running.as_mut().map(|running| &mut running.0[n]) })
}

/// Evaluates the chain at `x` up to its last convolution.
pub fn eval<D: Device>(
    d: &D,
    x: &Tensor<D::Buffer>,
    theta: &ChainTheta<D>,
    stats: &mut ChainStats<D>,
    mut normalise: Normalise<'_, ChainRunning<D>>,
    cache: &mut ChainCache<D>,
    scratch: &mut ChainScratch<D>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let layout = &theta.layout;
    let given = matches!(normalise, Normalise::Given);
    if let Some(m) = measure(layout.norm(0), &mut stats.norms, &mut normalise) {
        d.bn_stats(x, m, workspace)?;
    }
    for (l, layer) in layout.layers.iter().enumerate() {
        mask(d, l, theta, stats, given, cache)?;
        let (before, after) = cache.z.split_at_mut(l);
        let z = before.last().unwrap_or(x);
        let input = match &mut scratch.a[l] {
            None => z,
            Some(a) => {
                pass(d, layout.between[l], z, layout.norm_of(l, theta, stats), a)?;
                a
            }
        };
        let m = measure(layout.norm(l + 1), &mut stats.norms, &mut normalise);
        d.conv_stats(input, &theta.convs[l], layer.conv, &mut after[0], m, workspace)?;
    }
    mask(d, layout.layers.len(), theta, stats, given, cache)
}

/// Keeps or replays the mask in front of convolution `l`, or behind the last, where one is kept.
fn mask<D: Device>(
    d: &D,
    l: usize,
    theta: &ChainTheta<D>,
    stats: &mut ChainStats<D>,
    given: bool,
    cache: &mut ChainCache<D>,
) -> Result<()> {
    let ChainStats { norms, masks } = stats;
    let (mask, norm) = (theta.layout.mask(l).and_then(|mask| masks.get_mut(mask)), theta.layout.norm(l));
    let Some((mask, norm)) = mask.zip(norm) else { return Ok(()) };
    apply_mask(d, given, mask, &norms[norm], &theta.norms[norm], &mut cache.z[l - 1])
}

/// The value of the chain.
pub fn value<D: Device>(
    d: &D,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    let last = theta.layout.layers.len();
    pass(d, theta.layout.between[last], &cache.z[last - 1], theta.layout.norm_of(last, theta, stats), y)
}

/// `y = x + h f` with the chain's value f.
pub fn advance<D: Device>(
    d: &D,
    x: &Tensor<D::Buffer>,
    h: f64,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    let last = theta.layout.layers.len();
    let (z, between) = (&cache.z[last - 1], theta.layout.between[last]);
    match (theta.layout.norm_of(last, theta, stats), between.act) {
        (Some(norm), None) => d.norm_step(x, h * between.scale, z, norm.stats, norm.affine, y),
        (None, None) => {
            d.copy(x, y)?;
            d.axpby(h * between.scale, z, 1.0, y)
        }
        _ => {
            value(d, theta, stats, cache, y)?;
            d.axpby(1.0, x, h, y)
        }
    }
}

/// `x += h f`; `idle` is of x's shape.
pub fn advance_acc<D: Device>(
    d: &D,
    h: f64,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    x_acc: &mut Tensor<D::Buffer>,
    idle: &mut Tensor<D::Buffer>,
) -> Result<()> {
    let last = theta.layout.layers.len();
    let between = theta.layout.between[last];
    if !between.norm && between.act.is_none() {
        return d.axpby(h * between.scale, &cache.z[last - 1], 1.0, x_acc);
    }
    value(d, theta, stats, cache, idle)?;
    d.axpby(h, idle, 1.0, x_acc)
}

/// From the cotangent of the value, scaled, to that of the last convolution's output: the last to read `grad_f`.
pub fn vjp_outer<D: Device>(
    d: &D,
    grad_f: &Tensor<D::Buffer>,
    scale: f64,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    scratch: &mut ChainScratch<D>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let ChainScratch { grad_z, sums, tail, .. } = scratch;
    let layout = &theta.layout;
    let last = layout.layers.len();
    let (z, between, norm) = (&cache.z[last - 1], layout.between[last], layout.norm_of(last, theta, stats));
    let scale = scale * between.scale;
    let grad_v = match between.act {
        None => grad_f,
        Some(act) => {
            let [a, grad_a] = &mut tail[..] else {
                unreachable!("a chain that ends in an activation has two maps for it")
            };
            pass(d, Between { scale: 1.0, ..between }, z, norm, a)?;
            d.copy(grad_f, grad_a)?;
            pull_act(d, act, z, norm, a, grad_a)?;
            grad_a
        }
    };
    into_z(d, grad_v, scale, z, norm, layout.norm(last).map(|n| &mut sums[n]), &mut grad_z[last - 1], workspace)
}

/// From the scaled cotangent behind a batch norm, or none, to that in front of it.
fn into_z<D: Device>(
    d: &D,
    grad: &Tensor<D::Buffer>,
    scale: f64,
    z: &Tensor<D::Buffer>,
    norm: Option<Norm<'_, D>>,
    sums: Option<&mut Affine<D::Buffer>>,
    grad_z: &mut Tensor<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let (Some(norm), Some(sums)) = (norm, sums) else {
        d.fill(0.0, grad_z)?;
        return d.axpby(scale, grad, 1.0, grad_z);
    };
    d.bn_grad_sums(grad, scale, z, norm.stats, sums, workspace)?;
    d.bn_grad_z(grad, scale, z, norm.stats, norm.affine, sums, grad_z)
}

/// From there to the cotangent of the first convolution's output, `scratch.grad_z[0]`, and the gradients of all parameters but a
/// batch norm's in front of that convolution.
pub fn vjp_inner<D: Device>(
    d: &D,
    x: &Tensor<D::Buffer>,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    grad_theta_acc: &mut ChainTheta<D>,
    scratch: &mut ChainScratch<D>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let layout = &theta.layout;
    let ChainScratch { a, grad_a, grad_z, sums, .. } = scratch;
    for (l, layer) in layout.layers.iter().enumerate().rev() {
        if let Some(n) = layout.norm(l + 1) {
            add_sums(d, &sums[n], &mut grad_theta_acc.norms[n])?;
        }
        let (between, norm) = (layout.between[l], layout.norm_of(l, theta, stats));
        let z = if l == 0 { x } else { &cache.z[l - 1] };
        let grad_w = &mut grad_theta_acc.convs[l];
        let (below, above) = grad_z.split_at_mut(l);
        let grad = &above[0];
        match (&mut a[l], below.last_mut()) {
            (None, below) => {
                d.conv_grad_w(z, grad, layer.conv, grad_w, workspace)?;
                below.map_or(Ok(()), |below| d.conv_grad_x(grad, &theta.convs[l], layer.conv, below, workspace))?;
            }
            (Some(a), below) => {
                pass(d, between, z, norm, a)?;
                d.conv_grad_w(a, grad, layer.conv, grad_w, workspace)?;
                if let Some(below) = below {
                    let grad_a = grad_a[l].as_mut().expect("beside every map that is made anew");
                    let sums = layout.norm(l).map(|n| &mut sums[n]);
                    let from = (&theta.convs[l], layer.conv, grad);
                    pull_through(d, from, between, z, norm, a, grad_a, sums, below, workspace)?;
                }
            }
        }
    }
    Ok(())
}

/// Through a convolution and what lies in front of it, from the cotangent of its output to that of z. `a` holds its input.
fn pull_through<D: Device>(
    d: &D,
    (w, conv, grad): (&Tensor<D::Buffer>, Conv, &Tensor<D::Buffer>),
    between: Between,
    z: &Tensor<D::Buffer>,
    norm: Option<Norm<'_, D>>,
    a: &mut Tensor<D::Buffer>,
    grad_a: &mut Tensor<D::Buffer>,
    sums: Option<&mut Affine<D::Buffer>>,
    grad_z: &mut Tensor<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    d.conv_grad_x(grad, w, conv, grad_a, workspace)?;
    if let Some(act) = between.act {
        if between.scale <= 0.0 {
            // whose sign is not the value's
            pass(d, Between { scale: 1.0, ..between }, z, norm, a)?;
        }
        pull_act(d, act, z, norm, a, grad_a)?;
    }
    into_z(d, grad_a, between.scale, z, norm, sums, grad_z, workspace)
}

fn add_sums<D: Device>(d: &D, sums: &Affine<D::Buffer>, grad_acc: &mut Affine<D::Buffer>) -> Result<()> {
    d.axpby(1.0, &sums.gamma, 1.0, &mut grad_acc.gamma)?;
    d.axpby(1.0, &sums.beta, 1.0, &mut grad_acc.beta)
}

/// The last piece, after [`vjp_inner`]: `grad_x = (df/dx)^T ...`, and the gradient of a batch norm in front of the first convolution.
/// `grad_x` may be the scratch memory's own last cotangent, which is done with then, if the chain has more than one convolution.
pub fn vjp_input<D: Device>(
    d: &D,
    x: &Tensor<D::Buffer>,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    grad_theta_acc: &mut ChainTheta<D>,
    scratch: &mut ChainScratch<D>,
    grad_x: Option<&mut Tensor<D::Buffer>>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let layout = &theta.layout;
    let ChainScratch { a, grad_a, grad_z, sums, .. } = scratch;
    let (grad, rest) = grad_z.split_first_mut().expect("a chain has a convolution");
    let grad_x = grad_x.or(rest.last_mut()).expect("a chain of one convolution is given a map");
    let (w, conv, between) = (&theta.convs[0], layout.layers[0].conv, layout.between[0]);
    let (Some(a), Some(grad_a)) = (&mut a[0], &mut grad_a[0]) else {
        return d.conv_grad_x(grad, w, conv, grad_x, workspace);
    };
    let (norm, n) = (layout.norm_of(0, theta, stats), layout.norm(0));
    pull_through(d, (w, conv, grad), between, x, norm, a, grad_a, n.map(|n| &mut sums[n]), grad_x, workspace)?;
    n.map_or(Ok(()), |n| add_sums(d, &sums[n], &mut grad_theta_acc.norms[n]))
}
