//! What training does with gradients before the optimiser sees them, and with parameters after it.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::residual::Tensors;
use crate::sweep::{SweepSpec, Update};
use crate::tensor::Tensor;

/// What a net's training does besides its optimiser. Nothing of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recipe {
    /// How gradients are clipped.
    pub clip: Option<Clip>,
    /// Whether several batches make one step of the optimiser, see [`Share`]. A sum of gradients is then kept for each parameter.
    pub accumulates: bool,
    /// How much of an average over steps stays from step to step, if averages of parameters and running statistics are kept, which
    /// tests then go by: from 0 to below 1.
    pub average: Option<f64>,
}

impl Recipe {
    /// Refuses what cannot be done in such a sweep.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub(crate) fn check(&self, sweep: &SweepSpec) -> Result<()> {
        match (self.clip, sweep.update) {
            (Some(Clip::All(_)), Update::InSweep) => Err(Error::Usage(
                "all gradients are clipped together when the sweep is over, and `update` in-sweep has used them by then: take after, or clip each block's".into(),
            )),
            _ => Ok(()),
        }
    }
}

/// The largest norm that gradients keep, as `torch.nn.utils.clip_grad_norm_` has it: what is longer is scaled down to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Of each block's gradients by themselves: those of the stem, of the head, of a stage's first block's two ways, of each residual
    /// block. This can be done in the sweep.
    Blocks(f64),
    /// Of all gradients together, which are known behind the sweep alone: for a net with [`crate::sweep::Update::After`].
    All(f64),
}

/// Which of the batches that make one step of the optimiser this is. The step takes the mean of their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whether it is the first of them.
    pub begins: bool,
    /// Their number, if it is the last of them, behind which the step is taken.
    pub ends: Option<usize>,
}

impl Default for Share {
    /// The only batch of its step.
    fn default() -> Self {
        Self { begins: true, ends: Some(1) }
    }
}

impl Share {
    /// By whose loss a sweep judges: the step's if it is to be taken now, this batch's before that.
    pub(crate) fn outcome<'a, T>(self, of_step: &'a Option<T>, of_batch: &'a T) -> &'a T {
        of_step.as_ref().filter(|_| self.ends.is_some()).unwrap_or(of_batch)
    }

    /// That of batch number `step` of an epoch of `steps`, where `batches` make a step; the last ones of an epoch may be fewer.
    pub fn of(step: usize, steps: usize, batches: usize) -> Self {
        let (at, first) = (step % batches, step - step % batches);
        let all = batches.min(steps.saturating_sub(first)).max(1);
        Self { begins: at == 0, ends: (at + 1 == all).then_some(all) }
    }
}

/// Takes a batch's gradients into the sum over the batches of its step, which becomes their mean with the last of them.
pub(crate) fn gather<D: Device, T: Tensors<D>>(d: &D, share: Share, grad: &T, sum: &mut T) -> Result<()> {
    let part = 1.0 / share.ends.unwrap_or(1) as f64;
    grad.named().zip(sum.named_mut()).try_for_each(|((_, grad), (_, sum))| match share.begins {
        true => d.copy(grad, sum),
        false => d.axpby(part, grad, part, sum),
    })
}

/// Clips these gradients by themselves, if the recipe says so.
pub(crate) fn clip_alone<D: Device, T: Tensors<D>>(
    d: &D,
    recipe: Recipe,
    squares: Option<&mut Tensor<D::Buffer>>,
    grads: &mut T,
) -> Result<()> {
    let (Some(Clip::Blocks(most)), Some(squares)) = (recipe.clip, squares) else { return Ok(()) };
    d.squares(&mut grads.named().map(|(_, grad)| grad), false, squares)?;
    d.clip(squares, most, &mut grads.named_mut().map(|(_, grad)| grad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_has_its_share_of_one_step() {
        let of = |steps, batches| {
            (0..steps)
                .map(|step| Share::of(step, steps, batches))
                .map(|Share { begins, ends }| (begins, ends))
                .collect::<Vec<_>>()
        };
        let expected: Vec<_> = vec![(true, None), (false, None), (false, Some(3)), (true, None), (false, Some(2))];
        assert_eq!(expected, of(5, 3));
        assert_eq!(vec![(true, Some(1)); 4], of(4, 1));
        assert_eq!(vec![(true, None), (false, Some(2))], of(2, 9));
        assert_eq!(Share::of(0, 1, 1), Share::default());
    }
}
