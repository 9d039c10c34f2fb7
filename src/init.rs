//! Initial weights: PyTorch's defaults, with the paper's zero second batch norm where that is not unwanted, from seeded streams.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::Result;
use crate::operands::{Affine, BasicRunning, BasicTheta, BnRunning};
use crate::tensor::{Real, Tensor};

/// How the blocks start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Every block draws its own weights; f = 0, since its second batch norm is 0.
    Paper,
    /// All blocks start equal, so weights are smooth in depth from the first step; f = 0.
    Smooth,
    /// As `Paper`, but with the second batch norm at 1, PyTorch's default: f is as large as its batch norm makes it.
    Plain,
}

/// Which residual function of a net: its stage and its number there, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The stage; 0 where there is one.
    pub stage: usize,
    /// The block.
    pub layer: usize,
}

impl BlockPlace {
    /// The block whose draws this one starts with.
    pub const fn drawn_by(self, init: Init) -> Self {
        match init {
            Init::Paper | Init::Plain => self,
            Init::Smooth => Self { layer: 0, ..self },
        }
    }
}

impl Init {
    /// gamma of a residual function's last batch norm: 0 makes f = 0 at the start.
    pub const fn last_gamma(self) -> f64 {
        match self {
            Self::Paper | Self::Smooth => 0.0,
            Self::Plain => 1.0,
        }
    }
}

/// The stream of random numbers that one tensor draws from. Tensors do not share streams, so that a deeper net starts with the
/// same blocks as a shallower one.
#[derive(Clone, Copy, Debug)]
pub enum Draw {
    /// The stem's convolution.
    Stem,
    /// The head's weights.
    HeadWeight,
    /// The head's biases.
    HeadBias,
    /// A convolution of a block's three at most.
    Block(BlockPlace, usize),
    /// A convolution of the block that begins a stage: the stage, and its number there.
    First(usize, usize),
}

impl Draw {
    fn stream(self) -> u64 {
        match self {
            Self::Stem => 0,
            Self::HeadWeight => 1,
            Self::HeadBias => 2,
            // the first two convolutions of the first stage's blocks lie where they did before there was anything else
            Self::Block(BlockPlace { stage, layer }, conv @ (0 | 1)) => {
                in_stage(stage, 16 + 2 * layer as u64 + conv as u64)
            }
            Self::Block(BlockPlace { stage, layer }, conv) => in_stage(stage, ((conv as u64) << 32) + layer as u64),
            Self::First(stage, conv) => in_stage(stage, (1 << 40) + conv as u64),
        }
    }
}

/// The streams of one stage are far from those of any other.
const fn in_stage(stage: usize, stream: u64) -> u64 {
    ((stage as u64) << 48) + stream
}

/// Kaiming-uniform with a = sqrt 5, PyTorch's default for convolutions and linear layers: uniform within 1/sqrt(fan_in).
///
/// # Errors
/// Whatever the device reports.
pub fn kaiming_uniform<D: Device>(
    d: &D,
    seed: u64,
    draw: Draw,
    fan_in: usize,
    tensor: &mut Tensor<D::Buffer>,
) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(draw.stream());
    let bound = 1.0 / (fan_in as f64).sqrt();
    let mut uniform = || {
        // 24 bits: exact in f32, so that every device starts from the same weights
        let unit = f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 24);
        D::Real::from_f64(f64::from(((2.0 * unit - 1.0) * bound) as f32))
    };
    let values: Vec<D::Real> = (0..tensor.shape().len()).map(|_| uniform()).collect();
    d.upload(&values, tensor)
}

/// The same for a convolution's weights, `[K, K, C_in, C_out]`.
///
/// # Errors
/// Whatever the device reports.
pub fn conv<D: Device>(d: &D, seed: u64, draw: Draw, weight: &mut Tensor<D::Buffer>) -> Result<()> {
    let [kernel_h, kernel_w, c_in, _] = weight.shape().0;
    kaiming_uniform(d, seed, draw, kernel_h * kernel_w * c_in, weight)
}

/// gamma and beta.
///
/// # Errors
/// Whatever the device reports.
pub fn affine<D: Device>(d: &D, gamma: f64, beta: f64, affine: &mut Affine<D::Buffer>) -> Result<()> {
    d.fill(gamma, &mut affine.gamma)?;
    d.fill(beta, &mut affine.beta)
}

/// Mean 0 and variance 1, where running statistics start.
///
/// # Errors
/// Whatever the device reports.
pub fn running<D: Device>(d: &D, running: &mut BnRunning<D::Buffer>) -> Result<()> {
    d.fill(0.0, &mut running.mean)?;
    d.fill(1.0, &mut running.var)
}

