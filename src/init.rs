//! Initial weights: PyTorch's defaults with the paper's zero second batch norm, from seeded streams.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::Result;
use crate::operands::{Affine, BasicRunning, BasicTheta, BnRunning};
use crate::tensor::{Real, Tensor};

/// How the blocks start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Every block draws its own weights.
    Paper,
    /// All blocks start equal, so weights are smooth in depth from the first step.
    Smooth,
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
    /// A block's first or second convolution.
    Block(usize, usize),
}

impl Draw {
    fn stream(self) -> u64 {
        match self {
            Self::Stem => 0,
            Self::HeadWeight => 1,
            Self::HeadBias => 2,
            Self::Block(layer, conv) => 16 + 2 * layer as u64 + conv as u64,
        }
    }
}

/// Kaiming-uniform with a = sqrt 5, PyTorch's default for convolutions and linear layers: uniform within 1/sqrt(fan_in).
///
/// # Errors
/// Whatever the device reports.
pub fn kaiming_uniform<D: Device>(d: &D, seed: u64, draw: Draw, fan_in: usize, tensor: &mut Tensor<D>) -> Result<()> {
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

/// gamma and beta.
///
/// # Errors
/// Whatever the device reports.
pub fn affine<D: Device>(d: &D, gamma: f64, beta: f64, affine: &mut Affine<D>) -> Result<()> {
    d.fill(gamma, &mut affine.gamma)?;
    d.fill(beta, &mut affine.beta)
}

/// Mean 0 and variance 1, where running statistics start.
///
/// # Errors
/// Whatever the device reports.
pub fn running<D: Device>(d: &D, running: &mut BnRunning<D>) -> Result<()> {
    d.fill(0.0, &mut running.mean)?;
    d.fill(1.0, &mut running.var)
}

/// One block: f = 0 at the start, since its second batch norm is 0.
///
/// # Errors
/// Whatever the device reports.
pub fn block<D: Device>(
    d: &D,
    init: Init,
    seed: u64,
    layer: usize,
    theta: &mut BasicTheta<D>,
    statistics: &mut BasicRunning<D>,
) -> Result<()> {
    let layer = if init == Init::Smooth { 0 } else { layer };
    for (i, conv) in [&mut theta.conv1, &mut theta.conv2].into_iter().enumerate() {
        let [kernel_h, kernel_w, c_in, _] = conv.shape().0;
        kaiming_uniform(d, seed, Draw::Block(layer, i), kernel_h * kernel_w * c_in, conv)?;
    }
    affine(d, 1.0, 0.0, &mut theta.bn1)?;
    affine(d, 0.0, 0.0, &mut theta.bn2)?;
    running(d, &mut statistics.bn1)?;
    running(d, &mut statistics.bn2)
}
