//! Prints the table of lower bounds for the counters that a run has written.
//!
//! `report counters.json --gpu h100-sxm`: the file holds an array of launches' counts, the GPU is one of the profiles.

use std::process::ExitCode;

use rewind_emulator::counters::LaunchCounts;
use rewind_emulator::profile::Profile;
use rewind_emulator::report;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let usage = "Usage: report COUNTERS.json --gpu NAME.";
    let (mut file, mut gpu) = (None, None);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let slot = if argument == "--gpu" { &mut gpu } else { &mut file };
        let value = if argument == "--gpu" { arguments.next() } else { Some(argument) };
        if slot.is_some() || value.as_ref().is_none_or(|v| v.starts_with("--")) {
            return Err(usage.into());
        }
        *slot = value;
    }
    let (Some(file), Some(gpu)) = (file, gpu) else { return Err(usage.into()) };
    let profile = Profile::named(&gpu).ok_or_else(|| {
        let names: Vec<&str> = Profile::ALL.iter().map(|p| p.name).collect();
        format!("There is no GPU profile \"{gpu}\", only {}.", names.join(", "))
    })?;
    let text = std::fs::read_to_string(&file).map_err(|e| format!("Cannot read {file}: {e}."))?;
    let launches: Vec<LaunchCounts> =
        serde_json::from_str(&text).map_err(|e| format!("{file} does not hold counters: {e}."))?;
    Ok(report::table(&launches, profile))
}
