//! Whether an operation's operands fit together: asked before anything is computed, with the same answer on every device.
//!
//! # Errors
//! Every function returns [`crate::Error::Shape`] naming the operation, the shape expected and the one found.
#![allow(clippy::missing_errors_doc, reason = "the section above holds for every function")]

use std::ops::Range;

use crate::code::{Code, Coder, code_len};
use crate::data::CHANNELS;
use crate::device::MIXED_LABEL;
use crate::error::{Error, Result};
use crate::mask::relu_mask_shape;
use crate::operands::{Affine, BasicCache, BasicStats, BasicTheta, BnStats, Measure, Scratch};
use crate::shape::{Conv, Shape};

/// Refuses `found` unless it equals `expected`.
pub fn equal(op: &'static str, expected: Shape, found: Shape) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Shape { op, expected, found }) }
}

/// A host slice of `len` elements and a tensor.
pub fn host(op: &'static str, len: usize, tensor: Shape) -> Result<()> {
    equal(op, tensor, if len == tensor.len() { tensor } else { Shape::vector(len) })
}

/// Elements `at` of a vector of numbers.
pub fn part(op: &'static str, at: Range<usize>, vector: Shape) -> Result<()> {
    equal(op, if at.end <= vector.len() { vector } else { Shape::vector(at.end) }, vector)
}

/// A state or a carry, and its code.
pub fn code<R, B>(op: &'static str, map: Shape, coder: &Coder<B>, code: &Code<B>) -> Result<()> {
    for found in [&code.scale.mean, &code.scale.rstd, &coder.rest] {
        equal(op, Shape::vector(map.c()), found.shape())?;
    }
    equal(op, Shape::vector(1), coder.grid.shape())?;
    equal(op, Shape::map(map.n(), 1, 1, code_len::<R>(map.image_len(), coder.bits)), code.packed.shape())
}

/// A convolution's input or its gradient, its weights, and its output or its gradient.
pub fn conv(op: &'static str, x: Shape, w: Shape, conv: Conv, y: Shape) -> Result<()> {
    equal(op, Shape::weight(conv.kernel, x.c(), w.c()), w)?;
    equal(op, conv.output(x, w.c()), y)
}

/// The statistics of a map of `c` channels, and an affine map or the gradient sums of one.
pub fn norm<B>(op: &'static str, c: usize, stats: &BnStats<B>, affine: &Affine<B>) -> Result<()> {
    let vectors = [&stats.mean, &stats.rstd, &affine.gamma, &affine.beta];
    vectors.into_iter().try_for_each(|found| equal(op, Shape::vector(c), found.shape()))
}

/// What is measured of a map of `c` channels, if anything is.
pub fn measured<B>(op: &'static str, c: usize, measure: Option<&Measure<'_, B>>) -> Result<()> {
    measure.map_or(Ok(()), |measure| equal(op, Shape::vector(c), measure.stats.mean.shape()))
}

/// A map, other maps of its shape, and a batch norm of it.
pub fn normed<B>(op: &'static str, z: Shape, others: &[Shape], stats: &BnStats<B>, affine: &Affine<B>) -> Result<()> {
    others.iter().try_for_each(|found| equal(op, z, *found))?;
    norm(op, z.c(), stats, affine)
}

/// Two tensors of one shape, and where the two sums of their distance go.
pub fn distance(op: &'static str, x: Shape, y: Shape, out: Shape, at: usize) -> Result<()> {
    equal(op, x, y)?;
    part(op, at..at + 2, out)
}

/// Weights, their gradient and their velocity.
pub fn descent(op: &'static str, theta: Shape, grad: Shape, velocity: Shape) -> Result<()> {
    equal(op, theta, grad)?;
    equal(op, theta, velocity)
}

