//! A profiled step as text and as CSV.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cost::Cost;
use crate::ledger::{Ledger, Row};
use crate::machine::Peak;

pub const CSV_HEADER: [&str; 11] = [
    "gradient",
    "grain",
    "phase",
    "operation",
    "calls",
    "milliseconds",
    "share",
    "gflop",
    "megabytes",
    "direct_floor_milliseconds",
    "ratio",
];

/// Seconds that a cost takes at the peak: products or bytes, whichever take longer.
fn direct_floor(cost: Cost, peak: &Peak) -> f64 {
    (cost.flop as f64 / peak.flop).max(cost.bytes as f64 / peak.bytes)
}

/// What lies between the operations: the sweep's own loop, and the clock.
fn rest(step: &Ledger) -> Duration {
    step.total.saturating_sub(step.rows.iter().map(|row| row.time).sum())
}

/// Operations under their phases, in the order in which a step comes to them.
pub fn text(step: &Ledger, peak: &Peak) -> String {
    let mut text = format!(
        "{:<26} {:>6} {:>9} {:>7} {:>8} {:>8} {:>9} {:>6}\n",
        "phase / operation", "calls", "ms", "share", "GFLOP", "MB", "floor ms", "ratio"
    );
    let mut line = |name: &str, calls: &str, time: Duration, work: Option<(Cost, f64)>| {
        let (seconds, share) = (time.as_secs_f64(), 100.0 * time.as_secs_f64() / step.total.as_secs_f64());
        // writing to a string cannot fail
        let _ = write!(text, "{name:<26} {calls:>6} {:>9.3} {share:>5.1} %", seconds * 1e3);
        let _ = match work {
            None => writeln!(text),
            Some((cost, floor)) => {
                let (gflop, megabytes) = (cost.flop as f64 / 1e9, cost.bytes as f64 / 1e6);
                // calling an operation takes longer than such a floor
                let ratio = if floor < 1e-6 { "-".into() } else { format!("{:.2}", seconds / floor) };
                writeln!(text, " {gflop:>8.2} {megabytes:>8.2} {:>9.3} {ratio:>6}", floor * 1e3)
            }
        };
    };
    let mut phases: Vec<&str> = Vec::new();
    for row in &step.rows {
        if !phases.contains(&row.phase) {
            phases.push(row.phase);
        }
    }
    for phase in phases {
        let rows: Vec<&Row> = step.rows.iter().filter(|row| row.phase == phase).collect();
        let cost = rows.iter().fold(Cost::default(), |sum, row| sum.plus(row.cost));
        let floor = rows.iter().map(|row| direct_floor(row.cost, peak)).sum();
        line(phase, "", rows.iter().map(|row| row.time).sum(), Some((cost, floor)));
        for row in rows {
            let name = format!("  {}", row.operation);
            line(&name, &row.calls.to_string(), row.time, Some((row.cost, direct_floor(row.cost, peak))));
        }
    }
    let cost = step.rows.iter().fold(Cost::default(), |sum, row| sum.plus(row.cost));
    let floor = step.rows.iter().map(|row| direct_floor(row.cost, peak)).sum();
    line("between operations", "", rest(step), None);
    line("step", "", step.total, Some((cost, floor)));
    text
}

/// A row an operation, and one for the rest, each beginning with `of`, the two words that say which profile it is.
pub fn rows(of: [String; 2], step: &Ledger, peak: &Peak) -> Vec<[String; 11]> {
    let total = step.total.as_secs_f64();
    let [gradient, grain] = of;
    let row = |fields: [String; 9]| {
        let mut all = [gradient.clone(), grain.clone()].into_iter().chain(fields);
        std::array::from_fn(|_| all.next().expect("two fields and nine"))
    };
    let of_operation = |Row { phase, operation, calls, time, cost }: &Row| {
        let (seconds, floor) = (time.as_secs_f64(), direct_floor(*cost, peak));
        let numbers = [seconds * 1e3, seconds / total, cost.flop as f64 / 1e9, cost.bytes as f64 / 1e6, floor * 1e3];
        let [milliseconds, share, gflop, megabytes, floor_milliseconds] = numbers.map(|number| format!("{number:.4}"));
        let (phase, operation, calls) = (phase.to_string(), operation.to_string(), calls.to_string());
        let ratio = format!("{:.3}", seconds / floor);
        row([phase, operation, calls, milliseconds, share, gflop, megabytes, floor_milliseconds, ratio])
    };
    let mut rows: Vec<_> = step.rows.iter().map(of_operation).collect();
    let seconds = rest(step).as_secs_f64();
    let [milliseconds, share] = [seconds * 1e3, seconds / total].map(|number| format!("{number:.4}"));
    let none = String::new;
    rows.push(row(["between operations".into(), none(), none(), milliseconds, share, none(), none(), none(), none()]));
    rows
}
