//! The blocks and their maps.

use super::form::{Form, Way};
use rewind::device::Math;
use rewind::field::bottleneck::BottleneckLinks;
use rewind::field::chain::{Layout, Link, Links};
use rewind::shape::{Conv, Shape};

/// What the block is.
#[derive(Clone, Copy, PartialEq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1 to a quarter of the channels, 3x3, 1x1 back.
    Bottleneck,
    /// The bottleneck that begins a stage: to other channels, with a stride, beside a 1x1 shortcut.
    First { channels: usize, stride: usize },
}

/// A block on maps of this shape.
pub struct Case {
    pub name: &'static str,
    pub map: Shape,
    pub block: Block,
}

const fn case(name: &'static str, map: Shape, block: Block) -> Case {
    Case { name, map, block }
}

/// The paper's, two that do not fit into the cache, and blocks of ResNet-50 and -101 on ImageNet, whose maps here are of fewer images
/// than a batch of 64 has, so that emulating them takes minutes.
pub const CASES: &[Case] = &[
    case("paper", Shape::map(256, 10, 10, 16), Block::Basic),
    case("wide", Shape::map(128, 32, 32, 64), Block::Basic),
    case("deep", Shape::map(64, 14, 14, 256), Block::Basic),
    case("bottleneck_56_batch_8", Shape::map(8, 56, 56, 256), Block::Bottleneck),
    case("bottleneck_14_batch_16", Shape::map(16, 14, 14, 1024), Block::Bottleneck),
    case("first_56_batch_8", Shape::map(8, 56, 56, 256), Block::First { channels: 512, stride: 2 }),
    case("first_28_batch_16", Shape::map(16, 28, 28, 512), Block::First { channels: 1024, stride: 2 }),
];

impl Case {
    /// The forms, ways and arithmetics that have kernels of their own for such a block.
    pub fn runs(&self) -> Vec<(Form, Way, Math)> {
        let (forms, ways) = match self.block {
            Block::Basic => (&Form::ALL[..], &[Way::Reconstructed, Way::Coded][..]),
            Block::Bottleneck => (&[Form::Chained][..], &[Way::Reconstructed][..]),
            Block::First { .. } => (&[Form::Chained][..], &[Way::Stored][..]),
        };
        let pairs = forms.iter().flat_map(|&form| ways.iter().map(move |&way| (form, way)));
        pairs.flat_map(|(form, way)| self.maths().iter().map(move |&math| (form, way, math))).collect()
    }

    /// f16 serves 3x3 convolutions without a stride between multiples of 64 channels, and of 16 and 32.
    fn maths(&self) -> &'static [Math] {
        match self.block {
            Block::Basic | Block::Bottleneck => &[Math::Tf32, Math::Fp16],
            Block::First { .. } => &[Math::Tf32],
        }
    }

    /// The layouts of the block's ways: a first block has a shortcut beside its own.
    pub fn layouts(&self) -> Vec<Layout> {
        let links = match self.block {
            Block::Basic => {
                let conv = || [Link::conv(3, self.map.c()), Link::Norm];
                conv().into_iter().chain([Link::RELU]).chain(conv()).collect()
            }
            Block::Bottleneck => BottleneckLinks::links(self.map.c()),
            Block::First { channels, stride } => BottleneckLinks::first_links(channels, stride),
        };
        let shortcut = match self.block {
            Block::First { channels, stride } => Some([shortcut(channels, stride), Link::Norm]),
            _ => None,
        };
        let of = |links: &[Link]| Layout::of(links, self.map).expect("chains of convolutions");
        [of(&links)].into_iter().chain(shortcut.map(|links| of(&links))).collect()
    }
}

fn shortcut(channels: usize, stride: usize) -> Link {
    Link::Conv { conv: Conv { stride, ..Conv::POINTWISE }, channels }
}
