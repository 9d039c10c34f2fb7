//! A net that starts from the weights of a checkpoint or of a published net, as fine-tuning does: `--init-from`.

use std::path::Path;

use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::net::{Net, SHARED, is_optimisers};

use super::checkpoint::{Checkpoint, saved_shape};
use crate::config::RunConfig;
use crate::weights::WeightsFile;

/// Gives a new net the weights and running statistics of a file, a checkpoint or one of published weights; the optimiser starts anew.
///
/// # Errors
/// [`rewind::Error::Checkpoint`] if it is of another net.
pub(super) fn start_from<D: Device<Real = f32>, F: Field<D>>(
    device: &D,
    path: &Path,
    config: &RunConfig,
    net: &mut Net<D, F>,
) -> Result<()> {
    if let Some(mut weights) = WeightsFile::open(path)? {
        return weights.start(device, config, net);
    }
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.check_start(config)?;
    for (name, tensor) in net.checkpointed_mut() {
        if !is_optimisers(&name) {
            device.upload(&checkpoint.start_tensor(&name, &saved_shape(tensor.shape()))?, tensor)?;
        }
    }
    Ok(())
}

impl Checkpoint {
    /// Refuses to start from the weights of a net of other blocks, scheme or step size, but for one thing: an untied net may
    /// start from the tied one of its shape.
    ///
    /// # Errors
    /// [`rewind::Error::Checkpoint`] naming both nets.
    fn check_start(&self, config: &RunConfig) -> Result<()> {
        let tied = config.tied || self.state().config.tied;
        self.check_net(&RunConfig { tied, ..config.clone() })
    }

    /// The values of a weight or running statistic for a net to start from. Every block of an untied net is given the theta
    /// that all blocks of a tied one share.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    fn start_tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let shared = (!self.holds(name)).then(|| shared_name(name)).flatten();
        self.tensor(&self.answering(shared.as_deref().unwrap_or(name)), shape)
    }
}

/// `stages.1.blocks.shared.conv1.weight` for `stages.1.blocks.3.conv1.weight`.
fn shared_name(name: &str) -> Option<String> {
    let (stage, block) = name.split_once("blocks.")?;
    let (_, own) = block.split_once('.')?;
    Some(format!("{stage}blocks.{SHARED}.{own}"))
}
