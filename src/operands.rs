//! What operations take besides plain tensors: a batch norm's pieces, one residual block's weights and intermediates, and
//! the scratch memory.

use crate::error::Result;
use crate::memory::{Arena, Category, Memory};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// Batch norm's affine map, or its gradient: gamma and beta, `[C]` each.
pub struct Affine<B> {
    /// The scale.
    pub gamma: Tensor<B>,
    /// The shift.
    pub beta: Tensor<B>,
}

impl<B> Affine<B> {
    /// A new pair, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, category: Category, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { gamma: arena.tensor(category, shape)?, beta: arena.tensor(category, shape)? })
    }

    /// Both vectors.
    pub(crate) fn both_mut(&mut self) -> [&mut Tensor<B>; 2] {
        [&mut self.gamma, &mut self.beta]
    }
}

/// Statistics that normalise: mean and 1/sqrt(var + eps), `[C]` each.
pub struct BnStats<B> {
    /// Mean over N, H and W.
    pub mean: Tensor<B>,
    /// 1/sqrt(biased variance + eps).
    pub rstd: Tensor<B>,
}

impl<B> BnStats<B> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, category: Category, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { mean: arena.tensor(category, shape)?, rstd: arena.tensor(category, shape)? })
    }
}

/// Running statistics, which evaluation uses: mean and unbiased variance, `[C]` each.
pub struct BnRunning<B> {
    /// Running mean.
    pub mean: Tensor<B>,
    /// Running variance.
    pub var: Tensor<B>,
}

impl<B> BnRunning<B> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, channels: usize) -> Result<Self> {
        let shape = Shape::vector(channels);
        Ok(Self { mean: arena.tensor(Category::Statistics, shape)?, var: arena.tensor(Category::Statistics, shape)? })
    }
}

/// Where a convolution's output statistics go. Only the forward pass of a training step hands in `running`: recomputing
/// during a sweep must not move the running statistics.
pub struct Measure<'a, B> {
    /// Receives mean and rstd of the batch.
    pub stats: &'a mut BnStats<B>,
    /// Updated with momentum, if given.
    pub running: Option<&'a mut BnRunning<B>>,
}

/// The weights of one residual function conv-BN-ReLU-conv-BN, or their gradients, or their velocities.
pub struct BasicTheta<B> {
    /// First convolution, `[3, 3, C, C]`.
    pub conv1: Tensor<B>,
    /// First batch norm.
    pub bn1: Affine<B>,
    /// Second convolution, `[3, 3, C, C]`.
    pub conv2: Tensor<B>,
    /// Second batch norm.
    pub bn2: Affine<B>,
}

impl<B> BasicTheta<B> {
    /// New weights, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, category: Category, channels: usize) -> Result<Self> {
        let weight = Shape::weight(Conv::SAME_3X3.kernel, channels, channels);
        Ok(Self {
            conv1: arena.tensor(category, weight)?,
            bn1: Affine::new(arena, category, channels)?,
            conv2: arena.tensor(category, weight)?,
            bn2: Affine::new(arena, category, channels)?,
        })
    }

    /// The six tensors in a fixed order, with the names they have in a checkpoint.
    pub fn named(&self) -> [(&'static str, &Tensor<B>); 6] {
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
    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor<B>); 6] {
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
pub struct BasicStats<B> {
    /// Of the first convolution's output.
    pub bn1: BnStats<B>,
    /// Of the second convolution's output.
    pub bn2: BnStats<B>,
    /// The ReLU's mask, see [`crate::device::ReluMask::relu_mask`], where the sweep replays it.
    pub mask: Option<Tensor<B>>,
}

impl<B> BasicStats<B> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, category: Category, channels: usize) -> Result<Self> {
        let mut new = || BnStats::new(arena, category, channels);
        Ok(Self { bn1: new()?, bn2: new()?, mask: None })
    }
}

/// The running statistics of one residual function.
pub struct BasicRunning<B> {
    /// Of the first convolution's output.
    pub bn1: BnRunning<B>,
    /// Of the second convolution's output.
    pub bn2: BnRunning<B>,
}

impl<B> BasicRunning<B> {
    /// New running statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, channels: usize) -> Result<Self> {
        Ok(Self { bn1: BnRunning::new(arena, channels)?, bn2: BnRunning::new(arena, channels)? })
    }

    /// The four tensors in a fixed order, with the names they have in a checkpoint.
    pub fn named(&self) -> [(&'static str, &Tensor<B>); 4] {
        [
            ("bn1.running_mean", &self.bn1.mean),
            ("bn1.running_var", &self.bn1.var),
            ("bn2.running_mean", &self.bn2.mean),
            ("bn2.running_var", &self.bn2.var),
        ]
    }

    /// The same four tensors, to be written.
    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor<B>); 4] {
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
pub struct BasicCache<B> {
    /// Output of the first convolution.
    pub z1: Tensor<B>,
    /// Output of the second convolution.
    pub z2: Tensor<B>,
}

impl<B> BasicCache<B> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, category: Category, map: Shape) -> Result<Self> {
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

/// The squares of the local errors from which on a reconstruction is worth nothing, see [`crate::sweep::LocalError`]: at any
/// contraction, and where there is none.
pub const HOPELESS: [f64; 2] = [0.25, 0.01];

/// A reconstruction x of a state, and where its distance from the state goes: see [`crate::device::Ends::drift`].
pub struct Reconstruction<'a, B> {
    /// The reconstruction.
    pub x: &'a Tensor<B>,
    /// The grid's unit, `[1]`, where the state was rounded to its multiples.
    pub grid: Option<&'a Tensor<B>>,
    /// No number where the reconstruction is worth nothing, `[2]`.
    pub verdict: &'a Tensor<B>,
    /// `[2]`.
    pub distance: &'a mut Tensor<B>,
}

/// Memory that lives within one operation or one block. Its maps serve the fused operations' default bodies; a device
/// that overrides them all asks for none.
pub struct Scratch<B> {
    /// State-shaped tensors, [`crate::device::Device::SCRATCH_MAPS`] of them.
    pub maps: Vec<Tensor<B>>,
    /// Cotangent at the input of the block's inner ReLU, `[N, H, W, C]`.
    pub grad_u: Tensor<B>,
    /// Batch norm's two gradient sums, `[C]`.
    pub sums1: Affine<B>,
    /// The second batch norm's.
    pub sums2: Affine<B>,
    /// What the device's own operations ask for, sized by its `..._workspace` functions.
    pub workspace: B,
    /// Elements of the workspace.
    pub workspace_len: usize,
}

impl<B> Scratch<B> {
    /// Scratch for blocks of the given map, with `maps` state-shaped tensors and a workspace of `workspace` elements.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(
        arena: &mut Arena<'_, M>,
        map: Shape,
        maps: usize,
        workspace: usize,
    ) -> Result<Self> {
        let category = Category::Scratch;
        Ok(Self {
            maps: (0..maps).map(|_| arena.tensor(category, map)).collect::<Result<_>>()?,
            grad_u: arena.tensor(category, map)?,
            sums1: Affine::new(arena, category, map.c())?,
            sums2: Affine::new(arena, category, map.c())?,
            workspace: arena.tensor(category, Shape::vector(workspace))?.buffer,
            workspace_len: workspace,
        })
    }
}
