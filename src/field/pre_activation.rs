//! The block of a pre-activation ResNet (He et al. 2016, "Identity mappings in deep residual networks"):
//! `f = conv2(relu(BN2(conv1(relu(BN1(x))))))`.

use super::chain::{Chain, Link, Links};

/// BN-ReLU-conv3x3-BN-ReLU-conv3x3.
pub type PreActivation = Chain<PreActivationLinks>;

/// Its links.
pub enum PreActivationLinks {}

impl Links for PreActivationLinks {
    fn links(channels: usize) -> Vec<Link> {
        let half = || [Link::Norm, Link::RELU, Link::conv(3, channels)];
        half().into_iter().chain(half()).collect()
    }
}
