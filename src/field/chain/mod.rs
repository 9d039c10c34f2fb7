//! Residual functions as chains of links: a list of convolutions, batch norms, activations and factors is all that a residual
//! function of one's own takes.
//!
//! ```
//! use rewind::field::{Chain, Link, Links};
//!
//! /// A block of one wide convolution.
//! enum Wide {}
//!
//! impl Links for Wide {
//!     fn links(channels: usize) -> Vec<Link> {
//!         vec![Link::Norm, Link::RELU, Link::conv(5, channels), Link::Norm]
//!     }
//! }
//!
//! type OfMyOwn = Chain<Wide>;
//! ```

pub mod link;
pub mod memory;
pub mod passes;

use std::marker::PhantomData;

pub use self::link::{Layout, Link};
use self::memory::{ChainCache, ChainRunning, ChainScratch, ChainStats, ChainTheta};
use super::{Evaluated, Field, FieldScratch, Idle, Maps, Normalise, Residual};
use crate::device::Device;
use crate::error::Result;
use crate::init::{BlockPlace, Draw, Init};
use crate::memory::{Arena, Category, Lent};
use crate::operands::Affine;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A residual function by its links.
pub trait Links: 'static {
    /// The links, from and to maps of `channels`.
    fn links(channels: usize) -> Vec<Link>;

    /// The links of the plain block that begins a stage, from any map to one of `channels` with a stride: those of a residual
    /// block, of which the first convolution that looks further than a pixel takes the stride, or else the first.
    fn first_links(channels: usize, stride: usize) -> Vec<Link> {
        let mut links = Self::links(channels);
        let convs = || {
            links.iter().enumerate().filter_map(|(i, link)| match link {
                Link::Conv { conv, .. } => Some((i, conv.kernel)),
                _ => None,
            })
        };
        let strided = convs().find(|(_, kernel)| *kernel > 1).or_else(|| convs().next()).map(|(i, _)| i);
        if let Some(Link::Conv { conv, .. }) = strided.map(|i| &mut links[i]) {
            conv.stride = stride;
        }
        links
    }
}

/// The residual function that consists of the links of L.
pub struct Chain<L>(PhantomData<L>);

impl<L: Links> Chain<L> {
    /// Its layout on states of this shape.
    ///
    /// # Errors
    /// As [`Layout::of`], and [`crate::Error::Usage`] if the chain leads to another shape.
    fn layout(map: Shape) -> Result<Layout> {
        let links = L::links(map.c());
        let layout = Layout::of(&links, map)?;
        if layout.output() == map {
            return Ok(layout);
        }
        Err(crate::Error::Usage(format!(
            "the residual function {links:?} makes {} of a state of {map}: a residual function keeps the shape",
            layout.output()
        )))
    }
}

/// Scratch memory of a chain that is a residual function.
pub struct FieldChainScratch<D: Device> {
    chain: ChainScratch<D>,
    /// A map for the cotangent of x, where the chain has none to spare.
    grad_x: Option<Tensor<D::Buffer>>,
    /// Two vectors for [`Idle`], where the chain ends in no batch norm.
    sums: Option<Affine<D::Buffer>>,
    workspace: D::Buffer,
    /// Elements of the workspace.
    workspace_len: usize,
}

impl<D: Device> Maps<D> for FieldChainScratch<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.chain.maps_mut().chain(&mut self.grad_x)
    }
}

impl<D: Device> FieldScratch<D> for FieldChainScratch<D> {
    fn idle(&mut self) -> Idle<'_, D> {
        let Self { chain: ChainScratch { grad_z, sums, .. }, sums: own, workspace, .. } = self;
        let (map, sums) = (grad_z.last_mut(), own.as_mut().or(sums.last_mut()));
        let (map, sums) = map.zip(sums).expect("a chain has a convolution, and a norm or two vectors in its place");
        Idle { map, sums, workspace }
    }

    fn lent_mut(&mut self) -> impl Iterator<Item = Lent<'_, D::Buffer>> {
        let Self { chain, grad_x, sums, workspace, workspace_len } = self;
        let tensors = chain.tensors_mut().chain(grad_x).chain(sums.iter_mut().flat_map(Affine::both_mut));
        tensors.map(Tensor::lent).chain([Lent { len: *workspace_len, buffer: workspace }])
    }
}

impl<D: Device, L: Links> Residual<D> for Chain<L> {
    type Theta = ChainTheta<D>;
    type Stats = ChainStats<D>;
    type Running = ChainRunning<D>;
    type Cache = ChainCache<D>;
    type Scratch = FieldChainScratch<D>;

