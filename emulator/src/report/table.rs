//! The report as text.

use std::fmt::Write;

use super::kernels::{KernelReport, by_kernel};
use super::{CAVEATS, LAUNCH_OVERHEAD_US, Resource};
use crate::counters::LaunchCounts;
use crate::profile::{Basis, Profile};

/// A column: its heading and what stands in it.
struct Column {
    heading: &'static str,
    cell: fn(&KernelReport) -> String,
}

const COLUMNS: &[Column] = &[
    Column { heading: "launches", cell: |k| k.launches.to_string() },
    Column { heading: "bound us", cell: |k| figure(k.lower_us) },
    Column { heading: "by", cell: |k| if k.lower_us > 0.0 { k.binding.name() } else { "-" }.into() },
    Column { heading: "latency us", cell: |k| figure(k.microseconds.get(&Resource::Latency).copied().unwrap_or(0.0)) },
    Column { heading: "warp instr", cell: |k| k.warp_instructions.to_string() },
    Column { heading: "lanes %", cell: |k| format!("{:.1}", 100.0 * k.active_lane_ratio()) },
    Column { heading: "GFLOP fp32", cell: |k| giga(k.flop.fp32) },
    Column { heading: "fp64", cell: |k| giga(k.flop.fp64) },
    Column { heading: "half", cell: |k| giga(k.flop.half) },
    Column { heading: "tensor", cell: |k| giga(k.flop.tensor()) },
    Column { heading: "SFU Gop", cell: |k| giga(k.special) },
    Column { heading: "sect/req", cell: |k| k.sectors_per_request().map_or("-".into(), |s| format!("{s:.2}")) },
    Column { heading: "conflict %", cell: |k| k.conflict_ratio().map_or("-".into(), |c| format!("{:.1}", 100.0 * c)) },
    Column { heading: "unique MB", cell: |k| figure(k.unique_bytes as f64 / 1e6) },
];

/// A table with a line for each kernel, under a header that says what it is and what it leaves out.
pub fn table(launches: &[LaunchCounts], profile: &Profile) -> String {
    let kernels = by_kernel(launches, profile);
    let mut text = header(profile);
    let mut columns: Vec<Vec<String>> = Vec::new();
    for column in COLUMNS {
        let cells = kernels.iter().map(column.cell);
        columns.push(std::iter::once(column.heading.to_string()).chain(cells).collect());
    }
    let widths: Vec<usize> =
        columns.iter().map(|cells| cells.iter().map(|c| c.chars().count()).max().unwrap_or(0)).collect();
    let names = std::iter::once("kernel").chain(kernels.iter().map(|k| k.kernel.as_str()));
    for (row, name) in names.enumerate() {
        for (cells, width) in columns.iter().zip(&widths) {
            text += &format!("{:>width$}  ", cells[row]);
        }
        // Names come last: those of templates are as long as they like.
        text += name;
        text.push('\n');
    }
    let total: f64 = kernels.iter().map(|k| k.lower_us).sum();
    let count: u64 = kernels.iter().map(|k| k.launches).sum();
    text + &format!("\nAll {count} launches: at least {} us.\n", figure(total))
}

fn header(profile: &Profile) -> String {
    let said = |basis: Basis| match basis {
        Basis::Published => "published",
        Basis::Measured => "measured by third parties",
        Basis::Scaled => "scaled from another card",
    };
    let l = profile.latencies;
    let mut text = format!(
        "Lower bound of each kernel's time on {} ({}), computed from the PTX that ran: not a measurement.\n\
         {} SMs at {:.2} GHz; FP32 {:.1}, tensor tf32 {:.1} / bf16 {:.1} TFLOP/s; DRAM {:.2}, L2 {:.2} TB/s ({}).\n\
         Clocks until a result: arithmetic {}, tensor {}, shared memory {}, L1 {}, L2 {}, barrier {} ({}).\n\
         Launch overhead, about {LAUNCH_OVERHEAD_US} us each and less in graphs, is not included.\n",
        profile.device,
        profile.name,
        profile.sm_count,
        profile.clock_hz() / 1e9,
        profile.fp32_peak() / 1e12,
        profile.tensor.tf32 / 1e12,
        profile.tensor.bf16 / 1e12,
        profile.dram_bandwidth() / 1e12,
        profile.l2_bandwidth / 1e12,
        said(profile.l2_basis),
        l.arithmetic,
        l.product,
        l.shared,
        l.l1,
        l.l2,
        l.barrier,
        said(l.basis),
    );
    for caveat in CAVEATS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {caveat}");
    }
    text.push('\n');
    text
}

fn giga(count: u64) -> String {
    figure(count as f64 / 1e9)
}

/// About four digits, without an exponent unless the number is tiny or huge.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v < 1e-3 => format!("{value:.1e}"),
        v if v < 1.0 => format!("{value:.4}"),
        v if v < 10.0 => format!("{value:.3}"),
        v if v < 100.0 => format!("{value:.2}"),
        v if v < 1000.0 => format!("{value:.1}"),
        v if v < 1e9 => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}
