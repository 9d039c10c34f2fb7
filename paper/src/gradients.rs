//! The gradients of a batch, as numbers to compare.

use rewind::device::{Device, SgdStep};
use rewind::error::Result;
use rewind::field::Field;
use rewind::net::{Drift, Net};
use rewind::tensor::Real;

/// One tensor's gradient: its name, and its values.
pub type Gradient64 = (String, Vec<f64>);
/// All gradients of the residual blocks, and what the sweep told of its drift.
pub type Gradients = (Vec<Gradient64>, Drift);

/// The gradients of `net`, whose sweep keeps them, on as many images as its batch has. The weights stay as they are; running
/// statistics move.
///
/// # Errors
/// Whatever the device reports.
pub fn gradients<D: Device, F: Field<D>>(
    d: &D,
    net: &mut Net<D, F>,
    images: &[f32],
    labels: &[f32],
) -> Result<Gradients> {
    let nothing = SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER };
    let rounded = |values: &[f32]| values.iter().map(|v| D::Real::from_f64(f64::from(*v))).collect::<Vec<_>>();
    net.load(d, &rounded(images), &rounded(labels))?;
    net.forward(d)?;
    let drift = net.backward(d, nothing)?;
    let blocks = net.gradients().into_iter().filter(|(name, _)| name.contains("blocks."));
    let read = blocks.map(|(name, tensor)| {
        let mut values = vec![D::Real::default(); tensor.shape().len()];
        d.download(tensor, &mut values)?;
        Ok((name, values.into_iter().map(Real::to_f64).collect()))
    });
    Ok((read.collect::<Result<_>>()?, drift))
}
