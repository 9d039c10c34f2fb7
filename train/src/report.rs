//! What a run says when it is over, and after each epoch: metrics.csv, summary.json, and the final table.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::path::Path;

use rewind::device::DeviceMemory;
use rewind::error::{Error, Result};
use rewind::memory::{Bytes, Category};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, LocalError, Way};
use serde::{Serialize, Serializer};

use super::atomic::write_atomically;
use super::drift::DriftWarning;
use super::folder::RunFolder;
use super::pace::Clock;
use super::progress::EpochRow;

/// The first line of metrics.csv: the fields of [`EpochRow`].
const COLUMNS: [&str; 12] = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "learning_rate",
    "epoch_seconds",
    "images_per_second",
    "drift",
    "local_error",
    "activation_peak_bytes",
    "peak_bytes",
];

/// Writes metrics.csv anew from all rows, so that a resumed run leaves each epoch once. A drift or a local error that a mode has not is empty.
///
/// # Errors
/// [`Error::Io`]; the former file is then as it was.
pub fn write_metrics(path: &Path, history: &[EpochRow]) -> Result<()> {
    write_atomically(path, |file| {
        // the header is there before the first row is
        let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(file);
        table.write_record(COLUMNS)?;
        history.iter().try_for_each(|row| table.serialize(row))?;
        table.flush()
    })
    .map(drop)
}

/// summary.json: what a run was and how it ended. What was not measured is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The version of this program.
    pub version: &'static str,
    /// The device as a person names it.
    pub device: String,
    /// The data set's name.
    pub dataset: String,
    /// The scheme.
    pub scheme: Scheme,
    /// The gradient mode.
    pub gradient: Gradient,
    /// The net as a person names it.
    pub net: String,
    /// Residual functions, of all stages.
    pub depth: usize,
    /// Channels of the widest.
    pub channels: usize,
    /// Images per step.
    pub batch: usize,
    /// The seed.
    pub seed: u64,
    /// Epochs completed.
    pub epochs: usize,
    /// Steps done, over all sessions.
    pub steps: u64,
    /// Fraction of the test images classified correctly at the end.
    pub test_accuracy: Option<f64>,
    /// Mean loss over the test images at the end.
    pub test_loss: Option<f64>,
    /// The best of all epochs: chosen on test data, so no fair estimate.
    pub best_test_accuracy: Option<f64>,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
    /// Median seconds per step, in this session. A GPU's steps are not timed singly: each counts as the mean of those between
    /// two looks at their results.
    pub step_seconds_median: Option<f64>,
    /// Training images per second, in this session.
    pub images_per_second: Option<f64>,
    /// Mean drift of the last epoch's steps.
    pub drift: Option<f64>,
    /// Steps whose sweep met a block whose reconstruction was worth nothing, so that blocks up to there were not trained.
    pub failed_sweeps: u64,
    /// How each block of each stage is found again on the way back, and what its reconstruction was worth when last measured.
    pub blocks: Vec<Vec<BlockReport>>,
    /// When the drift first passed the level from which on accuracy may be lost; none if it never did.
    #[serde(serialize_with = "in_numbers")]
    pub drift_warning: Option<DriftWarning>,
    /// Peak bytes by category.
    #[serde(serialize_with = "all_categories")]
    pub memory: Bytes,
    /// Peak bytes of state, scratch and saved.
    pub activation_peak_bytes: u64,
    /// Bytes that the plan asked for.
    pub planned_peak_bytes: u64,
    /// Peak bytes of everything in the arena.
    pub peak_bytes: u64,
    /// Peak bytes that the system counts for the process, where it tells.
    pub rss_peak_bytes: Option<u64>,
    /// What the driver tells of the device's own memory; none where there is no such device.
    pub device_memory: Option<DeviceMemoryReport>,
}

/// One block, or one step of Heun's, in [`Summary::blocks`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BlockReport {
    /// `reconstructed`, `refined` (with fixed-point passes) or `coded`.
    pub way: &'static str,
    /// The local error delta; none where none was measured. See [`LocalError`].
    pub local_error: Option<f64>,
    /// The rate of contraction rho.
    pub contraction: Option<f64>,
}

