//! Convolutions with operands in f16 or bf16 (kernels/half.cuh): where they go, how they are cut, and their launches.

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use cudarc::driver::{CudaContext, DeviceRepr, DriverError, LaunchConfig};

use super::buffer::CudaBuffer;
use super::geometry::{COUNTERS, Geometry, counters, group};
use super::kernels::{ByShort, Kernels, Tile};
use super::launch::{grid, launch, over, over_fours};
use super::operand::{GradSums, NextPass, Norm, Operand, PairSum, Peaks, Reduction, Statistics, WeightJob};
use super::{Cuda, Tensor, at};
use crate::error::Result;
use crate::operands::{BasicCache, Measure};
use crate::shape::{Conv, Shape};

/// Pixels of a tile and its threads; pixels and threads of the gradient by weights: the constants of half.cuh and grad_w_half.cu.
const PIXELS: usize = 192;
const THREADS: usize = 128;
const WEIGHT_PIXELS: usize = 128;
const WEIGHT_THREADS: usize = 256;
const TAPS: usize = 9;
/// Bytes of a row of zeros.
const ZEROS: usize = 128;
/// Blocks that a launch aims at: two for each multiprocessor of an H100. Fixed, so that sums have one order on every card.
const BLOCKS: usize = 264;
/// Words that the device keeps for peaks, behind the counters: two for each of a block's two gradients.
pub const WORDS: usize = 4;

/// How far a launch may go; read once when the device opens.
pub struct Limits {
    /// Shared memory of a block, and of one of two that share a multiprocessor.
    shared_bytes: usize,
    pair_bytes: usize,
    /// Blocks that a launch aims at.
    pub blocks: usize,
}

impl Limits {
    /// Asks the device, and lets the kernels have its shared memory.
    pub fn read(context: &CudaContext, kernels: &Kernels) -> std::result::Result<Limits, DriverError> {
        let optin = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let all = [
            &kernels.conv_half,
            &kernels.norm_relu_conv_half,
            &kernels.norm_relu_conv_step_half,
            &kernels.norm_relu_conv_sums_half,
            &kernels.bn_grad_conv_relu_half,
            &kernels.bn_grad_conv_acc_half,
            &kernels.grad_w_half,
        ];
        let all = || all.into_iter().flat_map(ByShort::all);
        let mut own = 0;
        for kernel in all() {
            own = own.max(kernel.get_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?);
        }
        let shared = (optin - own).max(0);
        for kernel in all() {
            kernel.set_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)?;
            // two blocks are to find room in a multiprocessor: all that L1 can give
            kernel.set_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100)?;
        }
        // a multiprocessor has 1 KiB more than a block may take, and keeps as much for each block
        let pair = ((optin + 1024) / 2 - 1024 - own).max(0);
        Ok(Limits { shared_bytes: shared as usize, pair_bytes: pair as usize, blocks: BLOCKS })
    }
}

/// The peaks of a block's outer gradient (g and z2), and of its inner one (grad_u and z1).
#[derive(Debug, Clone, Copy)]
pub struct BlockPeaks {
    pub outer: Peaks,
    pub inner: Peaks,
}

impl BlockPeaks {
    fn at(d: &Cuda) -> BlockPeaks {
        let word = |i: usize| counters(d) + ((COUNTERS + 1 + i) * size_of::<u32>()) as u64;
        BlockPeaks { outer: Peaks { grad: word(0), zhat: word(1) }, inner: Peaks { grad: word(2), zhat: word(3) } }
    }

    /// Sets all to zero, which the launches that follow raise.
    pub fn clear(d: &Cuda) -> Result<()> {
        let words = BlockPeaks::at(d).outer.grad;
        launch!(d, "fill", &d.kernels.fill, over_fours(WORDS), words, 0f32, WORDS as u64)
    }
}

/// How a launch is cut, as half.cuh declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Cut {
    /// Tiles of a block.
    each: u32,
    /// Whether it keeps all weights.
    keeps: u32,
}

