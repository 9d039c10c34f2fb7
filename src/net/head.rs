//! The head: pooling, a linear layer, and the loss.

use super::spec::NetSpec;
use super::stage::Stage;
use super::trained::Trained;
use crate::device::Device;
use crate::error::Result;
use crate::field::{Field, Tensors};
use crate::init::{self, Draw};
use crate::memory::{Arena, Category};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What stands before the names of the head's tensors.
pub(super) const NAME: &str = "head.";

/// The linear layer's weights, or their gradients, or their velocities.
pub(super) struct HeadTheta<D: Device> {
    /// `[1, 1, H W C, K]`.
    w: Tensor<D::Buffer>,
    /// `[K]`.
    b: Tensor<D::Buffer>,
}

impl<D: Device> Tensors<D> for HeadTheta<D> {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        [("weight", &self.w), ("bias", &self.b)].into_iter()
    }

    fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        [("weight", &mut self.w), ("bias", &mut self.b)].into_iter()
    }
}

/// The head, and all memory that training it takes.
pub(super) struct HeadLayers<D: Device> {
    pub weights: Trained<HeadTheta<D>>,
    /// The ReLU of the last stage's state, in a staged net.
    features: Option<Tensor<D::Buffer>>,
    /// Side of the pooling windows.
    pool: usize,
    pooled: Tensor<D::Buffer>,
    grad_pooled: Tensor<D::Buffer>,
    /// `[N, 1, 1, K]`.
    pub logits: Tensor<D::Buffer>,
    grad_logits: Tensor<D::Buffer>,
    /// Mean cross-entropy and right answers, `[2]`.
    pub outcome: Tensor<D::Buffer>,
}

impl<D: Device> HeadLayers<D> {
    pub fn new(arena: &mut Arena<'_, D>, spec: &NetSpec) -> Result<Self> {
        let (pooled, logits) = (spec.pooled(), Shape::map(spec.batch, 1, 1, spec.classes));
        let theta = |category| {
            let w = arena.tensor(category, Shape([1, 1, pooled.image_len(), spec.classes]))?;
            Ok(HeadTheta { w, b: arena.tensor(category, Shape::vector(spec.classes))? })
        };
        let weights = Trained::new(spec.second_moments, spec.recipe, theta)?;
        let staged = spec.body.stages.is_some();
        Ok(Self {
            weights,
            features: staged.then(|| arena.tensor(Category::Saved, spec.last_map())).transpose()?,
            pool: spec.pool(),
            pooled: arena.tensor(Category::Saved, pooled)?,
            grad_pooled: arena.tensor(Category::Scratch, pooled)?,
            logits: arena.tensor(Category::Saved, logits)?,
            grad_logits: arena.tensor(Category::Scratch, logits)?,
            outcome: arena.tensor(Category::Scratch, Shape::vector(2))?,
        })
    }

    /// Weights at the start.
    pub fn initialise(&mut self, d: &D, seed: u64) -> Result<()> {
        let fan_in = self.pooled.shape().image_len();
        let HeadTheta { w, b } = &mut self.weights.theta;
        init::kaiming_uniform(d, seed, Draw::HeadWeight, fan_in, w)?;
        init::kaiming_uniform(d, seed, Draw::HeadBias, fan_in, b)
    }

    /// The maps whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let Self { features, pooled, grad_pooled, logits, grad_logits, .. } = self;
        [pooled, grad_pooled, logits, grad_logits].into_iter().chain(features)
    }

    /// From the last stage to the loss, and its gradient by the logits.
    pub fn forward<F: Field<D>>(
        &mut self,
        d: &D,
        last: &mut Stage<D, F>,
        labels: &Tensor<D::Buffer>,
        smoothing: f64,
    ) -> Result<()> {
        let Self { weights: Trained { theta, .. }, features, pool, pooled, logits, grad_logits, outcome, .. } = self;
        features.as_mut().map_or(Ok(()), |features| last.leave(d, features))?;
        let (state, workspace) = last.work.output_and_workspace();
        let seen = features.as_ref().unwrap_or(state);
        d.head_loss(seen, *pool, &theta.w, &theta.b, labels, smoothing, pooled, logits, grad_logits, outcome, workspace)
    }

    /// All gradients, and that of the last stage's state to `grad`.
    pub fn backward(&mut self, d: &D, grad: &mut Tensor<D::Buffer>) -> Result<()> {
        let Self { weights: Trained { theta, grad: grad_theta, .. }, pool, .. } = self;
        let Self { features, pooled, grad_pooled, grad_logits, .. } = self;
        let HeadTheta { w: grad_w, b: grad_b } = grad_theta;
        d.head_grads(pooled, grad_logits, *pool, &theta.w, grad_w, grad_b, grad_pooled, grad)?;
        features.as_ref().map_or(Ok(()), |features| d.relu_grad(features, grad))
    }
}