impl BlockReport {
    /// Of one block.
    pub fn new(way: Way, error: Option<LocalError>) -> Self {
        let way = match way {
            Way::Reconstructed => "reconstructed",
            Way::Refined => "refined",
            Way::Coded(_) => "coded",
        };
        Self { way, local_error: error.map(|e| e.delta), contraction: error.map(|e| e.rho) }
    }
}

/// The device's memory as its driver counts it, for all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceMemoryReport {
    /// Bytes that the device has.
    pub total_bytes: u64,
    /// Bytes that were free when it was opened, before kernels and tensors.
    pub free_at_open_bytes: u64,
    /// Bytes that were free when this summary was written, all memory taken.
    pub free_at_end_bytes: u64,
    /// The difference: kernels, arena and what the driver put around them, if no other process took or gave memory.
    pub taken_bytes: u64,
}

impl From<DeviceMemory> for DeviceMemoryReport {
    fn from(now: DeviceMemory) -> Self {
        let DeviceMemory { total_bytes, free_at_open_bytes, free_now_bytes } = now;
        let taken_bytes = now.taken_bytes();
        Self { total_bytes, free_at_open_bytes, free_at_end_bytes: free_now_bytes, taken_bytes }
    }
}

/// A checkpoint holds its floats as exact text; who reads a summary wants numbers. A drift that is none is null.
fn in_numbers<S: Serializer>(warning: &Option<DriftWarning>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Numbers {
        step: u64,
        drift: f64,
        level: f64,
    }
    warning.map(|DriftWarning { step, drift, level }| Numbers { step, drift, level }).serialize(serializer)
}

fn all_categories<S: Serializer>(bytes: &Bytes, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(Category::ALL.map(|category| (category, bytes.of(category))))
}

impl Summary {
    /// Writes summary.json.
    ///
    /// # Errors
    /// [`Error::Io`]; a former file is then as it was.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io("write", path)(e.into()))?;
        write_atomically(path, |w| writeln!(w, "{text}")).map(drop)
    }
}

/// The steps of which a summary.json tells; none if there is no such file.
pub(crate) fn steps_in(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["steps"].as_u64()
}

/// The process's peak resident bytes, which Linux tells.
pub fn rss_peak_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The table that ends a run.
#[derive(Clone, Copy, Debug)]
pub struct FinalTable<'a> {
    /// How it ended.
    pub summary: &'a Summary,
    /// The epoch of [`Summary::best_test_accuracy`].
    pub best_epoch: Option<usize>,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// The plan of the same net, trained with stored activations.
    pub stored_backprop: &'a Bytes,
    /// Where its files are, if it left any.
    pub folder: Option<&'a RunFolder>,
}

