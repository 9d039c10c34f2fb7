//! What operations take besides plain tensors: a batch norm's pieces, one residual block's weights and intermediates, and
//! the scratch memory.

use crate::code::Bits;
use crate::device::Device;
use crate::error::Result;
use crate::memory::{Arena, Category, padded_bytes};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// Batch norm's affine map, or its gradient: gamma and beta, `[C]` each.
pub struct Affine<D: Device> {
    /// The scale.
    pub gamma: Tensor<D>,
    /// The shift.
    pub beta: Tensor<D>,
}

impl<D: Device> Affine<D> {
    /// A new pair, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { gamma: arena.tensor(category, shape)?, beta: arena.tensor(category, shape)? })
    }
}

/// Statistics that normalise: mean and 1/sqrt(var + eps), `[C]` each.
pub struct BnStats<D: Device> {
    /// Mean over N, H and W.
    pub mean: Tensor<D>,
    /// 1/sqrt(biased variance + eps).
    pub rstd: Tensor<D>,
}

impl<D: Device> BnStats<D> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { mean: arena.tensor(category, shape)?, rstd: arena.tensor(category, shape)? })
    }
}

/// Running statistics, which evaluation uses: mean and unbiased variance, `[C]` each.
pub struct BnRunning<D: Device> {
    /// Running mean.
    pub mean: Tensor<D>,
    /// Running variance.
    pub var: Tensor<D>,
}

impl<D: Device> BnRunning<D> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { mean: arena.tensor(Category::Statistics, shape)?, var: arena.tensor(Category::Statistics, shape)? })
    }
}

/// Where a convolution's output statistics go. Only the forward pass of a training step hands in `running`: recomputing
/// during a sweep must not move the running statistics.
pub struct Measure<'a, D: Device> {
    /// Receives mean and rstd of the batch.
    pub stats: &'a mut BnStats<D>,
    /// Updated with momentum, if given.
    pub running: Option<&'a mut BnRunning<D>>,
}

/// The weights of one residual function conv-BN-ReLU-conv-BN, or their gradients, or their velocities.
pub struct BasicTheta<D: Device> {
    /// First convolution, `[3, 3, C, C]`.
    pub conv1: Tensor<D>,
    /// First batch norm.
    pub bn1: Affine<D>,
    /// Second convolution, `[3, 3, C, C]`.
    pub conv2: Tensor<D>,
    /// Second batch norm.
    pub bn2: Affine<D>,
}

impl<D: Device> BasicTheta<D> {
    /// New weights, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, channels: usize) -> Result<Self> {
        let weight = Shape::weight(Conv::SAME_3X3.kernel, channels, channels);
        Ok(Self {
            conv1: arena.tensor(category, weight)?,
            bn1: Affine::new(arena, category, channels)?,
            conv2: arena.tensor(category, weight)?,
            bn2: Affine::new(arena, category, channels)?,
        })
    }

    /// The six tensors in a fixed order, with the names they have in a checkpoint.
    pub fn named(&self) -> [(&'static str, &Tensor<D>); 6] {
        [
            ("conv1.weight", &self.conv1),
            ("bn1.weight", &self.bn1.gamma),
            ("bn1.bias", &self.bn1.beta),
            ("conv2.weight", &self.conv2),
            ("bn2.weight", &self.bn2.gamma),
            ("bn2.bias", &self.bn2.beta),
        ]
    }

    /// The same six tensors, to be written.
    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor<D>); 6] {
        [
            ("conv1.weight", &mut self.conv1),
            ("bn1.weight", &mut self.bn1.gamma),
            ("bn1.bias", &mut self.bn1.beta),
            ("conv2.weight", &mut self.conv2),
            ("bn2.weight", &mut self.bn2.gamma),
            ("bn2.bias", &mut self.bn2.beta),
        ]
    }
}

/// The statistics of one evaluation of a residual function.
pub struct BasicStats<D: Device> {
    /// Of the first convolution's output.
    pub bn1: BnStats<D>,
    /// Of the second convolution's output.
    pub bn2: BnStats<D>,
    /// The ReLU's mask, see [`Device::relu_mask`], where the sweep replays it.
    pub mask: Option<Tensor<D>>,
}

