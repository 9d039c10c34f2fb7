//! What a run takes, before anything is taken: its network, its plan, and whether there is room.

use rewind::code::Bits;
use rewind::data::{Dataset, Part, held_bytes};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::Field;
use rewind::memory::{Bytes, Category, human};
use rewind::net::{Net, NetSpec, largest_that_fits};
use rewind::sweep::{Gradient, SweepSpec};

use crate::checkpoint::{HEADER_MAX, HeaderLength, saved_shape};
use crate::config::{NetKind, Optimiser, RunConfig};
use crate::host_memory::Room;

/// The network that a config and a data set ask for.
///
/// # Panics
/// If the config was not validated.
pub fn net_spec(config: &RunConfig, dataset: &Dataset) -> NetSpec {
    NetSpec {
        depth: config.depth,
        channels: config.channels,
        batch: config.batch,
        stem: config.stem(),
        image: dataset.side(),
        image_channels: rewind::data::CHANNELS,
        classes: dataset.classes,
        label_smoothing: config.label_smoothing,
        second_moments: config.optimiser() == Optimiser::AdamW,
        recipe: config.recipe(),
        mixes: config.mix().mixes(),
        step_size: config.step_size,
        sweep: config.sweep,
        body: config.body().expect("a validated config has a body"),
    }
}

/// The whole plan of a run: the network's, and the data set's outside of the arena.
///
/// # Errors
/// As [`Net::plan`].
pub fn planned<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<Bytes> {
    let mut bytes = Net::<D, F>::plan(d, &net_spec(config, dataset))?;
    bytes.charge(Category::Data, held(config, dataset));
    Ok(bytes)
}

/// Bytes that the data set takes on the device, and the tables of its epochs.
pub(crate) fn held(config: &RunConfig, dataset: &Dataset) -> u64 {
    held_bytes(dataset, net_spec(config, dataset).mixes_of(dataset.images(Part::Train)))
}

/// What the same net would take with stored activations, without the data set.
///
/// # Errors
/// As [`Net::plan`].
pub fn stored_backprop<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<Bytes> {
    let sweep = SweepSpec { update: config.sweep.update, ..SweepSpec::new(config.sweep.scheme, Gradient::Backprop) };
    Net::<D, F>::plan(d, &NetSpec { sweep, ..net_spec(config, dataset) })
}

/// What may be taken: `--memory-limit`, or what there is room for where that is less.
fn limit(config: &RunConfig, room: Option<Room>) -> Option<Room> {
    let allowed = config.memory_limit.map(|bytes| Room { bytes, says: "--memory-limit is" });
    allowed.into_iter().chain(room).min_by_key(|room| room.bytes)
}

/// Fits the codes of the mode `auto` into what may be taken: room for all blocks at the bits that were asked for, else at the most
/// bits at which all blocks have room, else for as many blocks as there is room for at one bit. What was given by `--code-room`
/// stays. Says in one sentence what became less than was asked for.
///
/// # Errors
/// As [`Net::plan`].
pub fn fit_codes<D: Device, F: Field<D>>(d: &D, config: &mut RunConfig, dataset: &Dataset) -> Result<Option<String>> {
    let asked = config.sweep;
    let Some(Room { bytes: limit, says }) = limit(config, Room::of(d)) else { return Ok(None) };
    if asked.gradient != Gradient::Auto || asked.code_room.is_some() {
        return Ok(None);
    }
    let fits = |sweep: SweepSpec| -> Result<bool> {
        Ok(planned::<D, F>(d, &RunConfig { sweep, ..config.clone() }, dataset)?.total() <= limit)
    };
    let mut fitting = None;
    for bits in Bits::ALL.into_iter().rev().filter(|bits| *bits <= asked.bits) {
        let sweep = SweepSpec { bits, ..asked };
        if fits(sweep)? {
            fitting = Some(sweep);
            break;
        }
    }
    let deepest = net_spec(config, dataset).deepest();
    config.sweep = match fitting {
        Some(sweep) => sweep,
        None => {
            let narrow = |room| SweepSpec { bits: Bits::One, code_room: Some(room), ..asked };
            // the plan grows with the room; with none it is the reconstructing modes'
            let room = largest_that_fits(0, deepest.saturating_sub(1), |room| fits(narrow(room)))?;
            narrow(room.unwrap_or(0))
        }
    };
    if config.sweep == asked {
        return Ok(None);
    }
    let (bits, plural) = (config.sweep.bits, if config.sweep.bits == Bits::One { "" } else { "s" });
    let room = match config.sweep.code_room {
        None => "all blocks".to_string(),
        Some(room) => {
            format!("{room} of {deepest} blocks; where more would need it, fixed-point passes take its place")
        }
    };
    let (limit, codes) = (human(limit), format!("codes of {bits} bit{plural}"));
    Ok(Some(format!("auto: {says} {limit}, which leaves room for {codes} for {room}")))
}

/// The plan, refused if it is over `--memory-limit` or over what there is room for, see [`Room::of`].
///
/// # Errors
/// [`Error::PlanOverLimit`] with the table and the largest depth that would fit, and as [`Net::plan`].
pub fn check_limit<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<Bytes> {
    check_room::<D, F>(d, config, dataset, Room::of(d))
}

