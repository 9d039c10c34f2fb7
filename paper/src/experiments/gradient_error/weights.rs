//! The weights that a gradient is measured at, and how a net gets them.

use std::fmt;

use rewind::device::Device;
use rewind::error::Result;
use rewind::field::{Field, Tensors};
use rewind::init::Init;
use rewind::net::{Net, NetSpec, is_optimisers};
use rewind::tensor::{Real, Tensor};
use rewind_train::checkpoint::{Checkpoint, saved_shape};
use serde::{Deserialize, Serialize};

/// Gamma of a basic block's second batch norm.
const SECOND_GAMMA: &str = "bn2.weight";

/// Which kind of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// Every block draws its own; gamma of its second batch norm is 1.
    Random,
    /// All blocks are equal; gamma of the second batch norm is 1.
    Smooth,
    /// Of a net that was trained at this depth, with backprop.
    Trained,
    /// Of one trained net, its blocks repeated or left out for every other depth, as the paper's code does.
    Resampled,
    /// Of a checkpoint that the user names.
    #[value(skip)]
    Checkpoint,
}

impl Weights {
    /// All kinds, as they are shown side by side.
    pub const ALL: [Self; 5] = [Self::Random, Self::Smooth, Self::Trained, Self::Resampled, Self::Checkpoint];

    /// Where the weights come from: drawn from a seed, or held by the checkpoint, which those that are not drawn need.
    pub fn origin(self, seed: u64, held: Option<&Checkpoint>) -> Origin<'_> {
        match (self, held) {
            (Self::Random, _) => Origin::Drawn(Init::Paper, seed),
            (Self::Smooth, _) => Origin::Drawn(Init::Smooth, seed),
            (_, Some(checkpoint)) => Origin::Held(checkpoint),
            (_, None) => unreachable!("weights that are not drawn come with a checkpoint"),
        }
    }

    /// Whether they are drawn from a seed alone.
    pub const fn are_drawn(self) -> bool {
        matches!(self, Self::Random | Self::Smooth)
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Random => "random",
            Self::Smooth => "smooth",
            Self::Trained => "trained",
            Self::Resampled => "resampled",
            Self::Checkpoint => "checkpoint",
        })
    }
}

/// Where a net's weights are taken from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// Drawn from a seed, for one stack of basic blocks, but for gamma of every block's second batch norm, which is 1: at the paper's start it is 0, all
    /// residual functions with it, and so is every mode's error.
    Drawn(Init, u64),
    /// A checkpoint's, as they are. Where its net has another depth, block n of N is its block floor(n M / N) of M.
    Held(&'a Checkpoint),
}

impl Origin<'_> {
    /// A net with these weights.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](rewind::error::Error::Checkpoint) if the checkpoint's net is another but for its depth; whatever
    /// the device reports.
    pub fn net<D: Device, F: Field<D>>(&self, d: &D, spec: NetSpec) -> Result<Net<D, F>> {
        match *self {
            Self::Drawn(init, seed) => {
                let mut net = Net::<D, F>::build(d, spec, init, seed)?;
                for theta in &mut net.stages[0].stack.theta {
                    for (_, gamma) in theta.named_mut().filter(|(name, _)| *name == SECOND_GAMMA) {
                        d.fill(1.0, gamma)?;
                    }
                }
                Ok(net)
            }
            Self::Held(checkpoint) => {
                let mut net = Net::build(d, spec, Init::Paper, 0)?;
                let depths = (spec.depth, checkpoint.state().config.depth);
                for (name, tensor) in net.checkpointed_mut() {
                    if !is_optimisers(&name) {
                        fill(d, checkpoint, &resampled(&name, depths), tensor)?;
                    }
                }
                Ok(net)
            }
        }
    }
}

fn fill<D: Device>(d: &D, checkpoint: &Checkpoint, name: &str, tensor: &mut Tensor<D::Buffer>) -> Result<()> {
    let values = checkpoint.tensor(name, &saved_shape(tensor.shape()))?;
    let values: Vec<D::Real> = values.into_iter().map(|value| D::Real::from_f64(f64::from(value))).collect();
    d.upload(&values, tensor)
}

/// The name of the tensor that stands for `name` of a net of the first depth in one of the second.
fn resampled(name: &str, (depth, held): (usize, usize)) -> String {
    let block = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
    match block.and_then(|(n, tensor)| Some((n.parse::<usize>().ok()?, tensor))) {
        Some((n, tensor)) => format!("blocks.{}.{tensor}", n * held / depth),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_repeated_or_left_out_in_order() {
        let of = |depth, held| -> Vec<String> {
            (0..depth).map(|n| resampled(&format!("blocks.{n}.bn1.bias"), (depth, held))).collect()
        };
        let named =
            |blocks: &[usize]| -> Vec<String> { blocks.iter().map(|n| format!("blocks.{n}.bn1.bias")).collect() };
        assert_eq!(of(4, 4), named(&[0, 1, 2, 3]));
        assert_eq!(of(8, 4), named(&[0, 0, 1, 1, 2, 2, 3, 3]));
        assert_eq!(of(2, 8), named(&[0, 4]));
        assert_eq!(resampled("stem.bn.weight", (2, 8)), "stem.bn.weight");
    }
}
