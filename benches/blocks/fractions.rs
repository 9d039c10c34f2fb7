//! The table at the end: every benchmark of this run beside the machine's measured peak, from the estimates that criterion
//! saves.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use criterion::Throughput;
use rewind_paper::table::csv;
use serde_json::Value;

use crate::CPU;
use crate::machine::Peak;

/// Where criterion keeps its estimates: where it is told to, or `criterion` in the build folder that this program is in.
pub fn estimates_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("CRITERION_HOME") {
        return folder.into();
    }
    // target/release/deps/blocks-hash
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).unwrap_or(Path::new("target")).join("criterion")
}

/// The benchmarks of this run.
pub struct Session {
    folder: PathBuf,
    begun: SystemTime,
    ran: Vec<Ran>,
}

struct Ran {
    id: String,
    throughput: Throughput,
    device: &'static str,
}

impl Session {
    /// Begins with none.
    pub fn begin(folder: PathBuf) -> Self {
        Self { folder, begun: SystemTime::now(), ran: Vec::new() }
    }

    /// Notes one.
    pub fn ran(&mut self, id: String, throughput: Throughput, device: &'static str) {
        self.ran.push(Ran { id, throughput, device });
    }

    /// Prints the table and writes it as `blocks.csv` beside the estimates. A run that saved none, such as a test, has none.
    pub fn report(&self, peak: &Peak) {
        let saved = self.saved();
        let header = ["id", "median_seconds", "rate", "unit", "fraction_of_peak"];
        let (mut rows, mut table) = (Vec::new(), String::new());
        for Ran { id, throughput, device } in &self.ran {
            let Some((_, seconds)) = saved.iter().find(|(saved, _)| saved == id) else { continue };
            let (rate, unit, best) = match throughput {
                Throughput::Elements(flop) => (*flop as f64 / seconds, "GFLOP/s", peak.flop),
                Throughput::Bytes(bytes) => (*bytes as f64 / seconds, "GB/s", peak.bytes),
                other => unreachable!("no benchmark here counts {other:?}"),
            };
            // a GPU's results are no fraction of what the CPU can do
            let fraction = (*device == CPU).then_some(rate / best);
            let percent = fraction.map_or("-".into(), |f| format!("{:.0} %", 100.0 * f));
            let (micros, giga) = (seconds * 1e6, rate / 1e9);
            // writing to a string cannot fail
            let _ = writeln!(table, "{id:<56} {micros:>13.3} us {giga:>8.1} {unit:<7} {percent:>6}");
            let fraction = fraction.map(|fraction| format!("{fraction:.4}"));
            rows.push((id, format!("{seconds:e}"), format!("{giga:.3}"), unit, fraction));
        }
        if table.is_empty() {
            return;
        }
        println!(
            "\nmedian times, and rates as fractions of the peak measured in this run (over 100 %: out of cache, not memory)"
        );
        println!("{peak}\n\n{table}");
        let file = self.folder.join("blocks.csv");
        match fs::write(&file, csv(&header, rows)) {
            Ok(()) => println!("written to {}", file.display()),
            Err(reason) => eprintln!("cannot write {}: {reason}", file.display()),
        }
    }

    /// IDs and median seconds of all estimates that are younger than this run.
    fn saved(&self) -> Vec<(String, f64)> {
        let mut saved = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            folders.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
            if folder.file_name().is_some_and(|name| name == "new") {
                saved.extend(self.estimate(&folder));
            }
        }
        saved
    }

    fn estimate(&self, folder: &Path) -> Option<(String, f64)> {
        let estimates = folder.join("estimates.json");
        if fs::metadata(&estimates).ok()?.modified().ok()? < self.begun {
            return None;
        }
        let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
        let id = read(&folder.join("benchmark.json"))?["full_id"].as_str()?.to_string();
        let nanos = read(&estimates)?["median"]["point_estimate"].as_f64()?;
        Some((id, nanos * 1e-9))
    }
}
