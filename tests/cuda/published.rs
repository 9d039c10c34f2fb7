//! A published ResNet on a GPU or on the emulator: what torchvision answers.

use crate::published_nets::{distance, golden, logits};
use crate::support::gpu::{gpu, no_faults, ran_apart, turn};
use rewind::device::Math;
use rewind_train::config::NetKind;

#[test]
fn a_published_net_answers_as_torchvision_does() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cuda, place) = (gpu(Math::Fp32), tempfile::tempdir().expect("a folder"));
    for net in [NetKind::Resnet18, NetKind::Resnet50] {
        let off = distance(&logits(&cuda, net, 1, place.path()), &golden(net));
        println!("{net}: {off:e}");
        // as on the CPU
        assert!(off < 1e-5, "{net}: {off:e}");
    }
    no_faults();
}
