//! How wrong a way to the gradient is at the weights that a run has just reached.

use rewind::data::{Dataset, image_len};
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::sweep::{Gradient, SweepSpec, Update, Way};
use serde::{Deserialize, Serialize};

use crate::distance::{bounded, distance};
use crate::gradients::{Gradients, gradients};

/// A gradient compared with backprop's, at one set of weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Epochs of training that the weights have seen.
    pub epoch: usize,
    /// `|g - g*| / |g*|` of the residual blocks' weights together, at most [`MOST`](crate::distance::MOST).
    pub error: f64,
    /// `<g, g*> / (|g| |g*|)`; 0 where the gradient is not finite.
    pub cosine: f64,
    /// The sweep's drift on this batch, at most [`MOST`](crate::distance::MOST).
    pub drift: f64,
}

/// Compares the gradient that `net` trains with, on the first `images` training images as they are. The net stays as it is.
///
/// # Errors
/// Whatever the device reports.
pub fn probe<D: Device<Real = f32>, F: Field<D>>(
    d: &D,
    net: &Net<D, F>,
    epoch: usize,
    dataset: &Dataset,
    images: usize,
) -> Result<Probe> {
    let sweep = net.spec().sweep;
    let exact = SweepSpec { gradient: Gradient::Backprop, fixed_point: 0, anchors: None, ..sweep };
    let (expected, _) = gradients_at(d, net, exact, dataset, images)?;
    let (found, drift) = gradients_at(d, net, sweep, dataset, images)?;
    let (error, cosine) = distance(&found, &expected);
    let cosine = if cosine.is_finite() { cosine } else { 0.0 };
    Ok(Probe { epoch, error: bounded(error), cosine, drift: bounded(drift.stem.unwrap_or(0.0)) })
}

/// Gradients of the residual blocks at the weights of `held`.
fn gradients_at<D: Device<Real = f32>, F: Field<D>>(
    d: &D,
    held: &Net<D, F>,
    sweep: SweepSpec,
    dataset: &Dataset,
    images: usize,
) -> Result<Gradients> {
    // the gradients are to be read, and the weights to stay
    let sweep = SweepSpec { update: Update::After, ..sweep };
    let mut net = Net::<D, F>::build(d, NetSpec { sweep, batch: images, ..*held.spec() }, Init::Paper, 0)?;
    for ((_, from), (_, to)) in held.checkpointed().into_iter().zip(net.checkpointed_mut()) {
        d.copy(from, to)?;
    }
    // which blocks `auto` codes by now; other modes have no choice
    if sweep.gradient == Gradient::Auto {
        let ways: Vec<_> = held.ways().map(<[Way]>::to_vec).collect();
        assert!(net.set_ways(&ways), "the net has the sweep of the one that chose them");
    }
    let (len, normaliser) = (image_len(dataset.side()), dataset.normaliser());
    let mut pixels = vec![0.0; images * len];
    for (index, image) in pixels.chunks_exact_mut(len).enumerate() {
        normaliser.normalise(dataset.train.image(index), image);
    }
    let labels: Vec<f32> = dataset.train.labels[..images].iter().map(|label| f32::from(*label)).collect();
    gradients(d, &mut net, &pixels, &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind::cpu::Cpu;
    use rewind::scheme::{Scheme, StepSize};
    use rewind_train::synthetic;

    #[test]
    fn a_plain_net_has_a_worse_gradient_than_one_near_an_ode_and_passes_repair_it() {
        let (cpu, dataset) = (Cpu::new(Some(1)).expect("cpu"), synthetic::generate(0));
        let of = |step_size, gradient, fixed_point| {
            let sweep = SweepSpec { fixed_point, ..SweepSpec::new(Scheme::Euler, gradient) };
            let spec = NetSpec { depth: 4, channels: 4, batch: 2, step_size, sweep, ..NetSpec::default() };
            let net = Net::new(&cpu, spec, Init::Plain, 1).expect("net");
            probe(&cpu, &net, 3, &dataset, 16).expect("probe")
        };
        let (plain, near) = (of(StepSize::One, Gradient::Adjoint, 0), of(StepSize::OverDepth, Gradient::Adjoint, 0));
        assert!(plain.error > 2.0 * near.error && plain.drift > 2.0 * near.drift, "{plain:?} {near:?}");
        assert!(near.cosine > plain.cosine && near.epoch == 3, "{plain:?} {near:?}");
        let passes = [1, 2, 3].map(|passes| of(StepSize::OverDepth, Gradient::Adjoint, passes).error);
        assert!(passes[2] < passes[0] && passes[0] < near.error, "{near:?}, {passes:?}");
        let exact = Probe { epoch: 3, error: 0.0, cosine: 1.0, drift: 0.0 };
        assert_eq!(of(StepSize::One, Gradient::Backprop, 0), exact);
        // a shallow net's blocks all start coded, and no carry is left at x_0
        let [coded, auto] = [Gradient::Coded, Gradient::Auto].map(|gradient| of(StepSize::One, gradient, 0));
        assert!(coded.error > 0.0 && coded.error < plain.error && coded.drift < 1e-5, "{coded:?} {plain:?}");
        assert_eq!(auto, coded);
    }
}
