//! Convolutions: which form of a kernel, how many tiles, how much workspace.

use cudarc::driver::{DeviceRepr, LaunchConfig};

use super::kernels::Tile;
use super::launch::{grid, launch, over};
use super::{Cuda, Norm, batch_norm};
use crate::error::Result;
use crate::operands::Measure;
use crate::shape::{Conv, Shape};

/// Pixels of a tile, threads of a block, channels of a step: the constants of conv_tile.cuh.
const TILE_PIXELS: usize = 64;
const THREADS: usize = 128;
const STEP: usize = 16;
/// Pixels of a stage of the gradient by weights.
const STAGE_PIXELS: usize = 32;
/// Blocks that the gradient by weights aims at: a few for each multiprocessor of a large card. Fixed, so that sums have
/// one order on every card.
const WEIGHT_BLOCKS: usize = 1024;

/// The struct of common.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Geometry {
    n: u32,
    h: u32,
    w: u32,
    c_in: u32,
    oh: u32,
    ow: u32,
    c_out: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

// SAFETY: ten u32 in order, as common.cuh asserts; copied by value.
unsafe impl DeviceRepr for Geometry {}
const _: () = assert!(size_of::<Geometry>() == 40);

impl Geometry {
    fn new(x: Shape, conv: Conv, c_out: usize) -> Geometry {
        let [n, h, w, c_in] = x.0.map(|v| v as u32);
        let (oh, ow) = (conv.out(x.h()) as u32, conv.out(x.w()) as u32);
        let (kernel, stride, padding) = (conv.kernel as u32, conv.stride as u32, conv.padding as u32);
        Geometry { n, h, w, c_in, oh, ow, c_out: c_out as u32, kernel, stride, padding }
    }
}

/// A tile for a product that sums over `summed` channels and makes `made`.
fn tile(summed: usize, made: usize) -> Tile {
    Tile::of(made, summed.is_multiple_of(STEP))
}

fn tiles(pixels: usize, made: usize, tile: Tile) -> LaunchConfig {
    grid([pixels.div_ceil(TILE_PIXELS), made.div_ceil(tile.channels())], THREADS)
}

/// `y = conv(x)` or `conv(relu(bn(x)))`, with the output's statistics where asked for.
pub fn forward(
    d: &Cuda,
    x: (u64, Shape),
    norm: Option<Norm>,
    w: (u64, usize),
    conv: Conv,
    y: u64,
    measure: Option<Measure<'_, Cuda>>,
    workspace: u64,
) -> Result<()> {
    let ((x, shape), (w, c_out)) = (x, w);
    let out = conv.output(shape, c_out);
    let tile = tile(shape.c(), c_out);
    let config = tiles(out.pixels(), c_out, tile);
    let geometry = Geometry::new(shape, conv, c_out);
    let moments = if measure.is_some() { workspace } else { 0 };
    match norm {
        None => {
            let kernel = d.kernels.conv.of(d.math, tile);
            launch!(d, "conv", kernel, config, y, moments, x, w, geometry)?;
        }
        Some(n) => {
            let kernel = d.kernels.norm_relu_conv.of(d.math, tile);
            let Norm { mean, rstd, gamma, beta } = n;
            launch!(d, "norm_relu_conv", kernel, config, y, moments, x, mean, rstd, gamma, beta, w, geometry)?;
        }
    }
    match measure {
        Some(measure) => batch_norm::finalize(d, workspace, out.pixels().div_ceil(TILE_PIXELS), measure),
        None => Ok(()),
    }
}

/// `grad_x = conv^T(grad_y)`.
pub fn grad_x(d: &Cuda, grad_y: u64, w: (u64, usize), conv: Conv, grad_x: (u64, Shape)) -> Result<()> {
    let ((w, c_out), (grad_x, shape)) = (w, grad_x);
    let tile = tile(c_out, shape.c());
    let kernel = d.kernels.conv_grad_x.of(d.math, tile);
    let geometry = Geometry::new(shape, conv, c_out);
    launch!(d, "conv_grad_x", kernel, tiles(shape.pixels(), shape.c(), tile), grad_x, grad_y, w, geometry)
}

/// How the gradient by weights is cut: the tile, blocks of weights, splits of the pixels.
fn weight_grid(x: Shape, conv: Conv, c_out: usize) -> (Tile, usize, usize) {
    let tile = tile(x.c(), c_out);
    let taps = conv.kernel * conv.kernel;
    let blocks = taps * x.c().div_ceil(STEP) * c_out.div_ceil(tile.channels());
    let chunks = conv.output(x, c_out).pixels().div_ceil(STAGE_PIXELS);
    (tile, blocks, WEIGHT_BLOCKS.div_ceil(blocks).min(chunks).max(1))
}

/// `grad_w += dL/dw`.
pub fn grad_w(d: &Cuda, x: (u64, Shape), grad_y: u64, conv: Conv, grad_w: (u64, usize), partial: u64) -> Result<()> {
    let ((x, shape), (grad_w, c_out)) = (x, grad_w);
    let (tile, blocks, splits) = weight_grid(shape, conv, c_out);
    let kernel = d.kernels.conv_grad_w.of(d.math, tile);
    let geometry = Geometry::new(shape, conv, c_out);
    launch!(d, "conv_grad_w", kernel, grid([blocks, splits], THREADS), partial, x, grad_y, geometry)?;
    let len = conv.kernel * conv.kernel * shape.c() * c_out;
    launch!(d, "conv_grad_w", &d.kernels.conv_grad_w_total, over(len), grad_w, partial, splits as u32, len as u64)
}

/// Elements of workspace for all of them.
pub fn workspace(x: Shape, conv: Conv, c_out: usize) -> usize {
    let (_, _, splits) = weight_grid(x, conv, c_out);
    let partial = splits * conv.kernel * conv.kernel * x.c() * c_out;
    let moments = conv.output(x, c_out).pixels().div_ceil(TILE_PIXELS) * c_out * 3;
    partial.max(moments)
}
