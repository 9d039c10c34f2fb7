//! What a step's operations took.

use std::time::{Duration, Instant};

use crate::cost::Cost;

/// One operation in one phase of a step.
#[derive(Clone, Debug)]
pub struct Row {
    pub phase: &'static str,
    pub operation: &'static str,
    pub calls: usize,
    pub time: Duration,
    pub cost: Cost,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Ledger {
    phase: &'static str,
    pub rows: Vec<Row>,
    /// From the step's start to its end, once it is over.
    pub total: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        // what a step does outside of its named phases
        Self { phase: "batch and results", rows: Vec::new(), total: Duration::ZERO }
    }
}

impl Ledger {
    /// The ledger of a step that is over.
    pub fn closed(self, total: Duration) -> Self {
        Self { total, ..self }
    }

    /// Enters a phase and gives the one that was left.
    pub fn enter(&mut self, phase: &'static str) -> &'static str {
        std::mem::replace(&mut self.phase, phase)
    }

    /// Adds a call that began at `start` and is over now.
    pub fn add(&mut self, operation: &'static str, cost: Cost, start: Instant) {
        let time = start.elapsed();
        let phase = self.phase;
        let known = self.rows.iter().position(|row| row.phase == phase && row.operation == operation);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row { phase, operation, calls: 0, time: Duration::ZERO, cost: Cost::default() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.calls += 1;
        row.time += time;
        row.cost = row.cost.plus(cost);
    }
}
