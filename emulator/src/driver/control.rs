//! Exports beside the driver API, through which [`crate::Emulator`] reaches into the library: what is linked into a test
//! has statics of its own. Texts are JSON.

use serde::Serialize;

use super::code::{Code, Result};
use super::settings;
use super::state::driver;
use super::statistics::Statistics;
use crate::machine::Machine;
use crate::profile::Profile;

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Code::UNKNOWN)
}

/// Writes a text into a buffer if it fits, and always tells its length.
fn give(text: &str, out: &Out<u8>, room: usize, length: &Out<usize>) -> Result<bool> {
    length.put(text.len())?;
    if text.len() > room {
        return Ok(false);
    }
    text.bytes().enumerate().try_for_each(|(at, byte)| out.at(at, byte))?;
    Ok(true)
}

exports! {
    fn rewind_emulator_faults(out: Out<u8>, room: usize, length: Out<usize>, take: u32) {
        driver(|d| {
            if give(&json(&d.faults)?, &out, room, &length)? && take != 0 {
                d.faults.clear();
            }
            Ok(())
        })
    }
    fn rewind_emulator_counters(out: Out<u8>, room: usize, length: Out<usize>, take: u32) {
        driver(|d| {
            if give(&json(&d.machine.counts())?, &out, room, &length)? && take != 0 {
                d.machine.reset_counts();
            }
            Ok(())
        })
    }
    fn rewind_emulator_statistics(out: Out<u8>, room: usize, length: Out<usize>, take: u32) {
        driver(|d| {
            if give(&json(&d.statistics)?, &out, room, &length)? && take != 0 {
                d.statistics = Statistics::default();
            }
            Ok(())
        })
    }
    fn rewind_emulator_printed(out: Out<u8>, room: usize, length: Out<usize>, take: u32) {
        driver(|d| {
            d.printed += &d.machine.take_printed();
            if give(&d.printed, &out, room, &length)? && take != 0 {
                d.printed.clear();
            }
            Ok(())
        })
    }
    fn rewind_emulator_options(out: Out<u8>, room: usize, length: Out<usize>, _take: u32) {
        // Before `cuInit` there are only the options to come.
        let options = match driver(|d| Ok(d.machine.options)) {
            Err(Code::NOT_INITIALIZED) => settings::options(),
            options => options,
        };
        give(&json(&options?)?, &out, room, &length).map(drop)
    }
    fn rewind_emulator_set_options(text: Text) {
        let options = serde_json::from_str(text.get()?).map_err(|_| Code::INVALID_VALUE)?;
        settings::choose_options(options);
        let applied = driver(|d| {
            // Whether unwritten bytes are known is decided as memory is allocated; an empty device can start again.
            let empty = d.machine.memory.free_bytes() == d.machine.memory.total() && d.host.is_empty();
            if empty && d.machine.options.checks != options.checks {
                d.printed += &d.machine.take_printed();
                d.machine = Machine::new(d.machine.profile, options);
            }
            d.machine.options = options;
            Ok(())
        });
        if applied == Err(Code::NOT_INITIALIZED) { Ok(()) } else { applied }
    }
    fn rewind_emulator_set_gpu(name: Text) {
        let profile = Profile::named(name.get()?).ok_or(Code::NOT_FOUND)?;
        match driver(|d| Ok(d.machine.profile)) {
            Err(Code::NOT_INITIALIZED) => {
                settings::choose_profile(profile);
                Ok(())
            }
            Ok(posing) if posing == profile => Ok(()),
            // Programs have seen the other one already.
            _ => Err(Code::ILLEGAL_STATE),
        }
    }
}
