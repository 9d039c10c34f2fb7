//! What several tests share: seeded values, comparison with a derived tolerance, small nets.
#![allow(dead_code)]

#[cfg(all(feature = "cuda", target_os = "linux"))]
pub mod gpu;

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rewind::code::{Bits, CodedPass};
use rewind::data::{Dataset, IMAGE, Normalise, Split, image_len};
use rewind::device::{Device, SgdStep};
use rewind::init::Init;
use rewind::net::{Body, Net, NetSpec, Stages, Stem};
use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, Gradient, Masks, SweepSpec, Update};
use rewind::tensor::{Real, Tensor};

/// Unit roundoff of f32.
pub const EPS_F32: f64 = 1.0 / (1 << 24) as f64;

/// Plain SGD with nothing in it: the gradients stay readable and the weights stay put.
pub const NO_SGD: SgdStep = SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER };

/// Values uniform in [-1, 1), exact in f32.
pub fn uniform(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 23) - 1.0).collect()
}

/// Fails with the worst element: its index, both values, and the ratio of the error to its tolerance.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let worst = (0..found.len())
        .map(|i| ((found[i] - expected[i]).abs() / tolerance(i), i))
        .fold((0.0, 0), |a, b| if b.0 > a.0 || b.0.is_nan() { b } else { a });
    let (ratio, i) = worst;
    assert!(
        ratio <= 1.0,
        "{what}: element {i} is {} and should be {}; the error is {ratio:.3} times the tolerance",
        found[i],
        expected[i]
    );
}

/// Compares gradients of [`swept`] nets whose increments are coded. What lies within rounding of a threshold may be coded the other
/// way by another device: one of a state's 3000 elements is then moved by up to two of the increment's sigmas, which are a quarter of
/// the state's, 2 / 4 / sqrt(3000) = 0.9 % of the state. The gradient may feel it twice over.
pub fn assert_coded_alike(what: &str, found: &[f64], expected: &[f64]) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let all = norm(&mut expected.iter().copied());
    assert!(off <= 0.02 * all + 1e-5, "{what}: off by {off:e} of {all:e}");
}

/// Copies a tensor to the host as f64.
pub fn read<D: Device>(d: &D, tensor: &Tensor<D::Buffer>) -> Vec<f64> {
    let mut values = vec![D::Real::default(); tensor.shape().len()];
    d.download(tensor, &mut values).expect("download");
    values.into_iter().map(Real::to_f64).collect()
}

/// Copies values to a tensor, rounding them to the device's number type.
pub fn write<D: Device>(d: &D, values: &[f64], tensor: &mut Tensor<D::Buffer>) {
    let values: Vec<_> = values.iter().map(|v| D::Real::from_f64(*v)).collect();
    d.upload(&values, tensor).expect("upload");
}

/// Rounds to a device's number type.
pub fn rounded<D: Device>(values: &[f64]) -> Vec<D::Real> {
    values.iter().map(|v| D::Real::from_f64(*v)).collect()
}

/// The next depth from this one on that steps of the scheme take.
pub fn fitting(scheme: Scheme, depth: usize) -> usize {
    (depth..).find(|depth| scheme.takes(*depth)).expect("a scheme takes some depths")
}

/// A small net on 32 x 32 x 3 images with 10 classes, its gradients kept. It has the next depth that the scheme takes.
pub fn small(sweep: SweepSpec, depth: usize, channels: usize, batch: usize) -> NetSpec {
    let (sweep, depth) = (SweepSpec { update: Update::After, ..sweep }, fitting(sweep.scheme, depth));
    NetSpec { depth, channels, batch, sweep, ..NetSpec::default() }
}

/// A small net with this body on images of 11 x 11: maps of odd extents. `depth` is that of a net of one stack. Every stack has the next
/// depth that the scheme takes.
pub fn staged(body: Body, sweep: SweepSpec, depth: usize, batch: usize) -> NetSpec {
    let stem = Stem::Same3x3;
    let stages = body.stages.map(|stages| {
        let (blocks, widths): (Vec<_>, Vec<_>) = stages.each().unzip();
        let blocks: Vec<_> = blocks.into_iter().map(|blocks| fitting(sweep.scheme, blocks)).collect();
        Stages::new(&blocks, &widths).expect("as many as before")
    });
    let body = Body { stages, ..body };
    NetSpec { body, stem, image: 11, ..small(sweep, depth, 8, batch) }
}

/// Gives every block a second batch norm that is not zero, so that all gradients are alive. The blocks' weights lie on a
/// smooth curve over depth (`wave`), or are independent draws.
pub fn liven<D: Device>(d: &D, net: &mut Net<D>, smooth: bool) {
    let depth = net.stages[0].stack.depth();
    for (n, theta) in net.stages[0].stack.theta.iter_mut().enumerate() {
        for (t, (name, tensor)) in theta.named_mut().into_iter().enumerate() {
            let len = tensor.shape().len();
            let (scale, shift) = match name {
                "bn1.weight" | "bn2.weight" => (0.3, 1.0),
                "bn1.bias" | "bn2.bias" => (0.3, 0.0),
                _ => (0.2, 0.0),
            };
            let values: Vec<f64> = if smooth {
                let (a, b) = (uniform(100 + t as u64, len), uniform(200 + t as u64, len));
                let angle = 1.5 * n as f64 / depth as f64;
                a.iter().zip(b).map(|(a, b)| shift + scale * (a * angle.cos() + b * angle.sin())).collect()
            } else {
                uniform(300 + (n * 6 + t) as u64, len).iter().map(|v| shift + scale * v).collect()
            };
            write(d, &values, tensor);
        }
    }
}