impl fmt::Display for FinalTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary: s, best_epoch, seconds, stored_backprop, folder } = self;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<20}{value}");
        let Summary { dataset, net, scheme, gradient, seed, device, batch, .. } = s;
        line("net", &format!("{net}, {scheme}, gradient {gradient}"))?;
        line("run", &format!("{dataset}, batch {batch}, seed {seed}, on {device}"))?;
        match (s.test_accuracy.map(percent), s.epochs) {
            (None, _) => line("test accuracy", "not measured: no epoch is done")?,
            (Some(accuracy), 0) => line("test accuracy", &format!("{accuracy} at the end (step {})", s.steps))?,
            (Some(accuracy), epoch) => line("test accuracy", &format!("{accuracy} at the end (epoch {epoch})"))?,
        }
        if let (Some(epoch), Some(best)) = (best_epoch, s.best_test_accuracy.map(percent)) {
            line("best test accuracy", &format!("{best} after epoch {epoch}, chosen on test data"))?;
        }
        let mut time = format!("{} for {} steps", Clock(*seconds), s.steps);
        if let Some(step) = s.step_seconds_median {
            write!(time, ", {:.1} ms per step (median)", 1e3 * step)?;
        }
        if let Some(speed) = s.images_per_second {
            write!(time, ", {speed:.0} images/s")?;
        }
        line("time", &time)?;
        if let Some(drift) = s.drift {
            let warned = s.drift_warning.map_or(String::new(), |DriftWarning { step, level, .. }| {
                format!("; above {level} first at step {step}: see the warning")
            });
            line("drift", &format!("{drift:.1e} of |x_0|, mean of the last epoch{warned}"))?;
        }
        let coded = s.blocks.iter().flatten().filter(|block| block.way == "coded").count();
        if coded > 0 {
            let all: usize = s.blocks.iter().map(Vec::len).sum();
            line("blocks", &format!("{coded} of {all} coded"))?;
        }
        if s.failed_sweeps > 0 {
            line("failed sweeps", &format!("{}: see summary.json", s.failed_sweeps))?;
        }
        line("memory at peak", "       MiB")?;
        for category in Category::ALL {
            line(&format!("  {category}"), &mib(s.memory.of(category)))?;
        }
        line("  all", &format!("{}   planned {}", mib(s.peak_bytes), mib(s.planned_peak_bytes).trim()))?;
        line("  activations", &format!("{}   state + scratch + saved", mib(s.activation_peak_bytes)))?;
        let stored = stored_backprop.activations();
        let times = stored as f64 / s.activation_peak_bytes.max(1) as f64;
        line("  stored backprop", &format!("{}   activations at this depth, {times:.1} times as many", mib(stored)))?;
        if let Some(rss) = s.rss_peak_bytes {
            line("  process", &format!("{}   as the system counts", mib(rss)))?;
        }
        if let Some(device) = s.device_memory {
            let total = mib(device.total_bytes);
            line("  device", &format!("{}   as its driver counts, of {}", mib(device.taken_bytes), total.trim()))?;
        }
        if let Some(folder) = folder {
            let pictures = [folder.curves(), folder.raster(), folder.confusion_picture(), folder.worst_picture()];
            let files = pictures.into_iter().chain([
                folder.metrics(),
                folder.classes(),
                folder.confused(),
                folder.summary(),
                folder.best(),
            ]);
            let files: Vec<_> = files.collect();
            let there = files.iter().filter(|file| file.exists()).filter_map(|file| file.file_name());
            let names: Vec<String> = there.map(|name| name.display().to_string()).collect();
            line("results in", &format!("{}: see {}", folder.path().display(), names.join(", ")))?;
        }
        Ok(())
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// Ten columns of MiB with two decimals.
fn mib(bytes: u64) -> String {
    format!("{:>10.2}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::tests::row;

    fn summary() -> Summary {
        let mut memory = Bytes::default();
        memory.charge(Category::Parameters, 1 << 20);
        memory.charge(Category::State, 3 << 20);
        Summary {
            version: "1.2.3",
            device: "cpu".into(),
            dataset: "cifar10".into(),
            scheme: Scheme::Euler,
            gradient: Gradient::Corrected,
            net: "depth 8, 16 channels".into(),
            depth: 8,
            channels: 16,
            batch: 256,
            seed: 0,
            epochs: 3,
            steps: 585,
            test_accuracy: Some(0.5),
            test_loss: Some(1.5),
            best_test_accuracy: Some(0.5125),
            train_loss: Some(1.25),
            step_seconds_median: Some(0.125),
            images_per_second: Some(2048.0),
            drift: None,
            failed_sweeps: 0,
            blocks: vec![vec![BlockReport::new(Way::Coded(0), None)]],
            drift_warning: None,
            activation_peak_bytes: memory.activations(),
            planned_peak_bytes: memory.total(),
            peak_bytes: memory.total(),
            memory,
            rss_peak_bytes: None,
            device_memory: None,
        }
    }

    #[test]
    fn metrics_are_written_whole_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let rows = [EpochRow { train_loss: 0.1 + 0.2, ..row(1) }, EpochRow { drift: None, ..row(2) }];
        for history in [&rows[..1], &rows[..], &rows[..]] {
            write_metrics(&path, history).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
            assert_eq!(lines.len(), 1 + history.len());
            assert_eq!(lines[0], COLUMNS);
            assert!(lines.iter().all(|l| l.len() == 12), "{text}");
            assert_eq!(lines[1][1].parse::<f64>().unwrap().to_bits(), (0.1_f64 + 0.2).to_bits());
            assert_eq!(lines[1][8], "0.0001");
            assert_eq!(lines.get(2).map_or("", |l| l[8]), "");
        }
        let bytes = |rows: &[EpochRow]| {
            write_metrics(&path, rows).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let header = "epoch,train_loss,train_accuracy,test_loss,test_accuracy,learning_rate,epoch_seconds,images_per_second,drift,\
                      local_error,activation_peak_bytes,peak_bytes\n";
        assert_eq!(bytes(&[]), header);
        let odd = EpochRow { test_loss: f64::NAN, train_loss: 2.0, learning_rate: 1e-7, drift: Some(1e21), ..row(1) };
        let line = "1,2,0.09999999999999998,NaN,0.09999999999999998,0.0000001,21.5,2325.6,1000000000000000000000,0.001,31457280,62914560\n";
        assert_eq!(bytes(&[odd]), format!("{header}{line}"));
    }

    #[test]
    fn the_columns_are_the_fields_of_a_row() {
        let json = serde_json::to_string(&row(1)).unwrap();
        let places = COLUMNS.map(|name| json.find(&format!("\"{name}\":")).expect(name));
        assert!(places.is_sorted(), "{json}");
        assert_eq!(json.matches(':').count(), COLUMNS.len(), "{json}");
    }

    #[test]
    fn the_summary_has_every_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        summary().write(&path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let keys = "version device dataset scheme gradient net depth channels batch seed epochs steps test_accuracy test_loss best_test_accuracy \
                    train_loss step_seconds_median images_per_second drift failed_sweeps blocks drift_warning memory activation_peak_bytes \
                    planned_peak_bytes peak_bytes rss_peak_bytes device_memory";
        for key in keys.split_whitespace() {
            assert!(json.get(key).is_some(), "no {key} in {json}");
        }
        assert_eq!(json.as_object().unwrap().len(), keys.split_whitespace().count());
        assert_eq!(json["scheme"], "euler");
        assert!(json["drift"].is_null() && json["device_memory"].is_null());
        assert_eq!(json["memory"]["state"], 3 << 20);
        assert_eq!(json["memory"]["gradients"], 0);
        assert_eq!(json["memory"].as_object().unwrap().len(), Category::ALL.len());
    }

    #[test]
    fn the_table_tells_the_last_accuracy_from_the_best() {
        let mut stored = Bytes::default();
        stored.charge(Category::Saved, 30 << 20);
        let mut summary = summary();
        let table = |summary: &Summary| {
            FinalTable { summary, best_epoch: Some(2), seconds: 75.0, stored_backprop: &stored, folder: None }
                .to_string()
        };
        let text = table(&summary);
        for expected in [
            "test accuracy       50.00 % at the end (epoch 3)\n",
            "best test accuracy  51.25 % after epoch 2, chosen on test data\n",
            "time                1:15 for 585 steps, 125.0 ms per step (median), 2048 images/s\n",
            "  state                   3.00\n",
            "  stored backprop        30.00   activations at this depth, 10.0 times as many\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert!(!text.contains("\ndrift") && !text.contains("process") && !text.contains("driver"), "{text}");
        summary.drift = Some(1.5e-4);
        summary.rss_peak_bytes = Some(100 << 20);
        let device = DeviceMemory { total_bytes: 8 << 30, free_at_open_bytes: 7 << 30, free_now_bytes: 6 << 30 };
        summary.device_memory = Some(device.into());
        summary.test_accuracy = None;
        let text = table(&summary);
        for expected in [
            "not measured: no epoch is done",
            "drift               1.5e-4 of |x_0|",
            "  process               100.00",
            "  device               1024.00   as its driver counts, of 8192.00\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn the_systems_count_is_read_where_there_is_one() {
        assert_eq!(high_water_mark("Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n"), Some(1234 * 1024));
        assert_eq!(high_water_mark("Name:\tx\n"), None);
        assert_eq!(rss_peak_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
