//! The head: pooling, the linear layer, the loss.

use cudarc::driver::{DeviceRepr, LaunchConfig};

use super::buffer::CudaBuffer;
use super::geometry::Geometry;
use super::launch::{MOST_BLOCKS, THREADS, grid, launch, over, warps};
use super::operand::PairSum;
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::{Head, fused};
use crate::error::Result;
use crate::shape::{Conv, Shape};

/// The struct of head.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Extents {
    images: u32,
    h: u32,
    w: u32,
    c: u32,
    size: u32,
    classes: u32,
    /// Numbers of a label.
    each: u32,
    smoothing: f32,
}

// SAFETY: seven u32 and an f32 in order, as head.cu asserts; copied by value.
unsafe impl DeviceRepr for Extents {}
const _: () = assert!(size_of::<Extents>() == 32);

/// Weights of a head that is one launch: an image's block goes over all of them, which of more would take longer than launches of
/// one output a warp.
const MOST_WEIGHTS: usize = 1 << 15;

impl Extents {
    /// Of a head that is one launch.
    fn new(x: Shape, size: usize, w: Shape) -> Option<Extents> {
        let [images, h, width, c] = x.0.map(|v| v as u32);
        let of = Extents { images, h, w: width, c, size: size as u32, classes: w.c() as u32, each: 1, smoothing: 0.0 };
        (w.len() <= MOST_WEIGHTS).then_some(of)
    }
}

/// Blocks of images.
fn image_blocks(images: usize) -> usize {
    images.clamp(1, MOST_BLOCKS)
}

/// A launch over the elements of every image of a map.
fn over_images(map: Shape) -> LaunchConfig {
    grid([map.image_len().div_ceil(THREADS), map.n().min(u16::MAX.into())], THREADS)
}

impl Head for Cuda {
    fn max_pool(&self, x: &Tensor, window: Conv, y: &mut Tensor) -> Result<()> {
        check::max_pool("max_pool", x.shape(), window, y.shape())?;
        let geometry = Geometry::new(x.shape(), window, x.shape().c());
        launch!(self, "max_pool", &self.kernels.max_pool, over_images(y.shape()), at(y), at(x), geometry)
    }

    fn max_pool_grad(&self, x: &Tensor, grad_y: &Tensor, window: Conv, grad_x: &mut Tensor) -> Result<()> {
        check::max_pool("max_pool_grad", x.shape(), window, grad_y.shape())?;
        check::equal("max_pool_grad", x.shape(), grad_x.shape())?;
        let geometry = Geometry::new(x.shape(), window, x.shape().c());
        let (config, kernel) = (over_images(x.shape()), &self.kernels.max_pool_grad);
        launch!(self, "max_pool_grad", kernel, config, at(grad_x), at(x), at(grad_y), geometry)
    }

    fn avg_pool(&self, x: &Tensor, size: usize, y: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool", x.shape(), size, y.shape())?;
        let ([_, h, w, c], len) = (x.shape().0.map(|v| v as u32), y.shape().len());
        launch!(self, "avg_pool", &self.kernels.avg_pool, over(len), at(y), at(x), h, w, c, size as u32, len as u64)
    }

    fn avg_pool_grad(&self, grad_y: &Tensor, size: usize, grad_x: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool_grad", grad_x.shape(), size, grad_y.shape())?;
        let [n, h, w, c] = grad_x.shape().0;
        let (rows, kernel) = (n * h, &self.kernels.avg_pool_grad);
        let [h, w, c, size] = [h, w, c, size].map(|v| v as u32);
        let config = grid([rows.min(MOST_BLOCKS), 1], THREADS);
        launch!(self, "avg_pool_grad", kernel, config, at(grad_x), at(grad_y), h, w, c, size, rows as u64)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        check::linear("linear", x.shape(), w.shape(), Some(b.shape()), y.shape())?;
        let (n, features, classes) = (x.shape().n(), x.shape().image_len(), w.shape().c());
        let config = warps(n * classes);
        let (n, f, k) = (n as u32, features as u32, classes as u32);
        launch!(self, "linear", &self.kernels.linear, config, at(y), at(x), at(w), at(b), n, f, k)
    }

