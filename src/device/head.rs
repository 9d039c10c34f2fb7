//! The head.

use super::fused;
use crate::error::Result;
use crate::memory::Memory;
use crate::shape::Conv;
use crate::tensor::Tensor;

/// Numbers of a label of an image that may be mixed from two: see [`Head::softmax_cross_entropy`].
pub const MIXED_LABEL: usize = 3;

/// Pooling, the linear layer, the loss.
pub trait Head: Memory {
    /// The largest of each window; what lies outside the map takes no part, and what is no number is the largest. A window reaches at
    /// most half its width outside.
    fn max_pool(&self, x: &Tensor<Self::Buffer>, window: Conv, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// Its transpose at x: a window's gradient goes to its largest element, of equal ones to the first by rows. An element's windows are
    /// added up by rows.
    fn max_pool_grad(
        &self,
        x: &Tensor<Self::Buffer>,
        grad_y: &Tensor<Self::Buffer>,
        window: Conv,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `size` x `size` average pooling with stride `size`; rows and columns that fill no window take no part.
    fn avg_pool(&self, x: &Tensor<Self::Buffer>, size: usize, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// Its transpose; zero where no window reached.
    fn avg_pool_grad(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        size: usize,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `y[n,k] = sum_f x[n,f] w[f,k] + b[k]`; x is any map with `H W C = F`, w `[1, 1, F, K]`, y `[N, 1, 1, K]`.
    fn linear(
        &self,
        x: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        b: &Tensor<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `grad_x[n,f] = sum_k grad_y[n,k] w[f,k]`.
    fn linear_grad_x(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `grad_w[f,k] = sum_n x[n,f] grad_y[n,k]`, `grad_b[k] = sum_n grad_y[n,k]`.
    fn linear_grad_w(
        &self,
        x: &Tensor<Self::Buffer>,
        grad_y: &Tensor<Self::Buffer>,
        grad_w: &mut Tensor<Self::Buffer>,
        grad_b: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Mean cross-entropy over the batch and its gradient. The right answer is `1 - e` of the label's class and e of all classes alike,
    /// e = `smoothing` (Szegedy et al. 2016, section 7): the loss is `ln sum_k exp l_k - (1 - e) l_label - e mean_k l_k`. `labels: [N, 1, 1, 1]` holds class indices, or `[N, 1, 1, 3]` of images that are mixed from two: the class, the other's, and
    /// the other's share s, with `(1 - s) l_label + s l_other` in the place of l_label; the label that counts is then that of the larger share. `out: [2]` receives
    /// the mean loss and the number of images whose largest logit is their label's (the lowest index wins a tie; an image
    /// whose logits are not all finite is never right).
    fn softmax_cross_entropy(
        &self,
        logits: &Tensor<Self::Buffer>,
        labels: &Tensor<Self::Buffer>,
        smoothing: f64,
        grad_logits: &mut Tensor<Self::Buffer>,
        out: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;

    /// From the last state to the loss: `pooled = avg_pool(x)`, `logits = linear(pooled)`, then [`Self::softmax_cross_entropy`].
    fn head_loss(
        &self,
        x: &Tensor<Self::Buffer>,
        size: usize,
        w: &Tensor<Self::Buffer>,
        b: &Tensor<Self::Buffer>,
        labels: &Tensor<Self::Buffer>,
        smoothing: f64,
        pooled: &mut Tensor<Self::Buffer>,
        logits: &mut Tensor<Self::Buffer>,
        grad_logits: &mut Tensor<Self::Buffer>,
        out: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        let _ = workspace;
        fused::head_loss(self, x, size, w, b, labels, smoothing, pooled, logits, grad_logits, out)
    }

    /// All gradients from that by the logits: the weights', and by way of `grad_pooled` that of x.
    fn head_grads(
        &self,
        pooled: &Tensor<Self::Buffer>,
        grad_logits: &Tensor<Self::Buffer>,
        size: usize,
        w: &Tensor<Self::Buffer>,
        grad_w: &mut Tensor<Self::Buffer>,
        grad_b: &mut Tensor<Self::Buffer>,
        grad_pooled: &mut Tensor<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()> {
        fused::head_grads(self, pooled, grad_logits, size, w, grad_w, grad_b, grad_pooled, grad_x)
    }

    /// Workspace of [`Self::head_loss`] on so many images.
    fn head_workspace(&self, images: usize) -> usize {
        let _ = images;
        0
    }
}
