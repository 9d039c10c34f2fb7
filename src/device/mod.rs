//! The vocabulary of operations that a device speaks.
//!
//! Primitives are required methods. A fused operation is a provided method whose default body, in [`fused`] or in [`whole`], is its
//! definition in primitives; a device overrides one only when that is measurably faster. A device knows nothing of depth.
//!
//! Conventions: outputs overwrite unless their name ends in `_acc`; scalars come as `f64` and are rounded to the device's
//! number type; maps are `[N, H, W, C]`, convolution weights `[KH, KW, C_in, C_out]`. Every operation that needs workspace
//! takes a buffer of at least what its `..._workspace` sibling returns, in elements.
//!
//! # Errors
//! Every operation returns [`crate::Error::Shape`] when its operands do not fit together, and whatever the device's driver
//! reports.
#![allow(clippy::missing_errors_doc, reason = "the section above holds for every operation")]

mod adamw;
mod basic;
mod batch_norm;
mod block;
mod code;
mod conv;
mod descent;
mod elementwise;
mod ends;
mod feed;
pub mod fused;
mod gradients;
mod head;
mod mask;
mod sgd;
pub mod whole;

pub use adamw::{AdamW, AdamWStep};
pub use basic::Basic;
pub use batch_norm::{BN_EPS, BN_MOMENTUM, BatchNorm};
pub use block::ResidualBlock;
pub use code::Coding;
pub use conv::Convolution;
pub use descent::{Descent, DescentStep};
pub use elementwise::{Activation, Elementwise};
pub use ends::Ends;
pub use feed::{Feed, PassPosition};
pub use gradients::{CLIP_EPS, Gradients, SQUARES};
pub use head::{Head, MIXED_LABEL};
pub use mask::ReluMask;
pub(crate) use mask::apply_mask;
pub use sgd::{Decay, Moved, Optimiser, Sgd, SgdStep, is_weight};

/// All traits of the vocabulary, for code that names a device's type: `use rewind::device::prelude::*`.
pub mod prelude {
    pub use super::{
        BatchNorm, Coding, Convolution, Device, Elementwise, Ends, Feed, Gradients, Head, Optimiser, ReluMask,
        ResidualBlock,
    };
    pub use crate::memory::Memory;
}

use crate::error::Result;
use crate::tensor::Tensor;

/// How a GPU multiplies in convolutions; states and sums are f32 in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Math {
    /// On the tensor cores, inputs rounded to 11 bits.
    Tf32,
    /// In full single precision.
    Fp32,
    /// On the tensor cores, inputs rounded to 11 bits and held in f16, gradients behind a scale that a launch works out: in
    /// 3x3 convolutions of a stride of 1 between multiples of 64 channels, or of 16 or 32 on both sides. All others as by [`Math::Tf32`].
    Fp16,
    /// As [`Math::Fp16`], in bf16: inputs rounded to 8 bits, with the range of f32.
    Bf16,
}

impl Math {
    /// Whether factors are held in 16 bits.
    pub const fn is_short(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16)
    }
}

impl std::fmt::Display for Math {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Math::Tf32 => "tf32",
            Math::Fp32 => "fp32",
            Math::Fp16 => "fp16",
            Math::Bf16 => "bf16",
        })
    }
}

/// Memory of the device's own, as its driver counts it for all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes that the device has.
    pub total_bytes: u64,
    /// Bytes that were free when the device was opened: the driver's own context was there, kernels and tensors not yet.
    pub free_at_open_bytes: u64,
    /// Bytes that are free now.
    pub free_now_bytes: u64,
}

impl DeviceMemory {
    /// What this process took since the device was opened, if no other process took or gave any.
    pub fn taken_bytes(&self) -> u64 {
        self.free_at_open_bytes.saturating_sub(self.free_now_bytes)
    }
}

/// A machine that holds tensors and computes on them.
pub trait Device: Feed + Head + Optimiser + Gradients + Ends {
    /// Operations that [`Device::replay`] has recorded.
    type Recording: Send;

    /// State-shaped scratch tensors that the fused operations need on this device.
    const SCRATCH_MAPS: usize;

    /// Steps that the device may be asked for before the results of the first are read: 1 where an operation that returned
    /// is done, so that reading costs nothing.
    const STEPS_AHEAD: usize;

    /// The device as a person names it.
    fn name(&self) -> String;

    /// Bytes that the device could still give, where it tells; the host's unless it has memory of its own.
    fn available_bytes(&self) -> Option<u64> {
        crate::host::available_bytes()
    }

    /// What the driver tells of the device's own memory; none where tensors lie in the host's. Asks the driver, so it is
    /// for between steps.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Runs `f` where the device's operations start without a detour: on the CPU a thread of its pool.
    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }

    /// Runs `f` as a part of a step that a profiler shows by this name, where the device has one.
    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let _ = name;
        f()
    }

    /// Waits until everything that was asked for is done; at once where operations return only then.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    /// Runs the operations of `f`, which are the same on the same tensors in every call with the same `recorded`, and none of
    /// which waits. A device that can, records them in the first call and only replays them in the later ones.
    ///
    /// # Errors
    /// Those of `f`, and [`crate::Error::Device`] if what was recorded cannot be made ready or started.
    fn replay(&self, recorded: &mut Option<Self::Recording>, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let _ = recorded;
        f()
    }

    /// Copies from the host. `from` holds as many elements as `to`.
    fn upload(&self, from: &[Self::Real], to: &mut Tensor<Self::Buffer>) -> Result<()>;

    /// Copies to the host. `to` holds as many elements as `from`.
    fn download(&self, from: &Tensor<Self::Buffer>, to: &mut [Self::Real]) -> Result<()>;
}
