//! What an operation costs at least.

use rewind::shape::{Conv, Shape};

/// Floating-point operations, 2 per multiply-add of a direct convolution or product, padding counted; and bytes of the maps
/// and weights that an operation must read or write, once each, whatever it keeps in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub flop: u64,
    pub bytes: u64,
}

impl Cost {
    /// No products, and every tensor of the list once; what is read and written stands there twice.
    pub fn of(tensors: &[Shape]) -> Self {
        let elements: usize = tensors.iter().map(|shape| shape.len()).sum();
        Self { flop: 0, bytes: (size_of::<f32>() * elements) as u64 }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { flop: self.flop + other.flop, bytes: self.bytes + other.bytes }
    }

    /// The same with products.
    fn with_flop(self, flop: u64) -> Self {
        Self { flop, ..self }
    }
}

/// A convolution or one of its gradients.
pub fn conv_cost(conv: Conv, x: Shape, w: Shape, operands: &[Shape]) -> Cost {
    Cost::of(operands).with_flop(conv.flop(x, w.c()))
}

/// So many of a block's convolutions.
pub fn block_cost(convolutions: u64, map: Shape, w: Shape, operands: &[Shape]) -> Cost {
    Cost::of(operands).with_flop(convolutions * Conv::SAME_3X3.flop(map, w.c()))
}

/// A linear layer or one of its gradients.
pub fn linear_cost(x: Shape, w: Shape, operands: &[Shape]) -> Cost {
    Cost::of(operands).with_flop(2 * (x.len() * w.c()) as u64)
}

/// The optimiser's step on one tensor.
pub fn sgd_cost(theta: Shape) -> Cost {
    Cost::of(&[theta; 5])
}
