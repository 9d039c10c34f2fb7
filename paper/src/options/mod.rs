//! What all experiments are told in the same way.

pub mod plain;
pub mod staged;

use std::path::PathBuf;

use rewind::error::{Error, Result};
use rewind_train::log::{Log, LogKind};

/// Where the experiments' folders go unless another place is named.
const OUT: &str = "runs/paper";

#[derive(Debug, clap::Args)]
pub struct Common {
    /// The small form, for two cores; without it the settings of the paper.
    #[arg(long, global = true)]
    #[arg(help_heading = "Run")]
    pub quick: bool,
    /// Folder in which each experiment has its own.
    #[arg(long, value_name = "DIR", default_value = OUT, global = true)]
    #[arg(help_heading = "Run")]
    out: PathBuf,
    /// Number of seeds, from 0 on [default: what the experiment names].
    #[arg(long, value_name = "N", global = true)]
    #[arg(help_heading = "Run")]
    seeds: Option<u64>,
    /// Print only the final tables.
    #[arg(long, short, global = true)]
    #[arg(help_heading = "Run")]
    quiet: bool,
}

impl Common {
    pub fn log(&self) -> Log {
        Log::new(LogKind::detect(self.quiet))
    }

    /// The folder of one experiment.
    pub fn folder(&self, experiment: &str) -> PathBuf {
        self.out.join(experiment)
    }

    /// The seeds: as many as were asked for, else the experiment's number of the quick and of the full form.
    ///
    /// # Errors
    /// [`Error::Usage`] if none were asked for.
    pub fn seeds(&self, quick: u64, full: u64) -> Result<std::ops::Range<u64>> {
        match self.seeds {
            Some(0) => Err(Error::Usage("--seeds 0 computes nothing: give 1 or more".into())),
            given => Ok(0..given.unwrap_or(if self.quick { quick } else { full })),
        }
    }
}

/// A number of 1 or more, of a list on the command line.
///
/// # Errors
/// A sentence if the text is no such number.
pub fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err("expected whole numbers of 1 or more, with commas between".into()),
        Ok(number) => Ok(number),
    }
}
