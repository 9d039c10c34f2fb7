//! What the emulator is told before `cuInit`: which GPU to pose as and how strictly to run, from calls or the environment.

use std::collections::HashMap;
use std::env;
use std::sync::{Mutex, PoisonError};

use super::code::{Code, Result};
use super::export::say;
use crate::machine::Options;
use crate::profile::{H100_SXM, Profile};

#[derive(Clone, Copy)]
struct Choice {
    profile: Option<&'static Profile>,
    options: Option<Options>,
}

static CHOICE: Mutex<Choice> = Mutex::new(Choice { profile: None, options: None });

fn choice<R>(work: impl FnOnce(&mut Choice) -> R) -> R {
    work(&mut CHOICE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Chooses the GPU for a `cuInit` to come.
pub fn choose_profile(profile: &'static Profile) {
    choice(|c| c.profile = Some(profile));
}

/// Chooses options for a `cuInit` to come.
pub fn choose_options(options: Options) {
    choice(|c| c.options = Some(options));
}

/// The options chosen or, without a choice, those of the environment.
pub fn options() -> Result<Options> {
    match choice(|c| c.options) {
        Some(options) => Ok(options),
        None => from_environment(),
    }
}

/// The GPU and the options chosen or, without a choice, those of the environment.
pub fn chosen() -> Result<(&'static Profile, Options)> {
    if !variable("REWIND_EMULATOR_DEVICES", true, switch)? {
        return Err(Code::NO_DEVICE);
    }
    let profile = match choice(|c| c.profile) {
        Some(profile) => profile,
        None => variable("REWIND_EMULATOR_GPU", &H100_SXM, Profile::named)?,
    };
    Ok((altered(profile)?, options()?))
}

/// The version that the driver gives itself: `REWIND_EMULATOR_DRIVER`, such as `12.8`, or CUDA 13.0.
pub fn driver_version() -> Result<i32> {
    let (major, minor) = driver()?.unwrap_or((13, 0));
    Ok((1000 * major + 10 * minor) as i32)
}

/// The newest PTX that the driver named there reads; none where none is named (PTX ISA, release history).
pub fn newest_ptx() -> Result<Option<(u32, u32)>> {
    let ptx = |driver: (u32, u32)| match driver {
        // CUDA 12.6 brought no new PTX
        (12, minor @ 6..) => (8, minor - 1),
        (major, minor) => (major.saturating_sub(4), minor),
    };
    Ok(driver()?.map(ptx))
}

fn driver() -> Result<Option<(u32, u32)>> {
    variable("REWIND_EMULATOR_DRIVER", None, |value| two_numbers(value).map(Some))
}

/// The profile, but for what the environment says of compute capability, memory, cooperative launches and graphs: to see how programs
/// take it.
fn altered(profile: &'static Profile) -> Result<&'static Profile> {
    let compute_capability = variable("REWIND_EMULATOR_CAPABILITY", profile.compute_capability, two_numbers)?;
    let memory_bytes = variable("REWIND_EMULATOR_MEMORY", profile.memory_bytes, |n| n.parse().ok())?;
    let refuses_cooperation = !variable("REWIND_EMULATOR_COOPERATION", true, switch)?;
    let graph_nodes = variable("REWIND_EMULATOR_GRAPH_NODES", profile.graph_nodes, |n| n.parse().ok())?;
    let altered = Profile { compute_capability, memory_bytes, refuses_cooperation, graph_nodes, ..profile.clone() };
    if altered == *profile { Ok(profile) } else { Ok(Box::leak(Box::new(altered))) }
}

/// What `ptxas -v` said of kernels: their registers by name, from the file that `REWIND_EMULATOR_PTXAS` names.
pub fn measured_registers() -> Result<HashMap<String, u32>> {
    variable("REWIND_EMULATOR_PTXAS", HashMap::new(), |path| {
        let said = registers_said(&std::fs::read_to_string(path).ok()?);
        Some(said).filter(|said| !said.is_empty())
    })
}

/// Reads `Compiling entry function 'k' for 'sm_80'` and, some lines on, `Used 24 registers, ...`.
fn registers_said(text: &str) -> HashMap<String, u32> {
    let mut said = HashMap::<String, u32>::new();
    let mut kernel = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next();
        } else if let Some((_, rest)) = line.split_once("Used ")
            && let Some(count) = rest.split_once(" registers").and_then(|(count, _)| count.parse().ok())
            && let Some(name) = kernel.take()
        {
            // Of several targets the one that needs most.
            let known = said.entry(name.to_string()).or_insert(count);
            *known = count.max(*known);
        }
    }
    said
}

fn two_numbers(value: &str) -> Option<(u32, u32)> {
    let (major, minor) = value.split_once('.')?;
    Some((major.parse().ok().filter(|&n| n < 1000)?, minor.parse().ok().filter(|&n| n < 10)?))
}

/// A variable's meaning. One that is set and means nothing is refused: a silent default would hide the mistake.
fn variable<T>(name: &str, otherwise: T, meaning: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let Some(value) = env::var_os(name) else { return Ok(otherwise) };
    value.to_str().and_then(meaning).ok_or_else(|| {
        say("cuInit", format_args!("{name} is {value:?}, which means nothing"));
        Code::INVALID_VALUE
    })
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn from_environment() -> Result<Options> {
    let start = Options::default();
    Ok(Options {
        checks: variable("REWIND_EMULATOR_CHECKS", start.checks, switch)?,
        counters: variable("REWIND_EMULATOR_COUNTERS", start.counters, switch)?,
        shuffle: variable("REWIND_EMULATOR_SHUFFLE", start.shuffle, |seed| seed.parse().ok().map(Some))?,
        threads: variable("REWIND_EMULATOR_THREADS", start.threads, |n| n.parse().ok().filter(|&n| n > 0))?,
        ..start
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_from_what_ptxas_prints() {
        let text = "ptxas info    : 0 bytes gmem\n\
                    ptxas info    : Compiling entry function 'first' for 'sm_80'\n\
                    ptxas info    : Function properties for first\n\
                    \x20   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                    ptxas info    : Used 24 registers, used 1 barriers, 400 bytes cmem[0]\n\
                    ptxas info    : Compiling entry function 'first' for 'sm_90'\n\
                    ptxas info    : Used 32 registers\n\
                    ptxas info    : Compiling entry function 'second' for 'sm_80'\n\
                    ptxas info    : Used 255 registers\n";
        assert_eq!(registers_said(text), HashMap::from([("first".into(), 32), ("second".into(), 255)]));
        assert!(registers_said("Used 24 registers\nnothing else").is_empty());
    }
}
