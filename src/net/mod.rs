//! The network: stem, stages of residual blocks, head, and one training step over them.

mod ends;
pub(crate) mod first;
mod names;
mod pass;
mod spec;
mod stage;
mod stem;
mod step;

use self::ends::Ends;
pub use self::names::SHARED;
pub use self::pass::Pass;
pub use self::spec::{Body, FirstSpec, NetSpec, POOL, STAGES_MAX, StageSpec, Stages};
pub use self::stage::Stage;
pub use self::stem::Stem;
use self::step::Recorded;
use crate::device::Device;
use crate::error::Result;
use crate::field::{Basic, Field};
use crate::init::{self, Draw, Init};
use crate::memory::{Arena, Bytes, Category};
use crate::operands::{BnRunning, BnStats, Measure};
use crate::plan;
use crate::scheme::Statistics;
use crate::shape::Shape;
use crate::tensor::Tensor;

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
pub struct Net<D: Device, F: Field<D> = Basic> {
    spec: NetSpec,
    memory: Bytes,
    ends: Ends<D>,
    ends_grad: Ends<D>,
    ends_velocity: Ends<D>,
    stem_running: BnRunning<D::Buffer>,
    stem_stats: BnStats<D::Buffer>,
    /// The stem's convolution of the images, kept for its backward; its output is `relu(bn(.))` of it.
    stem_z: Tensor<D::Buffer>,
    /// The stages from the stem to the head, one or more.
    pub stages: Vec<Stage<D, F>>,
    /// The ReLU of the last stage's state, in a staged net.
    features: Option<Tensor<D::Buffer>>,
    /// Side of the head's pooling windows.
    pool: usize,
    images: Tensor<D::Buffer>,
    labels: Tensor<D::Buffer>,
    pooled: Tensor<D::Buffer>,
    grad_pooled: Tensor<D::Buffer>,
    logits: Tensor<D::Buffer>,
    grad_logits: Tensor<D::Buffer>,
    outcome: Tensor<D::Buffer>,
    /// The learning rate, `[1]`.
    rate: Tensor<D::Buffer>,
    /// The data set, once [`Net::hold`] has one.
    data: Option<D::Data>,
    /// The table that a training pass goes by, `[1]`.
    table: Tensor<D::Buffer>,
    /// The passes that the device has recorded.
    recorded: Vec<Recorded<D>>,
}

impl<D: Device> Net<D> {
    /// A net of the paper's residual functions: see [`Net::build`].
    ///
    /// # Errors
    /// If the machine has no room.
    pub fn new(d: &D, spec: NetSpec, init: Init, seed: u64) -> Result<Self> {
        Self::build(d, spec, init, seed)
    }
}

impl<D: Device, F: Field<D>> Net<D, F> {
    /// Plans and takes all memory, and draws the initial weights from `seed`. F goes before what the specification says of the
    /// residual function.
    ///
    /// # Errors
    /// If the machine has no room.
    pub fn build(d: &D, spec: NetSpec, init: Init, seed: u64) -> Result<Self> {
        let planned = plan::network::<D, F>(d, &spec);
        let arena = &mut Arena::new(d, planned.total())?;
        let stages = spec.stages();
        let staged = spec.body.stages.is_some();
        let stem = spec.stem_map();
        let logits = Shape::map(spec.batch, 1, 1, spec.classes);
        let mut net = Self {
            spec,
            memory: Bytes::default(),
            ends: Ends::new(arena, Category::Parameters, &spec)?,
            ends_grad: Ends::new(arena, Category::Gradients, &spec)?,
            ends_velocity: Ends::new(arena, Category::Optimiser, &spec)?,
            stem_running: BnRunning::new(arena, stem.c())?,
            stem_stats: BnStats::new(arena, Category::Statistics, stem.c())?,
            stem_z: arena.tensor(Category::Saved, stem)?,
            stages: (stages.iter().enumerate())
                .map(|(s, stage)| Stage::new(arena, stage, &spec.sweep, plan::workspace::<D, F>(d, &spec, s)))
                .collect::<Result<_>>()?,
            features: staged.then(|| arena.tensor(Category::Saved, spec.last_map())).transpose()?,
            pool: spec.pool(),
            images: arena.tensor(Category::Data, spec.images())?,
            labels: arena.tensor(Category::Data, Shape::map(spec.batch, 1, 1, 1))?,
            pooled: arena.tensor(Category::Saved, spec.pooled())?,
            grad_pooled: arena.tensor(Category::Scratch, spec.pooled())?,
            logits: arena.tensor(Category::Saved, logits)?,
            grad_logits: arena.tensor(Category::Scratch, logits)?,
            outcome: arena.tensor(Category::Scratch, Shape::vector(2))?,
            rate: arena.tensor(Category::Optimiser, Shape::vector(1))?,
            data: None,
            table: arena.tensor(Category::Data, Shape::vector(1))?,
            recorded: Vec::new(),
        };
        net.memory = arena.ledger().clone();
        net.initialise(d, init, seed)?;
        Ok(net)
    }

