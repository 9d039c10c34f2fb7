//! Convolutions: which form of a kernel, how many tiles, how much workspace.

use cudarc::driver::LaunchConfig;

use super::buffer::CudaBuffer;
use super::geometry::{COUNTERS, Geometry, counters, group};
use super::half::Half;
use super::kernels::Tile;
use super::launch::{grid, launch};
use super::operand::{Operand, PairSum, Reduction, Statistics, WeightJob};
use super::{Cuda, Norm, Tensor, at, batch_norm};
use crate::check;
use crate::device::{Convolution, ResidualBlock};
use crate::error::Result;
use crate::operands::Measure;
use crate::shape::{Conv, Shape};

/// Pixels of a tile and threads of a block: the constants of conv_tile.cuh.
const TILE_PIXELS: usize = 64;
const THREADS: usize = 128;
/// What copies of 16 bytes and steps of 16 channels ask of the channels, on both sides.
const STEP: usize = 16;
/// Taps whose bits fit in a word.
const MOST_TAPS: usize = 32;
/// Output channels of a tile of the general forms, the narrow and the wide one.
const ANY_OUTPUTS: [usize; 2] = [16, 64];
/// Channels of a tile of the general gradient by the input.
const ANY_TILE: usize = 16;
/// Of the general gradient by weights: pixels of a stage, rows of its tile.
const ANY_PIXELS: usize = 32;
const ANY_ROWS: usize = 32;
/// Blocks that the gradient by weights aims at: two for each multiprocessor of a large card, as more would write more
/// shares than they gain. Fixed, so that sums have one order on every card.
const WEIGHT_BLOCKS: usize = 256;
/// The same for the general form, of which a multiprocessor holds three or more.
const ANY_WEIGHT_BLOCKS: usize = 384;
/// Channels whose parameters fit in shared memory beside the stages (four numbers each, of 48 KiB in all).
const MOST_FUSED: usize = 1024;

/// A tile for a product that sums over `summed` channels and makes `made`, unless only the general form will do.
fn tile(conv: Conv, summed: usize, made: usize) -> Option<Tile> {
    if summed.is_multiple_of(STEP) && conv.kernel * conv.kernel <= MOST_TAPS { Tile::of(made) } else { None }
}

/// Output channels of a general form's tile, where there are this many.
fn any_outputs(c_out: usize) -> usize {
    ANY_OUTPUTS[usize::from(c_out > ANY_OUTPUTS[1] / 2)]
}

/// The tile of kernels that keep the parameters of all summed channels at hand, for maps of `channels`.
pub fn fused_tile(channels: usize) -> Option<Tile> {
    if channels <= MOST_FUSED { Tile::of(channels) } else { None }
}

/// Tiles of pixels and of channels; `parameters` numbers in shared memory.
pub fn tiles(pixels: usize, made: usize, tile: usize, parameters: usize) -> LaunchConfig {
    let mut config = grid([pixels.div_ceil(TILE_PIXELS), made.div_ceil(tile)], THREADS);
    config.shared_mem_bytes = (parameters * size_of::<f32>()) as u32;
    config
}

/// A reduction over the tiles of a map.
pub fn reduction(d: &Cuda, map: Shape, tile: Tile, partial: u64) -> Reduction {
    let group = group(map.pixels().div_ceil(TILE_PIXELS), map.c() / tile.channels());
    Reduction::new(partial, counters(d), group as u32)
}

/// Two sums over a map's elements, into `out`, beside a reduction over its tiles.
pub fn pair_sum(d: &Cuda, map: Shape, tile: Tile, partial: u64, out: u64) -> PairSum {
    let word = |address: u64, words: usize| address + (words * size_of::<u32>()) as u64;
    PairSum { out, partial: word(partial, shares(map, tile)), counter: word(counters(d), COUNTERS) }
}

/// Elements of its shares: two a block.
fn pair_shares(map: Shape, tile: Tile) -> usize {
    2 * map.pixels().div_ceil(TILE_PIXELS).max(1) * (map.c() / tile.channels())
}

/// Elements of a reduction's shares.
fn shares(map: Shape, tile: Tile) -> usize {
    let tiles = map.pixels().div_ceil(TILE_PIXELS);
    let groups = tiles.div_ceil(group(tiles, map.c() / tile.channels()));
    (tiles + groups) * 2 * map.c()
}

