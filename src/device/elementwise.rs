//! Element by element.

use crate::error::Result;
use crate::memory::Memory;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A function of every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x Phi(x)` with the standard normal law's distribution function Phi: PyTorch's default, without the tanh.
    Gelu,
    /// `x / (1 + exp(-x))`, also named swish.
    Silu,
}

/// What is done element by element: filling, copying, sums of two maps, ReLU, distances.
pub trait Elementwise: Memory {
    /// `y = value`.
    fn fill(&self, value: f64, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = x`.
    fn copy(&self, x: &Tensor<Self::Buffer>, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = a x + b y`.
    fn axpby(&self, a: f64, x: &Tensor<Self::Buffer>, b: f64, y_acc: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = max(0, y)`.
    fn relu(&self, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `grad = grad where y > 0, else 0`; `y` is ReLU's output.
    fn relu_grad(&self, y: &Tensor<Self::Buffer>, grad: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = act(y)`.
    fn activate(&self, act: Activation, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `grad = act'(x) grad`.
    fn activate_grad(&self, act: Activation, x: &Tensor<Self::Buffer>, grad: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `out[at..at + 2] = [sum (x - y)^2, sum y^2]`; the rest of `out` stays.
    fn squared_distance(
        &self,
        x: &Tensor<Self::Buffer>,
        y: &Tensor<Self::Buffer>,
        out: &mut Tensor<Self::Buffer>,
        at: usize,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of [`Self::squared_distance`].
    fn squared_distance_workspace(&self, x: Shape) -> usize;
    /// Whether every element is finite. Waits for the device.
    fn all_finite(&self, x: &Tensor<Self::Buffer>) -> Result<bool>;
}
