//! Masks of ReLUs behind a batch norm, one f64 a bit: see [`crate::device::Device::relu_mask`].

use super::Buffer;
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
