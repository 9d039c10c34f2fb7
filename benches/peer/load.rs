//! What other programs took of the processor during a run: with more than a little of it, a timing is worth nothing. The
//! peer's threads wait for each other at every operation, and suffer more from it than ours.

use std::time::Instant;

/// More than this many cores' worth of other programs is told at the end.
pub const NOTICEABLE: f64 = 0.1;

/// Ticks in a second, of all counts under /proc that a program sees.
const TICKS: f64 = 100.0;

/// Counts from its start on.
pub struct Load {
    since: Instant,
    /// Busy ticks of the machine, and those of this process's children that have ended.
    counts: Option<(f64, f64)>,
}

impl Load {
    pub fn start() -> Self {
        Self { since: Instant::now(), counts: counts() }
    }

    /// Cores that others kept busy since the start, where the system tells; the children of this time must have ended.
    pub fn others(&self) -> Option<f64> {
        let ((busy, ours), (busy_then, ours_then)) = (counts()?, self.counts?);
        let ticks = (busy - busy_then) - (ours - ours_then);
        Some((ticks / TICKS / self.since.elapsed().as_secs_f64()).max(0.0))
    }
}

fn counts() -> Option<(f64, f64)> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let fields: Vec<f64> = machine.lines().next()?.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let busy = fields.iter().sum::<f64>() - fields.get(3)? - fields.get(4)?;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // the name in parentheses may hold spaces; after it, cutime and cstime are the 14th and 15th
    let after: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let children = after.get(13)?.parse::<f64>().ok()? + after.get(14)?.parse::<f64>().ok()?;
    Some((busy, children))
}
