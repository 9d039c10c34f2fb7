//! What the benches of blocks share: everything that a block's operations read or write, on any device.

use rewind::code::{Bits, Code, CodedPass, Coder, code_len, unit};
use rewind::device::Device;
use rewind::memory::{Arena, Category};
use rewind::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Scratch};
use rewind::shape::Shape;
use rewind::tensor::{Real, Tensor};

/// A block's operands, in one arena.
pub struct Bed<D: Device> {
    pub x: Tensor<D::Buffer>,
    pub x_rec: Tensor<D::Buffer>,
    pub grad: Tensor<D::Buffer>,
    pub theta: BasicTheta<D::Buffer>,
    pub grad_theta: BasicTheta<D::Buffer>,
    pub velocity: BasicTheta<D::Buffer>,
    pub stats: BasicStats<D::Buffer>,
    pub running: BasicRunning<D::Buffer>,
    pub cache: BasicCache<D::Buffer>,
    pub scratch: Scratch<D::Buffer>,
    /// Learning rate 0: the weights stay what they are.
    pub lr: Tensor<D::Buffer>,
    pub loss: Tensor<D::Buffer>,
    /// A block's local error.
    pub errors: Tensor<D::Buffer>,
    /// The carry of a coded pass, what its codes share, and a code that moves nothing.
    pub carry: Tensor<D::Buffer>,
    pub coder: Coder<D::Buffer>,
    pub code: Code<D::Buffer>,
}

impl<D: Device> Bed<D> {
    /// Uniform random operands of the size that they have in a net.
    pub fn new(d: &D, map: Shape) -> Self {
        let workspace = d.block_workspace(map).max(d.squared_distance_workspace(map)).max(d.code_workspace(map));
        // 9 maps and the codes of one, 3 sets of weights, and the padding of some 50 small tensors
        let elements = 10 * map.len() + 3 * 2 * 9 * map.c() * map.c() + 64 * (map.c() + 16) + workspace;
        let bytes = (size_of::<D::Real>() * elements) as u64;
        let mut arena = Arena::new(d, bytes).expect("memory");
        let mut seed = 1;
        let mut tensor = |shape: Shape, offset: f64, scale: f64| {
            let mut tensor = arena.tensor(Category::State, shape).expect("room");
            uniform(d, &mut seed, offset, scale, &mut tensor);
            tensor
        };
        let c = map.c();
        let vector = Shape::vector(c);
        let mut theta = || {
            let mut weight = || tensor(Shape::weight(3, c, c), 0.0, 1.0 / (9.0 * c as f64).sqrt());
            let (conv1, conv2) = (weight(), weight());
            let mut affine = || Affine { gamma: tensor(vector, 1.0, 0.5), beta: tensor(vector, 0.0, 0.5) };
            BasicTheta { conv1, bn1: affine(), conv2, bn2: affine() }
        };
        let [theta, grad_theta, velocity] = [theta(), theta(), theta()];
        let mut norm = || BnStats { mean: tensor(vector, 0.0, 0.5), rstd: tensor(vector, 1.0, 0.5) };
        let stats = BasicStats { bn1: norm(), bn2: norm(), mask: None };
        let mut running = || BnRunning { mean: tensor(vector, 0.0, 0.5), var: tensor(vector, 1.0, 0.5) };
        let running = BasicRunning { bn1: running(), bn2: running() };
        let mut state = || tensor(map, 0.0, 1.0);
        let (x, x_rec, grad, carry) = (state(), state(), state(), state());
        let cache = BasicCache { z1: state(), z2: state() };
        let errors = tensor(Shape::vector(4), 0.0, 0.0);
        let (lr, loss) = (tensor(Shape::vector(1), 0.0, 0.0), tensor(Shape::vector(2), 1.0, 0.0));
        let bits = Bits::default();
        let mut zeros = |shape| tensor(shape, 0.0, 0.0);
        let packed = zeros(Shape::map(map.n(), 1, 1, code_len::<D::Real>(map.image_len(), bits)));
        let code = Code { scale: BnStats { mean: zeros(vector), rstd: zeros(vector) }, packed };
        let rest = zeros(vector);
        let grid = tensor(Shape::vector(1), unit(1.0), 0.0);
        let coder = Coder { bits, pass: CodedPass::default(), grid, rest };
        // two maps, so that the definitions in primitives run too
        let scratch = Scratch::new(&mut arena, map, 2, workspace).expect("room");
        Self {
            x,
            x_rec,
            grad,
            theta,
            grad_theta,
            velocity,
            stats,
            running,
            cache,
            scratch,
            lr,
            loss,
            errors,
            carry,
            coder,
            code,
        }
    }
}

/// Fills a tensor uniformly from `offset - scale` to `offset + scale`, and moves the seed on.
pub fn uniform<D: Device>(d: &D, seed: &mut u64, offset: f64, scale: f64, tensor: &mut Tensor<D::Buffer>) {
    let values: Vec<D::Real> = (0..tensor.shape().len())
        .map(|_| {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            D::Real::from_f64(offset + scale * ((*seed >> 40) as f64 / f64::from(1 << 23) - 1.0))
        })
        .collect();
    d.upload(&values, tensor).expect("upload");
}