    fn linear_grad_x(&self, grad_y: &Tensor, w: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_x", grad_x.shape(), w.shape(), None, grad_y.shape())?;
        let (len, f, k) = (grad_x.shape().len(), grad_x.shape().image_len() as u32, w.shape().c() as u32);
        let kernel = &self.kernels.linear_grad_x;
        launch!(self, "linear_grad_x", kernel, over(len), at(grad_x), at(grad_y), at(w), f, k, len as u64)
    }

    fn linear_grad_w(&self, x: &Tensor, grad_y: &Tensor, grad_w: &mut Tensor, grad_b: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_w", x.shape(), grad_w.shape(), Some(grad_b.shape()), grad_y.shape())?;
        let (n, f, k) = (x.shape().n(), x.shape().image_len(), grad_y.shape().c());
        let (config, kernel) = (warps((f + 1) * k), &self.kernels.linear_grad_w);
        launch!(
            self,
            "linear_grad_w",
            kernel,
            config,
            at(grad_w),
            at(grad_b),
            at(x),
            at(grad_y),
            n as u32,
            f as u32,
            k as u32
        )
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
        let (n, k) = (logits.shape().n() as u32, logits.shape().c() as u32);
        let kernel = &self.kernels.softmax_cross_entropy;
        let config = grid([1, 1], 1024);
        launch!(
            self,
            "softmax_cross_entropy",
            kernel,
            config,
            at(grad_logits),
            at(out),
            at(logits),
            at(labels),
            n,
            k,
            labels.shape().c() as u32,
            smoothing as f32
        )
    }

    fn head_loss(
        &self,
        x: &Tensor,
        size: usize,
        w: &Tensor,
        b: &Tensor,
        labels: &Tensor,
        smoothing: f64,
        pooled: &mut Tensor,
        logits: &mut Tensor,
        grad_logits: &mut Tensor,
        out: &mut Tensor,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        let Some(extents) = Extents::new(x.shape(), size, w.shape()) else {
            return fused::head_loss(self, x, size, w, b, labels, smoothing, pooled, logits, grad_logits, out);
        };
        let extents = Extents { each: labels.shape().c() as u32, smoothing: smoothing as f32, ..extents };
        check::avg_pool("head_loss", x.shape(), size, pooled.shape())?;
        check::linear("head_loss", pooled.shape(), w.shape(), Some(b.shape()), logits.shape())?;
        check::loss("head_loss", logits.shape(), grad_logits.shape(), labels.shape(), out.shape())?;
        let config = grid([image_blocks(x.shape().n()), 1], THREADS);
        let to = PairSum::new(self, at(out), workspace.address());
        launch!(
            self,
            "head_loss",
            &self.kernels.head_loss,
            config,
            at(pooled),
            at(logits),
            at(grad_logits),
            to,
            at(x),
            at(w),
            at(b),
            at(labels),
            extents
        )
    }

    fn head_grads(
        &self,
        pooled: &Tensor,
        grad_logits: &Tensor,
        size: usize,
        w: &Tensor,
        grad_w: &mut Tensor,
        grad_b: &mut Tensor,
        grad_pooled: &mut Tensor,
        grad_x: &mut Tensor,
    ) -> Result<()> {
        let Some(extents) = Extents::new(grad_x.shape(), size, w.shape()) else {
            return fused::head_grads(self, pooled, grad_logits, size, w, grad_w, grad_b, grad_pooled, grad_x);
        };
        check::avg_pool("head_grads", grad_x.shape(), size, pooled.shape())?;
        check::equal("head_grads", pooled.shape(), grad_pooled.shape())?;
        check::equal("head_grads", w.shape(), grad_w.shape())?;
        check::linear("head_grads", pooled.shape(), w.shape(), Some(grad_b.shape()), grad_logits.shape())?;
        let (images, outputs) = (image_blocks(grad_x.shape().n()), w.shape().len() + w.shape().c());
        let config = grid([images + outputs.div_ceil(THREADS / 32), 1], THREADS);
        launch!(
            self,
            "head_grads",
            &self.kernels.head_grads,
            config,
            at(grad_w),
            at(grad_b),
            at(grad_pooled),
            at(grad_x),
            at(pooled),
            at(grad_logits),
            at(w),
            extents,
            images as u32
        )
    }

    /// Two numbers a block.
    fn head_workspace(&self, images: usize) -> usize {
        2 * image_blocks(images)
    }
}
