//! The parameters at the net's two ends: the stem's convolution and norm, the head's linear layer.

use super::NetSpec;
use crate::device::Device;
use crate::error::Result;
use crate::memory::{Arena, Category};
use crate::operands::Affine;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The parameters at the net's two ends, or their gradients, or their velocities.
pub(super) struct Ends<D: Device> {
    pub stem_conv: Tensor<D::Buffer>,
    pub stem_bn: Affine<D::Buffer>,
    pub head_w: Tensor<D::Buffer>,
    pub head_b: Tensor<D::Buffer>,
}

impl<D: Device> Ends<D> {
    pub fn new(arena: &mut Arena<'_, D>, category: Category, spec: &NetSpec) -> Result<Self> {
        Ok(Self {
            stem_conv: arena.tensor(category, spec.stem_weight())?,
            stem_bn: Affine::new(arena, category, spec.stem_map().c())?,
            head_w: arena.tensor(category, Shape([1, 1, spec.pooled().image_len(), spec.classes]))?,
            head_b: arena.tensor(category, Shape::vector(spec.classes))?,
        })
    }

    pub fn named(&self) -> [(&'static str, &Tensor<D::Buffer>); 5] {
        [
            ("stem.conv.weight", &self.stem_conv),
            ("stem.bn.weight", &self.stem_bn.gamma),
            ("stem.bn.bias", &self.stem_bn.beta),
            ("head.weight", &self.head_w),
            ("head.bias", &self.head_b),
        ]
    }

    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor<D::Buffer>); 5] {
        [
            ("stem.conv.weight", &mut self.stem_conv),
            ("stem.bn.weight", &mut self.stem_bn.gamma),
            ("stem.bn.bias", &mut self.stem_bn.beta),
            ("head.weight", &mut self.head_w),
            ("head.bias", &mut self.head_b),
        ]
    }
}
