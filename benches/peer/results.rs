//! What the runs gave: the table on the terminal and the CSV files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rewind::memory::human;
use rewind_paper::table::csv;

use crate::load::NOTICEABLE;
use crate::measured::{Measured, extent, median};

const RUNS: [&str; 10] = [
    "id",
    "round",
    "program",
    "gradient",
    "setting",
    "threads",
    "steps",
    "step_ms_median",
    "peak_rss_bytes",
    "other_cores",
];
const SUMMARY: [&str; 13] = [
    "id",
    "what",
    "ours",
    "peer",
    "unit",
    "ours_median",
    "peer_median",
    "ratio_median",
    "ratio_min",
    "ratio_max",
    "at_least",
    "aim",
    "rounds",
];

/// The fields of a line of [`RUNS`] and of [`SUMMARY`].
type Run = [String; 10];
type Summary = [String; 13];

/// Everything measured so far, and the folder that holds it.
pub struct Results {
    folder: PathBuf,
    runs: Vec<Run>,
    summary: Vec<Summary>,
    /// Runs during which other programs were busy.
    pub disturbed: usize,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq)]
pub enum What {
    Step,
    Memory,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Step => "step",
            What::Memory => "memory",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            What::Step => "ms",
            What::Memory => "MiB",
        }
    }
}

/// A ratio of every round.
pub struct Ratio {
    /// The row's name.
    pub id: String,
    pub what: What,
    /// Our mode.
    pub ours: String,
    /// The peer's mode and setting.
    pub peer: String,
    /// Ours and the peer's, medians.
    pub values: (f64, f64),
    /// The peer's over ours, round by round.
    pub ratios: Vec<f64>,
    pub at_least: f64,
    pub aim: f64,
}

impl Results {
    /// Makes the folder and leaves the machine's facts in it.
    pub fn new(folder: &Path, facts: &[(&str, String)]) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let results = Self { folder: folder.into(), runs: Vec::new(), summary: Vec::new(), disturbed: 0 };
        results.put("peer_machine.csv", &csv(&["key", "value"], facts))?;
        Ok(results)
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Notes one run, and tells it as progress. Round 0 is the search for the best setting.
    pub fn run(&mut self, id: &str, round: usize, run: &Measured) -> Result<()> {
        let Measured { side, gradient, setting, threads, steps, step_ms, peak_rss_bytes, other_cores } = run;
        let rss = peak_rss_bytes.map_or(String::new(), |bytes| bytes.to_string());
        let others = other_cores.map_or(String::new(), |cores| format!("{cores:.2}"));
        self.disturbed += usize::from(other_cores.is_some_and(|cores| cores > NOTICEABLE));
        let program = side.name();
        self.runs.push([
            id.into(),
            round.to_string(),
            program.into(),
            gradient.to_string(),
            setting.to_string(),
            threads.to_string(),
            steps.to_string(),
            format!("{step_ms:.3}"),
            rss,
            others,
        ]);
        self.put("peer_runs.csv", &csv(&RUNS, &self.runs))?;
        let of = if round == 0 { "setting".into() } else { format!("round {round}") };
        let process = peak_rss_bytes.map_or(String::new(), |bytes| format!(", {} resident at peak", human(bytes)));
        println!(
            "  {of:<9}{program:<7} {:<10}{step_ms:>9.1} ms per step, {steps} steps, threads {threads}{process}{}",
            gradient.to_string(),
            if setting.is_empty() { String::new() } else { format!(" ({setting})") }
        );
        Ok(())
    }

    /// Notes ratios, and prints them as a table.
    pub fn ratios(&mut self, ratios: &[Ratio]) -> Result<()> {
        table(ratios);
        for r in ratios {
            let (middle, (low, high)) = (median(&r.ratios), extent(&r.ratios));
            let (ours, peer) = r.values;
            self.summary.push([
                r.id.clone(),
                r.what.name().into(),
                r.ours.clone(),
                r.peer.clone(),
                r.what.unit().into(),
                format!("{ours:.3}"),
                format!("{peer:.3}"),
                format!("{middle:.4}"),
                format!("{low:.4}"),
                format!("{high:.4}"),
                format!("{:.2}", r.at_least),
                r.aim.to_string(),
                r.ratios.len().to_string(),
            ]);
        }
        self.put("peer_summary.csv", &csv(&SUMMARY, &self.summary))
    }

    /// Notes a figure of ours alone: nothing to be compared with.
    pub fn own(&mut self, id: &str, what: &str, unit: &str, value: f64, rounds: usize) -> Result<()> {
        let mut row: Summary = Default::default();
        let fields = [(0, id.into()), (1, what.into()), (2, "adjoint".into()), (4, unit.into())];
        let numbers = [(5, format!("{value:.4}")), (12, rounds.to_string())];
        fields.into_iter().chain(numbers).for_each(|(at, field)| row[at] = field);
        self.summary.push(row);
        self.put("peer_summary.csv", &csv(&SUMMARY, &self.summary))
    }
}

/// Ratios beside what is asked of them.
pub fn table(ratios: &[Ratio]) {
    println!(
        "{:<24}{:<23}{:<34}{:>11}{:>11}  {:<5}{:>7}{:>16}{:>10}{:>5}",
        "shape", "rewind", "torch", "rewind", "torch", "", "ratio", "min to max", "at least", "aim"
    );
    for r in ratios {
        let (middle, (low, high)) = (median(&r.ratios), extent(&r.ratios));
        let (ours, peer) = r.values;
        println!(
            "{:<24}{:<23}{:<34}{ours:>11.1}{peer:>11.1}  {:<5}{middle:>7.2}{:>16}{:>10.2}{:>5}  {}",
            r.id,
            r.ours,
            r.peer,
            r.what.unit(),
            format!("{low:.2} to {high:.2}"),
            r.at_least,
            r.aim,
            verdict(middle, r.at_least, r.aim)
        );
    }
}

fn verdict(ratio: f64, at_least: f64, aim: f64) -> &'static str {
    if ratio >= aim {
        "aim reached"
    } else if ratio >= at_least {
        "reached"
    } else {
        "missed"
    }
}
