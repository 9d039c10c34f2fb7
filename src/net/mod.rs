//! The network: stem, residual stack, head, and one training step over them.

mod ends;
mod names;
mod pass;
mod stem;
mod step;

use self::ends::Ends;
pub use self::pass::Pass;
pub use self::stem::Stem;
use self::step::Recorded;
use crate::device::Device;
use crate::error::Result;
use crate::init::{self, Draw, Init};
use crate::memory::{Arena, Bytes, Category};
use crate::operands::{BasicTheta, BnRunning, BnStats, Measure};
use crate::plan;
use crate::scheme::{Stack, StackSpec, Statistics, StepSize};
use crate::shape::Shape;
use crate::sweep::{self, SweepSpec, Work};
use crate::tensor::Tensor;

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
    /// The convolution before the stack.
    pub stem: Stem,
    /// Rows and columns of an image.
    pub image: usize,
    /// Channels of an image.
    pub image_channels: usize,
    /// Classes.
    pub classes: usize,
    /// The step size of every step.
    pub step_size: StepSize,
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
        self.stem.conv().output(self.images(), self.channels)
    }

    /// The residual stack.
    pub fn stack(&self) -> StackSpec {
        let Self { depth, step_size, sweep, .. } = *self;
        StackSpec {
            scheme: sweep.scheme,
            depth,
            step_size,
            map: self.map(),
            keeps_statistics: sweep.keeps_statistics(),
        }
    }

    /// The stem's weights, `[K, K, C_in, C_out]`.
    pub fn stem_weight(&self) -> Shape {
        Shape::weight(self.stem.conv().kernel, self.image_channels, self.channels)
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

/// What one step of a pass gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Loss and right answers.
    pub batch: BatchResult,
    /// The drift at the end of the sweep, 0 in a test; none in modes that reconstruct nothing.
    pub drift: Option<f64>,
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
    /// The data set, once [`Net::hold`] has one.
    data: Option<D::Data>,
    /// The step's number in its pass, `[1]`.
    step: Tensor<D>,
    /// The table that a training pass goes by, `[1]`.
    table: Tensor<D>,
    /// What the last steps gave, `[1, 1, STEPS_AHEAD, 4]`, and its copy.
    results: Tensor<D>,
    results_read: Vec<D::Real>,
    /// The passes that the device has recorded.
    recorded: Vec<Recorded<D>>,
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
        let (channels, depth) = (spec.channels, spec.depth);
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
            stack: Stack::new(arena, spec.stack())?,
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
            data: None,
            step: arena.tensor(Category::Data, Shape::vector(1))?,
            table: arena.tensor(Category::Data, Shape::vector(1))?,
            results: arena.tensor(Category::Scratch, Shape([1, 1, D::STEPS_AHEAD, 4]))?,
            results_read: vec![D::Real::default(); 4 * D::STEPS_AHEAD],
            recorded: Vec::new(),
        };
        net.memory = arena.ledger().clone();
        net.initialise(d, init, seed)?;
        Ok(net)
    }

    fn initialise(&mut self, d: &D, init: Init, seed: u64) -> Result<()> {
        let stem_fan_in = self.spec.stem.conv().kernel.pow(2) * self.spec.image_channels;
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
        self.set_batch(labels.len())?;
        d.upload(images, &mut self.images)?;
        d.upload(labels, &mut self.labels)
    }

    /// Uses the first `n` images of everything that a batch goes through.
    fn set_batch(&mut self, n: usize) -> Result<()> {
        if self.labels.shape().n() == n {
            return Ok(());
        }
        self.work.set_batch(n)?;
        let Self { stem_z, images: on_device, labels: labels_on_device, pooled, grad_pooled, .. } = self;
        for tensor in [stem_z, on_device, labels_on_device, pooled, grad_pooled] {
            tensor.set_batch(n)?;
        }
        self.logits.set_batch(n)?;
        self.grad_logits.set_batch(n)
    }

    /// The stem: `work.x = x_0`.
    fn stem(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        let Self { spec, ends, stem_running, stem_stats, stem_z, work, images, .. } = self;
        let measure = match statistics {
            Statistics::Running => {
                d.bn_running_stats(stem_running, stem_stats)?;
                None
            }
            Statistics::Saved => None,
            Statistics::Measure => Some(Measure { stats: stem_stats, running: None }),
            Statistics::MeasureAndRun => Some(Measure { stats: stem_stats, running: Some(stem_running) }),
        };
        d.conv_stats(images, &ends.stem_conv, spec.stem.conv(), stem_z, measure, &mut work.scratch.workspace)?;
        d.norm_relu(stem_z, stem_stats, &ends.stem_bn, &mut work.x)
    }

    /// The head: pooling, linear layer, loss and its gradient.
    fn head(&mut self, d: &D) -> Result<()> {
        let Self { ends, work, pooled, logits, grad_logits, labels, outcome, .. } = self;
        d.avg_pool(&work.x, POOL, pooled)?;
        d.linear(pooled, &ends.head_w, &ends.head_b, logits)?;
        d.softmax_cross_entropy(logits, labels, grad_logits, outcome)
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
