//! What a run takes, before anything is taken: its network, its plan, and whether there is room.

use crate::config::{NetKind, RunConfig};
use crate::data::{Dataset, held_bytes};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::memory::{Bytes, Category};
use crate::net::NetSpec;
use crate::plan;

/// The network that a config and a data set ask for.
///
/// # Panics
/// If the config was not validated.
pub fn net_spec(config: &RunConfig, dataset: &Dataset) -> NetSpec {
    NetSpec {
        depth: config.depth,
        channels: config.channels,
        batch: config.batch,
        stem: config.stem,
        image: crate::data::IMAGE,
        image_channels: crate::data::CHANNELS,
        classes: dataset.classes,
        step_size: config.step_size,
        sweep: config.sweep,
        body: config.body().expect("a validated config has a body"),
    }
}

/// The whole plan of a run: the network's, and the data set's outside of the arena.
pub fn planned<D: Device>(d: &D, config: &RunConfig, dataset: &Dataset) -> Bytes {
    let mut bytes = plan::network(d, &net_spec(config, dataset));
    bytes.charge(Category::Data, held_bytes(dataset));
    bytes
}

/// Refuses a plan that is over `--memory-limit` or over what the device has left.
///
/// # Errors
/// [`Error::PlanOverLimit`] with the table and the largest depth that would fit.
pub fn check_limit<D: Device>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<()> {
    let allowed = config.memory_limit.map(|bytes| (bytes, "--memory-limit is"));
    let available = d.available_bytes().map(|bytes| (bytes, "the free memory is"));
    let Some((limit, source_of_limit)) = allowed.into_iter().chain(available).min_by_key(|(bytes, _)| *bytes) else {
        return Ok(());
    };
    let bytes = planned(d, config, dataset);
    if bytes.total() <= limit {
        return Ok(());
    }
    let spec = net_spec(config, dataset);
    let extra = held_bytes(dataset);
    let advice = match plan::largest_depth(d, &spec, extra, limit) {
        Some(depth) if config.net == NetKind::Staged => {
            format!("what fits is a net of at most {depth} residual blocks a stage (--blocks)")
        }
        Some(depth) => format!("the largest depth that fits is --depth {depth}"),
        None => "not even the shallowest net fits; lower --batch or --channels".into(),
    };
    Err(Error::PlanOverLimit { planned: bytes.total(), limit, source_of_limit, advice, table: bytes.table() })
}