    fn eval(
        d: &D,
        x: &Tensor<D::Buffer>,
        theta: &ChainTheta<D>,
        stats: &mut ChainStats<D>,
        normalise: Normalise<'_, ChainRunning<D>>,
        cache: &mut ChainCache<D>,
        scratch: &mut FieldChainScratch<D>,
    ) -> Result<()> {
        passes::eval(d, x, theta, stats, normalise, cache, &mut scratch.chain, &mut scratch.workspace)
    }

    fn advance(
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()> {
        passes::advance(d, x, h, theta, stats, cache, y)
    }

    fn advance_acc(
        d: &D,
        h: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut FieldChainScratch<D>,
    ) -> Result<()> {
        passes::advance_acc(d, h, theta, stats, cache, x_acc, scratch.idle().map)
    }

    fn last_norm(theta: &ChainTheta<D>) -> Option<&Affine<D::Buffer>> {
        // what stands behind the norm changes the scale of the values
        let last = theta.layout.between.last().filter(|last| last.act.is_none() && last.scale == 1.0)?;
        theta.norms.last().filter(|_| last.norm)
    }

    fn vjp_outer(
        d: &D,
        grad_f: &Tensor<D::Buffer>,
        scale: f64,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        _grad_theta_acc: &mut ChainTheta<D>,
        scratch: &mut FieldChainScratch<D>,
    ) -> Result<()> {
        passes::vjp_outer(d, grad_f, scale, theta, stats, cache, &mut scratch.chain, &mut scratch.workspace)
    }

    fn vjp_inner(
        d: &D,
        x: &Tensor<D::Buffer>,
        Evaluated { theta, stats, cache }: Evaluated<'_, D, Self>,
        grad_theta_acc: &mut ChainTheta<D>,
        grad_x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut FieldChainScratch<D>,
    ) -> Result<()> {
        let FieldChainScratch { chain, grad_x, workspace, .. } = scratch;
        passes::vjp_inner(d, x, theta, stats, cache, grad_theta_acc, chain, workspace)?;
        passes::vjp_input(d, x, theta, stats, grad_theta_acc, chain, grad_x.as_mut(), workspace)?;
        let grad_x = grad_x.as_ref().or(chain.grad_z.last()).expect("a chain has a convolution");
        d.axpby(1.0, grad_x, 1.0, grad_x_acc)
    }
}

impl<D: Device, L: Links> Field<D> for Chain<L> {
    fn first_links(channels: usize, stride: usize) -> Vec<Link> {
        L::first_links(channels, stride)
    }

    fn theta(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<ChainTheta<D>> {
        ChainTheta::new(arena, category, Self::layout(map)?)
    }

    fn stats(arena: &mut Arena<'_, D>, category: Category, map: Shape, masks: bool) -> Result<ChainStats<D>> {
        ChainStats::new(arena, category, &Self::layout(map)?, masks)
    }

    fn running(arena: &mut Arena<'_, D>, map: Shape) -> Result<ChainRunning<D>> {
        ChainRunning::new(arena, &Self::layout(map)?)
    }

    fn cache(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<ChainCache<D>> {
        ChainCache::new(arena, category, &Self::layout(map)?)
    }

    fn scratch(arena: &mut Arena<'_, D>, map: Shape, workspace: usize) -> Result<FieldChainScratch<D>> {
        let layout = Self::layout(map)?;
        let workspace = workspace.max(passes::workspace(arena.device(), &layout));
        let has_one_conv = layout.layers.len() == 1;
        let ends_in_norm = layout.between[layout.layers.len()].norm;
        Ok(FieldChainScratch {
            chain: ChainScratch::new(arena, &layout)?,
            grad_x: has_one_conv.then(|| arena.tensor(Category::Scratch, map)).transpose()?,
            sums: (!ends_in_norm).then(|| Affine::new(arena, Category::Scratch, map.c())).transpose()?,
            workspace: arena.tensor(Category::Scratch, Shape::vector(workspace))?.buffer,
            workspace_len: workspace,
        })
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
        passes::initialise(d, seed, |conv| Draw::Block(drawn, conv), init.last_gamma(), theta, running)
    }

    fn running_stats(d: &D, running: &ChainRunning<D>, stats: &mut ChainStats<D>) -> Result<()> {
        passes::running_stats(d, running, stats)
    }
}
