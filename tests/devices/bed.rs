//! Tensors for tests, tolerances, and the devices under test.

use std::sync::LazyLock;

use rewind::cpu::{Cpu, Isa};
#[cfg(all(feature = "cuda", target_os = "linux"))]
use rewind::cuda::Cuda;
use rewind::device::Device;
#[cfg(all(feature = "cuda", target_os = "linux"))]
use rewind::device::Math;
use rewind::memory::{Arena, Category, padded_bytes};
use rewind::operands::{Affine, BasicStats, BasicTheta, BnStats, Scratch};
use rewind::shape::Shape;
use rewind::tensor::Tensor;

#[cfg(all(feature = "cuda", target_os = "linux"))]
use crate::support::gpu::gpu;
use crate::support::{EPS_F32, read, uniform, write};

/// Makes tensors on a device, each from a reservation of its own: the reference fills every byte that it reserves.
pub struct Bed<'d, D: Device> {
    pub d: &'d D,
}

impl<'d, D: Device> Bed<'d, D> {
    pub fn new(d: &'d D) -> Self {
        Self { d }
    }

    pub fn arena(&self, elements: usize) -> Arena<'d, D> {
        Arena::new(self.d, padded_bytes::<D::Real>(elements)).expect("arena")
    }

    pub fn empty(&mut self, shape: Shape) -> Tensor<D::Buffer> {
        self.arena(shape.len()).tensor(Category::Scratch, shape).expect("tensor")
    }

    pub fn tensor(&mut self, shape: Shape, values: &[f64]) -> Tensor<D::Buffer> {
        let mut tensor = self.empty(shape);
        write(self.d, values, &mut tensor);
        tensor
    }

    pub fn buffer(&mut self, len: usize) -> D::Buffer {
        self.empty(Shape::vector(len)).buffer
    }

    pub fn read(&self, tensor: &Tensor<D::Buffer>) -> Vec<f64> {
        read(self.d, tensor)
    }

    pub fn affine(&mut self, c: usize, gamma: &[f64], beta: &[f64]) -> Affine<D::Buffer> {
        Affine { gamma: self.tensor(Shape::vector(c), gamma), beta: self.tensor(Shape::vector(c), beta) }
    }

    pub fn stats(&mut self, c: usize, mean: &[f64], rstd: &[f64]) -> BnStats<D::Buffer> {
        BnStats { mean: self.tensor(Shape::vector(c), mean), rstd: self.tensor(Shape::vector(c), rstd) }
    }

    pub fn theta(&mut self, c: usize, seed: u64) -> BasicTheta<D::Buffer> {
        let weight = Shape::weight(3, c, c);
        // magnitudes about those of Kaiming-uniform weights, so that z stays of order 1
        let scale = 1.0 / (9.0 * c as f64).sqrt();
        let w = |seed| uniform(seed, weight.len()).iter().map(|v| f64::from((v * scale) as f32)).collect::<Vec<_>>();
        BasicTheta {
            conv1: self.tensor(weight, &w(seed)),
            bn1: self.affine(c, &around_one(seed + 1, c), &uniform(seed + 2, c)),
            conv2: self.tensor(weight, &w(seed + 3)),
            bn2: self.affine(c, &around_one(seed + 4, c), &uniform(seed + 5, c)),
        }
    }

    pub fn basic_stats(&mut self, c: usize, seed: u64) -> BasicStats<D::Buffer> {
        BasicStats {
            bn1: self.stats(c, &uniform(seed, c), &around_one(seed + 1, c)),
            bn2: self.stats(c, &uniform(seed + 2, c), &around_one(seed + 3, c)),
            mask: None,
        }
    }

    pub fn scratch(&mut self, map: Shape) -> Scratch<D::Buffer> {
        // the maps serve the default bodies, which every device can run
        let workspace = self.d.block_workspace(map);
        // every tensor may be padded by up to 64 bytes
        let mut arena = self.arena(3 * map.len() + 4 * map.c() + workspace + 8 * 16);
        Scratch::new(&mut arena, map, 2, workspace).expect("scratch")
    }
}

/// Values in [0.5, 1.5), exact in f32.
pub fn around_one(seed: u64, len: usize) -> Vec<f64> {
    uniform(seed, len).iter().map(|v| 1.0 + v / 2.0).collect()
}

pub fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.abs()).collect()
}

/// `8 sqrt(terms) eps magnitude`, and never below one rounding of a tiny number.
pub fn bound(terms: usize, magnitude: f64) -> f64 {
    8.0 * (terms as f64).sqrt() * EPS_F32 * magnitude + 1e-30
}

/// Whether this thread's test ran in a process of its own and is over: see `support::gpu`. Without the CUDA device none needs to.
pub fn ran_apart() -> bool {
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    return crate::support::gpu::ran_apart();
    #[cfg(not(all(feature = "cuda", target_os = "linux")))]
    return false;
}

/// The devices under test: each instruction set of this machine, on one and on three threads.
pub fn cpus() -> &'static [Cpu] {
    static CPUS: LazyLock<Vec<Cpu>> = LazyLock::new(|| {
        let with = |isa| [1, 3].map(|threads| Cpu::with_isa(isa, threads).expect("cpu"));
        Isa::available().into_iter().flat_map(with).collect()
    });
    &CPUS
}

/// The GPU, or the emulator where there is none, in full f32, in TF32 and in f16, there also with one block for all tiles; with what the last two add to a tolerance: a
/// product of two numbers rounded to 11 bits is off by 2^-10 of itself, and so is a sum of one; [`bound`] allows that
/// 8 eps = 2^-21, a factor 2^11 less. Numbers of f16 below 2^-14 keep fewer bits: of gradients those that are 2^26 times
/// smaller than the bound of the largest, and of states, here of order 1, those whose errors are below 2^-25.
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub fn cudas() -> &'static [(Cuda, f64)] {
    static CUDAS: LazyLock<Vec<(Cuda, f64)>> = LazyLock::new(|| {
        vec![
            (gpu(Math::Fp32), 1.0),
            (gpu(Math::Tf32), 2048.0),
            (gpu(Math::Fp16), 2048.0),
            (gpu(Math::Fp16).in_few_blocks(), 2048.0),
        ]
    });
    &CUDAS
}

/// Those of [`cudas`] that have an arithmetic of their own for maps of these channels: f16 has for multiples of 64, 16 and 32, and would
/// repeat TF32's results for others.
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub fn cudas_for(channels: usize) -> &'static [(Cuda, f64)] {
    match channels {
        _ if [16, 32].contains(&channels) || channels.is_multiple_of(64) => cudas(),
        _ => &cudas()[..2],
    }
}

/// Each output as a whole is within an eighth of the expected one in the Euclidean norm. TF32 was seen at about 1e-3 for most,
/// at 0.01 where a few numbers cancel, and at up to 0.07 where a ReLU on a map of a hundred pixels goes the other way because
/// its input is within rounding of 0: that element's whole cotangent is then missing. The eighth leaves room for a second.
/// Tolerances by element alone, which grow with a chain's length, would let pass what is wrong by its own size.
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub fn assert_near(what: &str, found: &Outputs, expected: &Outputs) {
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        let all = norm(&mut expected.iter().copied());
        assert!(off <= all / 8.0 + 1e-30, "{name} of {what}: off by {off:e} of {all:e}");
    }
}

pub type Outputs = Vec<(&'static str, Vec<f64>)>;
