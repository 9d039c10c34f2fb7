//! What is done with a step's gradients before its update, and with the parameters that it has moved.

use std::mem::swap;

use super::head::{HeadLayers, HeadTheta};
use super::stem::StemLayers;
use super::trained::Trained;
use super::{Net, Stage};
use crate::device::Device;
use crate::error::Result;
use crate::field::{Field, Tensors};
use crate::recipe::{Clip, Share};
use crate::tensor::Tensor;

/// Tensors and their averages, one by one; nothing where there are no averages.
pub(super) fn averaged<'a, D: Device + 'a, T: Tensors<D> + 'a>(
    of: &'a mut T,
    average: Option<&'a mut T>,
) -> impl Iterator<Item = (&'a mut Tensor<D::Buffer>, &'a mut Tensor<D::Buffer>)> {
    let averages = average.into_iter().flat_map(|average| average.named_mut());
    of.named_mut().zip(averages).map(|((_, of), (_, average))| (of, average))
}

/// Everything of which averages may be kept: parameters and running statistics.
fn all_averaged<'a, D: Device, F: Field<D>>(
    stem: &'a mut StemLayers<D>,
    head: &'a mut Trained<HeadTheta<D>>,
    stages: &'a mut [Stage<D, F>],
) -> impl Iterator<Item = (&'a mut Tensor<D::Buffer>, &'a mut Tensor<D::Buffer>)> {
    let StemLayers { weights, running, running_average, .. } = stem;
    let of_stem = averaged::<D, _>(&mut weights.theta, weights.average.as_mut());
    let of_stem = of_stem.chain(averaged::<D, _>(running, running_average.as_mut()));
    let of_head = averaged::<D, _>(&mut head.theta, head.average.as_mut());
    of_stem.chain(of_head).chain(stages.iter_mut().flat_map(Stage::averaged_mut))
}

impl<D: Device, F: Field<D>> Net<D, F> {
    /// Says which of its step's batches the next one is, where [`crate::recipe::Recipe::accumulates`]. Each batch is the only one unless
    /// something else is said.
    pub fn set_share(&mut self, share: Share) {
        self.share = share;
        self.stages.iter_mut().for_each(|stage| stage.work.grads.share = share);
    }

    /// Takes in a batch's loss, where several batches make a step.
    pub(super) fn gather_outcome(&mut self, d: &D) -> Result<()> {
        let Self { head: HeadLayers { outcome, .. }, step_outcome, share, .. } = self;
        match step_outcome {
            None => Ok(()),
            Some(step) if share.begins => d.copy(outcome, step),
            Some(step) => d.axpby(1.0, outcome, 1.0, step),
        }
    }

    /// Takes in what the sweeps have not of a batch: whether they went well, and the gradients of stem, head, and the blocks that begin
    /// stages.
    pub(super) fn gather(&mut self, d: &D) -> Result<()> {
        let Self { stem, head, stages, share, step_outcome, .. } = self;
        if let Some(step) = step_outcome {
            // the lowest sweep's verdict holds those above it
            d.axpby(0.0, &stages[0].work.verdict, 1.0, step)?;
        }
        stem.weights.gather(d, *share)?;
        head.weights.gather(d, *share)?;
        stages.iter_mut().filter_map(|stage| stage.first.as_mut()).try_for_each(|first| first.gather(d, *share))
    }

    /// Clips the step's gradients: all of them together, or those of the stem and of the head by themselves. Each stage clips its own.
    pub(super) fn clip(&mut self, d: &D) -> Result<()> {
        let Self { spec, stem, head, stages, squares, .. } = self;
        let (Some(clip), Some(squares)) = (spec.recipe.clip, squares) else { return Ok(()) };
        match clip {
            Clip::Blocks(_) => {
                stem.weights.clip_alone(d, spec.recipe, Some(squares))?;
                head.weights.clip_alone(d, spec.recipe, Some(squares))
            }
            Clip::All(most) => {
                let of_ends = stem.weights.of_step().named().chain(head.weights.of_step().named());
                let all = of_ends.chain(stages.iter().flat_map(Stage::gradients));
                d.squares(&mut all.map(|(_, grad)| grad), false, squares)?;
                let of_ends = stem.weights.of_step_mut().named_mut().chain(head.weights.of_step_mut().named_mut());
                let all = of_ends.chain(stages.iter_mut().flat_map(Stage::gradients_mut));
                d.clip(squares, most, &mut all.map(|(_, grad)| grad))
            }
        }
    }

    /// Moves the averages after parameters and running statistics, if they are kept.
    pub(super) fn average(&mut self, d: &D) -> Result<()> {
        let Self { spec, stem, head: HeadLayers { weights, outcome, .. }, stages, .. } = self;
        let Some(keep) = spec.recipe.average else { return Ok(()) };
        let mut all = all_averaged(stem, weights, stages).map(|(of, average)| (&*of, average));
        d.average_all(keep, outcome, &mut all)
    }

    /// Begins the averages at what parameters and running statistics are now.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn begin_averages(&mut self, d: &D) -> Result<()> {
        let Self { stem, head, stages, .. } = self;
        all_averaged(stem, &mut head.weights, stages).try_for_each(|(of, average)| d.copy(of, average))
    }

    /// Does something with the averages, if they are kept, in the place of parameters and running statistics. What a device records
    /// meanwhile is of them.
    pub(super) fn with_averages<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        self.exchange_averages();
        let done = f(self);
        self.exchange_averages();
        done
    }

    fn exchange_averages(&mut self) {
        let Self { stem, head, stages, .. } = self;
        all_averaged(stem, &mut head.weights, stages).for_each(|(of, average)| swap(of, average));
    }
}
