//! Masks of ReLUs: one bit per element, see [`crate::device::ReluMask::relu_mask`].

use crate::code::{Bits, code_len};
use crate::error::Result;
use crate::memory::{Arena, Category, Memory};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A new mask of a ReLU that takes `z`, uninitialised: `[N, 1, 1, L]`, one bit per element.
///
/// # Errors
/// If the arena is full.
pub fn relu_mask<M: Memory>(arena: &mut Arena<'_, M>, z: Shape) -> Result<Tensor<M::Buffer>> {
    arena.tensor(Category::Saved, relu_mask_shape::<M::Real>(z))
}

/// Its shape where numbers are of type `R`.
pub fn relu_mask_shape<R>(z: Shape) -> Shape {
    Shape::map(z.n(), 1, 1, code_len::<R>(z.image_len(), Bits::One))
}
