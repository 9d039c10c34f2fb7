//! Convolutions one after the other, each with its batch norm, ReLU between them: `f = BN(conv(... relu(BN(conv(x)))))`.
//!
//! What a bottleneck's residual function is made of, and the first block of a stage, whose convolutions change the map. Built of
//! the device's primitives.

use super::{FieldBytes, Maps, Normalise, Tensors, apply_mask};
use crate::device::Device;
use crate::error::Result;
use crate::init::{self, Draw};
use crate::mask::{relu_mask, relu_mask_bytes};
use crate::memory::{Arena, Category, padded_bytes};
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// Names of a layer's tensors.
const THETA: [[&str; 3]; 3] = [
    ["conv1.weight", "bn1.weight", "bn1.bias"],
    ["conv2.weight", "bn2.weight", "bn2.bias"],
    ["conv3.weight", "bn3.weight", "bn3.bias"],
];
const RUNNING: [[&str; 2]; 3] = [
    ["bn1.running_mean", "bn1.running_var"],
    ["bn2.running_mean", "bn2.running_var"],
    ["bn3.running_mean", "bn3.running_var"],
];
/// Layers that have names.
pub const LAYERS_MAX: usize = THETA.len();

/// One layer: a convolution's geometry and its output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The geometry.
    pub conv: Conv,
    /// Output channels.
    pub channels: usize,
}

/// The links with the maps that they take, from the chain's input on.
fn with_inputs(links: &[Link], map: Shape) -> impl Iterator<Item = (Link, Shape)> {
    links.iter().scan(map, |input, link| {
        let x = *input;
        *input = link.conv.output(x, link.channels);
        Some((*link, x))
    })
}

/// The weights and running statistics at the start: `draw` names the stream of each convolution, `last_gamma` is the scale of
/// the last norm, which decides how large the value is.
///
/// # Errors
/// Whatever the device reports, here and below.
pub fn initialise<D: Device>(
    d: &D,
    seed: u64,
    draw: impl Fn(usize) -> Draw,
    last_gamma: f64,
    theta: &mut ChainTheta<D>,
    running: &mut ChainRunning<D>,
) -> Result<()> {
    let last = theta.layers.len() - 1;
    for (i, layer) in theta.layers.iter_mut().enumerate() {
        init::conv(d, seed, draw(i), &mut layer.conv)?;
        init::affine(d, if i == last { last_gamma } else { 1.0 }, 0.0, &mut layer.bn)?;
    }
    running.0.iter_mut().try_for_each(|bn| init::running(d, bn))
}

/// What the last link makes of `map`, `[N, H', W', C']`.
pub fn output(links: &[Link], map: Shape) -> Shape {
    links.iter().fold(map, |x, link| link.conv.output(x, link.channels))
}

/// Elements of workspace that the device asks for.
pub fn workspace<D: Device>(d: &D, links: &[Link], map: Shape) -> usize {
    let of = |(Link { conv, channels }, x): (Link, Shape)| {
        d.conv_workspace(x, conv, channels).max(d.bn_workspace(conv.output(x, channels)))
    };
    with_inputs(links, map).map(of).max().unwrap_or(0)
}

/// Bytes of a chain's memory.
pub fn bytes<D: Device>(links: &[Link], map: Shape) -> FieldBytes {
    let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
    let mut all = FieldBytes::default();
    for (i, (Link { conv, channels }, x)) in with_inputs(links, map).enumerate() {
        let (vector, z) = (bytes(Shape::vector(channels)), bytes(conv.output(x, channels)));
        all.theta += bytes(Shape::weight(conv.kernel, x.c(), channels)) + 2 * vector;
        all.stats += 2 * vector;
        all.running += 2 * vector;
        all.masks += if i + 1 < links.len() { relu_mask_bytes::<D::Real>(conv.output(x, channels)) } else { 0 };
        all.cache += z;
        // the cotangent of z, and the batch norm's sums; between layers also ReLU's output and its cotangent
        all.scratch += z + 2 * vector + if i + 1 < links.len() { 2 * z } else { 0 };
    }
    all
}

/// The weights of a chain, or their gradients, or their velocities.
pub struct ChainTheta<D: Device> {
    /// One a link.
    pub layers: Vec<Layer<D>>,
}

/// The weights of one layer.
pub struct Layer<D: Device> {
    /// The geometry.
    pub geometry: Conv,
    /// The convolution's weights, `[K, K, C_in, C_out]`.
    pub conv: Tensor<D::Buffer>,
    /// The batch norm's affine map.
    pub bn: Affine<D::Buffer>,
}

