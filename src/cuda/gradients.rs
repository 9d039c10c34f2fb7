//! Launches that clip gradients and average parameters: six tensors at once, as a residual block has.

use cudarc::driver::DeviceRepr;

use super::geometry::launch_counter;
use super::launch::{THREADS, grid, launch, over_fours};
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::{Gradients, SQUARES};
use crate::error::Result;
use crate::shape::Shape;

/// Tensors of a launch.
const ROWS: usize = 6;
/// The most blocks of a row whose squares are summed: of six rows there is room for in [`SQUARES`].
const SUMS: usize = 32;
const _: () = assert!(ROWS * SUMS < SQUARES);

/// The structs of gradients.cu: addresses and lengths.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Flat {
    at: u64,
    len: u64,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Averaged {
    average: u64,
    theta: u64,
    len: u64,
}

/// Six of them, or fewer.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Block<T>([T; ROWS]);

// SAFETY: u64 in the order of gradients.cu, which asserts the sizes too; copied by value.
unsafe impl DeviceRepr for Block<Flat> {}
// SAFETY: as above.
unsafe impl DeviceRepr for Block<Averaged> {}
const _: () = assert!(size_of::<Flat>() == 16 && size_of::<Averaged>() == 24);

/// Calls `launch` with each six of the tensors, their number, and the blocks that the longest of them takes.
fn by_six<T: Copy + Default>(
    tensors: &mut dyn Iterator<Item = Result<(usize, T)>>,
    mut launch: impl FnMut(Block<T>, usize, usize) -> Result<()>,
) -> Result<()> {
    loop {
        let (mut some, mut count, mut longest) = ([T::default(); ROWS], 0, 0);
        for (to, tensor) in some.iter_mut().zip(&mut *tensors) {
            let (len, tensor) = tensor?;
            (*to, count, longest) = (tensor, count + 1, longest.max(len));
        }
        if count == 0 {
            return Ok(());
        }
        launch(Block(some), count, over_fours(longest).grid_dim.0 as usize)?;
    }
}

fn flat(tensor: &Tensor) -> Result<(usize, Flat)> {
    let len = tensor.shape().len();
    Ok((len, Flat { at: at(tensor), len: len as u64 }))
}

impl Gradients for Cuda {
    fn squares(&self, tensors: &mut dyn Iterator<Item = &Tensor>, mut adds: bool, squares: &mut Tensor) -> Result<()> {
        check::equal("squares", Shape::vector(SQUARES), squares.shape())?;
        by_six(&mut tensors.map(flat), |block, rows, blocks| {
            let config = grid([blocks.min(SUMS), rows], THREADS);
            let (kernel, counter) = (&self.kernels.squares_block, launch_counter(self));
            launch!(self, "squares_block", kernel, config, at(squares), counter, block, u32::from(adds))?;
            adds = true;
            Ok(())
        })
    }

    fn clip(&self, squares: &Tensor, most: f64, tensors: &mut dyn Iterator<Item = &mut Tensor>) -> Result<()> {
        check::equal("clip", Shape::vector(SQUARES), squares.shape())?;
        by_six(&mut tensors.map(|tensor| flat(tensor)), |block, rows, blocks| {
            let (kernel, config) = (&self.kernels.clip_block, grid([blocks, rows], THREADS));
            launch!(self, "clip_block", kernel, config, block, at(squares), most as f32)
        })
    }

    fn average_all(
        &self,
        keep: f64,
        loss: &Tensor,
        pairs: &mut dyn Iterator<Item = (&Tensor, &mut Tensor)>,
    ) -> Result<()> {
        let mut pairs = pairs.map(|(theta, average)| {
            check::equal("average_all", theta.shape(), average.shape())?;
            let len = theta.shape().len();
            Ok((len, Averaged { average: at(average), theta: at(theta), len: len as u64 }))
        });
        by_six(&mut pairs, |block, rows, blocks| {
            let (kernel, config) = (&self.kernels.average_block, grid([blocks, rows], THREADS));
            // in f64: of a part near 1 in f32 what is left would have few digits
            launch!(self, "average_block", kernel, config, block, at(loss), (1.0 - keep) as f32)
        })
    }
}
