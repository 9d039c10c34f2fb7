//! Against PyTorch in f64: loss, logits, every gradient, the paper's adjoint, running statistics and one SGD step of a
//! depth-4 Euler and a depth-4 Heun net. `tests/golden/README.md` says how the numbers were made.

use std::collections::HashMap;
use std::path::Path;

use crate::support::{assert_close, read, rounded, small, write};
use rewind::device::{Device, SgdStep};
use rewind::init::Init;
use rewind::net::Net;
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, Gradient, SweepSpec};

/// Both sides round every operation in f64; the longest sums have 500 terms (5 images of 10 x 10 pixels) and errors pass
/// through about a dozen layers of condition below 100: 1e-16 * 500 * 100 stays below this, relative to each tensor's
/// largest element.
const RELATIVE: f64 = 1e-11;

fn golden(scheme: Scheme) -> HashMap<String, Vec<f64>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{scheme}.safetensors"));
    let bytes = std::fs::read(path).expect("the golden numbers");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let widen = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::F64 => bytemuck::allocation::pod_collect_to_vec::<u8, f64>(view.data()),
        safetensors::Dtype::F32 => {
            bytemuck::allocation::pod_collect_to_vec::<u8, f32>(view.data()).into_iter().map(f64::from).collect()
        }
        other => panic!("a tensor of {other:?}"),
    };
    tensors.tensors().iter().map(|(name, view)| (name.clone(), widen(view))).collect()
}

fn compare(what: &str, found: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert_close(what, found, expected, |_| RELATIVE * largest.max(1e-3));
}

fn loaded<D: Device>(d: &D, sweep: SweepSpec, golden: &HashMap<String, Vec<f64>>) -> Net<D> {
    let mut net = Net::new(d, small(sweep, 4, 8, 5), Init::Paper, 0).expect("net");
    for (name, tensor) in net.checkpointed_mut() {
        if let Some(values) = golden.get(&name).filter(|_| !name.contains("running")) {
            write(d, values, tensor);
        }
    }
    net.load(d, &rounded::<D>(&golden["images"]), &rounded::<D>(&golden["labels"])).expect("load");
    net
}

fn exact(scheme: Scheme) {
    let d = &Reference;
    let golden = &golden(scheme);
    let sgd = SgdStep::PAPER;
    for gradient in [Gradient::Backprop, Gradient::Checkpoint] {
        let mut net = loaded(d, SweepSpec::new(scheme, gradient), golden);
        let result = net.forward(d).expect("forward");
        compare("loss", &[result.loss], &golden["loss"]);
        compare("logits", &read(d, net.logits()), &golden["logits"]);
        net.backward(d, sgd).expect("backward");
        let gradients = net.gradients();
        assert_eq!(gradients.len(), 5 + 4 * 6);
        for (name, grad) in gradients {
            compare(&format!("{gradient} grad.{name}"), &read(d, grad), &golden[&format!("grad.{name}")]);
        }
        net.update(d, sgd).expect("update");
        for (name, tensor) in net.checkpointed().into_iter().filter(|(name, _)| !name.starts_with("velocity")) {
            let key = if name.contains("running") { name.clone() } else { format!("after_sgd.{name}") };
            compare(&key, &read(d, tensor), &golden[&key]);
        }
    }
}

fn adjoint(scheme: Scheme) {
    let d = &Reference;
    let golden = &golden(scheme);
    let sweep = SweepSpec { bn_stats: BnStatistics::Batch, ..SweepSpec::new(scheme, Gradient::Adjoint) };
    let mut net = loaded(d, sweep, golden);
    net.forward(d).expect("forward");
    let drift = net.backward(d, crate::support::NO_SGD).expect("backward").stem.expect("the adjoint has a drift");
    compare("x~_0", &read(d, &net.stages[0].work.x), &golden["adjoint.x0"]);
    let distance: f64 = golden["adjoint.x0"].iter().zip(&golden["x0"]).map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = golden["x0"].iter().map(|x| x * x).sum();
    compare("drift", &[drift], &[(distance / norm).sqrt()]);
    for (name, grad) in net.gradients() {
        compare(&format!("adjoint grad.{name}"), &read(d, grad), &golden[&format!("adjoint.grad.{name}")]);
    }
}

#[test]
fn euler_backprop_and_checkpoint_match_pytorch() {
    exact(Scheme::Euler);
}

#[test]
fn heun_backprop_and_checkpoint_match_pytorch() {
    exact(Scheme::Heun);
}

#[test]
fn euler_adjoint_matches_pytorch() {
    adjoint(Scheme::Euler);
}

#[test]
fn heun_adjoint_matches_pytorch() {
    adjoint(Scheme::Heun);
}