/// `y = conv(x)`, with the output's statistics where asked for.
pub fn forward(
    d: &Cuda,
    x: (u64, Shape),
    w: (u64, usize),
    conv: Conv,
    y: u64,
    measure: Option<Measure<'_, CudaBuffer>>,
    workspace: u64,
) -> Result<()> {
    let ((x, shape), (w, c_out)) = (x, w);
    if let Some(form) = Half::of(d, shape, conv, c_out) {
        return form.forward(d, x, w, y, measure, workspace);
    }
    let (out, geometry) = (conv.output(shape, c_out), Geometry::new(shape, conv, c_out));
    let Some(tile) = tile(conv, shape.c(), c_out) else {
        let config = tiles(out.pixels(), c_out, any_outputs(c_out), 0);
        let kernel = d.kernels.conv_any.of(d.math, any_outputs(c_out) != ANY_OUTPUTS[0]);
        launch!(d, "conv", kernel, config, y, x, w, geometry)?;
        return measure.map_or(Ok(()), |m| batch_norm::stats(d, y, out, m, workspace));
    };
    let config = tiles(out.pixels(), c_out, tile.channels(), 0);
    let (r, to) = (reduction(d, out, tile, workspace), Statistics::of(measure));
    launch!(d, "conv", d.kernels.conv.of(d.math, tile), config, y, x, w, geometry, r, to)
}

/// `z2 = conv3x3(relu(bn(z1)))` by a tile of [`fused_tile`], with the output's statistics where asked for.
pub fn norm_relu_forward(
    d: &Cuda,
    tile: Tile,
    z1: (u64, Shape),
    norm: Norm,
    w: (u64, usize),
    z2: u64,
    measure: Option<Measure<'_, CudaBuffer>>,
    workspace: u64,
) -> Result<()> {
    let ((z1, shape), (w, c_out)) = (z1, w);
    if let Some(form) = Half::of(d, shape, Conv::SAME_3X3, c_out) {
        return form.norm_relu_forward(d, z1, norm, w, z2, measure, workspace);
    }
    let out = Conv::SAME_3X3.output(shape, c_out);
    let geometry = Geometry::new(shape, Conv::SAME_3X3, c_out);
    let config = tiles(out.pixels(), c_out, tile.channels(), 3 * shape.c());
    let (r, to) = (reduction(d, out, tile, workspace), Statistics::of(measure));
    let kernel = d.kernels.norm_relu_conv.of(d.math, tile);
    launch!(d, "norm_relu_conv", kernel, config, z2, z1, norm, w, geometry, r, to)
}

/// `grad_x = conv^T(grad_y)`.
pub fn grad_x(d: &Cuda, grad_y: u64, w: (u64, usize), conv: Conv, grad_x: (u64, Shape)) -> Result<()> {
    let ((w, c_out), (grad_x, shape)) = (w, grad_x);
    let geometry = Geometry::new(shape, conv, c_out);
    let tile = if conv.stride == 1 { tile(conv, c_out, shape.c()) } else { None };
    let kernel =
        tile.map_or_else(|| d.kernels.conv_grad_x_any.of(d.math), |tile| d.kernels.conv_grad_x.of(d.math, tile));
    let config = tiles(shape.pixels(), shape.c(), tile.map_or(ANY_TILE, Tile::channels), 0);
    launch!(d, "conv_grad_x", kernel, config, grad_x, grad_y, w, geometry)
}

/// How the gradient by weights of so many convolutions is cut.
struct WeightCut {
    form: WeightForm,
    /// Tiles of one convolution's weights.
    blocks: usize,
    /// Shares of the pixels.
    splits: usize,
    convolutions: usize,
}

/// Tiles of the gradient by weights.
#[derive(Clone, Copy)]
enum WeightForm {
    /// A tap's input channels by output channels, both this many.
    Square(Tile),
    /// [`ANY_ROWS`] rows of taps and input channels by this many outputs: any channels.
    Any(usize),
}

impl WeightCut {
    fn new(x: Shape, conv: Conv, c_out: usize, convolutions: usize) -> WeightCut {
        let both = [Tile::By64, Tile::By32, Tile::By16]
            .into_iter()
            .find(|tile| [x.c(), c_out].iter().all(|c| c.is_multiple_of(tile.channels())));
        let taps = conv.kernel * conv.kernel;
        let (form, pixels, blocks, aim) = match both.map(|tile| (tile, tile.channels())) {
            // a stage holds 1024 numbers of each operand
            Some((tile, side)) => {
                (WeightForm::Square(tile), 1024 / side, taps * (x.c() / side) * (c_out / side), WEIGHT_BLOCKS)
            }
            None => {
                let outputs = any_outputs(c_out);
                let blocks = (taps * x.c()).div_ceil(ANY_ROWS) * c_out.div_ceil(outputs);
                (WeightForm::Any(outputs), ANY_PIXELS, blocks, ANY_WEIGHT_BLOCKS)
            }
        };
        let chunks = conv.output(x, c_out).pixels().div_ceil(pixels);
        let splits = aim.div_ceil(blocks * convolutions).min(chunks).max(1);
        WeightCut { form, blocks, splits, convolutions }
    }

