//! What the user sees of a download.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rewind::memory::human;

/// How a download shows itself, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A bar with speed and time left.
    Bar,
    /// A line for each tenth.
    Lines,
    /// Nothing.
    Quiet,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere.
    pub fn detect() -> Self {
        if stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }
}

/// Shows one download.
pub(super) struct Display {
    how: Progress,
    name: String,
    bar: ProgressBar,
    total: Option<u64>,
    tenths: u64,
}

impl Display {
    pub(super) fn new(how: Progress, name: &str) -> Self {
        let bar = if how == Progress::Bar { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_string());
        Self { how, name: name.into(), bar, total: None, tenths: 0 }
    }

    /// A response has begun: `have` bytes are on disk, `total` is the file's size if the server told it.
    pub(super) fn begin(&mut self, have: u64, total: Option<u64>) {
        self.total = total;
        self.tenths = self.tenths_of(have);
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(have);
        // Bytes of an earlier run say nothing about today's speed.
        self.bar.reset_eta();
        let of = total.map_or(String::new(), |total| format!(" of {}", human(total)));
        self.say(&match have {
            0 => format!("downloading{of}"),
            have => format!("resuming at {}{of}", human(have)),
        });
    }

    pub(super) fn advance(&mut self, have: u64) {
        self.bar.set_position(have);
        let tenths = self.tenths_of(have);
        if tenths > self.tenths {
            self.tenths = tenths;
            self.say(&format!("{} %", 10 * tenths));
        }
    }

    /// The next thing that takes a moment.
    pub(super) fn stage(&mut self, what: &str) {
        self.bar.set_message(format!("{}: {what}", self.name));
        self.bar.enable_steady_tick(Duration::from_millis(200));
        self.say(what);
    }

    fn say(&self, what: &str) {
        if self.how == Progress::Lines {
            eprintln!("{}: {what}", self.name);
        }
    }

    fn tenths_of(&self, have: u64) -> u64 {
        self.total.map_or(0, |total| 10 * have / total.max(1))
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
