//! The network: stem, stages of residual blocks, head, and one training step over them.

mod blocks;
mod first;
mod head;
mod moved;
mod pass;
mod plan;
mod recorded;
mod result;
mod spec;
mod stage;
mod stem;
mod step;
mod tensors;
mod trained;

pub use self::blocks::Blocks;
use self::head::HeadLayers;
pub use self::pass::Pass;
pub use self::plan::largest_that_fits;
use self::recorded::Recorded;
pub use self::result::{BatchResult, Drift, StepResult};
pub use self::spec::{BlocksSpec, Body, FirstSpec, NetSpec, POOL, STAGES_MAX, StageSpec, Stages, Stem};
use self::stage::Part;
pub use self::stage::Stage;
use self::stem::StemLayers;
pub use self::tensors::{AVERAGE, SHARED, is_optimisers};
use crate::device::{Device, SQUARES};
use crate::error::Result;
use crate::field::{Basic, Field};
use crate::init::Init;
use crate::memory::{Arena, Asked, Bytes, Category, Turns, take};
use crate::recipe::Share;
use crate::scheme::Statistics;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A network and all the memory that training it takes.
pub struct Net<D: Device, F: Field<D> = Basic> {
    spec: NetSpec,
    memory: Bytes,
    stem: StemLayers<D>,
    /// The stages from the stem to the head, one or more.
    pub stages: Vec<Stage<D, F>>,
    head: HeadLayers<D>,
    images: Tensor<D::Buffer>,
    labels: Tensor<D::Buffer>,
    /// The learning rate, `[1]`.
    rate: Tensor<D::Buffer>,
    /// Where gradients' squares are summed, if they are clipped, `[SQUARES]`.
    squares: Option<Tensor<D::Buffer>>,
    /// Which of its step's batches the next one is.
    share: Share,
    /// Where several batches make a step, the sum of what their heads gave so far, `[2]`: no number once one of them was worth nothing,
    /// by its loss or in its sweeps, so that the step is not taken.
    step_outcome: Option<Tensor<D::Buffer>>,
    /// AdamW's count of steps, `[3]`: see [`crate::device::Optimiser::count_step`]; none without AdamW.
    count: Option<Tensor<D::Buffer>>,
    /// The data set, once [`Net::hold`] has one.
    data: Option<D::Data>,
    /// The table that a training pass goes by, `[1]`.
    table: Tensor<D::Buffer>,
    /// The passes that the device has recorded.
    recorded: Vec<Recorded<D>>,
    /// Scratch memory, in which stages and the blocks that begin them take turns.
    turns: Turns<D, (usize, Part)>,
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
        let (mut net, memory) = take(d, |arena| Self::unwritten(arena, spec))?;
        net.memory = memory;
        net.initialise(d, init, seed)?;
        Ok(net)
    }

    /// The net with all its memory and no values yet. Its dry run is the plan.
    fn unwritten(arena: &mut Arena<'_, D>, spec: NetSpec) -> Result<Self> {
        spec.recipe.check(&spec.sweep)?;
        // the stem's operations use the first stage's workspace, and the head's the last one's
        let of_stem = StemLayers::workspace(arena.device(), &spec);
        let of_head = arena.device().head_workspace(spec.batch);
        let stages = spec.stages();
        let workspace = |s| {
            let of_stem = if s == 0 { of_stem } else { 0 };
            if s + 1 == stages.len() { of_stem.max(of_head) } else { of_stem }
        };
        // one stack alone has its memory to itself
        let shared = spec.body.stages.is_some();
        arena.lends(shared);
        let stage = |arena: &mut _, s, stage: &_| Stage::new(arena, stage, s == 0, workspace(s));
        let mut stages: Vec<Stage<D, F>> =
            (stages.iter().enumerate()).map(|(s, of)| stage(arena, s, of)).collect::<Result<_>>()?;
        arena.lends(false);
        let mut asked = Asked::default();
        for (s, stage) in stages.iter_mut().enumerate().filter(|_| shared) {
            for part in [Part::First, Part::Stack] {
                asked = asked.and((s, part), stage.lent_mut(part));
            }
        }
        Ok(Self {
            spec,
            memory: Bytes::default(),
            turns: Turns::new(arena, asked)?,
            stem: StemLayers::new(arena, &spec)?,
            stages,
            head: HeadLayers::new(arena, &spec)?,
            images: arena.tensor(Category::Data, spec.images())?,
            labels: arena.tensor(Category::Data, spec.labels())?,
            rate: arena.tensor(Category::Optimiser, Shape::vector(1))?,
            squares: match spec.recipe.clip {
                Some(_) => Some(arena.tensor(Category::Optimiser, Shape::vector(SQUARES))?),
                None => None,
            },
            share: Share::default(),
            step_outcome: match spec.recipe.accumulates {
                true => Some(arena.tensor(Category::Scratch, Shape::vector(2))?),
                false => None,
            },
            count: spec.second_moments.then(|| arena.tensor(Category::Optimiser, Shape::vector(3))).transpose()?,
            data: None,
            table: arena.tensor(Category::Data, Shape::vector(1))?,
            recorded: Vec::new(),
        })
    }

    fn initialise(&mut self, d: &D, init: Init, seed: u64) -> Result<()> {
        self.stem.initialise(d, seed)?;
        self.head.initialise(d, seed)?;
        for (s, stage) in self.stages.iter_mut().enumerate() {
            stage.initialise(d, init, seed, s)?;
        }
        self.rest(d)?;
        self.begin_averages(d)
    }

    /// What the network is made of.
    pub fn spec(&self) -> &NetSpec {
        &self.spec
    }

    /// Every byte that the network holds on the device, by category; nothing is taken later.
    pub fn memory(&self) -> &Bytes {
        &self.memory
    }

    /// How the residual blocks are launched, in words, stage by stage where they differ; nothing on a device that has one way, and
    /// where a block is several of its operations.
    pub fn block_forms(&self, d: &D) -> Vec<&'static str> {
        let of = |Stage { stack, work, sweep, .. }: &Stage<D, F>| {
            let (tied, post_activation) = (stack.tied, stack.post_activation);
            F::block_form(d, work.x.shape(), sweep.makes_runs(tied, post_activation))
                .filter(|_| sweep.fuses_all(post_activation))
        };
        let mut forms: Vec<_> = self.stages.iter().filter_map(of).collect();
        forms.dedup();
        forms
    }

    /// Puts a batch on the device. `images` holds n images `[n, H, W, C]`, `labels` n class indices, or three numbers for each image of a net that
    /// mixes: see [`crate::device::Head::softmax_cross_entropy`].
    ///
    /// # Errors
    /// If n is larger than the planned batch.
    pub fn load(&mut self, d: &D, images: &[D::Real], labels: &[D::Real]) -> Result<()> {
        self.set_batch(labels.len() / self.labels.shape().c())?;
        d.upload(images, &mut self.images)?;
        d.upload(labels, &mut self.labels)
    }

    /// Uses the first `n` images of everything that a batch goes through.
    fn set_batch(&mut self, n: usize) -> Result<()> {
        if self.labels.shape().n() == n {
            return Ok(());
        }
        self.stages.iter_mut().try_for_each(|stage| stage.set_batch(n))?;
        let Self { stem, head, images, labels, .. } = self;
        let maps = stem.maps_mut().chain(head.maps_mut()).chain([images, labels]);
        maps.into_iter().try_for_each(|map| map.set_batch(n))
    }

    /// Hands the scratch memory to what works next.
    fn turn(&mut self, stage: usize, part: Part) {
        let Self { turns, stages, .. } = self;
        turns.give((stage, part), |(stage, part), swap| {
            stages[stage].lent_mut(part).for_each(|lent| swap(lent.buffer));
        });
    }

    /// The stem: from the images to the first stage's input.
    fn stem(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        self.turn(0, Part::Stack);
        let Self { stem, stages, images, .. } = self;
        let (input, workspace) = stages[0].input();
        stem.forward(d, images, statistics, input, workspace)
    }

    /// Up to x_0 of stage `s`, from x_N of the one before.
    fn enter(&mut self, d: &D, s: usize, statistics: Statistics) -> Result<()> {
        self.turn(s, Part::First);
        let (before, rest) = self.stages.split_at_mut(s);
        if let (Some(before), Some(first)) = (before.last(), &mut rest[0].first) {
            before.leave(d, &mut first.input)?;
        }
        rest[0].begin(d, statistics)?;
        self.turn(s, Part::Stack);
        Ok(())
    }

    /// The head: from the last stage to the loss and its gradient.
    fn head(&mut self, d: &D, smoothing: f64) -> Result<()> {
        let Self { head, stages, labels, .. } = self;
        head.forward(d, stages.last_mut().expect(STAGED), labels, smoothing)
    }

    /// Runs the loaded batch forward once more, with its own statistics, and names the first place whose values are not finite. Saved
    /// statistics are overwritten; running ones and parameters stay.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn first_non_finite(&mut self, d: &D) -> Result<String> {
        self.first_non_finite_by(d, Statistics::Measure)
    }

    /// The same with running statistics, as a test goes forward.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn first_non_finite_in_test(&mut self, d: &D) -> Result<String> {
        self.first_non_finite_by(d, Statistics::Running)
    }

    fn first_non_finite_by(&mut self, d: &D, statistics: Statistics) -> Result<String> {
        match statistics {
            Statistics::Running => self.with_averages(|net| net.first_non_finite_of(d, statistics)),
            _ => self.first_non_finite_of(d, statistics),
        }
    }

    fn first_non_finite_of(&mut self, d: &D, statistics: Statistics) -> Result<String> {
        if !d.all_finite(&self.images)? {
            return Ok("an input image".into());
        }
        self.stem(d, statistics)?;
        let staged = self.spec.body.stages.is_some();
        if !d.all_finite(self.stages[0].input().0)? {
            return Ok(if staged { "the stem's output" } else { "the stem's output x_0" }.into());
        }
        for s in 0..self.stages.len() {
            self.enter(d, s, statistics)?;
            if staged && !d.all_finite(&self.stages[s].work.x)? {
                return Ok(format!("the state after the first block of stage {s}"));
            }
            for n in 0..self.stages[s].stack.steps() {
                self.stages[s].advance(d, n, statistics)?;
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
        &self.head.logits
    }
}

const STAGED: &str = "a net has a stage";
