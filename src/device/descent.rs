//! A step of either optimiser, as nets and sweeps hand it on.

use super::adamw::{AdamW, AdamWStep};
use super::sgd::{Sgd, SgdStep};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An optimiser's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DescentStep {
    /// Stochastic gradient descent.
    Sgd(SgdStep),
    /// AdamW, for which a net needs memory of its own: [`crate::net::NetSpec::second_moments`].
    AdamW(AdamWStep),
}

impl From<SgdStep> for DescentStep {
    fn from(step: SgdStep) -> Self {
        Self::Sgd(step)
    }
}

impl From<AdamWStep> for DescentStep {
    fn from(step: AdamWStep) -> Self {
        Self::AdamW(step)
    }
}

impl DescentStep {
    /// The learning rate.
    pub const fn lr(&self) -> f64 {
        match self {
            Self::Sgd(step) => step.lr,
            Self::AdamW(step) => step.lr,
        }
    }

    /// The same at another learning rate.
    #[must_use]
    pub const fn at(self, lr: f64) -> Self {
        match self {
            Self::Sgd(step) => Self::Sgd(SgdStep { lr, ..step }),
            Self::AdamW(step) => Self::AdamW(AdamWStep { lr, ..step }),
        }
    }

    /// The same as a device takes it: with the learning rate that lies there, AdamW's count of steps, and the loss.
    ///
    /// # Errors
    /// [`Error::Usage`] if AdamW has no count.
    pub fn on_device<'a, B>(
        self,
        lr: &'a Tensor<B>,
        count: Option<&'a Tensor<B>>,
        loss: &'a Tensor<B>,
    ) -> Result<Descent<'a, B>> {
        Ok(match self {
            Self::Sgd(step) => Descent::Sgd(step.on_device(lr, loss)),
            Self::AdamW(AdamWStep { lr: _, betas, eps, weight_decay, decay }) => {
                let count = count.ok_or_else(no_second_moments)?;
                Descent::AdamW(AdamW { lr, loss, count, betas, eps, weight_decay, decay })
            }
        })
    }
}

pub(super) fn no_second_moments() -> Error {
    Error::Usage("AdamW needs a net with memory for it: plan it with `second_moments`".into())
}

/// A step of either optimiser, as a device takes it.
pub enum Descent<'a, B> {
    /// Stochastic gradient descent.
    Sgd(Sgd<'a, B>),
    /// AdamW.
    AdamW(AdamW<'a, B>),
}

impl<B> Clone for Descent<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Descent<'_, B> {}

impl<'a, B> Descent<'a, B> {
    /// Where the step's loss lies.
    pub const fn loss(&self) -> &'a Tensor<B> {
        match self {
            Self::Sgd(step) => step.loss,
            Self::AdamW(step) => step.loss,
        }
    }

    /// The same with what another tensor says of the loss.
    #[must_use]
    pub const fn with_loss<'b>(self, loss: &'b Tensor<B>) -> Descent<'b, B>
    where
        'a: 'b,
    {
        match self {
            Self::Sgd(step) => Descent::Sgd(Sgd { loss, ..step }),
            Self::AdamW(step) => Descent::AdamW(AdamW { loss, ..step }),
        }
    }
}

impl<'a, B> From<Sgd<'a, B>> for Descent<'a, B> {
    fn from(step: Sgd<'a, B>) -> Self {
        Self::Sgd(step)
    }
}
