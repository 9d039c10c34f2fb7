//! The smaller fused operations' definitions in primitives: the default bodies of the provided methods, and the oracle of
//! every override. Those of whole blocks are in [`super::whole`].

use super::{Ends, Head, ResidualBlock};
use crate::code::{CodedPass, Coder};
use crate::error::Result;
use crate::operands::{Affine, BasicCache, BasicStats, BasicTheta, BnStats, Measure, Reconstruction, Scratch};
use crate::shape::Conv;
use crate::tensor::Tensor;

/// Defines [`super::ResidualBlock::conv_stats`].
pub fn conv_stats<D: ResidualBlock>(
    d: &D,
    x: &Tensor<D::Buffer>,
    w: &Tensor<D::Buffer>,
    conv: Conv,
    z: &mut Tensor<D::Buffer>,
    measure: Option<Measure<'_, D::Buffer>>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    d.conv(x, w, conv, z, workspace)?;
    measure.map_or(Ok(()), |m| d.bn_stats(z, m, workspace))
}

/// Defines [`super::ResidualBlock::norm_relu_conv_stats`].
pub fn norm_relu_conv_stats<D: ResidualBlock>(
    d: &D,
    z1: &Tensor<D::Buffer>,
    stats1: &BnStats<D::Buffer>,
    affine1: &Affine<D::Buffer>,
    w: &Tensor<D::Buffer>,
    z2: &mut Tensor<D::Buffer>,
    measure: Option<Measure<'_, D::Buffer>>,
    scratch: &mut Scratch<D::Buffer>,
) -> Result<()> {
    let a = &mut scratch.maps[0];
    d.norm_relu(z1, stats1, affine1, a)?;
    d.conv_stats(a, w, Conv::SAME_3X3, z2, measure, &mut scratch.workspace)
}

/// Defines [`super::ResidualBlock::norm_relu`].
pub fn norm_relu<D: ResidualBlock>(
    d: &D,
    z: &Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    d.bn_apply(z, stats, affine, y)?;
    d.relu(y)
}

/// Defines [`super::ResidualBlock::norm_step`].
pub fn norm_step<D: ResidualBlock>(
    d: &D,
    x: &Tensor<D::Buffer>,
    h: f64,
    z: &Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    d.bn_apply(z, stats, affine, y)?;
    d.axpby(1.0, x, h, y)
}

/// Defines [`super::ResidualBlock::norm_step_acc`].
pub fn norm_step_acc<D: ResidualBlock>(
    d: &D,
    h: f64,
    z: &Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    x_acc: &mut Tensor<D::Buffer>,
    scratch: &mut Scratch<D::Buffer>,
) -> Result<()> {
    let f = &mut scratch.maps[0];
    d.bn_apply(z, stats, affine, f)?;
    d.axpby(h, f, 1.0, x_acc)
}

/// Defines [`super::ResidualBlock::basic_vjp_outer`].
pub fn basic_vjp_outer<D: ResidualBlock>(
    d: &D,
    grad_f: &Tensor<D::Buffer>,
    scale: f64,
    theta: &BasicTheta<D::Buffer>,
    stats: &BasicStats<D::Buffer>,
    cache: &BasicCache<D::Buffer>,
    grad_theta_acc: &mut BasicTheta<D::Buffer>,
    scratch: &mut Scratch<D::Buffer>,
) -> Result<()> {
    let Scratch { maps, grad_u, sums1, sums2, workspace, .. } = scratch;
    let [grad_z2, a, ..] = &mut maps[..] else { unreachable!("SCRATCH_MAPS is 2 where the default bodies run") };
    d.bn_grad_sums(grad_f, scale, &cache.z2, &stats.bn2, sums2, workspace)?;
    d.bn_grad_z(grad_f, scale, &cache.z2, &stats.bn2, &theta.bn2, sums2, grad_z2)?;
    d.norm_relu(&cache.z1, &stats.bn1, &theta.bn1, a)?;
    d.conv_grad_w(a, grad_z2, Conv::SAME_3X3, &mut grad_theta_acc.conv2, workspace)?;
    d.conv_grad_x(grad_z2, &theta.conv2, Conv::SAME_3X3, grad_u, workspace)?;
    d.relu_grad(a, grad_u)?;
    d.bn_grad_sums(grad_u, 1.0, &cache.z1, &stats.bn1, sums1, workspace)?;
    d.axpby(1.0, &sums2.gamma, 1.0, &mut grad_theta_acc.bn2.gamma)?;
    d.axpby(1.0, &sums2.beta, 1.0, &mut grad_theta_acc.bn2.beta)?;
    d.axpby(1.0, &sums1.gamma, 1.0, &mut grad_theta_acc.bn1.gamma)?;
    d.axpby(1.0, &sums1.beta, 1.0, &mut grad_theta_acc.bn1.beta)
}