impl<D: Device> ChainTheta<D> {
    /// New weights for inputs of this shape, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, links: &[Link], map: Shape) -> Result<Self> {
        debug_assert!(links.len() <= LAYERS_MAX);
        let layer = |(Link { conv, channels }, x): (Link, Shape)| {
            Ok(Layer {
                geometry: conv,
                conv: arena.tensor(category, Shape::weight(conv.kernel, x.c(), channels))?,
                bn: Affine::new(arena, category, channels)?,
            })
        };
        Ok(Self { layers: with_inputs(links, map).map(layer).collect::<Result<_>>()? })
    }
}

impl<D: Device> Tensors<D> for ChainTheta<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        let of = |(names, l): (&[&'static str; 3], _)| {
            let Layer { conv, bn, .. }: &Layer<D> = l;
            [(names[0], conv), (names[1], &bn.gamma), (names[2], &bn.beta)]
        };
        THETA.iter().zip(&self.layers).flat_map(of)
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        THETA.iter().zip(&mut self.layers).flat_map(|(names, Layer { conv, bn, .. })| {
            [(names[0], conv), (names[1], &mut bn.gamma), (names[2], &mut bn.beta)]
        })
    }
}

/// The statistics of one evaluation of a chain.
pub struct ChainStats<D: Device> {
    /// One set a layer.
    pub norms: Vec<BnStats<D::Buffer>>,
    /// The masks of the ReLUs between the layers, see [`crate::device::ReluMask::relu_mask`], or none.
    pub masks: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> ChainStats<D> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, links: &[Link]) -> Result<Self> {
        let norms = links.iter().map(|link| BnStats::new(arena, category, link.channels)).collect::<Result<_>>()?;
        Ok(Self { norms, masks: vec![] })
    }

    /// The same with room for masks, for inputs of shape `map`.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn with_masks(self, arena: &mut Arena<'_, D>, links: &[Link], map: Shape) -> Result<Self> {
        let masks = inner(links, map).map(|z| relu_mask(arena, z)).collect::<Result<_>>()?;
        Ok(Self { masks, ..self })
    }
}

impl<D: Device> Maps<D> for ChainStats<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.masks.iter_mut()
    }
}

/// What the ReLUs between the links take.
fn inner(links: &[Link], map: Shape) -> impl Iterator<Item = Shape> {
    with_inputs(links, map).skip(1).map(|(_, input)| input)
}

/// The running statistics of a chain, one set a layer.
pub struct ChainRunning<D: Device>(pub Vec<BnRunning<D::Buffer>>);

impl<D: Device> ChainRunning<D> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, links: &[Link]) -> Result<Self> {
        Ok(Self(links.iter().map(|link| BnRunning::new(arena, link.channels)).collect::<Result<_>>()?))
    }
}

impl<D: Device> Tensors<D> for ChainRunning<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        RUNNING.iter().zip(&self.0).flat_map(|(names, bn)| [(names[0], &bn.mean), (names[1], &bn.var)])
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        RUNNING.iter().zip(&mut self.0).flat_map(|(names, bn)| [(names[0], &mut bn.mean), (names[1], &mut bn.var)])
    }
}

/// What one evaluation leaves for its VJP: every convolution's output. The value itself is `BN(z)` of the last one.
pub struct ChainCache<D: Device> {
    /// One a link.
    pub z: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> ChainCache<D> {
    /// A new cache for inputs of this shape, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, links: &[Link], map: Shape) -> Result<Self> {
        Ok(Self { z: outputs(arena, category, links, map)? })
    }
}

/// A tensor for every link's output.
fn outputs<D: Device>(
    arena: &mut Arena<'_, D>,
    category: Category,
    links: &[Link],
    map: Shape,
) -> Result<Vec<Tensor<D::Buffer>>> {
    with_inputs(links, map).map(|(link, x)| arena.tensor(category, link.conv.output(x, link.channels))).collect()
}

impl<D: Device> Maps<D> for ChainCache<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.z.iter_mut()
    }
}

/// Scratch memory of a chain, without the device's workspace.
pub struct ChainScratch<D: Device> {
    /// The ReLUs' outputs, between the layers.
    pub a: Vec<Tensor<D::Buffer>>,
    /// Their cotangents.
    pub grad_a: Vec<Tensor<D::Buffer>>,
    /// Cotangents of the convolutions' outputs.
    pub grad_z: Vec<Tensor<D::Buffer>>,
    /// The batch norms' gradient sums.
    pub sums: Vec<Affine<D::Buffer>>,
}

