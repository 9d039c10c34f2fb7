//! The figures: a table on the terminal, and the rows of the file.

use super::GPU;
use super::case::{CASES, Case};
use super::floor::{FORMULAS, Floor};
use super::form::{Form, Way};
use rewind::device::Math;
use rewind_emulator::counters::LaunchCounts;
use rewind_emulator::report::{Resource, bounds};
use rewind_paper::table::csv;

/// A line of PTX is part of a main loop if it moves at least this share of its kernel's sectors.
const MAIN_LOOP_SHARE: f64 = 0.05;
/// Bytes of a lane's widest access.
const WIDEST_ACCESS: u64 = 16;

const HEADER: [&str; 19] = [
    "shape",
    "form",
    "way",
    "math",
    "launch",
    "kernel",
    "blocks",
    "threads",
    "tensor_mflop",
    "fp32_mflop",
    "unique_bytes",
    "sectors_per_128_bytes",
    "conflict_share",
    "barriers",
    "bound_us",
    "latency_us",
    "binding",
    "floor_tensor_us",
    "floor_bytes_us",
];

type Row = [String; HEADER.len()];

/// What the file says before its rows: readers skip lines that start with `#`.
fn preamble() -> String {
    let lines = [
        format!("Counted by the emulator, for {} ({}): lower bounds, not measurements.", GPU.device, GPU.name),
        format!(
            "Tensor peaks tf32 {:.1}, fp16 {:.1} TFLOP/s, of which mma.sync reaches {:.0} %; L2 {:.2}, DRAM {:.2} TB/s.",
            GPU.tensor.tf32 / 1e12,
            GPU.tensor.f16 / 1e12,
            100.0 * GPU.mma_sync,
            GPU.l2_bandwidth / 1e12,
            GPU.dram_bandwidth() / 1e12
        ),
        "bound_us: the largest of the resources' times, which binding names; DRAM's is left out where the working set fits into L2.".into(),
        "latency_us is one of them: the longest chain of results that wait for each other.".into(),
        "The launch `all` is the whole block-step: sums of its launches, and its floor. Of a run of eight blocks it is an eighth.".into(),
    ];
    lines.into_iter().chain(FORMULAS.map(String::from)).map(|line| format!("# {line}\n")).collect()
}

/// Sectors for every 128 bytes that a warp asked for, on the worst line of a main loop; 4 is the least that whole rows take.
/// Lines that a single lane runs do not count: they wait at a grid's barrier, as often as it takes.
fn worst_sectors(counts: &LaunchCounts) -> f64 {
    let all: u64 = counts.accesses.values().map(|a| a.sectors).sum();
    let rows = counts.accesses.values().filter(|a| a.bytes > WIDEST_ACCESS * a.requests);
    let main = rows.filter(|a| a.sectors as f64 >= MAIN_LOOP_SHARE * all as f64);
    main.map(|a| 128.0 * a.sectors as f64 / a.bytes as f64).fold(0.0, f64::max)
}

/// One launch, or the sum of all.
#[derive(Default)]
struct Line {
    launch: String,
    kernel: String,
    blocks: String,
    threads: String,
    tensor_mflop: f64,
    fp32_mflop: f64,
    unique_bytes: u64,
    sectors: Option<f64>,
    conflicts: u64,
    wavefronts: u64,
    barriers: u64,
    bound_us: f64,
    latency_us: f64,
    binding: &'static str,
}

impl Line {
    fn of(i: usize, counts: &LaunchCounts, in_cache: bool) -> Line {
        let bounds = bounds(counts, GPU);
        // what fits stays in L2 from one kernel to the next
        let cached = |&(resource, _): &(&Resource, &f64)| !(in_cache && *resource == Resource::Dram);
        let (binding, bound_us) = bounds
            .microseconds
            .iter()
            .filter(cached)
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(("none", 0.0), |(resource, us)| (resource.name(), *us));
        Line {
            launch: i.to_string(),
            kernel: counts.launch.kernel.clone(),
            blocks: counts.launch.blocks().to_string(),
            threads: counts.launch.threads().to_string(),
            tensor_mflop: counts.flop.tensor() as f64 / 1e6,
            fp32_mflop: counts.flop.fp32 as f64 / 1e6,
            unique_bytes: counts.global.unique_bytes,
            sectors: Some(worst_sectors(counts)),
            conflicts: counts.shared.conflicts(),
            wavefronts: counts.shared.wavefronts(),
            barriers: counts.barriers,
            bound_us,
            latency_us: bounds.microseconds[&Resource::Latency],
            binding,
        }
    }

    fn add(&mut self, line: &Line) {
        self.tensor_mflop += line.tensor_mflop;
        self.fp32_mflop += line.fp32_mflop;
        self.unique_bytes += line.unique_bytes;
        self.conflicts += line.conflicts;
        self.wavefronts += line.wavefronts;
        self.barriers += line.barriers;
        self.bound_us += line.bound_us;
        self.latency_us += line.latency_us;
    }