/// Defines [`super::ResidualBlock::basic_vjp_inner`].
pub fn basic_vjp_inner<D: ResidualBlock>(
    d: &D,
    x: &Tensor<D::Buffer>,
    theta: &BasicTheta<D::Buffer>,
    stats: &BasicStats<D::Buffer>,
    cache: &BasicCache<D::Buffer>,
    grad_theta_acc: &mut BasicTheta<D::Buffer>,
    grad_x_acc: &mut Tensor<D::Buffer>,
    scratch: &mut Scratch<D::Buffer>,
) -> Result<()> {
    let Scratch { maps, grad_u, sums1, workspace, .. } = scratch;
    let [grad_z1, grad_x, ..] = &mut maps[..] else { unreachable!("SCRATCH_MAPS is 2 where the default bodies run") };
    d.bn_grad_z(grad_u, 1.0, &cache.z1, &stats.bn1, &theta.bn1, sums1, grad_z1)?;
    d.conv_grad_w(x, grad_z1, Conv::SAME_3X3, &mut grad_theta_acc.conv1, workspace)?;
    d.conv_grad_x(grad_z1, &theta.conv1, Conv::SAME_3X3, grad_x, workspace)?;
    d.axpby(1.0, grad_x, 1.0, grad_x_acc)
}

/// Defines [`super::Ends::begin_codes`].
pub fn begin_codes<D: Ends>(
    d: &D,
    coder: &mut Coder<D::Buffer>,
    x: &mut Tensor<D::Buffer>,
    carry: &mut Tensor<D::Buffer>,
    idle: &mut Tensor<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    d.fill(0.0, carry)?;
    d.fill(0.0, &mut coder.rest)?;
    match coder.pass {
        CodedPass::Altered => d.code_start(x, &mut coder.grid, workspace),
        CodedPass::Plain => {
            // what is rounded is a copy: the pass stays as it is
            d.copy(x, idle)?;
            d.code_start(idle, &mut coder.grid, workspace)
        }
    }
}

/// Defines [`super::Ends::drift`].
pub fn drift<D: Ends>(
    d: &D,
    of: Reconstruction<'_, D::Buffer>,
    y: &mut Tensor<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    let Reconstruction { x, grid, verdict, distance } = of;
    grid.map_or(Ok(()), |grid| d.code_round(grid, y))?;
    d.squared_distance(x, y, distance, 0, workspace)?;
    d.axpby(0.0, verdict, 1.0, distance)
}

/// Defines [`super::Ends::norm_relu_grad_sums`].
pub fn norm_relu_grad_sums<D: Ends>(
    d: &D,
    z: &Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    of: Option<Reconstruction<'_, D::Buffer>>,
    y: &mut Tensor<D::Buffer>,
    grad: &mut Tensor<D::Buffer>,
    sums: &mut Affine<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    d.norm_relu(z, stats, affine, y)?;
    d.relu_grad(y, grad)?;
    of.map_or(Ok(()), |of| d.drift(of, y, workspace))?;
    d.bn_grad_sums(grad, 1.0, z, stats, sums, workspace)
}

/// Defines [`super::Ends::norm_conv_grad_w`].
pub fn norm_conv_grad_w<D: Ends>(
    d: &D,
    x: &Tensor<D::Buffer>,
    conv: Conv,
    grad_y: &Tensor<D::Buffer>,
    z: &Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    sums: &Affine<D::Buffer>,
    grad_z: &mut Tensor<D::Buffer>,
    grad_w: &mut Tensor<D::Buffer>,
    workspace: &mut D::Buffer,
) -> Result<()> {
    d.fill(0.0, grad_w)?;
    d.bn_grad_z(grad_y, 1.0, z, stats, affine, sums, grad_z)?;
    d.conv_grad_w(x, grad_z, conv, grad_w, workspace)
}

/// Defines [`super::Head::head_loss`].
pub fn head_loss<D: Head>(
    d: &D,
    x: &Tensor<D::Buffer>,
    size: usize,
    w: &Tensor<D::Buffer>,
    b: &Tensor<D::Buffer>,
    labels: &Tensor<D::Buffer>,
    smoothing: f64,
    pooled: &mut Tensor<D::Buffer>,
    logits: &mut Tensor<D::Buffer>,
    grad_logits: &mut Tensor<D::Buffer>,
    out: &mut Tensor<D::Buffer>,
) -> Result<()> {
    d.avg_pool(x, size, pooled)?;
    d.linear(pooled, w, b, logits)?;
    d.softmax_cross_entropy(logits, labels, smoothing, grad_logits, out)
}

/// Defines [`super::Head::head_grads`].
pub fn head_grads<D: Head>(
    d: &D,
    pooled: &Tensor<D::Buffer>,
    grad_logits: &Tensor<D::Buffer>,
    size: usize,
    w: &Tensor<D::Buffer>,
    grad_w: &mut Tensor<D::Buffer>,
    grad_b: &mut Tensor<D::Buffer>,
    grad_pooled: &mut Tensor<D::Buffer>,
    grad_x: &mut Tensor<D::Buffer>,
) -> Result<()> {
    d.linear_grad_w(pooled, grad_logits, grad_w, grad_b)?;
    d.linear_grad_x(grad_logits, w, grad_pooled)?;
    d.avg_pool_grad(grad_pooled, size, grad_x)
}
