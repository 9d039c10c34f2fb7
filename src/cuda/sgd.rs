//! SGD's launches: one tensor, or a residual block's six at once.

use cudarc::driver::DeviceRepr;

use super::buffer::CudaBuffer;
use super::launch::{THREADS, grid, launch, over_fours};
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::{Optimiser, Sgd};
use crate::error::Result;
use crate::operands::BasicTheta;

/// The struct of elementwise.cu: addresses, and the length of each.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SgdTensor {
    theta: u64,
    velocity: u64,
    grad: u64,
    len: u64,
}

// SAFETY: four u64 in order, as elementwise.cu asserts; copied by value.
unsafe impl DeviceRepr for SgdTensor {}
const _: () = assert!(size_of::<SgdTensor>() == 32);

/// The six of a block.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SgdBlock([SgdTensor; 6]);

// SAFETY: an array of the above, as in elementwise.cu.
unsafe impl DeviceRepr for SgdBlock {}

fn operands(grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<SgdTensor> {
    check::descent("sgd", theta.shape(), grad.shape(), velocity.shape())?;
    Ok(SgdTensor { theta: at(theta), velocity: at(velocity), grad: at(grad), len: theta.shape().len() as u64 })
}

impl Optimiser for Cuda {
    fn sgd(&self, step: Sgd<'_, CudaBuffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        let tensor = operands(grad, velocity, theta)?;
        let (lr, loss, [momentum, decay]) = (at(step.lr), at(step.loss), [step.momentum, step.weight_decay]);
        let config = over_fours(theta.shape().len());
        launch!(self, "sgd", &self.kernels.sgd, config, tensor, lr, loss, momentum as f32, decay as f32)
    }

    fn sgd_block(
        &self,
        step: Sgd<'_, CudaBuffer>,
        grad: &BasicTheta<CudaBuffer>,
        velocity: &mut BasicTheta<CudaBuffer>,
        theta: &mut BasicTheta<CudaBuffer>,
    ) -> Result<()> {
        let mut tensors = [SgdTensor { theta: 0, velocity: 0, grad: 0, len: 0 }; 6];
        let moved = velocity.named_mut().into_iter().zip(theta.named_mut());
        for (to, ((_, grad), ((_, velocity), (_, theta)))) in
            tensors.iter_mut().zip(grad.named().into_iter().zip(moved))
        {
            *to = operands(grad, velocity, theta)?;
        }
        let longest = tensors.iter().map(|tensor| tensor.len).max().unwrap_or(0);
        let config = grid([over_fours(longest as usize).grid_dim.0 as usize, tensors.len()], THREADS);
        let (lr, loss, [momentum, decay]) = (at(step.lr), at(step.loss), [step.momentum, step.weight_decay]);
        let (kernel, block) = (&self.kernels.sgd_block, SgdBlock(tensors));
        launch!(self, "sgd_block", kernel, config, block, lr, loss, momentum as f32, decay as f32)
    }
}
