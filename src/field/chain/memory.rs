//! A chain's memory: weights, statistics, what an evaluation leaves, scratch.

use super::link::{LAYERS_MAX, Layout};
use crate::device::Device;
use crate::error::Result;
use crate::field::{Maps, Tensors};
use crate::mask::relu_mask;
use crate::memory::{Arena, Category};
use crate::operands::{Affine, BnRunning, BnStats};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The names of each convolution's weights.
const CONV: [&str; LAYERS_MAX] = [
    "conv1.weight",
    "conv2.weight",
    "conv3.weight",
    "conv4.weight",
    "conv5.weight",
    "conv6.weight",
    "conv7.weight",
    "conv8.weight",
    "conv9.weight",
];
/// The names of each batch norm's tensors: there is one more, where the chain begins and ends with one.
const NORM: [[&str; 4]; LAYERS_MAX + 1] = [
    ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"],
    ["bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"],
    ["bn3.weight", "bn3.bias", "bn3.running_mean", "bn3.running_var"],
    ["bn4.weight", "bn4.bias", "bn4.running_mean", "bn4.running_var"],
    ["bn5.weight", "bn5.bias", "bn5.running_mean", "bn5.running_var"],
    ["bn6.weight", "bn6.bias", "bn6.running_mean", "bn6.running_var"],
    ["bn7.weight", "bn7.bias", "bn7.running_mean", "bn7.running_var"],
    ["bn8.weight", "bn8.bias", "bn8.running_mean", "bn8.running_var"],
    ["bn9.weight", "bn9.bias", "bn9.running_mean", "bn9.running_var"],
    ["bn10.weight", "bn10.bias", "bn10.running_mean", "bn10.running_var"],
];

/// The maps in which an activation at the chain's end is undone: its value or its input, and its cotangent.
fn tail(layout: &Layout) -> impl Iterator<Item = Shape> {
    let acts = layout.between.last().is_some_and(|last| last.act.is_some());
    std::iter::repeat_n(layout.output(), if acts { 2 } else { 0 })
}

/// The weights of a chain, or their gradients, or their velocities.
pub struct ChainTheta<D: Device> {
    /// What the tensors belong to.
    pub layout: Layout,
    /// The convolutions' weights, `[K, K, C_in, C_out]`.
    pub convs: Vec<Tensor<D::Buffer>>,
    /// The batch norms' affine maps.
    pub norms: Vec<Affine<D::Buffer>>,
}

impl<D: Device> ChainTheta<D> {
    /// New weights, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, layout: Layout) -> Result<Self> {
        let (mut convs, mut norms) = (Vec::new(), Vec::new());
        for (l, between) in layout.between.iter().enumerate() {
            if between.norm {
                norms.push(Affine::new(arena, category, layout.map(l).c())?);
            }
            if let Some(layer) = layout.layers.get(l) {
                convs.push(arena.tensor(category, layer.weight())?);
            }
        }
        Ok(Self { layout, convs, norms })
    }
}

/// In the order in which a pass meets them.
impl<D: Device> Tensors<D> for ChainTheta<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        let (mut convs, mut norms) = (CONV.iter().zip(&self.convs), NORM.iter().zip(&self.norms));
        self.layout.between.iter().flat_map(move |between| {
            let norm = between.norm.then(|| norms.next()).flatten();
            let norm = norm.map(|(names, norm)| [(names[0], &norm.gamma), (names[1], &norm.beta)]);
            norm.into_iter().flatten().chain(convs.next().map(|(name, conv)| (*name, conv)))
        })
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        let Self { layout, convs, norms } = self;
        let (mut convs, mut norms) = (CONV.iter().zip(convs), NORM.iter().zip(norms));
        layout.between.iter().flat_map(move |between| {
            let norm = between.norm.then(|| norms.next()).flatten();
            let norm = norm.map(|(names, norm)| [(names[0], &mut norm.gamma), (names[1], &mut norm.beta)]);
            norm.into_iter().flatten().chain(convs.next().map(|(name, conv)| (*name, conv)))
        })
    }
}