/// A seeded batch: images in [-1, 1), labels in turn.
pub fn batch<D: Device>(net: &mut Net<D>, d: &D, n: usize) {
    let shape = net.spec().images().with_batch(n);
    let images = rounded::<D>(&uniform(7, shape.len()));
    let labels: Vec<f64> = (0..n).map(|i| (i % net.spec().classes) as f64).collect();
    net.load(d, &images, &rounded::<D>(&labels)).expect("load");
}

/// A data set of `train` and `test` images of ten classes, each image's bytes its own.
pub fn numbered(train: usize, test: usize) -> Arc<Dataset> {
    numbered_of(IMAGE, 10, Normalise::CIFAR_10, train, test)
}

/// The same of images of another size, of more classes, and of other numbers.
pub fn numbered_of(side: usize, classes: usize, normalise: Normalise, train: usize, test: usize) -> Arc<Dataset> {
    let split = |seed, n: usize| Split {
        side,
        pixels: uniform(seed, n * image_len(side)).iter().map(|v| (128.0 + 128.0 * v) as u8).collect(),
        labels: (0..n).map(|i| (i * 7 % classes) as u16).collect(),
    };
    let (train, test) = (split(11, train), split(12, test));
    Arc::new(Dataset { name: "numbered".into(), classes, normalise, train, test, fingerprint: None, part_of: None })
}

/// All gradients by name.
pub fn gradients<D: Device>(d: &D, net: &Net<D>) -> Vec<(String, Vec<f64>)> {
    net.gradients().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

/// Gradients of a net with live second norms on a batch of six.
pub fn swept<D: Device>(d: &D, sweep: SweepSpec) -> Vec<(String, Vec<f64>)> {
    let mut net = Net::new(d, small(sweep, 4, 5, 6), Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    batch(&mut net, d, 6);
    net.forward(d).expect("forward");
    net.backward(d, NO_SGD).expect("backward");
    gradients(d, &net)
}

/// `|a - b| / |b|` over all blocks' gradients together.
pub fn block_error(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) -> f64 {
    let (mut distance, mut norm) = (0.0, 0.0);
    for ((name, a), (_, b)) in a.iter().zip(b).filter(|((name, _), _)| name.starts_with("blocks")) {
        assert!(!a.is_empty(), "{name} is empty");
        distance += a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        norm += b.iter().map(|b| b * b).sum::<f64>();
    }
    (distance / norm).sqrt()
}

/// All schemes.
pub const SCHEMES: [Scheme; 3] = Scheme::NAMED;
/// All gradient modes.
pub const GRADIENTS: [Gradient; 6] =
    [Gradient::Backprop, Gradient::Checkpoint, Gradient::Adjoint, Gradient::Corrected, Gradient::Coded, Gradient::Auto];

/// Every combination of options that the program accepts, at small values; of RK4, whose steps take long and ask for no operation that
/// Heun's do not, those with saved statistics and codes of the default's bits.
pub fn all_sweeps() -> Vec<SweepSpec> {
    let mut all = Vec::new();
    for scheme in SCHEMES {
        for gradient in GRADIENTS {
            for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                if (scheme, bn_stats) == (Scheme::Rk4, BnStatistics::Batch) {
                    continue;
                }
                for update in [Update::InSweep, Update::After] {
                    let base = SweepSpec { bn_stats, update, ..SweepSpec::new(scheme, gradient) };
                    all.push(base);
                    // whatever the update, and one thing at a time in `tests/nets/sweeps`
                    if gradient.reconstructs() && (bn_stats, update) == (BnStatistics::Saved, Update::After) {
                        let masks = Masks::Saved;
                        all.push(SweepSpec { masks, ..base });
                        all.push(SweepSpec { bn_stats: BnStatistics::Hybrid, masks, anchors: Some(3), ..base });
                    }
                    if gradient.reconstructs() {
                        all.push(SweepSpec { anchors: Some(1), ..base });
                        all.push(SweepSpec { anchors: Some(3), ..base });
                    }
                    if gradient.measures_errors() {
                        all.push(SweepSpec { fixed_point: 2, ..base });
                    }
                    if gradient == Gradient::Coded && scheme != Scheme::Rk4 {
                        for coded_pass in [CodedPass::Plain, CodedPass::Altered] {
                            all.extend(Bits::ALL.map(|bits| SweepSpec { bits, coded_pass, ..base }));
                        }
                    }
                    if gradient == Gradient::Auto {
                        all.push(SweepSpec { code_room: Some(0), ..base });
                        all.push(SweepSpec { code_room: Some(2), ..base });
                    }
                    if gradient == Gradient::Checkpoint {
                        all.push(SweepSpec { checkpoint_every: Some(1), ..base });
                        all.push(SweepSpec { checkpoint_every: Some(3), ..base });
                        all.push(SweepSpec { checkpoint_every: Some(100), ..base });
                    }
                }
            }
        }
    }
    all
}