impl<D: Device> BasicStats<D> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, channels: usize) -> Result<Self> {
        let mut new = || BnStats::new(arena, category, channels);
        Ok(Self { bn1: new()?, bn2: new()?, mask: None })
    }
}

/// A new mask of a ReLU that takes `z`, uninitialised: `[N, 1, 1, L]`, one bit an element.
///
/// # Errors
/// If the arena is full.
pub fn relu_mask<D: Device>(arena: &mut Arena<'_, D>, z: Shape) -> Result<Tensor<D>> {
    arena.tensor(Category::Saved, relu_mask_shape::<D>(z))
}

/// Its shape.
pub fn relu_mask_shape<D: Device>(z: Shape) -> Shape {
    Shape::map(z.n(), 1, 1, D::code_len(z.image_len(), Bits::One))
}

/// Bytes that it takes.
pub fn relu_mask_bytes<D: Device>(z: Shape) -> u64 {
    padded_bytes::<D::Real>(relu_mask_shape::<D>(z).len())
}

/// The running statistics of one residual function.
pub struct BasicRunning<D: Device> {
    /// Of the first convolution's output.
    pub bn1: BnRunning<D>,
    /// Of the second convolution's output.
    pub bn2: BnRunning<D>,
}

impl<D: Device> BasicRunning<D> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, channels: usize) -> Result<Self> {
        Ok(Self { bn1: BnRunning::new(arena, channels)?, bn2: BnRunning::new(arena, channels)? })
    }

    /// The four tensors in a fixed order, with the names they have in a checkpoint.
    pub fn named(&self) -> [(&'static str, &Tensor<D>); 4] {
        [
            ("bn1.running_mean", &self.bn1.mean),
            ("bn1.running_var", &self.bn1.var),
            ("bn2.running_mean", &self.bn2.mean),
            ("bn2.running_var", &self.bn2.var),
        ]
    }

    /// The same four tensors, to be written.
    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor<D>); 4] {
        [
            ("bn1.running_mean", &mut self.bn1.mean),
            ("bn1.running_var", &mut self.bn1.var),
            ("bn2.running_mean", &mut self.bn2.mean),
            ("bn2.running_var", &mut self.bn2.var),
        ]
    }
}

/// What one evaluation of a residual function leaves for its VJP: both convolutions' outputs, `[N, H, W, C]`. The value
/// itself is `f = BN2(z2)` and is never stored.
pub struct BasicCache<D: Device> {
    /// Output of the first convolution.
    pub z1: Tensor<D>,
    /// Output of the second convolution.
    pub z2: Tensor<D>,
}

impl<D: Device> BasicCache<D> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, map: Shape) -> Result<Self> {
        Ok(Self { z1: arena.tensor(category, map)?, z2: arena.tensor(category, map)? })
    }
}

/// Which state the sweep carries on from once block n is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// From the reconstruction itself, as the paper does.
    Reconstruction,
    /// From `x_{n+1} - h f(x~_n)`, with the f that the VJP needed anyway.
    Correction,
}

/// Memory that lives within one operation or one block. Its maps serve the fused operations' default bodies; a device
/// that overrides them all asks for none.
pub struct Scratch<D: Device> {
    /// State-shaped tensors, [`Device::SCRATCH_MAPS`] of them.
    pub maps: Vec<Tensor<D>>,
    /// Cotangent at the input of the block's inner ReLU, `[N, H, W, C]`.
    pub grad_u: Tensor<D>,
    /// Batch norm's two gradient sums, `[C]`.
    pub sums1: Affine<D>,
    /// The second batch norm's.
    pub sums2: Affine<D>,
    /// What the device's own operations ask for, sized by its `..._workspace` functions.
    pub workspace: D::Buffer,
}

impl<D: Device> Scratch<D> {
    /// Scratch for blocks of the given map, with `maps` state-shaped tensors and a workspace of `workspace` elements.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, map: Shape, maps: usize, workspace: usize) -> Result<Self> {
        let category = Category::Scratch;
        Ok(Self {
            maps: (0..maps).map(|_| arena.tensor(category, map)).collect::<Result<_>>()?,
            grad_u: arena.tensor(category, map)?,
            sums1: Affine::new(arena, category, map.c())?,
            sums2: Affine::new(arena, category, map.c())?,
            workspace: arena.tensor(category, Shape::vector(workspace))?.buffer,
        })
    }
}
