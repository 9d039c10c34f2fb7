//! What the runs gave: the table on the terminal and the CSV files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rewind::memory::human;

use crate::load::NOTICEABLE;
use crate::measured::{Measured, extent, median};

/// Everything measured so far, and the folder that holds it.
pub struct Results {
    folder: PathBuf,
    runs: String,
    summary: String,
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
        let mut machine = String::from("key,value\n");
        for (key, value) in facts {
            // writing to a string cannot fail, here and below
            let _ = writeln!(machine, "{key},{}", quoted(value));
        }
        let results = Self {
            folder: folder.into(),
            runs: "id,round,program,gradient,setting,threads,steps,step_ms_median,peak_rss_bytes,other_cores\n".into(),
            summary:
                "id,what,ours,peer,unit,ours_median,peer_median,ratio_median,ratio_min,ratio_max,at_least,aim,rounds\n"
                    .into(),
            disturbed: 0,
        };
        results.put("peer_machine.csv", &machine)?;
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
        let _ = writeln!(
            self.runs,
            "{id},{round},{program},{gradient},{},{threads},{steps},{step_ms:.3},{rss},{others}",
            quoted(setting)
        );
        self.put("peer_runs.csv", &self.runs)?;
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
            let _ = writeln!(
                self.summary,
                "{},{},{},{},{},{ours:.3},{peer:.3},{middle:.4},{low:.4},{high:.4},{:.2},{},{}",
                r.id,
                r.what.name(),
                quoted(&r.ours),
                quoted(&r.peer),
                r.what.unit(),
                r.at_least,
                r.aim,
                r.ratios.len()
            );
        }
        self.put("peer_summary.csv", &self.summary)
    }

    /// Notes a figure of ours alone: nothing to be compared with.
    pub fn own(&mut self, id: &str, what: &str, unit: &str, value: f64, rounds: usize) -> Result<()> {
        let _ = writeln!(self.summary, "{id},{what},adjoint,,{unit},{value:.4},,,,,,,{rounds}");
        self.put("peer_summary.csv", &self.summary)
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

/// A field that may hold a comma.
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}
