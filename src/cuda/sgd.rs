//! SGD's launches: one tensor, or six at once, as a residual block has.

use cudarc::driver::DeviceRepr;

use super::buffer::CudaBuffer;
use super::launch::{THREADS, grid, launch, over_fours};
use super::{Cuda, Tensor, adamw, at};
use crate::check;
use crate::device::{AdamW, Moved, Optimiser, Sgd};
use crate::error::Result;
use crate::shape::Shape;

/// The struct of elementwise.cu: addresses, the length of each, and the weight decay.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SgdTensor {
    theta: u64,
    velocity: u64,
    grad: u64,
    len: u64,
    decay: f32,
    unused: u32,
}

// SAFETY: four u64 and two words in order, as elementwise.cu asserts; copied by value.
unsafe impl DeviceRepr for SgdTensor {}
const _: () = assert!(size_of::<SgdTensor>() == 40);

/// Six of them, or fewer.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SgdBlock([SgdTensor; 6]);

// SAFETY: an array of the above, as in elementwise.cu.
unsafe impl DeviceRepr for SgdBlock {}

fn operands(grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor, decay: f64) -> Result<SgdTensor> {
    check::descent("sgd", theta.shape(), grad.shape(), velocity.shape())?;
    let (len, decay) = (theta.shape().len() as u64, decay as f32);
    Ok(SgdTensor { theta: at(theta), velocity: at(velocity), grad: at(grad), len, decay, unused: 0 })
}

impl Optimiser for Cuda {
    fn sgd(&self, step: Sgd<'_, CudaBuffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        let tensor = operands(grad, velocity, theta, step.weight_decay)?;
        let (lr, loss, nesterov) = (at(step.lr), at(step.loss), u32::from(step.nesterov));
        let config = over_fours(theta.shape().len());
        launch!(self, "sgd", &self.kernels.sgd, config, tensor, lr, loss, step.momentum as f32, nesterov)
    }

    /// Six in a launch.
    fn sgd_all(
        &self,
        step: Sgd<'_, CudaBuffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, CudaBuffer>>,
    ) -> Result<()> {
        let (lr, loss, nesterov) = (at(step.lr), at(step.loss), u32::from(step.nesterov));
        loop {
            let mut some = [SgdTensor { theta: 0, velocity: 0, grad: 0, len: 0, decay: 0.0, unused: 0 }; 6];
            let mut count = 0;
            for (to, Moved { is_weight, grad, velocity, theta, .. }) in some.iter_mut().zip(&mut *tensors) {
                *to = operands(grad, velocity, theta, step.of(is_weight).weight_decay)?;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let longest = some.iter().map(|tensor| tensor.len).max().unwrap_or(0);
            let config = grid([over_fours(longest as usize).grid_dim.0 as usize, count], THREADS);
            let (kernel, block) = (&self.kernels.sgd_block, SgdBlock(some));
            launch!(self, "sgd_block", kernel, config, block, lr, loss, step.momentum as f32, nesterov)?;
        }
    }

    fn count_step(&self, betas: [f64; 2], loss: &Tensor, count: &mut Tensor) -> Result<()> {
        check::equal("count_step", Shape::vector(3), count.shape())?;
        adamw::count_step(self, betas, loss, count)
    }

    fn adamw_all(
        &self,
        step: AdamW<'_, CudaBuffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, CudaBuffer>>,
    ) -> Result<()> {
        adamw::adamw_all(self, step, tensors)
    }
}
