//! The network: stem, residual stack, head, and one training step over them.

mod ends;
mod names;

use self::ends::Ends;
use crate::device::{Device, Sgd, SgdStep};
use crate::error::Result;
use crate::init::{self, Draw, Init};
use crate::memory::{Arena, Bytes, Category};
use crate::operands::{BasicRunning, BasicTheta, BnRunning, BnStats, Measure};
use crate::plan;
use crate::scheme::{Stack, Statistics, StepStats};
use crate::shape::{Conv, Shape};
use crate::sweep::{self, SweepSpec, Update, Work};
use crate::tensor::{Real, Tensor};

/// Side of the head's pooling windows.
pub const POOL: usize = 4;

/// What a network is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetSpec {
    /// Residual functions N.
    pub depth: usize,
    /// Channels of the residual stack.
    pub channels: usize,
    /// Largest batch.
    pub batch: usize,
    /// Rows and columns of an image.
    pub image: usize,
    /// Channels of an image.
    pub image_channels: usize,
    /// Classes.
    pub classes: usize,
    /// How the gradient is computed.
    pub sweep: SweepSpec,
}

impl NetSpec {
    /// The images, `[N, H, W, C]`.
    pub fn images(&self) -> Shape {
        Shape::map(self.batch, self.image, self.image, self.image_channels)
    }

    /// The state x, `[N, H, W, C]`.
    pub fn map(&self) -> Shape {
        Conv::STEM_5X5.output(self.images(), self.channels)
    }

    /// What the head's linear layer sees, `[N, H / 4, W / 4, C]`.
    pub fn pooled(&self) -> Shape {
        self.map().pooled(POOL)
    }
}

/// What one batch gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchResult {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images whose largest logit is their label's.
    pub correct: usize,
}

/// What one backward sweep gave besides gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drift {
    /// `|x~_0 - x_0| / |x_0|` at the end of the sweep; none in modes that reconstruct nothing.
    pub stem: Option<f64>,
    /// The largest such distance at an anchor, before the restart there.
    pub anchors: Option<f64>,
}

/// A network and all the memory that training it takes.
pub struct Net<D: Device> {
    spec: NetSpec,
    memory: Bytes,
    ends: Ends<D>,
    ends_grad: Ends<D>,
    ends_velocity: Ends<D>,
    stem_running: BnRunning<D>,
    stem_stats: BnStats<D>,
    /// The stem's convolution of the images, kept for its backward; x_0 is `relu(bn(.))` of it.
    stem_z: Tensor<D>,
    /// The residual blocks.
    pub stack: Stack<D>,
    /// The sweep's memory.
    pub work: Work<D>,
    images: Tensor<D>,
    labels: Tensor<D>,
    pooled: Tensor<D>,
    grad_pooled: Tensor<D>,
    logits: Tensor<D>,
    grad_logits: Tensor<D>,
    outcome: Tensor<D>,
    distance: Tensor<D>,
    /// The learning rate, `[1]`.
    rate: Tensor<D>,
}

