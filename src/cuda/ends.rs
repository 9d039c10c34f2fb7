//! The lower end of a stack of blocks, in as few launches as there are sums over the whole batch.

use super::buffer::CudaBuffer;
use super::operand::{Drift, Norm};
use super::{Cuda, Tensor, at, batch_norm, code, conv, elementwise};
use crate::check;
use crate::code::{CodedPass, Coder};
use crate::device::Ends;
use crate::error::Result;
use crate::operands::{Affine, BnStats, Reconstruction};
use crate::shape::{Conv, Shape};

fn check_reconstruction(op: &'static str, of: &Reconstruction<'_, CudaBuffer>, y: Shape) -> Result<()> {
    check::distance(op, of.x.shape(), y, of.distance.shape(), 0)?;
    check::equal(op, Shape::vector(2), of.verdict.shape())?;
    of.grid.map_or(Ok(()), |grid| check::equal(op, Shape::vector(1), grid.shape()))
}

impl Ends for Cuda {
    fn begin_codes(
        &self,
        coder: &mut Coder<CudaBuffer>,
        x: &mut Tensor,
        carry: &mut Tensor,
        _: &mut Tensor,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::equal("begin_codes", x.shape(), carry.shape())?;
        check::equal("begin_codes", Shape::vector(x.shape().c()), coder.rest.shape())?;
        code::start(self, x, &mut coder.grid, Some((carry, &mut coder.rest)), workspace.address())?;
        if coder.pass == CodedPass::Altered { code::round(self, &coder.grid, x) } else { Ok(()) }
    }

    fn drift(&self, of: Reconstruction<'_, CudaBuffer>, y: &mut Tensor, workspace: &mut CudaBuffer) -> Result<()> {
        check_reconstruction("drift", &of, y.shape())?;
        elementwise::squared_distance(self, Drift::new(self, of, workspace.address()), y)
    }

    fn norm_relu_grad_sums(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        of: Option<Reconstruction<'_, CudaBuffer>>,
        _: &mut Tensor,
        grad: &mut Tensor,
        sums: &mut Affine<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::normed("norm_relu_grad_sums", z.shape(), &[grad.shape()], stats, affine)?;
        check::norm("norm_relu_grad_sums", z.shape().c(), stats, sums)?;
        of.as_ref().map_or(Ok(()), |of| check_reconstruction("norm_relu_grad_sums", of, z.shape()))?;
        batch_norm::relu_grad_sums(self, z, Norm::new(stats, affine), of, grad, sums, workspace.address())
    }

    fn norm_conv_grad_w(
        &self,
        x: &Tensor,
        conv: Conv,
        grad_y: &Tensor,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        sums: &Affine<CudaBuffer>,
        grad_z: &mut Tensor,
        grad_w: &mut Tensor,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::normed("norm_conv_grad_w", z.shape(), &[grad_y.shape(), grad_z.shape()], stats, affine)?;
        check::norm("norm_conv_grad_w", z.shape().c(), stats, sums)?;
        check::conv("norm_conv_grad_w", x.shape(), grad_w.shape(), conv, z.shape())?;
        let (norm, clear) = (Norm::new(stats, affine), (at(grad_w), grad_w.shape().len()));
        batch_norm::grad_z(self, grad_y, 1.0, z, norm, sums, grad_z, clear)?;
        let to = (at(grad_w), grad_w.shape().c());
        conv::grad_w(self, (at(x), x.shape()), at(grad_z), conv, to, workspace.address())
    }
}
