//! Tensors: a shape and a buffer. They own their memory and are never copied by accident.

use crate::error::{Error, Result};
use crate::memory::Lent;
use crate::shape::Shape;

/// The number type of a device: `f32` on the fast ones, `f64` on the reference.
pub trait Real: bytemuck::Pod + Send + Sync + PartialOrd + Default + std::fmt::Debug {
    /// Rounds to this type.
    fn from_f64(value: f64) -> Self;
    /// Widens, exactly.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// A buffer and the shape of what is in it.
pub struct Tensor<B> {
    shape: Shape,
    capacity: usize,
    /// The device's memory; its first `shape.len()` elements are the tensor.
    pub buffer: B,
}

impl<B> Tensor<B> {
    /// A tensor over the whole of a buffer.
    pub fn new(shape: Shape, buffer: B) -> Self {
        Self { shape, capacity: shape.len(), buffer }
    }

    /// The tensor's shape now.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The buffer as one that takes turns, for all elements that it was made for.
    pub fn lent(&mut self) -> Lent<'_, B> {
        Lent { len: self.capacity, buffer: &mut self.buffer }
    }

    /// Uses the first `n` images' worth of the buffer: the last batch of an epoch may be smaller than the others.
    ///
    /// # Errors
    /// [`Error::Shape`] if the buffer is too small for `n` images.
    pub fn set_batch(&mut self, n: usize) -> Result<()> {
        let shape = self.shape.with_batch(n);
        if shape.len() > self.capacity {
            return Err(Error::Shape { op: "set_batch", expected: self.shape, found: shape });
        }
        self.shape = shape;
        Ok(())
    }
}