    fn initialise(&mut self, d: &D, init: Init, seed: u64) -> Result<()> {
        let head_fan_in = self.spec.pooled().image_len();
        init::conv(d, seed, Draw::Stem, &mut self.ends.stem_conv)?;
        init::affine(d, 1.0, 0.0, &mut self.ends.stem_bn)?;
        init::running(d, &mut self.stem_running)?;
        init::kaiming_uniform(d, seed, Draw::HeadWeight, head_fan_in, &mut self.ends.head_w)?;
        init::kaiming_uniform(d, seed, Draw::HeadBias, head_fan_in, &mut self.ends.head_b)?;
        for (s, stage) in self.stages.iter_mut().enumerate() {
            stage.initialise(d, init, seed, s)?;
        }
        self.ends_velocity.named_mut().into_iter().try_for_each(|(_, velocity)| d.fill(0.0, velocity))
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
        self.stages.iter_mut().try_for_each(|stage| stage.set_batch(n))?;
        let Self { stem_z, images, labels, pooled, grad_pooled, logits, grad_logits, features, .. } = self;
        let always = [stem_z, images, labels, pooled, grad_pooled, logits, grad_logits];
        always.into_iter().chain(features).try_for_each(|tensor| tensor.set_batch(n))
    }

    /// The stem: from the images to the first stage's input.
    fn stem(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        let Self { spec, ends, stem_running, stem_stats, stem_z, stages, images, .. } = self;
        let (output, workspace) = stages[0].input();
        let measure = match statistics {
            Statistics::Running => {
                d.bn_running_stats(stem_running, stem_stats)?;
                None
            }
            Statistics::Saved => None,
            Statistics::Measure => Some(Measure { stats: stem_stats, running: None }),
            Statistics::MeasureAndRun => Some(Measure { stats: stem_stats, running: Some(stem_running) }),
        };
        d.conv_stats(images, &ends.stem_conv, spec.stem_conv(), stem_z, measure, workspace)?;
        d.norm_relu(stem_z, stem_stats, &ends.stem_bn, output)
    }

    /// Up to x_0 of stage `s`, from x_N of the one before.
    fn enter(&mut self, d: &D, s: usize, statistics: Statistics) -> Result<()> {
        let (before, rest) = self.stages.split_at_mut(s);
        if let (Some(before), Some(first)) = (before.last(), &mut rest[0].first) {
            before.leave(d, &mut first.input)?;
        }
        rest[0].begin(d, statistics)
    }

    /// The head: pooling, linear layer, loss and its gradient.
    fn head(&mut self, d: &D) -> Result<()> {
        let Self { ends, stages, features, pool, pooled, logits, grad_logits, labels, outcome, .. } = self;
        let last = stages.last().expect(STAGED);
        let seen = match features {
            None => last.work.output(),
            Some(features) => {
                last.leave(d, features)?;
                features
            }
        };
        d.avg_pool(seen, *pool, pooled)?;
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
        let staged = self.spec.body.stages.is_some();
        if !d.all_finite(self.stages[0].input().0)? {
            return Ok(if staged { "the stem's output" } else { "the stem's output x_0" }.into());
        }
        for s in 0..self.stages.len() {
            self.enter(d, s, Statistics::Measure)?;
            if staged && !d.all_finite(&self.stages[s].work.x)? {
                return Ok(format!("the state after the first block of stage {s}"));
            }
            for n in 0..self.stages[s].stack.steps() {
                self.stages[s].advance(d, &self.spec.sweep, n)?;
                if !d.all_finite(&self.stages[s].work.x)? {
                    let of_stage = if staged { format!(" of stage {s}") } else { String::new() };
                    return Ok(format!("the state after block {n}{of_stage}"));
                }
            }
        }
        Ok("the head's logits".into())
    }

    /// The logits of the last batch, `[N, 1, 1, K]`.
    pub fn logits(&self) -> &Tensor<D::Buffer> {
        &self.logits
    }
}

const STAGED: &str = "a net has a stage";
