//! What a run takes, before anything is taken: its network, its plan, and whether there is room.

use rewind::code::Bits;
use rewind::data::{Dataset, held_bytes};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::Field;
use rewind::memory::{Bytes, Category, human};
use rewind::net::NetSpec;
use rewind::plan;
use rewind::sweep::{Gradient, SweepSpec};

use crate::config::{NetKind, RunConfig};

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
        image: rewind::data::IMAGE,
        image_channels: rewind::data::CHANNELS,
        classes: dataset.classes,
        step_size: config.step_size,
        sweep: config.sweep,
        body: config.body().expect("a validated config has a body"),
    }
}

/// The whole plan of a run: the network's, and the data set's outside of the arena.
pub fn planned<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Bytes {
    let mut bytes = plan::network::<D, F>(d, &net_spec(config, dataset));
    bytes.charge(Category::Data, held_bytes(dataset));
    bytes
}

/// What may be taken: `--memory-limit`, or what the device has left where that is less; and whose limit it is.
fn limit<D: Device>(d: &D, config: &RunConfig) -> Option<(u64, &'static str)> {
    let allowed = config.memory_limit.map(|bytes| (bytes, "--memory-limit is"));
    let available = d.available_bytes().map(|bytes| (bytes, "the free memory is"));
    allowed.into_iter().chain(available).min_by_key(|(bytes, _)| *bytes)
}

/// Fits the codes of the mode `auto` into what may be taken: room for all blocks at the bits that were asked for, else at the most
/// bits at which all blocks have room, else for as many blocks as there is room for at one bit. What was given by `--code-room`
/// stays. Says in one sentence what became less than was asked for.
pub fn fit_codes<D: Device, F: Field<D>>(d: &D, config: &mut RunConfig, dataset: &Dataset) -> Option<String> {
    let asked = config.sweep;
    let (limit, whose) = limit(d, config)?;
    if asked.gradient != Gradient::Auto || asked.code_room.is_some() {
        return None;
    }
    let fits = |sweep: SweepSpec| planned::<D, F>(d, &RunConfig { sweep, ..config.clone() }, dataset).total() <= limit;
    let fewer = Bits::ALL.into_iter().rev().filter(|bits| *bits <= asked.bits);
    let mut sweeps = fewer.map(|bits| SweepSpec { bits, ..asked });
    let deepest = net_spec(config, dataset).deepest();
    let narrow = |room| SweepSpec { bits: Bits::One, code_room: Some(room), ..asked };
    config.sweep = sweeps.find(|sweep| fits(*sweep)).unwrap_or_else(|| {
        // the plan grows with the room; with none it is the reconstructing modes'
        let rooms: Vec<usize> = (0..deepest).collect();
        narrow(rooms.partition_point(|room| fits(narrow(*room))).saturating_sub(1))
    });
    if config.sweep == asked {
        return None;
    }
    let (bits, plural) = (config.sweep.bits, if config.sweep.bits == Bits::One { "" } else { "s" });
    let room = match config.sweep.code_room {
        None => "all blocks".to_string(),
        Some(room) => {
            format!("{room} of {deepest} blocks; where more would need it, fixed-point passes take its place")
        }
    };
    Some(format!("auto: {whose} {}, which leaves room for codes of {bits} bit{plural} for {room}", human(limit)))
}

/// Refuses a plan that is over `--memory-limit` or over what the device has left.
///
/// # Errors
/// [`Error::PlanOverLimit`] with the table and the largest depth that would fit.
pub fn check_limit<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<()> {
    let Some((limit, source_of_limit)) = limit(d, config) else { return Ok(()) };
    let bytes = planned::<D, F>(d, config, dataset);
    if bytes.total() <= limit {
        return Ok(());
    }
    let spec = net_spec(config, dataset);
    let extra = held_bytes(dataset);
    let advice = match plan::largest_depth::<D, F>(d, &spec, extra, limit) {
        Some(depth) if config.net == NetKind::Staged => {
            format!("what fits is a net of at most {depth} residual blocks per stage (--blocks)")
        }
        Some(depth) => format!("the largest depth that fits is --depth {depth}"),
        None => "not even the shallowest net fits; lower --batch or --channels".into(),
    };
    Err(Error::PlanOverLimit { planned: bytes.total(), limit, source_of_limit, advice, table: bytes.table() })
}
