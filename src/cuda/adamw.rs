//! AdamW's launches: six tensors at once, as a residual block has.

use cudarc::driver::DeviceRepr;

use super::buffer::CudaBuffer;
use super::launch::{THREADS, grid, launch, over_fours};
use super::{Cuda, Tensor, at};
use crate::device::{AdamW, Moved};
use crate::error::Result;

/// The struct of adamw.cu: addresses, the length of each, and the weight decay.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct AdamWTensor {
    theta: u64,
    mean: u64,
    square: u64,
    grad: u64,
    len: u64,
    decay: f32,
    unused: u32,
}

/// Six of them, or fewer.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct AdamWBlock([AdamWTensor; 6]);

/// What all of them have alike.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct AdamWRule {
    take1: f32,
    keep2: f32,
    take2: f32,
    eps: f32,
}

// SAFETY: plain numbers in the order of adamw.cu, which asserts the sizes too; copied by value.
unsafe impl DeviceRepr for AdamWBlock {}
// SAFETY: as above.
unsafe impl DeviceRepr for AdamWRule {}
const _: () = assert!(size_of::<AdamWTensor>() == 48 && size_of::<AdamWRule>() == 16);

pub(super) fn count_step(d: &Cuda, betas: [f64; 2], loss: &Tensor, count: &mut Tensor) -> Result<()> {
    let [log1, log2] = betas.map(|beta| beta.ln() as f32);
    launch!(d, "count_step", &d.kernels.count_step, grid([1, 1], 1), at(count), at(loss), log1, log2)
}

pub(super) fn adamw_all(
    d: &Cuda,
    step: AdamW<'_, CudaBuffer>,
    tensors: &mut dyn Iterator<Item = Moved<'_, CudaBuffer>>,
) -> Result<()> {
    let (lr, count, loss, [beta1, beta2]) = (at(step.lr), at(step.count), at(step.loss), step.betas);
    // 1 - beta in f64: of a beta near 1 in f32 it would have few digits
    let (take1, take2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
    let rule = AdamWRule { take1, keep2: beta2 as f32, take2, eps: step.eps as f32 };
    loop {
        let mut some = [AdamWTensor::default(); 6];
        let mut filled = 0;
        for (to, moved) in some.iter_mut().zip(&mut *tensors) {
            let decay = step.decay.on(moved.is_weight, step.weight_decay) as f32;
            let (grad, [theta, mean, square]) = moved.of_adamw()?;
            let len = theta.shape().len() as u64;
            *to = AdamWTensor {
                theta: at(theta),
                mean: at(mean),
                square: at(square),
                grad: at(grad),
                len,
                decay,
                unused: 0,
            };
            filled += 1;
        }
        if filled == 0 {
            return Ok(());
        }
        let longest = some.iter().map(|tensor| tensor.len).max().unwrap_or(0);
        let config = grid([over_fours(longest as usize).grid_dim.0 as usize, filled], THREADS);
        launch!(d, "adamw_block", &d.kernels.adamw_block, config, AdamWBlock(some), lr, count, loss, rule)?;
    }
}
