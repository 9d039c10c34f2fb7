//! The reference device: f64, plain loops in the order of the formulas, nothing clever. When fast and obvious disagree,
//! obvious wins: every other device is tested against this one, and this one against finite differences.

mod adamw;
mod batch_norm;
mod block;
mod code;
mod conv;
mod elementwise;
mod feed;
mod gradients;
mod head;
mod linear;
mod loss;
mod mask;
mod pool;
mod sgd;

use crate::check;
use crate::device::Device;
use crate::error::Result;
use crate::host::{HostBuffer, HostRegion};
use crate::memory::Memory;
use crate::operands::BnStats;
use crate::tensor::Tensor as DeviceTensor;

/// The reference device; it has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

type Buffer = HostBuffer<f64>;
type Tensor = DeviceTensor<Buffer>;

impl Memory for Reference {
    type Real = f64;
    type Region = HostRegion<f64>;
    type Buffer = HostBuffer<f64>;

    /// The region is filled with NaN, so that a result which reads memory nobody wrote shows it.
    fn reserve(&self, len: usize) -> Result<Self::Region> {
        let region = HostRegion::new(len)?;
        // SAFETY: the region is whole and nothing else was carved from it yet; this buffer is gone before anything is.
        unsafe { region.carve(0, len) }.fill(f64::NAN);
        Ok(region)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Buffer {
        // SAFETY: handed on to the caller.
        unsafe { region.carve(offset, len) }
    }
}

impl Device for Reference {
    type Recording = ();

    const SCRATCH_MAPS: usize = 2;

    const STEPS_AHEAD: usize = 1;

    fn name(&self) -> String {
        "reference (f64)".into()
    }

    fn upload(&self, from: &[f64], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        to.values_mut().copy_from_slice(from);
        Ok(())
    }

    fn download(&self, from: &Tensor, to: &mut [f64]) -> Result<()> {
        check::host("download", to.len(), from.shape())?;
        to.copy_from_slice(from.values());
        Ok(())
    }
}

/// Borrowed statistics, `[C]` each.
struct Stats<'a> {
    mean: &'a [f64],
    rstd: &'a [f64],
}

fn view(stats: &BnStats<HostBuffer<f64>>) -> Stats<'_> {
    Stats { mean: stats.mean.values(), rstd: stats.rstd.values() }
}
