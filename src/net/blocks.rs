//! Residual blocks alone, for a network whose other parts are somebody else's: states and cotangents come and go in the caller's
//! memory.

use super::result::Drift;
use super::spec::{BlocksSpec, StageSpec};
use super::stage::Stage;
use crate::check;
use crate::device::{AdamWStep, DescentStep, Device};
use crate::error::Result;
use crate::field::{Basic, Field, Tensors};
use crate::init::Init;
use crate::memory::{Arena, Bytes, Category, dry_run, take};
use crate::scheme::Stack;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Residual blocks with the memory of their sweep and their optimiser, and nothing around them. Whoever has a loss behind them calls
/// [`Blocks::forward`], then [`Blocks::backward`] with the loss's cotangent, once each per step.
pub struct Blocks<D: Device, F: Field<D> = Basic> {
    memory: Bytes,
    stage: Stage<D, F>,
    /// The learning rate, `[1]`.
    rate: Tensor<D::Buffer>,
    /// AdamW's count of steps, `[3]`: see [`crate::device::Optimiser::count_step`]; none without AdamW.
    count: Option<Tensor<D::Buffer>>,
    /// In the place of a loss, `[2]`: zeros, which are finite.
    loss: Tensor<D::Buffer>,
}

impl<D: Device, F: Field<D>> Blocks<D, F> {
    /// Takes all memory, and draws the initial weights from `seed`.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] where the specification makes no sense, and [`crate::Error::OutOfMemory`] where the machine has no room.
    pub fn new(d: &D, spec: BlocksSpec, init: Init, seed: u64) -> Result<Self> {
        spec.sweep.validate(spec.depth)?;
        let (mut blocks, memory) = take(d, |arena| Self::unwritten(arena, &spec))?;
        blocks.memory = memory;
        blocks.stage.initialise(d, init, seed, 0)?;
        let Stack { velocity, second, .. } = &mut blocks.stage.stack;
        let moments = velocity.iter_mut().chain(second).flat_map(|moment| moment.named_mut());
        moments.into_iter().try_for_each(|(_, moment)| d.fill(0.0, moment))?;
        blocks.count.iter_mut().chain([&mut blocks.loss]).try_for_each(|tensor| d.fill(0.0, tensor))?;
        Ok(blocks)
    }

    /// Bytes that such blocks take on the device, by category.
    ///
    /// # Errors
    /// What the residual function's constructors refuse.
    pub fn plan(d: &D, spec: &BlocksSpec) -> Result<Bytes> {
        dry_run(d, |arena| Self::unwritten(arena, spec))
    }

    fn unwritten(arena: &mut Arena<'_, D>, spec: &BlocksSpec) -> Result<Self> {
        Ok(Self {
            memory: Bytes::default(),
            stage: Stage::new(arena, &StageSpec { first: None, stack: spec.stack(), sweep: spec.sweep }, false, 0)?,
            rate: arena.tensor(Category::Optimiser, Shape::vector(1))?,
            count: spec.second_moments.then(|| arena.tensor(Category::Optimiser, Shape::vector(3))).transpose()?,
            loss: arena.tensor(Category::Scratch, Shape::vector(2))?,
        })
    }

    /// Every byte that the blocks hold on the device, by category; nothing is taken later.
    pub fn memory(&self) -> &Bytes {
        &self.memory
    }

    /// The forward pass of training: from `x` = x_0 to `y` = x_N, `[N, H, W, C]` both, with any N up to the planned one. Running
    /// statistics move.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where a state is not of the blocks' shape, and whatever the device reports.
    pub fn forward(&mut self, d: &D, x: &Tensor<D::Buffer>, y: &mut Tensor<D::Buffer>) -> Result<()> {
        self.begin(x.shape())?;
        d.copy(x, &mut self.stage.work.x)?;
        self.run(d)?;
        d.copy(self.stage.work.output(), y)
    }

    /// The same from one slice to another, image by image.
    ///
    /// # Errors
    /// As [`Blocks::forward`].
    pub fn forward_slices(&mut self, d: &D, x: &[D::Real], y: &mut [D::Real]) -> Result<()> {
        self.begin(self.shape_of(x.len()))?;
        d.upload(x, &mut self.stage.work.x)?;
        self.run(d)?;
        d.download(self.stage.work.output(), y)
    }

    /// From `x` to `y` with running statistics; nothing moves, and nothing is kept for a way back.
    ///
    /// # Errors
    /// As [`Blocks::forward`].
    pub fn infer(&mut self, d: &D, x: &Tensor<D::Buffer>, y: &mut Tensor<D::Buffer>) -> Result<()> {
        self.begin(x.shape())?;
        d.copy(x, &mut self.stage.work.x)?;
        self.stage.sweep(d).infer()?;
        d.copy(self.stage.work.output(), y)
    }

    /// Takes `grad` from dL/dx_N to dL/dx_0, both `[N, H, W, C]`, for the batch that [`Blocks::forward`] has just seen, and updates all
    /// blocks.
    ///
    /// # Errors
    /// As [`Blocks::forward`].
    pub fn backward(&mut self, d: &D, grad: &mut Tensor<D::Buffer>, step: impl Into<DescentStep>) -> Result<()> {
        d.copy(grad, &mut self.stage.work.grad)?;
        self.run_back(d, step.into())?;
        d.copy(&self.stage.work.grad, grad)
    }

    /// The same in a slice.
    ///
    /// # Errors
    /// As [`Blocks::forward`].
    pub fn backward_slice(&mut self, d: &D, grad: &mut [D::Real], step: impl Into<DescentStep>) -> Result<()> {
        d.upload(grad, &mut self.stage.work.grad)?;
        self.run_back(d, step.into())?;
        d.download(&self.stage.work.grad, grad)
    }

    /// How far the last way back came from `x`, the x_0 that it should have ended at; not a number where it met a block that could not
    /// be rebuilt, whose update and those below it were left out. Waits for the device.
    ///
    /// # Errors
    /// As [`Blocks::forward`].
    pub fn drift(&mut self, d: &D, x: &Tensor<D::Buffer>) -> Result<Drift> {
        self.stage.measure_drift(d, |x_0| d.copy(x, x_0))?;
        let (stem, anchors) = self.stage.drift(d)?;
        Ok(Drift { stem, anchors })
    }

    /// The blocks: weights, velocities, running statistics.
    pub fn stage(&mut self) -> &mut Stage<D, F> {
        &mut self.stage
    }

    fn shape_of(&self, len: usize) -> Shape {
        let map = self.stage.work.x.shape();
        // a length that is no whole number of images is refused where it is copied
        map.with_batch(len / map.image_len().max(1))
    }

    fn begin(&mut self, x: Shape) -> Result<()> {
        check::equal("blocks", self.stage.work.x.shape().with_batch(x.n()), x)?;
        self.stage.set_batch(x.n())
    }

    fn run(&mut self, d: &D) -> Result<()> {
        self.stage.sweep(d).forward()
    }

    fn run_back(&mut self, d: &D, step: DescentStep) -> Result<()> {
        d.fill(step.lr(), &mut self.rate)?;
        let Self { stage, rate, count, loss, .. } = self;
        if let (DescentStep::AdamW(AdamWStep { betas, .. }), Some(count)) = (step, &mut *count) {
            d.count_step(betas, loss, count)?;
        }
        let sgd = step.on_device(rate, count.as_ref(), loss)?;
        stage.sweep(d).backward(sgd)?;
        stage.update(d, sgd)
    }
}
