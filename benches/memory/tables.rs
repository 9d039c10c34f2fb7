//! The cells as text: three tables for people, one CSV for programs.

use std::fmt::Write as _;

use rewind::memory::{Category, human};

use crate::cell::{Cell, METHODS, STEPS};

/// A row per depth, a column per mode.
pub fn text(cells: &[Cell]) -> String {
    let mut text = String::new();
    let mark = |cell: &Cell| if cell.measured.is_some() { '*' } else { ' ' };
    table(&mut text, "activations at their peak: state + scratch + saved", cells, |cell| {
        format!("{}{}", human(cell.planned.activations()), mark(cell))
    });
    table(
        &mut text,
        "everything in the plan: and parameters, gradients, optimiser, statistics, one batch",
        cells,
        |cell| format!("{}{}", human(cell.planned.total()), mark(cell)),
    );
    table(&mut text, "the whole process: its peak resident set", cells, |cell| {
        let process = cell.measured.as_ref().and_then(|measured| measured.process_peak_bytes);
        process.map_or("- ".into(), |bytes| format!("{} ", human(bytes)))
    });
    let measured = cells.iter().filter(|cell| cell.measured.is_some()).count();
    // writing to a string cannot fail
    let _ = writeln!(
        text,
        "\n* measured ({measured} of {} cells): {STEPS} training steps took what was planned, to the byte; the rest is planned",
        cells.len()
    );
    text
}

fn table(text: &mut String, title: &str, cells: &[Cell], entry: impl Fn(&Cell) -> String) {
    let _ = write!(text, "\n{title}\n{:>5}", "depth");
    for method in METHODS {
        let _ = write!(text, "  {method:>17} ");
    }
    for row in cells.chunk_by(|a, b| a.spec.depth == b.spec.depth) {
        let _ = write!(text, "\n{:>5}", row[0].spec.depth);
        for cell in row {
            let _ = write!(text, "  {:>18}", entry(cell));
        }
    }
    text.push('\n');
}

/// A line per cell; what was not measured is empty.
pub fn csv(cells: &[Cell]) -> String {
    let planned = Category::ALL.map(|category| format!("planned_{category}"));
    let mut header = vec!["scheme", "depth", "gradient", "anchors", "channels", "batch", "threads"];
    header.extend(planned.iter().map(String::as_str));
    header.extend(["planned_activations", "planned_total"]);
    header.extend(["measured_steps", "measured_activations", "measured_total", "process_peak"]);
    let row = |Cell { spec, planned, measured, .. }: &Cell| {
        let (net, sweep) = (spec.net(), spec.method.sweep(spec.scheme, spec.depth));
        let measured = measured.as_ref();
        (
            (sweep.scheme.to_string(), spec.depth, sweep.gradient.to_string(), sweep.anchors),
            (net.channels, net.batch, spec.threads),
            Category::ALL.map(|category| planned.of(category)),
            (planned.activations(), planned.total(), measured.map(|_| STEPS)),
            [measured.map(|measured| measured.ledger.activations()), measured.map(|measured| measured.ledger.total())],
            measured.and_then(|measured| measured.process_peak_bytes),
        )
    };
    rewind_paper::table::csv(&header, cells.iter().map(row))
}