// SAFETY: two u32 in order, as half.cuh asserts; copied by value.
unsafe impl DeviceRepr for Cut {}
const _: () = assert!(size_of::<Cut>() == 8);

/// A 3x3 convolution that these kernels do, or its gradient by the input, and how it is cut.
#[derive(Debug, Clone, Copy)]
pub struct Half {
    x: Shape,
    c_out: usize,
    tile: Tile,
    /// Blocks that a launch aims at.
    blocks: usize,
    /// Shared memory that a block may take without keeping another one out.
    pair_bytes: usize,
}

impl Half {
    /// None where another arithmetic was asked for, or only other kernels will do.
    pub fn of(d: &Cuda, x: Shape, conv: Conv, c_out: usize) -> Option<Half> {
        let tile = match (x.c(), c_out) {
            (16, 16) => Tile::By16,
            (32, 32) => Tile::By32,
            (c, k) if [c, k].iter().all(|c| c.is_multiple_of(Tile::By64.channels())) => Tile::By64,
            _ => return None,
        };
        let half = Half { x, c_out, tile, blocks: d.half.blocks, pair_bytes: d.half.pair_bytes };
        let takes = d.math.is_short()
            && conv == Conv::SAME_3X3
            && x.pixels() <= i32::MAX as usize
            && half.tile_bytes(half.least_rows(), 4 * x.c().max(c_out)).max(half.weight_bytes()) <= d.half.shared_bytes;
        takes.then_some(half)
    }

    /// That of a block's maps.
    pub fn of_block(d: &Cuda, map: Shape) -> Option<Half> {
        Half::of(d, map, Conv::SAME_3X3, map.c())
    }

    /// Bytes of the place of the patch of so many pixels.
    fn patch_bytes(self, pixels: usize) -> usize {
        ((pixels + 2 * self.x.w() + 2) * self.row()).next_multiple_of(ZEROS)
    }

    /// Channels of a tile.
    fn side(self) -> usize {
        self.tile.channels()
    }

    /// Bytes of a row of a patch.
    fn row(self) -> usize {
        2 * self.side()
    }

    /// Rows of taps whose weights a block holds at the least: two take turns, but few channels keep all three.
    fn least_rows(self) -> usize {
        if self.tile == Tile::By64 { 2 } else { 3 }
    }

    /// Shared memory of a block with so many rows of taps' weights and parameters: the layout of `half_places`.
    fn tile_bytes(self, rows: usize, parameters: usize) -> usize {
        let taps = 3 * self.side() * self.row();
        rows * taps + self.patch_bytes(PIXELS) + ZEROS + parameters * size_of::<f32>()
    }

    /// That of the gradient by weights, whose groups of warps also leave their sums there, half of all.
    fn weight_bytes(self) -> usize {
        let chunk = self.patch_bytes(WEIGHT_PIXELS) + WEIGHT_PIXELS * self.row();
        let groups = match self.tile {
            Tile::By16 => 8,
            Tile::By32 => 4,
            Tile::By64 => 1,
        };
        (2 * chunk + ZEROS).max(groups / 2 * self.share() * size_of::<f32>())
    }

    /// Weights that a block of the gradient by weights makes.
    fn share(self) -> usize {
        TAPS * self.side() * self.side()
    }

    /// Tiles of the map.
    fn tiles(self) -> usize {
        self.x.pixels().div_ceil(PIXELS).max(1)
    }

    /// How a product over `reduced` channels that makes `made` is cut, and launched.
    fn cut(self, reduced: usize, made: usize, parameters: usize) -> (Cut, LaunchConfig) {
        let across = made / self.side();
        let each = (self.tiles() * across).div_ceil(self.blocks).max(1);
        let least = self.least_rows();
        let keeps = least == 3 || reduced == self.side() && self.tile_bytes(3, parameters) <= self.pair_bytes;
        let mut config = grid([self.tiles().div_ceil(each), across], THREADS);
        config.shared_mem_bytes = self.tile_bytes(if keeps { 3 } else { least }, parameters) as u32;
        (Cut { each: each as u32, keeps: u32::from(keeps) }, config)
    }

