//! Masks of ReLUs behind a batch norm, one f64 a bit: see [`crate::device::ReluMask::relu_mask`].

use super::{Buffer, Reference, Tensor};
use crate::check;
use crate::device::ReluMask;
use crate::error::Result;
use crate::operands::{Affine, BnStats};

/// Batch norm by its slope, so that its zero can be asked for.
struct Norm<'a>(&'a BnStats<Buffer>, &'a Affine<Buffer>);

impl Norm<'_> {
    /// The slope, and `bn(z)`, in channel c.
    fn at(&self, z: f64, c: usize) -> (f64, f64) {
        let Self(stats, affine) = self;
        let slope = affine.gamma.values()[c] * stats.rstd.values()[c];
        (slope, slope * (z - stats.mean.values()[c]) + affine.beta.values()[c])
    }
}

/// `mask = bn(z) > 0`.
pub fn keep(z: &[f64], stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut [f64]) {
    let norm = Norm(stats, affine);
    let channels = affine.gamma.values().len();
    for (i, (mask, z)) in mask.iter_mut().zip(z).enumerate() {
        *mask = f64::from(u8::from(norm.at(*z, i % channels).1 > 0.0));
    }
}

/// z mirrored at bn's zero where the sign of `bn(z)` is not the mask's.
pub fn replay(mask: &[f64], stats: &BnStats<Buffer>, affine: &Affine<Buffer>, z: &mut [f64]) {
    let norm = Norm(stats, affine);
    let channels = affine.gamma.values().len();
    for (i, (z, mask)) in z.iter_mut().zip(mask).enumerate() {
        let (slope, value) = norm.at(*z, i % channels);
        if (value > 0.0) != (*mask > 0.0) && slope != 0.0 {
            *z -= 2.0 * value / slope;
        }
    }
}

impl ReluMask for Reference {
    fn relu_mask(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut Tensor) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        keep(z.values(), stats, affine, mask.values_mut());
        Ok(())
    }

    fn relu_replay(
        &self,
        mask: &Tensor,
        stats: &BnStats<Buffer>,
        affine: &Affine<Buffer>,
        z_acc: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_replay", z_acc.shape(), stats, affine, mask.shape())?;
        replay(mask.values(), stats, affine, z_acc.values_mut());
        Ok(())
    }
}