impl<D: Device> Net<D> {
    /// Plans and takes all memory, and draws the initial weights from `seed`.
    ///
    /// # Errors
    /// If the machine has no room.
    pub fn new(d: &D, spec: NetSpec, init: Init, seed: u64) -> Result<Self> {
        let planned = plan::network(d, &spec);
        let arena = &mut Arena::new(d, planned.total())?;
        let map = spec.map();
        let (channels, depth, scheme) = (spec.channels, spec.depth, spec.sweep.scheme);
        let blocks = |arena: &mut Arena<'_, D>, category| -> Result<Vec<_>> {
            (0..depth).map(|_| BasicTheta::new(arena, category, channels)).collect()
        };
        let saved_steps = if spec.sweep.keeps_statistics() { scheme.steps(depth) } else { 0 };
        let logits = Shape::map(spec.batch, 1, 1, spec.classes);
        let mut net = Self {
            spec,
            memory: Bytes::default(),
            ends: Ends::new(arena, Category::Parameters, &spec)?,
            ends_grad: Ends::new(arena, Category::Gradients, &spec)?,
            ends_velocity: Ends::new(arena, Category::Optimiser, &spec)?,
            stem_running: BnRunning::new(arena, channels)?,
            stem_stats: BnStats::new(arena, Category::Statistics, channels)?,
            stem_z: arena.tensor(Category::Saved, map)?,
            stack: Stack {
                scheme,
                theta: blocks(arena, Category::Parameters)?,
                velocity: blocks(arena, Category::Optimiser)?,
                running: (0..depth).map(|_| BasicRunning::new(arena, channels)).collect::<Result<_>>()?,
                saved: (0..saved_steps).map(|_| StepStats::new(arena, scheme, channels)).collect::<Result<_>>()?,
            },
            work: Work::new(arena, &spec.sweep, depth, map, plan::workspace(d, &spec))?,
            images: arena.tensor(Category::Data, spec.images())?,
            labels: arena.tensor(Category::Data, Shape::map(spec.batch, 1, 1, 1))?,
            pooled: arena.tensor(Category::Saved, spec.pooled())?,
            grad_pooled: arena.tensor(Category::Scratch, spec.pooled())?,
            logits: arena.tensor(Category::Saved, logits)?,
            grad_logits: arena.tensor(Category::Scratch, logits)?,
            outcome: arena.tensor(Category::Scratch, Shape::vector(2))?,
            distance: arena.tensor(Category::Scratch, Shape::vector(2))?,
            rate: arena.tensor(Category::Optimiser, Shape::vector(1))?,
        };
        net.memory = arena.ledger().clone();
        net.initialise(d, init, seed)?;
        Ok(net)
    }

    fn initialise(&mut self, d: &D, init: Init, seed: u64) -> Result<()> {
        let stem_fan_in = Conv::STEM_5X5.kernel.pow(2) * self.spec.image_channels;
        let head_fan_in = self.spec.pooled().image_len();
        init::kaiming_uniform(d, seed, Draw::Stem, stem_fan_in, &mut self.ends.stem_conv)?;
        init::affine(d, 1.0, 0.0, &mut self.ends.stem_bn)?;
        init::running(d, &mut self.stem_running)?;
        init::kaiming_uniform(d, seed, Draw::HeadWeight, head_fan_in, &mut self.ends.head_w)?;
        init::kaiming_uniform(d, seed, Draw::HeadBias, head_fan_in, &mut self.ends.head_b)?;
        let Stack { theta, running, velocity, .. } = &mut self.stack;
        for (layer, (theta, running)) in theta.iter_mut().zip(running).enumerate() {
            init::block(d, init, seed, layer, theta, running)?;
        }
        let zeroed = velocity.iter_mut().flat_map(BasicTheta::named_mut).chain(self.ends_velocity.named_mut());
        for (_, velocity) in zeroed {
            d.fill(0.0, velocity)?;
        }
        Ok(())
    }

    /// What the network is made of.
    pub fn spec(&self) -> &NetSpec {
        &self.spec
    }

    /// Every byte that the network holds on the device, by category; nothing is taken later.
    pub fn memory(&self) -> &Bytes {
        &self.memory
    }

    /// Puts a batch on the device. `images` holds n images `[n, H, W, C]`, `labels` n class indices.
    ///
    /// # Errors
    /// If n is larger than the planned batch.
    pub fn load(&mut self, d: &D, images: &[D::Real], labels: &[D::Real]) -> Result<()> {
        let n = labels.len();
        self.work.set_batch(n)?;
        let Self { stem_z, images: on_device, labels: labels_on_device, pooled, grad_pooled, .. } = self;
        for tensor in [stem_z, on_device, labels_on_device, pooled, grad_pooled] {
            tensor.set_batch(n)?;
        }
        self.logits.set_batch(n)?;
        self.grad_logits.set_batch(n)?;
        d.upload(images, &mut self.images)?;
        d.upload(labels, &mut self.labels)
    }

    /// The stem: `work.x = x_0`.
    fn stem(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        let Self { ends, stem_running, stem_stats, stem_z, work, images, .. } = self;
        let measure = match statistics {
            Statistics::Running => {
                d.bn_running_stats(stem_running, stem_stats)?;
                None
            }
            Statistics::Saved => None,
            Statistics::Measure => Some(Measure { stats: stem_stats, running: None }),
            Statistics::MeasureAndRun => Some(Measure { stats: stem_stats, running: Some(stem_running) }),
        };
        d.conv_stats(images, &ends.stem_conv, Conv::STEM_5X5, stem_z, measure, &mut work.scratch.workspace)?;
        d.norm_relu(stem_z, stem_stats, &ends.stem_bn, &mut work.x)
    }

    /// The head: pooling, linear layer, loss and its gradient.
    fn head(&mut self, d: &D) -> Result<BatchResult> {
        let Self { ends, work, pooled, logits, grad_logits, labels, outcome, .. } = self;
        d.avg_pool(&work.x, POOL, pooled)?;
        d.linear(pooled, &ends.head_w, &ends.head_b, logits)?;
        d.softmax_cross_entropy(logits, labels, grad_logits, outcome)?;
        let [loss, correct] = read_pair(d, outcome)?;
        Ok(BatchResult { loss, correct: correct as usize })
    }

    /// The forward pass of training on the loaded batch. Running statistics move.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn forward(&mut self, d: &D) -> Result<BatchResult> {
        d.phase("stem", || self.stem(d, Statistics::MeasureAndRun))?;
        d.phase("blocks forward", || sweep::forward(d, &self.spec.sweep, &mut self.stack, &mut self.work))?;
        d.phase("head", || self.head(d))
    }

    /// Loss and right answers on the loaded batch with running statistics; nothing moves.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn evaluate(&mut self, d: &D) -> Result<BatchResult> {
        self.stem(d, Statistics::Running)?;
        sweep::infer(d, &mut self.stack, &mut self.work)?;
        self.head(d)
    }

    /// All gradients of the batch that [`Net::forward`] has just seen. Blocks are updated on the way if updates are in the
    /// sweep; [`Net::update`] does the rest.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn backward(&mut self, d: &D, sgd: SgdStep) -> Result<Drift> {
        d.upload(&[D::Real::from_f64(sgd.lr)], &mut self.rate)?;
        let Self { ends, ends_grad, work, pooled, grad_pooled, grad_logits, rate, outcome, .. } = self;
        let sgd = on_device(sgd, rate, outcome);
        d.phase("head backward", || {
            ends_grad.named_mut().into_iter().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
            d.linear_grad_w(pooled, grad_logits, &mut ends_grad.head_w, &mut ends_grad.head_b)?;
            d.linear_grad_x(grad_logits, &ends.head_w, grad_pooled)?;
            d.avg_pool_grad(grad_pooled, POOL, &mut work.grad)
        })?;
        d.phase("blocks backward", || sweep::backward(d, &self.spec.sweep, &mut self.stack, work, sgd))?;
        d.phase("stem backward", || self.stem_backward(d))
    }

    /// The stem's gradients from dL/dx_0, and the drift, since x_0 is computed here anyway.
    fn stem_backward(&mut self, d: &D) -> Result<Drift> {
        let Self { ends, ends_grad, stem_stats, stem_z, work, images, distance, .. } = self;
        let Work { x, x_rec, grad, anchor_distances, scratch, .. } = work;
        let crate::operands::Scratch { grad_u: grad_z, sums1: sums, workspace, .. } = scratch;
        let reconstructs = x_rec.is_some();
        // the reconstruction stays in x; without one x is free
        let (reconstruction, x_0) = match x_rec {
            Some(x_rec) => (Some(&*x), x_rec),
            None => (None, x),
        };
        d.norm_relu(stem_z, stem_stats, &ends.stem_bn, x_0)?;
        if let Some(reconstruction) = reconstruction {
            d.squared_distance(reconstruction, x_0, distance, workspace)?;
        }
        d.relu_grad(x_0, grad)?;
        d.bn_grad_sums(grad, 1.0, stem_z, stem_stats, sums, workspace)?;
        d.bn_grad_z(grad, 1.0, stem_z, stem_stats, &ends.stem_bn, sums, grad_z)?;
        d.axpby(1.0, &sums.gamma, 1.0, &mut ends_grad.stem_bn.gamma)?;
        d.axpby(1.0, &sums.beta, 1.0, &mut ends_grad.stem_bn.beta)?;
        d.conv_grad_w(images, grad_z, Conv::STEM_5X5, &mut ends_grad.stem_conv, workspace)?;
        let relative = |pair: [f64; 2]| (pair[0] / pair[1].max(f64::MIN_POSITIVE)).sqrt();
        let stem = if reconstructs { Some(relative(read_pair(d, distance)?)) } else { None };
        let mut anchors: Option<f64> = None;
        for pair in anchor_distances {
            anchors = Some(anchors.unwrap_or(0.0).max(relative(read_pair(d, pair)?)));
        }
        Ok(Drift { stem, anchors })
    }

    /// Applies SGD to everything that the sweep has not updated.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn update(&mut self, d: &D, sgd: SgdStep) -> Result<()> {
        d.upload(&[D::Real::from_f64(sgd.lr)], &mut self.rate)?;
        let Self { ends, ends_grad, ends_velocity, stack, work, rate, outcome, .. } = self;
        let sgd = on_device(sgd, rate, outcome);
        let ends = ends_grad.named().into_iter().zip(ends_velocity.named_mut()).zip(ends.named_mut());
        for (((_, grad), (_, velocity)), (_, theta)) in ends {
            d.sgd(sgd, grad, velocity, theta)?;
        }
        if self.spec.sweep.update == Update::After {
            for layer in 0..stack.depth() {
                work.grads.apply(d, stack, layer, sgd)?;
            }
        }
        Ok(())
    }

    /// One training step on the loaded batch. A loss that is not finite leaves the parameters as they were.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn train_step(&mut self, d: &D, sgd: SgdStep) -> Result<(BatchResult, Drift)> {
        let result = self.forward(d)?;
        if !result.loss.is_finite() {
            return Ok((result, Drift::default()));
        }
        let drift = self.backward(d, sgd)?;
        d.phase("update", || self.update(d, sgd))?;
        Ok((result, drift))
    }

    /// Runs the loaded batch forward once more and names the first place whose values are not finite. Saved statistics are
    /// overwritten; running ones and parameters stay.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn first_non_finite(&mut self, d: &D) -> Result<String> {
        if !d.all_finite(&self.images)? {
            return Ok("an input image".into());
        }
        self.stem(d, Statistics::Measure)?;
        if !d.all_finite(&self.work.x)? {
            return Ok("the stem's output x_0".into());
        }
        for n in 0..self.stack.steps() {
            sweep::advance(d, &mut self.stack, &mut self.work, n, Statistics::Measure)?;
            if !d.all_finite(&self.work.x)? {
                return Ok(format!("the state after block {n}"));
            }
        }
        Ok("the head's logits".into())
    }

    /// The logits of the last batch, `[N, 1, 1, K]`.
    pub fn logits(&self) -> &Tensor<D> {
        &self.logits
    }
}

fn on_device<'a, D: Device>(step: SgdStep, lr: &'a Tensor<D>, loss: &'a Tensor<D>) -> Sgd<'a, D> {
    Sgd { lr, loss, momentum: step.momentum, weight_decay: step.weight_decay }
}

fn read_pair<D: Device>(d: &D, tensor: &Tensor<D>) -> Result<[f64; 2]> {
    let mut pair = [D::Real::default(); 2];
    d.download(tensor, &mut pair)?;
    Ok(pair.map(Real::to_f64))
}
