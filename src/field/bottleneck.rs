//! The bottleneck `f = BN3(conv3(relu(BN2(conv2(relu(BN1(conv1(x))))))))`: 1x1 to a quarter of the channels, 3x3 there, 1x1 back.

use super::chain::{Chain, Link, Links};

/// conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN.
pub type Bottleneck = Chain<BottleneckLinks>;

/// Its links.
pub enum BottleneckLinks {}

/// Channels of the state for one channel inside.
pub const EXPANSION: usize = 4;

impl Links for BottleneckLinks {
    fn links(channels: usize) -> Vec<Link> {
        // a state of fewer channels than the expansion has one inside
        let inner = (channels / EXPANSION).max(1);
        vec![
            Link::linear(inner),
            Link::Norm,
            Link::RELU,
            Link::conv(3, inner),
            Link::Norm,
            Link::RELU,
            Link::linear(channels),
            Link::Norm,
        ]
    }
}
