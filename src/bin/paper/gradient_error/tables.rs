//! The cells as text for people.

use std::fmt::Write as _;

use rewind::paper::gradient::Precision;
use rewind::paper::gradient::errors::ModeErrors;
use rewind::paper::gradient::mode::Mode;
use rewind::paper::spread::Spread;
use rewind::sweep::BnStatistics;

use super::numbers::{Group, by_depth, ratios, rounding, seeds, slopes};
use super::{Done, Metric};

/// An error is marked where it is below so many times what rounding alone leaves.
const NEAR_ROUNDING: f64 = 3.0;

/// The name of a row that says how the slopes above it spread.
const QUARTILES: &str = "its quartiles";

pub const fn statistics(bn_stats: BnStatistics) -> &'static str {
    match bn_stats {
        BnStatistics::Saved => "saved",
        BnStatistics::Batch => "batch",
    }
}

/// A table a group, then how far `corrected` is below `adjoint`, then what the floors are.
pub fn text(done: &Done<'_>, metric: Metric) -> String {
    let mut text = format!("\nerror: {}\n", metric.formula());
    let mut marked = false;
    for group in Group::all(done) {
        let (table, has_mark) = group_table(done, group, metric);
        text += &table;
        marked |= has_mark;
    }
    text += &gains(done, metric);
    if marked {
        let _ = write!(
            text,
            "\n* below {NEAR_ROUNDING} times what rounding alone leaves between backprop in f32 and in f64 at this depth: no \
             error of the mode\n"
        );
    }
    text + &switching(done, metric)
}

/// A row a depth, a column a mode, means over seeds; below each the slopes over the seeds, of error and of drift.
fn group_table(done: &Done<'_>, group: Group, metric: Metric) -> (String, bool) {
    let Group { scheme, weights, bn_stats, precision } = group;
    let error = |errors: &ModeErrors| Some(metric.of(errors));
    let columns = Mode::ALL.map(|mode| by_depth(done, group, mode, error));
    let floor = rounding(done, group, error);
    let floor_at = |depth| floor.iter().find(|(other, _)| *other == depth).map(|(_, spread)| spread.mean);
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = write!(
        text,
        "\n{scheme}, {weights} weights, {} statistics, {}, mean over seeds ({})\n{:>15}",
        statistics(bn_stats),
        precision.name(),
        seeds(&columns[0]),
        "depth N"
    );
    for mode in Mode::ALL {
        let _ = write!(text, "  {mode:>12}");
    }
    let with_floor = precision == Precision::F64;
    if with_floor {
        let _ = write!(text, "  {:>12}", "f32 rounding");
    }
    let mut marked = false;
    for (row, (depth, _)) in columns[0].iter().enumerate() {
        let _ = write!(text, "\n{depth:>15}");
        for column in &columns {
            let mean = column[row].1.mean;
            let near = !with_floor && floor_at(*depth).is_some_and(|floor| mean < NEAR_ROUNDING * floor);
            marked |= near;
            let entry = format!("{mean:.2e}{}", if near { "*" } else { "" });
            let _ = write!(text, "  {entry:>12}");
        }
        if let Some(floor) = floor_at(*depth).filter(|_| with_floor) {
            let _ = write!(text, "  {floor:>12.2e}");
        }
    }
    let slopes_of = |value: &dyn Fn(&ModeErrors) -> Option<f64>| Mode::ALL.map(|mode| slopes(done, group, mode, value));
    let (errors, drifts) = (slopes_of(&error), slopes_of(&|errors| errors.drift));
    let middle = |slope: &Spread| format!("{:.2}", slope.mean);
    let quartiles = |slope: &Spread| format!("{:.2} {:.2}", slope.low, slope.high);
    type Entry<'a> = &'a dyn Fn(&Spread) -> String;
    let rows: [(&str, &[Option<Spread>], Entry<'_>); 4] = [
        ("slope", &errors, &middle),
        (QUARTILES, &errors, &quartiles),
        ("slope of drift", &drifts, &middle),
        (QUARTILES, &drifts, &quartiles),
    ];
    let several = seeds(&columns[0]) > 1;
    for (name, slopes, entry) in rows {
        if slopes.iter().all(Option::is_none) || (name == QUARTILES && !several) {
            continue;
        }
        let _ = write!(text, "\n{name:>15}");
        for slope in slopes {
            let entry = slope.as_ref().map_or("-".into(), entry);
            let _ = write!(text, "  {entry:>12}");
        }
    }
    text.push('\n');
    (text, marked)
}

/// How many times the error and the drift of `adjoint` are those of `corrected`, which costs the same.
fn gains(done: &Done<'_>, metric: Metric) -> String {
    let groups = Group::all(done);
    let mut depths: Vec<usize> = groups.iter().flat_map(|group| group.depths(done)).collect();
    depths.sort_unstable();
    depths.dedup();
    let mut text = String::new();
    let error = |errors: &ModeErrors| Some(metric.of(errors));
    for (what, value) in
        [("error", &error as &dyn Fn(&ModeErrors) -> Option<f64>), ("drift", &|errors: &ModeErrors| errors.drift)]
    {
        let _ = write!(
            text,
            "\nadjoint's {what} over corrected's, which costs the same; mean over seeds\n{:>33}",
            "depth N"
        );
        for depth in &depths {
            let _ = write!(text, "  {depth:>7}");
        }
        for group in &groups {
            let Group { scheme, weights, bn_stats, precision } = *group;
            let ratios = ratios(done, *group, [Mode::Adjoint, Mode::Corrected], value);
            let _ = write!(text, "\n{scheme:>6} {weights:>10} {:>9} {:>5}", statistics(bn_stats), precision.name());
            for depth in &depths {
                let ratio = ratios.iter().find(|(other, _)| other == depth);
                let entry = ratio.map_or("-".into(), |(_, spread)| format!("{:.1}", spread.mean));
                let _ = write!(text, "  {entry:>7}");
            }
        }
        text.push('\n');
    }
    text
}

/// Where a further pass brings the states nearer by far more than the gradient: what it cannot bring down.
fn switching(done: &Done<'_>, metric: Metric) -> String {
    let error = |errors: &ModeErrors| Some(metric.of(errors));
    let mut least: Option<(f64, String)> = None;
    for group in Group::all(done).into_iter().filter(|group| group.precision == Precision::F64) {
        let modes = [Mode::FixedPoint3, Mode::FixedPoint2];
        let (errors, drifts) = (ratios(done, group, modes, error), ratios(done, group, modes, |errors| errors.drift));
        for ((depth, error), (_, drift)) in errors.iter().zip(&drifts) {
            let (error, drift) = (error.mean, drift.mean);
            if error < 0.5 || drift > 0.25 || least.as_ref().is_some_and(|(most, _)| *most >= error) {
                continue;
            }
            let Group { scheme, weights, bn_stats, .. } = group;
            let place = format!("{scheme}, {weights} weights, {} statistics, N = {depth}", statistics(bn_stats));
            least = Some((
                error,
                format!("at {place} it leaves {drift:.2} of the second's drift and {error:.2} of its error"),
            ));
        }
    }
    let batch = done.first().map_or(0, |(spec, _)| spec.batch);
    least.map_or(String::new(), |(_, found)| {
        format!(
            "\nin f64, where rounding is no floor, a third pass may still bring the gradient no nearer: {found}. What is left are\n\
             ReLUs that the smallest change of a state switches on or off, each a jump of the gradient that a batch of {batch} averages over.\n"
        )
    })
}
