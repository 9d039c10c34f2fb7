//! The paper's residual function `f = BN2(conv2(relu(BN1(conv1(x)))))`, 3x3 convolutions, C to C.

use crate::device::Device;
use crate::error::Result;
use crate::operands::{BasicCache, BasicRunning, BasicStats, BasicTheta, Measure, Scratch};
use crate::shape::Conv;
use crate::tensor::Tensor;

/// Where an evaluation's batch-norm statistics come from.
pub enum Normalise<'a, D: Device> {
    /// Measured on this batch, and written to the stage's statistics; the forward pass of training also hands in the running
    /// statistics to move.
    Batch(Option<&'a mut BasicRunning<D>>),
    /// Read from the stage's statistics.
    Given,
}

/// Evaluates f at `x` up to its last affine map: fills the cache, so that `f = bn2(z2)` with the stage's statistics.
///
/// # Errors
/// Whatever the device reports.
pub fn eval<D: Device>(
    d: &D,
    x: &Tensor<D>,
    theta: &BasicTheta<D>,
    stats: &mut BasicStats<D>,
    normalise: Normalise<'_, D>,
    cache: &mut BasicCache<D>,
    scratch: &mut Scratch<D>,
) -> Result<()> {
    let BasicCache { z1, z2 } = cache;
    let (measure1, measure2) = match normalise {
        Normalise::Given => (None, None),
        Normalise::Batch(running) => {
            let (running1, running2) = running.map_or((None, None), |r| (Some(&mut r.bn1), Some(&mut r.bn2)));
            (
                Some(Measure { stats: &mut stats.bn1, running: running1 }),
                Some(Measure { stats: &mut stats.bn2, running: running2 }),
            )
        }
    };
    d.conv_stats(x, &theta.conv1, Conv::SAME_3X3, z1, measure1, &mut scratch.workspace)?;
    d.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure2, scratch)
}
