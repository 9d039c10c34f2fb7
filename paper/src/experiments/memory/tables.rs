//! The nets as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind::memory::{Category, human};
use rewind::scheme::Scheme;
use rewind::sweep::auto;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cell::{Measured, NAME};
use super::growth::Growth;
use super::rows::{Row, schemes};
use crate::method::Method;
use crate::spread::Spread;
use crate::table::{self, Number};

/// Tables per scheme, a row per depth, a column per mode: activations, everything, seconds; then what grows.
pub fn text(rows: &[Row], growth: &[Growth]) -> String {
    let mut text = String::new();
    for scheme in schemes(rows) {
        let of_scheme: Vec<&Row> = rows.iter().filter(|row| row.spec.scheme == scheme).collect();
        let mark = |row: &Row| if row.measured.is_empty() { ' ' } else { '*' };
        by_depth(&mut text, &format!("{scheme}: activations at their peak, planned"), &of_scheme, |row| {
            Some(format!("{}{}", human(row.planned.activations()), mark(row)))
        });
        by_depth(&mut text, &format!("{scheme}: everything but the data set, planned"), &of_scheme, |row| {
            Some(format!("{}{}", human(row.planned.total()), mark(row)))
        });
        by_depth(
            &mut text,
            &format!("{scheme}: what the system counts, as the growth of the process"),
            &of_scheme,
            |row| row.counted_bytes().map(|bytes| format!("{} ", human(bytes.mean as u64))),
        );
        by_depth(&mut text, &format!("{scheme}: milliseconds of a training step"), &of_scheme, |row| {
            row.step_seconds().map(|seconds| format!("{:.1} ", 1e3 * seconds.mean))
        });
        what_grows(&mut text, scheme, growth);
    }
    let measured = rows.iter().filter(|row| !row.measured.is_empty()).count();
    // writing to a string cannot fail
    let _ = writeln!(
        text,
        "\n* measured ({measured} of {} nets): every category of the ledger is what was planned, to the byte; the others are planned only.",
        rows.len()
    );
    if let Some(row) = rows.first() {
        let seeds = rows.iter().map(|row| row.measured.len()).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "Milliseconds are those of {}, with whatever else it did at the time: the median of a process's steps, mean over seeds ({seeds}).",
            row.spec.device_name
        );
    }
    text
}

fn by_depth(text: &mut String, title: &str, rows: &[&Row], entry: impl Fn(&Row) -> Option<String>) {
    if rows.iter().all(|row| entry(row).is_none()) {
        return;
    }
    let _ = write!(text, "\n{title}\n{:>7}", "depth N");
    let by_depth: Vec<&[&Row]> = rows.chunk_by(|a, b| a.spec.depth == b.spec.depth).collect();
    for row in by_depth.first().copied().unwrap_or_default() {
        let _ = write!(text, "  {:>12} ", row.spec.method);
    }
    for of_depth in by_depth.into_iter().filter(|of_depth| of_depth.iter().any(|row| entry(row).is_some())) {
        let _ = write!(text, "\n{:>7}", of_depth[0].spec.depth);
        for row in of_depth {
            let _ = write!(text, "  {:>13}", entry(row).unwrap_or_else(|| "- ".into()));
        }
    }
    text.push('\n');
}

fn what_grows(text: &mut String, scheme: Scheme, growth: &[Growth]) {
    let of_scheme: Vec<&Growth> = growth.iter().filter(|growth| growth.scheme == scheme).collect();
    let Some(first) = of_scheme.first() else { return };
    let _ =
        write!(text, "\n{scheme}: what a block more takes, planned, from {} to {}\n{:>12}", first.from, first.to, "");
    for growth in &of_scheme {
        let _ = write!(text, "  {:>12}", growth.method);
    }
    let mut line = |name: &str, bytes: &dyn Fn(&Growth) -> f64| {
        let _ = write!(text, "\n{name:>12}");
        for growth in &of_scheme {
            let bytes = bytes(growth);
            let entry = match bytes {
                0.0 => "nothing".into(),
                ..1.0 => "below 1 B".into(),
                _ => human(bytes.round() as u64),
            };
            let _ = write!(text, "  {entry:>12}");
        }
    };
    for category in Category::ALL {
        line(&category.to_string(), &|growth| growth.of_category(category));
    }
    line("activations", &Growth::of_activations);
    line("all", &Growth::of_all);
    let _ = write!(
        text,
        "\nActivations are state, scratch and saved. Of the statistics {} per block are those that the forward pass saves for the sweep; \
         with --bn-stats batch the modes that get states back keep none. Gradients do not grow since each block is updated within the sweep; \
         with --update after they take {} per block.",
        human(first.saved_statistics.round() as u64),
        human(first.gradients_if_after.round() as u64)
    );
    if of_scheme.iter().any(|growth| matches!(growth.method, Method::Checkpoint | Method::AnchorsSqrt)) {
        text.push_str(
            " What checkpoint and anchors-sqrt save grows as the square root of the depth: less and less per block.",
        );
    }
    if of_scheme.iter().any(|growth| growth.codes()) {
        let (state, vector) = (human(first.state_bytes), human(first.vector_bytes));
        let _ = write!(
            text,
            " A code of B bits takes B/32 of a state of {state} and two vectors of {vector}, the scale that decodes it. auto is planned \
             with room for a code of every block, and timed as it begins: coded below {} blocks, rebuilt from there on.",
            auto::DEEP
        );
    }
    text.push('\n');
}