/// One block of the paper's kind.
///
/// # Errors
/// Whatever the device reports.
pub fn block<D: Device>(
    d: &D,
    init: Init,
    seed: u64,
    at: BlockPlace,
    theta: &mut BasicTheta<D::Buffer>,
    statistics: &mut BasicRunning<D::Buffer>,
) -> Result<()> {
    let drawn = at.drawn_by(init);
    conv(d, seed, Draw::Block(drawn, 0), &mut theta.conv1)?;
    conv(d, seed, Draw::Block(drawn, 1), &mut theta.conv2)?;
    affine(d, 1.0, 0.0, &mut theta.bn1)?;
    affine(d, init.last_gamma(), 0.0, &mut theta.bn2)?;
    running(d, &mut statistics.bn1)?;
    running(d, &mut statistics.bn2)
}

#[cfg(test)]
mod tests {
    use crate::device::Device;
    use crate::host::HostBuffer;
    use crate::init::Init;
    use crate::net::{Net, NetSpec};
    use crate::reference::Reference;
    use crate::scheme::Scheme;
    use crate::sweep::{Gradient, SweepSpec};

    /// Every parameter of a fresh net by name.
    fn drawn(depth: usize, init: Init, seed: u64) -> Vec<(String, Vec<f64>)> {
        let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
        let spec = NetSpec { depth, channels: 3, batch: 1, sweep, ..NetSpec::default() };
        let net = Net::new(&Reference, spec, init, seed).expect("net");
        let read = |tensor: &crate::tensor::Tensor<HostBuffer<f64>>| {
            let mut values = vec![0.0; tensor.shape().len()];
            Reference.download(tensor, &mut values).expect("download");
            values
        };
        net.checkpointed().into_iter().map(|(name, tensor)| (name, read(tensor))).collect()
    }

    fn of<'a>(all: &'a [(String, Vec<f64>)], name: &str) -> &'a [f64] {
        &all.iter().find(|(other, _)| other == name).expect(name).1
    }

    #[test]
    fn smooth_blocks_start_equal_and_the_papers_do_not() {
        let (smooth, paper) = (drawn(4, Init::Smooth, 5), drawn(4, Init::Paper, 5));
        for conv in ["conv1.weight", "conv2.weight"] {
            let block = |all, n: usize| of(all, &format!("blocks.{n}.{conv}")).to_vec();
            for n in 1..4 {
                assert_eq!(block(&smooth, n), block(&smooth, 0));
                assert_ne!(block(&paper, n), block(&paper, 0));
            }
        }
        assert_ne!(of(&smooth, "blocks.0.conv1.weight"), of(&smooth, "blocks.0.conv2.weight"));
    }

    #[test]
    fn plain_is_the_papers_but_for_the_second_norm() {
        let (plain, paper) = (drawn(3, Init::Plain, 5), drawn(3, Init::Paper, 5));
        for ((name, plain), (_, paper)) in plain.iter().zip(&paper) {
            let second = name.starts_with("blocks.") && name.ends_with("bn2.weight");
            assert!(if second { plain.iter().all(|gamma| *gamma == 1.0) } else { plain == paper }, "{name}");
        }
    }

    #[test]
    fn the_seed_decides_every_draw_and_depth_none() {
        let (a, again, other, deeper) =
            (drawn(3, Init::Paper, 5), drawn(3, Init::Paper, 5), drawn(3, Init::Paper, 6), drawn(7, Init::Paper, 5));
        assert_eq!(a, again);
        for name in ["stem.conv.weight", "head.weight", "head.bias", "blocks.2.conv1.weight", "blocks.2.conv2.weight"] {
            assert_ne!(of(&a, name), of(&other, name), "{name}");
            assert_eq!(of(&a, name), of(&deeper, name), "{name}");
        }
    }

    #[test]
    fn draws_fill_their_interval_and_norms_start_as_the_paper_says() {
        let all = drawn(3, Init::Paper, 5);
        for (name, fan_in) in [("stem.conv.weight", 75.0), ("blocks.1.conv1.weight", 27.0), ("head.weight", 12.0)] {
            let (values, bound) = (of(&all, name), 1.0 / f64::sqrt(fan_in));
            let largest = values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            // of 81 or more uniform draws, the chance that none comes within a fifth of the bound is 0.8^81 = 1e-8
            assert!(largest <= bound && largest > 0.8 * bound, "{name}: {largest} of {bound}");
        }
        for (name, value) in [
            ("stem.bn.weight", 1.0),
            ("stem.bn.bias", 0.0),
            ("blocks.1.bn1.weight", 1.0),
            ("blocks.1.bn2.weight", 0.0),
            ("blocks.1.bn2.bias", 0.0),
            ("blocks.1.bn2.running_mean", 0.0),
            ("blocks.1.bn2.running_var", 1.0),
            ("velocity.blocks.1.conv1.weight", 0.0),
        ] {
            assert!(of(&all, name).iter().all(|v| *v == value), "{name}");
        }
    }
}