impl<D: Device> ChainScratch<D> {
    /// Scratch for inputs of this shape.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, links: &[Link], map: Shape) -> Result<Self> {
        let category = Category::Scratch;
        let inner = &links[..links.len() - 1];
        Ok(Self {
            a: outputs(arena, category, inner, map)?,
            grad_a: outputs(arena, category, inner, map)?,
            grad_z: outputs(arena, category, links, map)?,
            sums: links.iter().map(|link| Affine::new(arena, category, link.channels)).collect::<Result<_>>()?,
        })
    }
}

impl<D: Device> Maps<D> for ChainScratch<D> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.a.iter_mut().chain(&mut self.grad_a).chain(&mut self.grad_z)
    }
}

/// The statistics that evaluation uses, from the running ones.
pub fn running_stats<D: Device>(d: &D, running: &ChainRunning<D>, stats: &mut ChainStats<D>) -> Result<()> {
    running.0.iter().zip(&mut stats.norms).try_for_each(|(running, stats)| d.bn_running_stats(running, stats))
}

/// Evaluates the chain at `x` up to its last affine map.
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
    let a = &mut scratch.a;
    for (l, layer) in theta.layers.iter().enumerate() {
        if l > 0 {
            let (z, bn) = (&mut cache.z[l - 1], &theta.layers[l - 1].bn);
            if let Some(mask) = stats.masks.get_mut(l - 1) {
                let given = matches!(normalise, Normalise::Given);
                apply_mask(d, given, mask, &stats.norms[l - 1], bn, z)?;
            }
            d.norm_relu(z, &stats.norms[l - 1], bn, &mut a[l - 1])?;
        }
        let input = if l > 0 { &a[l - 1] } else { x };
        let measure = match &mut normalise {
            Normalise::Given => None,
            Normalise::Batch(running) => {
                Some(Measure { stats: &mut stats.norms[l], running: running.as_mut().map(|running| &mut running.0[l]) })
            }
        };
        d.conv_stats(input, &layer.conv, layer.geometry, &mut cache.z[l], measure, workspace)?;
    }
    Ok(())
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
    let ChainScratch { grad_z, sums, .. } = scratch;
    let last = theta.layers.len() - 1;
    let (z, stats) = (&cache.z[last], &stats.norms[last]);
    d.bn_grad_sums(grad_f, scale, z, stats, &mut sums[last], workspace)?;
    d.bn_grad_z(grad_f, scale, z, stats, &theta.layers[last].bn, &sums[last], &mut grad_z[last])
}

/// The value of the chain, `y = BN(z)` of its last convolution's output.
pub fn value<D: Device>(
    d: &D,
    theta: &ChainTheta<D>,
    stats: &ChainStats<D>,
    cache: &ChainCache<D>,
    y: &mut Tensor<D::Buffer>,
) -> Result<()> {
    let last = theta.layers.len() - 1;
    d.bn_apply(&cache.z[last], &stats.norms[last], &theta.layers[last].bn, y)
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
    let last = theta.layers.len() - 1;
    d.norm_step(x, h, &cache.z[last], &stats.norms[last], &theta.layers[last].bn, y)
}

/// From there to the cotangent of the first convolution's output, `scratch.grad_z[0]`, and all parameters' gradients.
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
    let ChainScratch { a, grad_a, grad_z, sums } = scratch;
    for (l, layer) in theta.layers.iter().enumerate().rev() {
        let Layer { geometry, conv, bn } = &mut grad_theta_acc.layers[l];
        d.axpby(1.0, &sums[l].gamma, 1.0, &mut bn.gamma)?;
        d.axpby(1.0, &sums[l].beta, 1.0, &mut bn.beta)?;
        let Some(below) = l.checked_sub(1) else {
            return d.conv_grad_w(x, &grad_z[0], *geometry, conv, workspace);
        };
        let (a, grad_a, z) = (&mut a[below], &mut grad_a[below], &cache.z[below]);
        let (stats, bn) = (&stats.norms[below], &theta.layers[below].bn);
        d.norm_relu(z, stats, bn, a)?;
        d.conv_grad_w(a, &grad_z[l], *geometry, conv, workspace)?;
        d.conv_grad_x(&grad_z[l], &layer.conv, *geometry, grad_a, workspace)?;
        d.relu_grad(a, grad_a)?;
        d.bn_grad_sums(grad_a, 1.0, z, stats, &mut sums[below], workspace)?;
        d.bn_grad_z(grad_a, 1.0, z, stats, bn, &sums[below], &mut grad_z[below])?;
    }
    Ok(())
}
