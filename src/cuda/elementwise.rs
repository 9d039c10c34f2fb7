//! Element by element: fill, copy, sums of two maps, ReLU, distances.

use super::buffer::CudaBuffer;
use super::error::driver;
use super::launch::{THREADS, grid, launch, over_fours};
use super::operand::{Drift, PairSum};
use super::{Cuda, Tensor, at, part};
use crate::check;
use crate::device::{Activation, Elementwise};
use crate::error::Result;
use crate::shape::Shape;

/// Blocks of a distance: fixed by the size, so that the sum has one order on every card.
fn distance_blocks(len: usize) -> usize {
    len.div_ceil(4 * THREADS).clamp(1, 1024)
}

/// The number of an activation in `kernels/elementwise.cu`; ReLU has kernels of its own.
const fn kind(act: Activation) -> Option<u32> {
    match act {
        Activation::Relu => None,
        Activation::Gelu => Some(0),
        Activation::Silu => Some(1),
    }
}

/// What [`Drift`] asks for, of the state y.
pub fn squared_distance(d: &Cuda, drift: Drift, y: &Tensor) -> Result<()> {
    let len = y.shape().len();
    let config = grid([distance_blocks(len), 1], THREADS);
    launch!(d, "squared_distance", &d.kernels.squared_distance, config, drift, at(y), len as u64)
}

impl Elementwise for Cuda {
    fn fill(&self, value: f64, y: &mut Tensor) -> Result<()> {
        let len = y.shape().len();
        launch!(self, "fill", &self.kernels.fill, over_fours(len), at(y), value as f32, len as u64)
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        let len = y.shape().len();
        launch!(self, "copy", &self.kernels.copy, over_fours(len), at(y), at(x), len as u64)
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        let len = x.shape().len();
        launch!(self, "axpby", &self.kernels.axpby, over_fours(len), at(y_acc), at(x), a as f32, b as f32, len as u64)
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        let len = y.shape().len();
        launch!(self, "relu", &self.kernels.relu, over_fours(len), at(y), len as u64)
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        let len = y.shape().len();
        launch!(self, "relu_grad", &self.kernels.relu_grad, over_fours(len), at(grad), at(y), len as u64)
    }

    fn activate(&self, act: Activation, y: &mut Tensor) -> Result<()> {
        let Some(kind) = kind(act) else { return self.relu(y) };
        let len = y.shape().len();
        launch!(self, "activate", &self.kernels.activate, over_fours(len), at(y), kind, len as u64)
    }

    fn activate_grad(&self, act: Activation, x: &Tensor, grad: &mut Tensor) -> Result<()> {
        let Some(kind) = kind(act) else { return self.relu_grad(x, grad) };
        check::equal("activate_grad", x.shape(), grad.shape())?;
        let len = x.shape().len();
        launch!(self, "activate_grad", &self.kernels.activate_grad, over_fours(len), at(grad), at(x), kind, len as u64)
    }

    fn squared_distance(
        &self,
        x: &Tensor,
        y: &Tensor,
        out: &mut Tensor,
        offset: usize,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::distance("squared_distance", x.shape(), y.shape(), out.shape(), offset)?;
        let to = PairSum::new(self, part(out, offset), workspace.address());
        squared_distance(self, Drift { x: at(x), to, ..Drift::NONE }, y)
    }

    fn squared_distance_workspace(&self, x: Shape) -> usize {
        2 * distance_blocks(x.len())
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        let len = x.shape().len();
        let flag = {
            use cudarc::driver::DevicePtr;
            self.flag.device_ptr(&self.stream).0
        };
        let stream = self.stream.cu_stream();
        // SAFETY: the flag is four bytes of this device.
        unsafe { cudarc::driver::result::memset_d8_async(flag, 0, 4, stream) }.map_err(|e| driver("all_finite", e))?;
        launch!(self, "all_finite", &self.kernels.any_not_finite, over_fours(len), flag, at(x), len as u64)?;
        let mut found = [0u32];
        // SAFETY: as above; the host's copy is read after the stream is done.
        unsafe { cudarc::driver::result::memcpy_dtoh_async(&mut found, flag, stream) }
            .map_err(|e| driver("all_finite", e))?;
        self.stream.synchronize().map_err(|e| driver("all_finite", e))?;
        Ok(found == [0])
    }
}