    /// A block-step's part of a run of `blocks`.
    fn part(self, blocks: usize) -> Line {
        let part = |of: u64| of / blocks as u64;
        Line {
            tensor_mflop: self.tensor_mflop / blocks as f64,
            fp32_mflop: self.fp32_mflop / blocks as f64,
            unique_bytes: part(self.unique_bytes),
            barriers: part(self.barriers),
            bound_us: self.bound_us / blocks as f64,
            latency_us: self.latency_us / blocks as f64,
            ..self
        }
    }

    fn conflict_share(&self) -> f64 {
        self.conflicts as f64 / self.wavefronts.max(1) as f64
    }

    fn print(&self) {
        println!(
            "{:<34}{:>8}{:>12.1}{:>11.1}{:>13.2}{:>13.2}{:>10.1}%{:>10.2}{:>12.2}  {}",
            self.kernel,
            self.blocks,
            self.tensor_mflop,
            self.fp32_mflop,
            self.unique_bytes as f64 / f64::from(1 << 20),
            self.sectors.unwrap_or(0.0),
            100.0 * self.conflict_share(),
            self.bound_us,
            self.latency_us,
            self.binding,
        );
    }

    fn row(&self, group: &[&str; 4], floor: Option<&Floor>) -> Row {
        let us = |time: Option<f64>| time.map(|us| format!("{us:.3}")).unwrap_or_default();
        let group = group.map(String::from);
        let [shape, form, way, math] = group;
        [
            shape,
            form,
            way,
            math,
            self.launch.clone(),
            self.kernel.clone(),
            self.blocks.clone(),
            self.threads.clone(),
            format!("{:.3}", self.tensor_mflop),
            format!("{:.3}", self.fp32_mflop),
            self.unique_bytes.to_string(),
            us(self.sectors),
            format!("{:.4}", self.conflict_share()),
            self.barriers.to_string(),
            us(Some(self.bound_us)),
            us(Some(self.latency_us)),
            self.binding.into(),
            us(floor.map(|floor| floor.tensor_us)),
            us(floor.map(|floor| floor.bytes_us)),
        ]
    }
}

/// The rows so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Prints a block-step's launches, and adds their rows and that of all.
    pub fn add(&mut self, case: &Case, form: Form, way: Way, math: Math, launches: &[LaunchCounts]) {
        let floor = Floor::of(case, way, math);
        let math = math.to_string();
        let group = [case.name, form.name(), way.name(), &math];
        println!("\n{} {}, {}, {}, {math}:", case.name, case.map, form.name(), way.name());
        println!(
            "{:<34}{:>8}{:>12}{:>11}{:>13}{:>13}{:>11}{:>10}{:>12}  binding",
            "kernel",
            "blocks",
            "tensor MF",
            "fp32 MF",
            "unique MiB",
            "sectors/128",
            "conflicts",
            "bound us",
            "latency us"
        );
        let mut all = Line { launch: "all".into(), binding: floor.binding(), ..Line::default() };
        for (i, counts) in launches.iter().enumerate() {
            let line = Line::of(i, counts, floor.in_cache);
            line.print();
            all.add(&line);
            self.rows.push(line.row(&group, None));
        }
        let mut all = all.part(form.blocks());
        all.kernel = format!("{} launches", launches.len());
        self.rows.push(all.row(&group, Some(&floor)));
        println!(
            "block-step: {}; unique bytes {:.2} of the floor's; bound {:.1} us, {:.2} of the floor of {:.1} us ({}: products {:.1} us, \
             bytes {:.1} us)",
            all.kernel,
            all.unique_bytes as f64 / floor.bytes as f64,
            all.bound_us,
            all.bound_us / floor.us(),
            floor.us(),
            floor.binding(),
            floor.tensor_us,
            floor.bytes_us,
        );
        let general = launches.iter().filter(|counts| counts.launch.kernel.ends_with("_any"));
        general.for_each(|counts| println!("in the general form: {}", counts.launch.kernel));
    }

    /// Writes the file: these rows, and those of shapes that did not run, as the file has them.
    pub fn write(&self, file: &str) -> std::io::Result<()> {
        let old = std::fs::read_to_string(file).unwrap_or_default();
        let mut old: Vec<Row> = old.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect();
        // rows of other columns are of no use
        if old.first().is_none_or(|header| *header != HEADER) {
            old.clear();
        }
        let rows_of =
            |case: &Case| -> Vec<Row> { self.rows.iter().filter(|row| row[0] == case.name).cloned().collect() };
        let kept = |case: &Case| -> Vec<Row> { old.iter().filter(|row| row[0] == case.name).cloned().collect() };
        let of = |case: &Case| Some(rows_of(case)).filter(|rows| !rows.is_empty()).unwrap_or_else(|| kept(case));
        let rows: Vec<Row> = CASES.iter().flat_map(of).collect();
        std::fs::write(file, preamble() + &csv(&HEADER, rows))
    }
}

/// A line's fields as a row, if it has as many.
fn row(line: &str) -> Option<Row> {
    line.split(',').map(String::from).collect::<Vec<_>>().try_into().ok()
}
