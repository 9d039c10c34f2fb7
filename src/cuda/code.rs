//! Launches for codes of increments, and how the words of a batch are cut into blocks.

use cudarc::driver::DeviceRepr;

use super::buffer::CudaBuffer;
use super::geometry::{COUNTERS, counters};
use super::launch::{THREADS, grid, launch, over, over_fours};
use super::operand::Norm;
use super::{Cuda, Tensor, at, part};
use crate::check;
use crate::code::{Bits, Code, CodedPass, Coder};
use crate::device::Coding;
use crate::error::Result;
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;

/// Blocks that encoding aims at, and the most of the search for the largest number: fixed, so that sums have one order on
/// every card.
const BLOCKS: usize = 1024;

/// The struct of code.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Cut {
    n: u32,
    len: u32,
    words: u32,
    channels: u32,
    images: u32,
    group: u32,
}

/// The struct of code.cu: where the carry's mean square goes, the blocks' shares of it, and their counters.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Rest {
    rest: u64,
    partial: u64,
    counters: u64,
}

// SAFETY: six u32 in order, as code.cu asserts; copied by value.
unsafe impl DeviceRepr for Cut {}
// SAFETY: three addresses, as code.cu asserts; copied by value.
unsafe impl DeviceRepr for Rest {}
const _: () = assert!(size_of::<Cut>() == 24 && size_of::<Rest>() == 24);

/// How a map's words are coded: the grid, and what its blocks know of it.
struct Encoding {
    cut: Cut,
    /// Blocks along an image's words, and along the batch.
    blocks: [usize; 2],
    threads: usize,
}

impl Encoding {
    fn new(map: Shape, bits: Bits) -> Encoding {
        let words = bits.words(map.image_len());
        let threads = words.next_multiple_of(32).clamp(32, THREADS);
        let tiles = words.div_ceil(threads).max(1);
        let images = map.n().div_ceil((BLOCKS / tiles).max(1)).max(1);
        let blocks = [tiles, map.n().div_ceil(images).max(1)];
        let group = group(tiles * blocks[1]);
        let cut = [map.n(), map.image_len(), words, map.c(), images, group].map(|v| v as u32);
        let [n, len, words, channels, images, group] = cut;
        Encoding { cut: Cut { n, len, words, channels, images, group }, blocks, threads }
    }

    fn config(&self) -> cudarc::driver::LaunchConfig {
        grid(self.blocks, self.threads)
    }

    /// Elements of workspace: a number per channel of each block and of each group of them.
    fn shares(map: Shape, bits: Bits) -> usize {
        let tiles = bits.words(map.image_len()).div_ceil(THREADS).max(1);
        // at least what any smaller batch takes too
        let blocks = tiles * map.n().min((BLOCKS / tiles).max(1)).max(1);
        (blocks + blocks.isqrt() + 1) * map.c()
    }
}

/// Blocks whose shares are merged first, so that neither level reads many, and the counters suffice.
fn group(blocks: usize) -> usize {
    blocks.div_ceil(blocks.isqrt().clamp(1, COUNTERS - 1))
}

/// Elements of workspace of everything here, for any number of bits.
pub fn workspace(map: Shape) -> usize {
    let encode = Bits::ALL.into_iter().map(|bits| Encoding::shares(map, bits)).max();
    encode.map_or(BLOCKS, |encode| encode.max(BLOCKS))
}

/// `grid = unit(max |x|)`; and zeros in a carry and its mean square, where given.
pub fn start(
    d: &Cuda,
    x: &Tensor,
    grid: &mut Tensor,
    zeroed: Option<(&mut Tensor, &mut Tensor)>,
    partial: u64,
) -> Result<()> {
    let (len, channels) = (x.shape().len(), x.shape().c() as u32);
    let mut config = over_fours(len);
    config.grid_dim.0 = config.grid_dim.0.min(BLOCKS as u32);
    let (counter, kernel) = (counters(d), &d.kernels.code_start);
    let (carry, rest) = zeroed.map_or((0, 0), |(carry, rest)| (at(carry), at(rest)));
    launch!(d, "code_start", kernel, config, at(grid), carry, rest, partial, counter, at(x), len as u64, channels)
}

pub fn round(d: &Cuda, grid: &Tensor, x: &mut Tensor) -> Result<()> {
    let len = x.shape().len();
    launch!(d, "code_round", &d.kernels.code_round, over_fours(len), at(x), at(grid), len as u64)
}

pub fn scale(
    d: &Cuda,
    h: f64,
    last: &[&Affine<CudaBuffer>],
    rest: &Tensor,
    scale: &mut BnStats<CudaBuffer>,
) -> Result<()> {
    let ([first, .., second] | [first @ second]) = last else {
        unreachable!("an increment is of one residual function or of two")
    };
    debug_assert!(last.len() <= 2);
    let second = if last.len() == 2 { [at(&second.gamma), at(&second.beta)] } else { [0, 0] };
    let (c, kernel) = (rest.shape().c(), &d.kernels.code_scale);
    launch!(
        d,
        "code_scale",
        kernel,
        over(c),
        at(&scale.mean),
        at(&scale.rstd),
        at(rest),
        at(&first.gamma),
        at(&first.beta),
        second[0],
        second[1],
        h,
        c as u32
    )
}