    fn grid(&self) -> LaunchConfig {
        let mut config = grid([self.blocks, self.splits], THREADS);
        config.grid_dim.2 = self.convolutions as u32;
        config
    }

    /// Splits that merge first, in the general form.
    fn group(&self) -> usize {
        group(self.splits, self.blocks)
    }

    fn partial(&self) -> usize {
        let each = match self.form {
            WeightForm::Square(tile) => self.splits * tile.channels() * tile.channels(),
            WeightForm::Any(outputs) => (self.splits + self.splits.div_ceil(self.group())) * ANY_ROWS * outputs,
        };
        self.convolutions * self.blocks * each
    }
}

/// `grad_w += dL/dw`.
pub fn grad_w(d: &Cuda, x: (u64, Shape), grad_y: u64, conv: Conv, grad_w: (u64, usize), partial: u64) -> Result<()> {
    let ((x, shape), (grad_w, c_out)) = (x, grad_w);
    let cut = WeightCut::new(shape, conv, c_out, 1);
    let WeightForm::Any(outputs) = cut.form else {
        let job = WeightJob::new(Operand::plain(x), Operand::plain(grad_y), grad_w);
        return grad_w_jobs(d, [job].as_slice(), shape, conv, c_out, true, partial);
    };
    let kernel = d.kernels.conv_grad_w_any.of(d.math, outputs != ANY_OUTPUTS[0]);
    let (geometry, group) = (Geometry::new(shape, conv, c_out), cut.group() as u32);
    launch!(d, "conv_grad_w", kernel, cut.grid(), grad_w, x, grad_y, geometry, partial, counters(d), group)
}

/// One or two gradients by weights of convolutions of the same shape, in one launch; `keep` adds to what is there. The
/// channels are multiples of 16.
pub fn grad_w_jobs(
    d: &Cuda,
    jobs: &[WeightJob],
    x: Shape,
    conv: Conv,
    c_out: usize,
    keep: bool,
    partial: u64,
) -> Result<()> {
    let cut = WeightCut::new(x, conv, c_out, jobs.len());
    let (WeightForm::Square(tile), [first, .., second] | [first @ second]) = (cut.form, jobs) else {
        unreachable!("callers have jobs, of channels that are multiples of 16")
    };
    let (kernel, geometry) = (d.kernels.conv_grad_w.of(d.math, tile), Geometry::new(x, conv, c_out));
    let (first, second, keep) = (*first, *second, u32::from(keep));
    launch!(d, "conv_grad_w", kernel, cut.grid(), first, second, geometry, partial, counters(d), keep)
}

/// Elements of workspace for all of them.
pub fn workspace(x: Shape, conv: Conv, c_out: usize) -> usize {
    let out = conv.output(x, c_out);
    let statistics = tile(conv, x.c(), c_out).map_or_else(|| batch_norm::workspace(out), |tile| shares(out, tile));
    WeightCut::new(x, conv, c_out, 1).partial().max(statistics)
}

/// Elements of workspace for a block's fused operations beyond those.
pub fn block_workspace(map: Shape, tile: Tile) -> usize {
    WeightCut::new(map, Conv::SAME_3X3, map.c(), 2).partial().max(shares(map, tile) + pair_shares(map, tile))
}

impl Convolution for Cuda {
    fn conv(&self, x: &Tensor, w: &Tensor, conv: Conv, y: &mut Tensor, workspace: &mut CudaBuffer) -> Result<()> {
        self.conv_stats(x, w, conv, y, None, workspace)
    }

    fn conv_grad_x(
        &self,
        grad_y: &Tensor,
        w: &Tensor,
        conv: Conv,
        grad_x: &mut Tensor,
        _: &mut CudaBuffer,
    ) -> Result<()> {
        check::conv("conv_grad_x", grad_x.shape(), w.shape(), conv, grad_y.shape())?;
        self::grad_x(self, at(grad_y), (at(w), w.shape().c()), conv, (at(grad_x), grad_x.shape()))
    }

    fn conv_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        conv: Conv,
        grad_w_acc: &mut Tensor,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::conv("conv_grad_w", x.shape(), grad_w_acc.shape(), conv, grad_y.shape())?;
        let grad_w = (at(grad_w_acc), grad_w_acc.shape().c());
        self::grad_w(self, (at(x), x.shape()), at(grad_y), conv, grad_w, workspace.address())
    }

    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize {
        workspace(x, conv, c_out)
    }
}
