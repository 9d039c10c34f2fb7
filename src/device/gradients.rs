//! What is done with gradients before a step of the optimiser, and with parameters after it.

use crate::error::Result;
use crate::memory::Memory;
use crate::tensor::Tensor;

/// Elements of what [`Gradients::squares`] writes to: the sum, and room for the device.
pub const SQUARES: usize = 256;
/// What is added to the norm that [`Gradients::clip`] divides by, as in PyTorch.
pub const CLIP_EPS: f64 = 1e-6;

/// Clipping of gradients, and averages of what they have moved.
pub trait Gradients: Memory {
    /// `squares[0] = sum g^2` over all elements of all tensors; with `adds` that much more than it was. `squares: [SQUARES]`, whose other
    /// elements are the device's.
    fn squares(
        &self,
        tensors: &mut dyn Iterator<Item = &Tensor<Self::Buffer>>,
        adds: bool,
        squares: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `g = min(1, most / (sqrt(squares[0]) + 1e-6)) g` in each of these tensors, as `torch.nn.utils.clip_grad_norm_` does.
    fn clip(
        &self,
        squares: &Tensor<Self::Buffer>,
        most: f64,
        tensors: &mut dyn Iterator<Item = &mut Tensor<Self::Buffer>>,
    ) -> Result<()>;
    /// `average += (1 - keep) (theta - average)` of each pair (theta, average); nothing where the loss is not finite.
    fn average_all(
        &self,
        keep: f64,
        loss: &Tensor<Self::Buffer>,
        pairs: &mut dyn Iterator<Item = (&Tensor<Self::Buffer>, &mut Tensor<Self::Buffer>)>,
    ) -> Result<()>;
}
