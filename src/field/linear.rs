//! The linear residual function `f(x, theta) = theta x`, for which the paper proves its theorems: the 1x1 convolution, with no
//! norm and so no statistics. On maps `[N, 1, 1, d]` the batch holds the vectors x.

use super::chain::Link;
use super::{Field, FieldBytes, FieldScratch, Idle, Maps, Normalise, Tensors};
use crate::device::Device;
use crate::error::Result;
use crate::init::{self, BlockPlace, Draw, Init};
use crate::memory::{Arena, Category, padded_bytes};
use crate::operands::Affine;
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// theta x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linear {}

/// The weights, `[1, 1, C_in, C_out]`: theta's transpose.
pub struct LinearTheta<D: Device> {
    /// The one tensor.
    pub weight: Tensor<D::Buffer>,
}

impl<D: Device> Tensors<D> for LinearTheta<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        [("weight", &self.weight)].into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        [("weight", &mut self.weight)].into_iter()
    }
}

/// There are no statistics.
pub struct NoStatistics;

impl<D: Device> Maps<D> for NoStatistics {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        std::iter::empty()
    }
}

impl<D: Device> Tensors<D> for NoStatistics {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        std::iter::empty()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        std::iter::empty()
    }
}

/// The value f itself, `[N, H, W, C]`.
pub struct LinearCache<D: Device> {
    /// f.
    pub f: Tensor<D::Buffer>,
}

impl<D: Device> Maps<D> for LinearCache<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        [&mut self.f].into_iter()
    }
}

/// Scratch memory of the linear field.
pub struct LinearScratch<D: Device> {
    grad_f: Tensor<D::Buffer>,
    grad_x: Tensor<D::Buffer>,
    sums: Affine<D::Buffer>,
    workspace: D::Buffer,
}

impl<D: Device> Maps<D> for LinearScratch<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        [&mut self.grad_f, &mut self.grad_x].into_iter()
    }
}

impl<D: Device> FieldScratch<D> for LinearScratch<D> {
    fn idle(&mut self) -> Idle<'_, D> {
        Idle { map: &mut self.grad_f, sums: &mut self.sums, workspace: &mut self.workspace }
    }
}

const fn weight(map: Shape) -> Shape {
    Shape::weight(1, map.c(), map.c())
}

impl<D: Device> Field<D> for Linear {
    type Theta = LinearTheta<D>;
    type Stats = NoStatistics;
    type Running = NoStatistics;
    type Cache = LinearCache<D>;
    type Scratch = LinearScratch<D>;

    fn first_links(channels: usize, stride: usize) -> Vec<Link> {
        vec![Link { conv: Conv { stride, ..Conv::POINTWISE }, channels }]
    }

    fn theta(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<LinearTheta<D>> {
        Ok(LinearTheta { weight: arena.tensor(category, weight(map))? })
    }

    fn stats(_arena: &mut Arena<'_, D>, _category: Category, _map: Shape, _masks: bool) -> Result<NoStatistics> {
        Ok(NoStatistics)
    }

    fn running(_arena: &mut Arena<'_, D>, _map: Shape) -> Result<NoStatistics> {
        Ok(NoStatistics)
    }

    fn cache(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<LinearCache<D>> {
        Ok(LinearCache { f: arena.tensor(category, map)? })
    }

    fn scratch(arena: &mut Arena<'_, D>, map: Shape, workspace: usize) -> Result<LinearScratch<D>> {
        let category = Category::Scratch;
        Ok(LinearScratch {
            grad_f: arena.tensor(category, map)?,
            grad_x: arena.tensor(category, map)?,
            sums: Affine::new(arena, category, map.c())?,
            workspace: arena.tensor(category, Shape::vector(workspace))?.buffer,
        })
    }

    fn workspace(d: &D, map: Shape) -> usize {
        d.conv_workspace(map, Conv::POINTWISE, map.c())
    }

    fn bytes(map: Shape) -> FieldBytes {
        let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
        FieldBytes {
            theta: bytes(weight(map)),
            stats: 0,
            masks: 0,
            running: 0,
            cache: bytes(map),
            scratch: 2 * bytes(map) + 2 * bytes(Shape::vector(map.c())),
        }
    }

    fn initialise(
        d: &D,
        init: Init,
        seed: u64,
        at: BlockPlace,
        theta: &mut LinearTheta<D>,
        _running: &mut NoStatistics,
    ) -> Result<()> {
        init::conv(d, seed, Draw::Block(at.drawn_by(init), 0), &mut theta.weight)
    }

    fn running_stats(_d: &D, _running: &NoStatistics, _stats: &mut NoStatistics) -> Result<()> {
        Ok(())
    }

    fn eval(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &LinearTheta<D>,
        _stats: &mut NoStatistics,
        _normalise: Normalise<'_, NoStatistics>,
        cache: &mut LinearCache<D>,
        scratch: &mut LinearScratch<D>,
    ) -> Result<()> {
        d.conv(x, &theta.weight, Conv::POINTWISE, &mut cache.f, &mut scratch.workspace)
    }

    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        _theta: &LinearTheta<D>,
        _stats: &NoStatistics,
        cache: &LinearCache<D>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()> {
        d.copy(x, y)?;
        d.axpby(h, &cache.f, 1.0, y)
    }

    fn advance_acc(
        d: &D,
        h: f64,
        _theta: &LinearTheta<D>,
        _stats: &NoStatistics,
        cache: &LinearCache<D>,
        x_acc: &mut Tensor<D::Buffer>,
        _scratch: &mut LinearScratch<D>,
    ) -> Result<()> {
        d.axpby(h, &cache.f, 1.0, x_acc)
    }

    fn last_norm(_: &LinearTheta<D>) -> Option<&Affine<D::Buffer>> {
        None
    }

    fn vjp_outer(
        d: &D,
        grad_f: &Tensor<D::Buffer>,
        scale: f64,
        _theta: &LinearTheta<D>,
        _stats: &NoStatistics,
        _cache: &LinearCache<D>,
        _grad_theta_acc: &mut LinearTheta<D>,
        scratch: &mut LinearScratch<D>,
    ) -> Result<()> {
        d.fill(0.0, &mut scratch.grad_f)?;
        d.axpby(scale, grad_f, 1.0, &mut scratch.grad_f)
    }

    fn vjp_inner(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &LinearTheta<D>,
        _stats: &NoStatistics,
        _cache: &LinearCache<D>,
        grad_theta_acc: &mut LinearTheta<D>,
        grad_x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut LinearScratch<D>,
    ) -> Result<()> {
        let LinearScratch { grad_f, grad_x, workspace, .. } = scratch;
        d.conv_grad_w(x, grad_f, Conv::POINTWISE, &mut grad_theta_acc.weight, workspace)?;
        d.conv_grad_x(grad_f, &theta.weight, Conv::POINTWISE, grad_x, workspace)?;
        d.axpby(1.0, grad_x, 1.0, grad_x_acc)
    }
}
