//! What happens once a step, at the net's two ends, in the sizes of the paper's net: the batch, the head, the loss, and the
//! optimiser's primitive.

use std::sync::Arc;

use rewind::data::{EpochSpec, Part};
use rewind::device::{Device, PassPosition, SgdStep};
use rewind::memory::{Arena, Category};
use rewind::net::POOL;
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;

use crate::bed::uniform;
use crate::harness::{Bench, bytes, flop, label};
use crate::training::dataset;

/// The images of a batch.
pub const IMAGES: Shape = Shape::map(256, 32, 32, 3);
const CLASSES: usize = 10;

/// The operands of the two ends.
pub struct Ends<D: Device> {
    pub images: Tensor<D::Buffer>,
    labels: Tensor<D::Buffer>,
    pub stem: Tensor<D::Buffer>,
    pub grad_stem: Tensor<D::Buffer>,
    velocity: Tensor<D::Buffer>,
    pub z: Tensor<D::Buffer>,
    pooled: Tensor<D::Buffer>,
    head_w: Tensor<D::Buffer>,
    head_b: Tensor<D::Buffer>,
    logits: Tensor<D::Buffer>,
    grad_logits: Tensor<D::Buffer>,
    outcome: Tensor<D::Buffer>,
    results: Tensor<D::Buffer>,
    /// Zero: a learning rate, a step's number and a table's.
    zero: [Tensor<D::Buffer>; 3],
    pub workspace: D::Buffer,
}

impl<D: Device<Real = f32>> Ends<D> {
    /// The stem's output.
    pub const MAP: Shape = Conv::STEM_5X5.output(IMAGES, 16);
    const POOLED: Shape = Self::MAP.pooled(POOL);
    const LOGITS: Shape = Shape::map(IMAGES.n(), 1, 1, CLASSES);

    /// Random operands; labels are 0.
    pub fn new(d: &D) -> Self {
        let workspace = d.conv_workspace(IMAGES, Conv::STEM_5X5, Self::MAP.c());
        let elements = IMAGES.len() + Self::MAP.len() + 2 * Self::POOLED.len() + 4 * Self::LOGITS.len() + workspace;
        // the weights and the padding of small tensors
        let mut arena = Arena::new(d, 4 * (elements + (1 << 16)) as u64).expect("memory");
        let workspace = arena.tensor(Category::Scratch, Shape::vector(workspace)).expect("room").buffer;
        let mut seed = 1;
        let mut tensor = |shape: Shape, scale: f64| {
            let mut tensor = arena.tensor(Category::State, shape).expect("room");
            uniform(d, &mut seed, 0.0, scale, &mut tensor);
            tensor
        };
        let stem = Shape::weight(Conv::STEM_5X5.kernel, IMAGES.c(), Self::MAP.c());
        Self {
            images: tensor(IMAGES, 1.0),
            labels: tensor(Shape::map(IMAGES.n(), 1, 1, 1), 0.0),
            stem: tensor(stem, 0.1),
            grad_stem: tensor(stem, 0.1),
            velocity: tensor(stem, 0.1),
            z: tensor(Self::MAP, 1.0),
            pooled: tensor(Self::POOLED, 1.0),
            head_w: tensor(Shape([1, 1, Self::POOLED.image_len(), CLASSES]), 0.1),
            head_b: tensor(Shape::vector(CLASSES), 0.1),
            logits: tensor(Self::LOGITS, 1.0),
            grad_logits: tensor(Self::LOGITS, 1.0),
            outcome: tensor(Shape::vector(2), 0.0),
            results: tensor(Shape([1, 1, D::STEPS_AHEAD, 4]), 0.0),
            zero: std::array::from_fn(|_| tensor(Shape::vector(1), 0.0)),
            workspace,
        }
    }
}

pub fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    head(bench);
    let stem = Shape::weight(Conv::STEM_5X5.kernel, IMAGES.c(), Ends::<D>::MAP.c());
    let update = &mut |d: &D, e: &mut Ends<D>| {
        let step = SgdStep::PAPER.on_device(&e.zero[0], &e.outcome);
        d.sgd(step, &e.grad_stem, &mut e.velocity, &mut e.stem)
    };
    bench.operation("sgd", "", label(stem), bytes(5, stem), Ends::new, update);
    batch(bench);
}

fn head<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    let (map, pooled, logits) = (Ends::<D>::MAP, Ends::<D>::POOLED, Ends::<D>::LOGITS);
    let pool = &mut |d: &D, e: &mut Ends<D>| d.avg_pool(&e.z, POOL, &mut e.pooled);
    bench.operation("avg_pool", "", label(map), bytes(1, map), Ends::new, pool);
    let pool_grad = &mut |d: &D, e: &mut Ends<D>| d.avg_pool_grad(&e.pooled, POOL, &mut e.z);
    bench.operation("avg_pool_grad", "", label(map), bytes(1, map), Ends::new, pool_grad);

    let shape = label(pooled);
    let products = flop(2 * (pooled.len() * CLASSES) as u64);
    let linear = &mut |d: &D, e: &mut Ends<D>| d.linear(&e.pooled, &e.head_w, &e.head_b, &mut e.logits);
    bench.operation("linear", "", &shape, products.clone(), Ends::new, linear);
    let grad_x = &mut |d: &D, e: &mut Ends<D>| d.linear_grad_x(&e.grad_logits, &e.head_w, &mut e.pooled);
    bench.operation("linear_grad_x", "", &shape, products.clone(), Ends::new, grad_x);
    let grad_w = &mut |d: &D, e: &mut Ends<D>| d.linear_grad_w(&e.pooled, &e.grad_logits, &mut e.head_w, &mut e.head_b);
    bench.operation("linear_grad_w", "", &shape, products, Ends::new, grad_w);

    let loss = &mut |d: &D, e: &mut Ends<D>| {
        d.softmax_cross_entropy(&e.logits, &e.labels, 0.0, &mut e.grad_logits, &mut e.outcome)
    };
    bench.operation("softmax_cross_entropy", "", label(logits), bytes(2, logits), Ends::new, loss);
}

/// The batch that a step begins with, drawn from the built-in data set, and the row of results that it ends with.
fn batch<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    let prepare = |d: &D| {
        let dataset = dataset();
        let mut data = d.hold(Arc::clone(&dataset), 0).expect("room for the data set");
        let write = |places: &mut [_]| EpochSpec { seed: 0, augment: true }.draw(1, places);
        d.write_table(&mut data, 0, write).expect("a table");
        (Ends::new(d), data)
    };
    let draw = &mut |d: &D, (e, data): &mut (Ends<D>, D::Data)| {
        let position = PassPosition { step: &e.zero[0], table: &e.zero[1], batch: IMAGES.n() };
        d.draw_batch(data, Part::Train, position, &mut e.images, &mut e.labels)
    };
    bench.operation("draw_batch", "", label(IMAGES), bytes(1, IMAGES), prepare, draw);
    let record = &mut |d: &D, e: &mut Ends<D>| {
        let [step, ..] = &mut e.zero;
        d.record_step(&e.outcome, None, true, &mut e.results, step)
    };
    let row = Shape::vector(4);
    bench.operation("record_step", "", label(row), bytes(1, row), Ends::new, record);
}