    fn geometry(self) -> Geometry {
        Geometry::new(self.x, Conv::SAME_3X3, self.c_out)
    }

    fn reduction(d: &Cuda, config: LaunchConfig, partial: u64) -> Reduction {
        let (shares, across, _) = config.grid_dim;
        Reduction::new(partial, counters(d), group(shares as usize, across as usize) as u32)
    }

    pub fn forward(
        self,
        d: &Cuda,
        x: u64,
        w: u64,
        y: u64,
        measure: Option<Measure<'_, CudaBuffer>>,
        workspace: u64,
    ) -> Result<()> {
        let ((cut, config), g) = (self.cut(self.x.c(), self.c_out, 0), self.geometry());
        let (r, to) = (Half::reduction(d, config, workspace), Statistics::of(measure));
        launch!(d, "conv", d.kernels.conv_half.of(d.math, self.tile), config, y, x, w, g, cut, r, to)
    }

    pub fn norm_relu_forward(
        self,
        d: &Cuda,
        z1: u64,
        norm: Norm,
        w: u64,
        z2: u64,
        measure: Option<Measure<'_, CudaBuffer>>,
        workspace: u64,
    ) -> Result<()> {
        let ((cut, config), g) = (self.cut(self.x.c(), self.c_out, 3 * self.x.c()), self.geometry());
        let (r, to) = (Half::reduction(d, config, workspace), Statistics::of(measure));
        launch!(
            d,
            "norm_relu_conv",
            d.kernels.norm_relu_conv_half.of(d.math, self.tile),
            config,
            z2,
            z1,
            norm,
            w,
            g,
            cut,
            r,
            to
        )
    }

    pub fn norm_relu_conv_step(
        self,
        d: &Cuda,
        y: &mut Tensor,
        x: &Tensor,
        h: f32,
        [norm1, norm2]: [Norm; 2],
        z1: &Tensor,
        w: u64,
        moved: PairSum,
    ) -> Result<()> {
        let ((cut, config), g) = (self.cut(self.x.c(), self.c_out, 3 * self.x.c()), self.geometry());
        let (kernel, y, x, z1) = (d.kernels.norm_relu_conv_step_half.of(d.math, self.tile), at(y), at(x), at(z1));
        launch!(d, "norm_relu_conv_step", kernel, config, y, x, h, norm2, z1, norm1, w, g, cut, moved)
    }

    pub fn norm_relu_conv_sums(
        self,
        d: &Cuda,
        BasicCache { z1, z2 }: &mut BasicCache<CudaBuffer>,
        next: NextPass,
        grad: &Tensor,
        [norm1, norm2]: [Norm; 2],
        w: u64,
        to: GradSums,
        workspace: u64,
    ) -> Result<()> {
        BlockPeaks::clear(d)?;
        let ((cut, config), g) = (self.cut(self.x.c(), self.c_out, 3 * self.x.c()), self.geometry());
        let (r, peaks) = (Half::reduction(d, config, workspace), BlockPeaks::at(d).outer);
        let (kernel, z2, grad, z1) =
            (d.kernels.norm_relu_conv_sums_half.of(d.math, self.tile), at(z2), at(grad), at(z1));
        launch!(d, "norm_relu_conv_sums", kernel, config, z2, next, grad, norm2, z1, norm1, w, g, cut, r, to, peaks)
    }

    /// Where a launch is to leave the peaks of the outer gradient, set to zero.
    pub fn grad_peaks(d: &Cuda) -> Result<Peaks> {
        BlockPeaks::clear(d)?;
        Ok(BlockPeaks::at(d).outer)
    }