/// A map and the largest elements of its windows.
pub fn max_pool(op: &'static str, x: Shape, window: Conv, y: Shape) -> Result<()> {
    // a window that lies outside altogether has no largest element
    let kernel = Shape::weight(window.kernel, 1, 1);
    equal(op, Shape::weight(window.kernel.max(2 * window.padding).max(1), 1, 1), kernel)?;
    let fits = [x.h(), x.w()].iter().all(|extent| extent + 2 * window.padding >= window.kernel) && window.stride > 0;
    equal(op, if fits { window.output(x, x.c()) } else { kernel }, y)
}

/// A map and the means of its windows.
pub fn avg_pool(op: &'static str, x: Shape, size: usize, y: Shape) -> Result<()> {
    equal(op, x.pooled(size), y)
}

/// A linear layer's input, weights, biases and output, or their gradients.
pub fn linear(op: &'static str, x: Shape, w: Shape, b: Option<Shape>, y: Shape) -> Result<()> {
    equal(op, Shape([1, 1, x.image_len(), w.c()]), w)?;
    equal(op, Shape::map(x.n(), 1, 1, w.c()), y)?;
    b.map_or(Ok(()), |found| equal(op, Shape::vector(w.c()), found))
}

/// A batch of images of `side` rows and columns and their classes.
pub fn batch(op: &'static str, side: usize, images: Shape, labels: Shape) -> Result<()> {
    equal(op, Shape::map(images.n(), side, side, CHANNELS), images)?;
    answers(op, images.n(), labels)
}

/// The right answers of so many images: a class each, or two and a share.
fn answers(op: &'static str, images: usize, labels: Shape) -> Result<()> {
    let each = if labels.c() == MIXED_LABEL { MIXED_LABEL } else { 1 };
    equal(op, Shape::map(images, 1, 1, each), labels)
}

/// The results of steps, one step's outcome and its distance, and the step's number.
pub fn results(op: &'static str, results: Shape, outcome: Shape, distance: Option<Shape>, step: Shape) -> Result<()> {
    equal(op, Shape([1, 1, results.w(), 4]), results)?;
    equal(op, Shape::vector(2), outcome)?;
    distance.map_or(Ok(()), |found| equal(op, Shape::vector(2), found))?;
    equal(op, Shape::vector(1), step)
}

/// Logits, their gradient, labels, and the pair of results.
pub fn loss(op: &'static str, logits: Shape, grad_logits: Shape, labels: Shape, out: Shape) -> Result<()> {
    equal(op, logits, grad_logits)?;
    answers(op, logits.n(), labels)?;
    equal(op, Shape::vector(2), out)
}

/// A ReLU's input, the batch norm in front of it, and its mask.
pub fn mask<R, B>(op: &'static str, z: Shape, stats: &BnStats<B>, affine: &Affine<B>, mask: Shape) -> Result<()> {
    norm(op, z.c(), stats, affine)?;
    equal(op, relu_mask_shape::<R>(z), mask)
}

/// The weights or gradients of a block of `c` channels, and its statistics.
pub fn basic<B>(op: &'static str, c: usize, theta: &BasicTheta<B>, stats: &BasicStats<B>) -> Result<()> {
    let weight = Shape::weight(Conv::SAME_3X3.kernel, c, c);
    equal(op, weight, theta.conv1.shape())?;
    equal(op, weight, theta.conv2.shape())?;
    norm(op, c, &stats.bn1, &theta.bn1)?;
    norm(op, c, &stats.bn2, &theta.bn2)
}

/// A block's operands, for states of shape `map`.
pub fn block<B>(
    op: &'static str,
    map: Shape,
    theta: &BasicTheta<B>,
    stats: &BasicStats<B>,
    cache: &BasicCache<B>,
    grad_theta: &BasicTheta<B>,
    scratch: &Scratch<B>,
) -> Result<()> {
    for found in [&cache.z1, &cache.z2, &scratch.grad_u] {
        equal(op, map, found.shape())?;
    }
    basic(op, map.c(), theta, stats)?;
    basic(op, map.c(), grad_theta, stats)?;
    norm(op, map.c(), &stats.bn1, &scratch.sums1)?;
    norm(op, map.c(), &stats.bn2, &scratch.sums2)
}
