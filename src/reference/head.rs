//! The head: pooling, the linear layer, the loss.

use super::{Reference, Tensor, linear, loss, pool};
use crate::check;
use crate::device::Head;
use crate::error::Result;
use crate::shape::Conv;

impl Head for Reference {
    fn max_pool(&self, x: &Tensor, window: Conv, y: &mut Tensor) -> Result<()> {
        check::max_pool("max_pool", x.shape(), window, y.shape())?;
        pool::max_pool(x.values(), x.shape(), window, y.values_mut());
        Ok(())
    }

    fn max_pool_grad(&self, x: &Tensor, grad_y: &Tensor, window: Conv, grad_x: &mut Tensor) -> Result<()> {
        check::max_pool("max_pool_grad", x.shape(), window, grad_y.shape())?;
        check::equal("max_pool_grad", x.shape(), grad_x.shape())?;
        pool::max_pool_grad(x.values(), x.shape(), window, grad_y.values(), grad_x.values_mut());
        Ok(())
    }

    fn avg_pool(&self, x: &Tensor, size: usize, y: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool", x.shape(), size, y.shape())?;
        pool::avg_pool(x.values(), x.shape(), size, y.values_mut());
        Ok(())
    }

    fn avg_pool_grad(&self, grad_y: &Tensor, size: usize, grad_x: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool_grad", grad_x.shape(), size, grad_y.shape())?;
        let shape = grad_x.shape();
        pool::avg_pool_grad(grad_y.values(), size, grad_x.values_mut(), shape);
        Ok(())
    }

    fn linear(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        check::linear("linear", x.shape(), w.shape(), Some(b.shape()), y.shape())?;
        linear::linear(x.values(), w.values(), b.values(), y.values_mut());
        Ok(())
    }

    fn linear_grad_x(&self, grad_y: &Tensor, w: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_x", grad_x.shape(), w.shape(), None, grad_y.shape())?;
        linear::linear_grad_x(grad_y.values(), w.values(), w.shape().c(), grad_x.values_mut());
        Ok(())
    }

    fn linear_grad_w(&self, x: &Tensor, grad_y: &Tensor, grad_w: &mut Tensor, grad_b: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_w", x.shape(), grad_w.shape(), Some(grad_b.shape()), grad_y.shape())?;
        linear::linear_grad_w(x.values(), grad_y.values(), grad_w.values_mut(), grad_b.values_mut());
        Ok(())
    }

    fn softmax_cross_entropy(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        smoothing: f64,
        grad_logits: &mut Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        check::loss("softmax_cross_entropy", logits.shape(), grad_logits.shape(), labels.shape(), out.shape())?;
        let [mean_loss, correct] = loss::softmax_cross_entropy(
            logits.values(),
            logits.shape().c(),
            labels.values(),
            smoothing,
            grad_logits.values_mut(),
        );
        out.values_mut().copy_from_slice(&[mean_loss, correct]);
        Ok(())
    }
}