    pub fn bn_grad_conv_relu(
        self,
        d: &Cuda,
        grad_u: &mut Tensor,
        from: Operand,
        w: u64,
        z1: &Tensor,
        norm1: Norm,
        to: GradSums,
        workspace: u64,
    ) -> Result<()> {
        let ((cut, config), g) = (self.cut(self.c_out, self.x.c(), 4 * self.c_out), self.geometry());
        let (r, BlockPeaks { outer, inner }) = (Half::reduction(d, config, workspace), BlockPeaks::at(d));
        let (kernel, grad_u, z1) = (d.kernels.bn_grad_conv_relu_half.of(d.math, self.tile), at(grad_u), at(z1));
        launch!(d, "bn_grad_conv_relu", kernel, config, grad_u, from, outer, w, z1, norm1, g, cut, r, to, inner)
    }

    pub fn bn_grad_conv_acc(self, d: &Cuda, grad_x: &mut Tensor, from: Operand, w: u64) -> Result<()> {
        let ((cut, config), g) = (self.cut(self.c_out, self.x.c(), 4 * self.c_out), self.geometry());
        let (kernel, grad_x, inner) =
            (d.kernels.bn_grad_conv_acc_half.of(d.math, self.tile), at(grad_x), BlockPeaks::at(d).inner);
        launch!(d, "bn_grad_conv_acc", kernel, config, grad_x, from, inner, w, g, cut)
    }

    /// Tiles of channels by channels, and shares of the pixels, of the gradient by weights: one block to a multiprocessor.
    fn weight_cut(self, convolutions: usize) -> (usize, usize) {
        let tiles = self.x.c() / self.side() * (self.c_out / self.side());
        let chunks = self.x.pixels().div_ceil(WEIGHT_PIXELS);
        (tiles, (self.blocks / 2 / (tiles * convolutions)).min(chunks).max(1))
    }

    /// The gradients by weights of one or two convolutions; with each job whose gradient it takes.
    pub fn grad_w(self, d: &Cuda, jobs: &[(WeightJob, Which)], keep: bool, partial: u64) -> Result<()> {
        let ([first, .., second] | [first @ second]) = jobs else { unreachable!("callers have jobs") };
        let (tiles, splits) = self.weight_cut(jobs.len());
        let mut config = grid([tiles, splits], WEIGHT_THREADS);
        config.grid_dim.2 = jobs.len() as u32;
        config.shared_mem_bytes = self.weight_bytes() as u32;
        let ([one, two], g) = ([first, second].map(|(job, _)| *job), self.geometry());
        let peaks = BlockPeaks::at(d);
        let [one_peaks, two_peaks] = [first, second].map(|(_, which)| match which {
            Which::Outer => peaks.outer,
            Which::Inner => peaks.inner,
        });
        let kernel = d.kernels.grad_w_half.of(d.math, self.tile);
        launch!(d, "conv_grad_w", kernel, config, one, two, one_peaks, two_peaks, g, partial)?;
        let (c_in, c_out, count) = (self.x.c() as u32, self.c_out as u32, jobs.len() as u32);
        let threads = jobs.len() * TAPS * self.x.c() * self.c_out / 4;
        let (kernel, config, [one, two]) = (&d.kernels.grad_w_total, over(threads), [one.grad_w, two.grad_w]);
        let (splits, keep) = (splits as u32, u32::from(keep));
        launch!(d, "conv_grad_w", kernel, config, one, two, partial, splits, c_in, c_out, count, keep)
    }

    /// Elements of workspace for a block's gradients by weights.
    pub fn workspace(self) -> usize {
        let each = |convolutions: usize| {
            let (tiles, splits) = self.weight_cut(convolutions);
            convolutions * tiles * splits * self.share()
        };
        each(1).max(each(2))
    }
}

/// Which of a block's two gradients stands before a product.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// That of z2.
    Outer,
    /// That of z1.
    Inner,
}