/// A line per net and seed; what was not measured is empty.
pub fn csv(rows: &[Row]) -> String {
    let planned = Category::ALL.map(|category| format!("planned_{category}"));
    let columns = [
        "planned_activations",
        "planned_total",
        "seed",
        "measured_activations",
        "measured_total",
        "process_before",
        "process_peak",
        "driver_bytes",
        "timed_steps",
        "step_seconds_median",
        "step_seconds_min",
        "step_seconds_max",
    ];
    let mut header = vec!["scheme", "mode", "depth", "channels", "batch", "device"];
    header.extend(planned.iter().map(String::as_str));
    header.extend(columns);
    let keys = |Row { spec, planned, .. }: &Row| {
        let net = (spec.scheme.to_string(), spec.method, spec.depth, spec.channels, spec.batch);
        let bytes = Category::ALL.map(|category| planned.of(category));
        (net, spec.device_name.clone(), bytes, planned.activations(), planned.total())
    };
    let lines = rows.iter().flat_map(|row| {
        let of_seeds = row.measured.iter().map(|(seed, measured)| (Some(*seed), of_process(Some(measured))));
        let none = row.measured.is_empty().then(|| (None, of_process(None)));
        of_seeds.chain(none).map(move |measured| (keys(row), measured))
    });
    table::csv(&header, lines)
}

/// What a process measured: bytes, steps and seconds.
fn of_process(measured: Option<&Measured>) -> impl Serialize + use<> {
    let bytes = [
        measured.map(|measured| measured.ledger.activations()),
        measured.map(|measured| measured.ledger.total()),
        measured.and_then(|measured| measured.process_before_bytes),
        measured.and_then(|measured| measured.process_peak_bytes),
        measured.and_then(|measured| measured.device_bytes),
    ];
    let seconds = measured.map(|measured| {
        let steps = measured.step_seconds.iter();
        let (min, max) = steps.fold((f64::INFINITY, 0.0_f64), |(min, max), s| (min.min(*s), max.max(*s)));
        [measured.median_step_seconds().unwrap_or(f64::NAN), min, max]
    });
    let seconds = seconds.map_or([None; 3], |seconds| seconds.map(|seconds| Some(Number(seconds))));
    (bytes, measured.map(|measured| measured.step_seconds.len()), seconds)
}

/// Bytes and seconds, spread over the seeds where they were measured.
pub fn summary(rows: &[Row], growth: &[Growth]) -> Value {
    let nets: Vec<Value> = rows
        .iter()
        .map(|row| {
            let measured = |spread: Option<Spread>| spread.map_or(Value::Null, |spread| json!(spread));
            json!({
                "scheme": row.spec.scheme,
                "mode": row.spec.method,
                "depth": row.spec.depth,
                "planned_bytes": row.planned,
                "planned_activation_bytes": row.planned.activations(),
                "planned_total_bytes": row.planned.total(),
                "ledger_is_as_planned": (!row.measured.is_empty()).then_some(true),
                "counted_bytes": measured(row.counted_bytes()),
                "step_seconds": measured(row.step_seconds()),
            })
        })
        .collect();
    let grows: Vec<Value> = growth
        .iter()
        .map(|growth| {
            let by_category: Map<String, Value> = Category::ALL
                .into_iter()
                .map(|category| (category.to_string(), json!(growth.of_category(category))))
                .collect();
            json!({
                "scheme": growth.scheme,
                "mode": growth.method,
                "from_depth": growth.from,
                "to_depth": growth.to,
                "bytes_a_block": by_category,
                "activation_bytes_a_block": growth.of_activations(),
                "total_bytes_a_block": growth.of_all(),
                "saved_statistics_bytes_a_block": growth.saved_statistics,
                "gradient_bytes_a_block_with_update_after": growth.gradients_if_after,
            })
        })
        .collect();
    let first = rows.first().map(|row| &row.spec);
    json!({
        "experiment": NAME,
        "device": first.map(|spec| &spec.device_name),
        "batch": first.map(|spec| spec.batch),
        "channels": first.map(|spec| spec.channels),
        "seconds": "of this device with whatever else it did at the time; of each process the median of its steps",
        "counted_bytes": "what the process grew by, or what a GPU's driver counts",
        "nets": nets,
        "what_a_block_more_takes": grows,
    })
}