/// The statistics of one evaluation of a chain.
pub struct ChainStats<D: Device> {
    /// One set per batch norm.
    pub norms: Vec<BnStats<D::Buffer>>,
    /// The masks of the ReLUs behind them, see [`crate::device::ReluMask::relu_mask`], or none.
    pub masks: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> ChainStats<D> {
    /// New statistics, uninitialised; with `masks` also room for those.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, layout: &Layout, masks: bool) -> Result<Self> {
        let norms = layout.normed().map(|map| BnStats::new(arena, category, map.c())).collect::<Result<_>>()?;
        let masked = layout.masked().filter(|_| masks);
        Ok(Self { norms, masks: masked.map(|z| relu_mask(arena, z)).collect::<Result<_>>()? })
    }
}

impl<D: Device> Maps<D> for ChainStats<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.masks.iter_mut()
    }
}

/// The running statistics of a chain, one set per batch norm.
pub struct ChainRunning<D: Device>(pub Vec<BnRunning<D::Buffer>>);

impl<D: Device> ChainRunning<D> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, layout: &Layout) -> Result<Self> {
        Ok(Self(layout.normed().map(|map| BnRunning::new(arena, map.c())).collect::<Result<_>>()?))
    }
}

impl<D: Device> Tensors<D> for ChainRunning<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        NORM.iter().zip(&self.0).flat_map(|(names, bn)| [(names[2], &bn.mean), (names[3], &bn.var)])
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        NORM.iter().zip(&mut self.0).flat_map(|(names, bn)| [(names[2], &mut bn.mean), (names[3], &mut bn.var)])
    }
}

/// What one evaluation leaves for its VJP: every convolution's output. The value is made of the last one.
pub struct ChainCache<D: Device> {
    /// One per convolution.
    pub z: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> ChainCache<D> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, layout: &Layout) -> Result<Self> {
        Ok(Self { z: outputs(arena, category, layout)? })
    }
}

/// A tensor for every convolution's output.
fn outputs<D: Device>(arena: &mut Arena<'_, D>, category: Category, layout: &Layout) -> Result<Vec<Tensor<D::Buffer>>> {
    layout.layers.iter().map(|layer| arena.tensor(category, layer.output())).collect()
}

impl<D: Device> Maps<D> for ChainCache<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.z.iter_mut()
    }
}

/// Scratch memory of a chain, without the device's workspace.
pub struct ChainScratch<D: Device> {
    /// What lies in front of each convolution, where it is not the output of the one before.
    pub a: Vec<Option<Tensor<D::Buffer>>>,
    /// Its cotangent.
    pub grad_a: Vec<Option<Tensor<D::Buffer>>>,
    /// Cotangents of the convolutions' outputs.
    pub grad_z: Vec<Tensor<D::Buffer>>,
    /// The batch norms' gradient sums.
    pub sums: Vec<Affine<D::Buffer>>,
    /// Where the chain ends in an activation: its value or its input, and its cotangent.
    pub tail: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> ChainScratch<D> {
    /// New scratch memory.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, layout: &Layout) -> Result<Self> {
        let category = Category::Scratch;
        let made = |arena: &mut Arena<'_, D>| {
            layout.made().map(|map| map.map(|map| arena.tensor(category, map)).transpose()).collect::<Result<_>>()
        };
        Ok(Self {
            a: made(arena)?,
            grad_a: made(arena)?,
            grad_z: outputs(arena, category, layout)?,
            sums: layout.normed().map(|map| Affine::new(arena, category, map.c())).collect::<Result<_>>()?,
            tail: tail(layout).map(|map| arena.tensor(category, map)).collect::<Result<_>>()?,
        })
    }

    /// All tensors.
    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let Self { a, grad_a, grad_z, sums, tail } = self;
        let sums = sums.iter_mut().flat_map(Affine::both_mut);
        a.iter_mut().chain(grad_a).flatten().chain(grad_z).chain(sums).chain(tail)
    }
}

impl<D: Device> Maps<D> for ChainScratch<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let Self { a, grad_a, grad_z, tail, .. } = self;
        a.iter_mut().chain(grad_a).flatten().chain(grad_z).chain(tail)
    }
}