fn check_room<D: Device, F: Field<D>>(
    d: &D,
    config: &RunConfig,
    dataset: &Dataset,
    room: Option<Room>,
) -> Result<Bytes> {
    let bytes = planned::<D, F>(d, config, dataset)?;
    let over = limit(config, room).filter(|limit| bytes.total() > limit.bytes);
    let Some(Room { bytes: limit, says: source_of_limit }) = over else { return Ok(bytes) };
    let spec = net_spec(config, dataset);
    let extra = held(config, dataset);
    let depth = match Net::<D, F>::largest_depth(d, &spec, extra, limit)? {
        Some(depth) if config.net == NetKind::Staged => {
            format!("what fits is a net of at most {depth} residual blocks per stage (--blocks)")
        }
        Some(depth) => format!("the largest depth that fits is --depth {depth}"),
        None => "not even the shallowest net fits; lower --batch or --channels".into(),
    };
    let advice = match mode_that_fits::<D, F>(d, config, dataset, limit)? {
        Some((gradient, bytes)) => format!("--gradient {gradient} would take {}; in this mode {depth}", human(bytes)),
        None => depth,
    };
    Err(Error::PlanOverLimit { planned: bytes.total(), limit, source_of_limit, advice, table: bytes.table() })
}

/// The mode that comes closest to `backprop`, or to `checkpoint`, and fits, with its bytes; none in other modes, which store next to
/// nothing.
fn mode_that_fits<D: Device, F: Field<D>>(
    d: &D,
    config: &RunConfig,
    dataset: &Dataset,
    limit: u64,
) -> Result<Option<(Gradient, u64)>> {
    let others = match config.sweep.gradient {
        Gradient::Backprop => &[Gradient::Checkpoint, Gradient::Auto][..],
        Gradient::Checkpoint => &[Gradient::Auto],
        _ => &[],
    };
    for gradient in others {
        let sweep = SweepSpec { gradient: *gradient, checkpoint_every: None, ..config.sweep };
        let mut config = RunConfig { sweep, memory_limit: Some(limit), ..config.clone() };
        // auto makes do with less, and says so when it runs
        fit_codes::<D, F>(d, &mut config, dataset)?;
        let bytes = planned::<D, F>(d, &config, dataset)?.total();
        if bytes <= limit {
            return Ok(Some((*gradient, bytes)));
        }
    }
    Ok(None)
}

/// Refuses a net of which no checkpoint could be written: a safetensors header has an end. The mode's plan has nothing to do with it, so that
/// a depth which the memory allows may yet be too large. To be asked before the plan: of a million blocks, that takes its time.
///
/// # Errors
/// [`Error::Usage`] with a depth that can be saved, and as [`Net::plan`].
pub fn check_saves<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<()> {
    // no block's entries are as long
    const BLOCK_MAX: usize = 8 << 10;
    const PROBE: usize = 8000;
    let deepest = net_spec(config, dataset).deepest();
    if config.depths().iter().sum::<usize>().saturating_mul(BLOCK_MAX) <= HEADER_MAX {
        return Ok(());
    }
    let header = |blocks: usize| {
        let (mut count, spec) = (HeaderLength::new(config, blocks), net_spec(config, dataset).at_most(blocks));
        Net::<D, F>::each_planned(d, &spec, &mut |name, shape| {
            count.add(name, &saved_shape(shape));
            Ok(())
        })?;
        Ok::<f64, Error>(count.bytes() as f64)
    };
    let most = HEADER_MAX as f64;
    // A block's entries grow with its number, so that what the first blocks take is the least that the others do.
    let (half, probe) = (header(PROBE / 2)?, header(PROBE)?);
    let per_block = (probe - half) / (PROBE / 2) as f64;
    let at_least = probe + per_block * deepest.saturating_sub(PROBE) as f64;
    let bytes = if at_least > 2.0 * most { at_least } else { header(deepest)? };
    if bytes <= most {
        return Ok(());
    }
    let near = ((most / per_block) as usize).clamp(1, deepest);
    let fitting = (near as f64 * (most / header(near)?).min(1.0)) as usize;
    let fitting = (1..=fitting).rev().find(|blocks| config.sweep.scheme.takes(*blocks)).unwrap_or(1);
    let flag = if config.net == NetKind::Staged { "blocks per stage (--blocks)" } else { "--depth" };
    Err(Error::Usage(format!(
        "a checkpoint of {} could not be written, as its list of tensors has {} of at most {}: give {flag} {fitting} or less",
        config.net_name(),
        human(bytes as u64),
        human(HEADER_MAX as u64),
    )))
}

#[cfg(test)]
mod tests {
    use rewind::cpu::Cpu;
    use rewind::field::Basic;

    use super::*;
    use crate::host_memory::tests::container;
    use crate::synthetic;

    #[test]
    fn a_plan_over_the_limit_of_its_container_is_refused_by_its_name() {
        let (cpu, dataset) = (Cpu::new(Some(1)).unwrap(), synthetic::generate(0));
        let config = RunConfig::default();
        let refusal = |limit: &str, config: &RunConfig| {
            let room = Room::in_groups(container(limit).path());
            check_room::<_, Basic>(&cpu, config, &dataset, room).err().map(|e| e.to_string())
        };
        let text = refusal("12000000", &config).unwrap();
        let named = "and what the memory limit of its container (cgroup) leaves is 9.5 MiB: not even";
        assert!(text.contains(named), "{text}");
        assert_eq!(refusal("max", &config), None);
        assert_eq!(refusal("1000000000000", &config), None);
        // whichever is less
        let given = RunConfig { memory_limit: Some(1 << 20), ..config };
        let text = refusal("12000000", &given).unwrap();
        assert!(text.contains("and --memory-limit is 1.0 MiB"), "{text}");
    }
}