pub fn encode(
    d: &Cuda,
    coder: &mut Coder<CudaBuffer>,
    carry: &mut Tensor,
    x: Option<&mut Tensor>,
    code: &mut Code<CudaBuffer>,
    partial: u64,
) -> Result<()> {
    let encoding = Encoding::new(carry.shape(), coder.bits);
    let rest = Rest { rest: at(&coder.rest), partial, counters: counters(d) };
    let (mean, rstd, x) = (at(&code.scale.mean), at(&code.scale.rstd), x.map_or(0, |x| at(x)));
    launch!(
        d,
        "encode",
        d.kernels.encode.of(coder.bits),
        encoding.config(),
        at(&code.packed),
        at(carry),
        x,
        mean,
        rstd,
        at(&coder.grid),
        encoding.cut,
        rest
    )
}

/// The most channels whose parameters [`norm_encode`] keeps in shared memory: six numbers each, of 48 KiB in all.
pub const MOST_CHANNELS: usize = 1024;

/// `carry += h bn(z)`, the quantiser's scale, and the coding of that; in a plain pass `x += h bn(z)` too.
pub fn norm_encode(
    d: &Cuda,
    h: f64,
    z: &Tensor,
    norm: Norm,
    coder: &mut Coder<CudaBuffer>,
    code: &mut Code<CudaBuffer>,
    x: &mut Tensor,
    carry: &mut Tensor,
    partial: u64,
) -> Result<()> {
    let encoding = Encoding::new(carry.shape(), coder.bits);
    let rest = Rest { rest: at(&coder.rest), partial, counters: counters(d) };
    let mut config = encoding.config();
    config.shared_mem_bytes = (6 * carry.shape().c() * size_of::<f32>()) as u32;
    let kernel = d.kernels.norm_encode.of(coder.bits);
    let (packed, mean, rstd) = (at(&code.packed), at(&code.scale.mean), at(&code.scale.rstd));
    let (z, unit, cut) = (at(z), at(&coder.grid), encoding.cut);
    let plain = u32::from(coder.pass == CodedPass::Plain);
    launch!(d, "norm_encode", kernel, config, packed, at(carry), at(x), mean, rstd, z, h, norm, unit, cut, rest, plain)
}

pub fn decode(d: &Cuda, coder: &Coder<CudaBuffer>, code: &Code<CudaBuffer>, x: &mut Tensor) -> Result<()> {
    let Encoding { cut, .. } = Encoding::new(x.shape(), coder.bits);
    let (packed, mean, rstd) = (at(&code.packed), at(&code.scale.mean), at(&code.scale.rstd));
    let (kernel, config) = (d.kernels.decode.of(coder.bits), over(code.packed.shape().len()));
    launch!(d, "decode", kernel, config, at(x), packed, mean, rstd, at(&coder.grid), cut)
}

pub fn judge(d: &Cuda, errors: &Tensor, offset: usize, verdict: &mut Tensor) -> Result<()> {
    launch!(d, "judge", &d.kernels.judge, grid([1, 1], 32), at(verdict), part(errors, offset))
}

impl Coding for Cuda {
    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, workspace: &mut CudaBuffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        start(self, x_acc, grid, None, workspace.address())?;
        round(self, grid, x_acc)
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        round(self, grid, x_acc)
    }

    fn code_scale(
        &self,
        h: f64,
        last: &[&Affine<CudaBuffer>],
        rest: &Tensor,
        scale: &mut BnStats<CudaBuffer>,
    ) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        self::scale(self, h, last, rest, scale)
    }

    fn encode(
        &self,
        coder: &mut Coder<CudaBuffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        encode(self, coder, carry_acc, x_acc, code, workspace.address())
    }

    fn decode(
        &self,
        coder: &Coder<CudaBuffer>,
        code: &Code<CudaBuffer>,
        x_acc: &mut Tensor,
        _: &mut CudaBuffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        decode(self, coder, code, x_acc)
    }

    fn code_workspace(&self, map: Shape) -> usize {
        workspace(map)
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        judge(self, errors, at, verdict_acc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_has_room_in_the_workspace_of_a_larger_one() {
        for map in [Shape::map(1, 10, 10, 16), Shape::map(1, 1, 1, 1), Shape::map(1, 32, 31, 48)] {
            for n in 1..3000 {
                let map = map.with_batch(n);
                for bits in Bits::ALL {
                    let Encoding { cut, blocks: [tiles, images], threads } = Encoding::new(map, bits);
                    assert!(tiles * threads >= bits.words(map.image_len()) && images * cut.images as usize >= n);
                    let (blocks, group) = (tiles * images, cut.group as usize);
                    let taken = (blocks + blocks.div_ceil(group)) * map.c();
                    assert!(taken <= workspace(map), "{map} at {bits} bits");
                    assert!(blocks.div_ceil(group) < COUNTERS);
                }
                assert!(workspace(map) <= workspace(map.with_batch(n + 1)), "{map}");
            }
        }
    }
}
