//! Codes of increments.

use crate::code::{Code, Coder};
use crate::error::Result;
use crate::memory::Memory;
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Codes of increments, see [`crate::code`].
pub trait Coding: Memory {
    /// `grid = unit(max |x|)`, see [`crate::code::unit`], and x rounded to its multiples. `grid: [1]`.
    fn code_start(
        &self,
        x_acc: &mut Tensor<Self::Buffer>,
        grid: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// x rounded to multiples of the grid.
    fn code_round(&self, grid: &Tensor<Self::Buffer>, x_acc: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// The quantiser for an increment `h sum_k bn_k(z_k)` with these last affine maps, as if all f_k were one signal:
    /// `mean = h sum beta`, `sigma^2 = (h sum |gamma|)^2 + rest`; `scale` receives mean and 1/sigma, 0 where sigma is 0.
    fn code_scale(
        &self,
        h: f64,
        last: &[&Affine<Self::Buffer>],
        rest: &Tensor<Self::Buffer>,
        scale: &mut BnStats<Self::Buffer>,
    ) -> Result<()>;
    /// Codes w, which comes in the carry: `q = Q(w)`, `carry = w - q`, `x += q`; `coder.rest` becomes the carry's mean square of
    /// every channel. Without `x_acc` no state moves.
    fn encode(
        &self,
        coder: &mut Coder<Self::Buffer>,
        carry_acc: &mut Tensor<Self::Buffer>,
        x_acc: Option<&mut Tensor<Self::Buffer>>,
        code: &mut Code<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// `x -= q`, the same q to the bit.
    fn decode(
        &self,
        coder: &Coder<Self::Buffer>,
        code: &Code<Self::Buffer>,
        x_acc: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of [`Self::code_start`], [`Self::encode`] and [`Self::decode`].
    fn code_workspace(&self, map: Shape) -> usize;
    /// Makes `verdict[0]` NaN where the local error in `errors[at..at + 4] = [moved, _, left, norm]` says that a reconstruction is
    /// worth nothing: one of the sums is not finite, or `left > HOPELESS[0] norm`, or `left > moved` and
    /// `left > HOPELESS[1] norm` with [`crate::operands::HOPELESS`], see [`crate::sweep::LocalError::is_hopeless`].
    fn judge(&self, errors: &Tensor<Self::Buffer>, at: usize, verdict_acc: &mut Tensor<Self::Buffer>) -> Result<()>;
}
