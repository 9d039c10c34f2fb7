//! The cells as text for people.

use std::fmt::Write as _;

use super::arguments::Metric;
use super::cell::Done;
use super::cell::Precision;
use super::errors::ModeErrors;
use super::numbers::{Floor, Group, by_depth, most_of_coded, ratios, rounding, seeds, slopes};
use crate::method::Method;
use crate::spread::Spread;

/// The name of a row that says how the slopes above it spread.
const QUARTILES: &str = "its quartiles";

/// A number that is rounding, or 0.
pub fn rounded(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

/// Two tables a group, the second of the modes that code, then how far `corrected` is below `adjoint`, and where rounding begins.
pub fn text(done: &Done<'_>, metric: Metric) -> String {
    let mut text = format!("\nerror: {}\n", metric.formula());
    let floor = Floor::of(done, |errors| metric.of(errors));
    let mut marked = false;
    for group in Group::all(done) {
        let (table, has_mark) = group_table(done, group, metric, floor.up_to(group));
        text += &table;
        text += &coded_table(done, group, metric);
        marked |= has_mark;
    }
    text += &gains(done, metric, floor);
    if marked {
        let Floor { least, most } = floor;
        let batch = done.first().map_or(0, |(spec, _)| spec.batch);
        // writing to a string cannot fail
        let _ = write!(
            text,
            "\n* not above {most:.1e}, the most that rounding alone leaves between backprop in f32 and in f64 in one of these nets;\n  \
             the least is {least:.1e}. Where they are far apart, rounding has switched a ReLU, the only jump that a gradient has.\n  \
             So does a mode whose states are off by little more than rounding: a further pass then changes which ReLUs are\n  \
             switched, but not how far each moves the gradient of a batch of {batch}. No slope of an error goes through such values;\n  \
             a slope of a drift in f32 may, that in f64 does not.\n"
        );
    }
    text
}

/// A row per depth, a column per mode, means over seeds; below each the slopes over the seeds, of error and of drift.
fn group_table(done: &Done<'_>, group: Group, metric: Metric, up_to: f64) -> (String, bool) {
    let Group { scheme, weights, precision, .. } = group;
    let error = |errors: &ModeErrors| Some(metric.of(errors));
    let columns = Method::APPROXIMATE.map(|mode| by_depth(done, group, mode, error));
    let floor = rounding(done, group, error);
    let floor_at = |depth| floor.iter().find(|(other, _)| *other == depth).map(|(_, spread)| spread.mean);
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = write!(
        text,
        "\n{scheme}, {weights} weights, {}, {}, mean over seeds ({})\n{:>15}",
        group.recomputation(),
        precision.name(),
        seeds(&columns[0]),
        "depth N"
    );
    for mode in Method::APPROXIMATE {
        let _ = write!(text, "  {mode:>13}");
    }
    let with_floor = precision == Precision::F64;
    if with_floor {
        let _ = write!(text, "  {:>13}", "f32 rounding");
    }
    let mut marked = false;
    for (row, (depth, _)) in columns[0].iter().enumerate() {
        let _ = write!(text, "\n{depth:>15}");
        for column in &columns {
            let mean = column[row].1.mean;
            let near = mean <= up_to;
            marked |= near;
            let entry = format!("{mean:.2e}{}", if near { "*" } else { "" });
            let _ = write!(text, "  {entry:>13}");
        }
        if let Some(floor) = floor_at(*depth).filter(|_| with_floor) {
            let _ = write!(text, "  {floor:>12.2e}");
        }
    }
    let slopes_of = |floor: f64, value: &dyn Fn(&ModeErrors) -> Option<f64>| {
        Method::APPROXIMATE.map(|mode| slopes(done, group, mode, floor, value))
    };
    let (errors, drifts) = (slopes_of(up_to, &error), slopes_of(0.0, &|errors| errors.drift));
    let middle = |slope: &Spread| format!("{:.2}", slope.mean);
    let quartiles = |slope: &Spread| format!("{:.2} {:.2}", slope.low, slope.high);
    type Entry<'a> = &'a dyn Fn(&Spread) -> String;
    let rows: [(&str, &[Option<Spread>], Entry<'_>); 4] = [
        ("slope", &errors, &middle),
        (QUARTILES, &errors, &quartiles),
        ("slope of drift", &drifts, &middle),
        (QUARTILES, &drifts, &quartiles),
    ];
    let several = columns.iter().any(|column| seeds(column) > 1);
    for (name, slopes, entry) in rows {
        if slopes.iter().all(Option::is_none) || (name == QUARTILES && !several) {
            continue;
        }
        let _ = write!(text, "\n{name:>15}");
        for slope in slopes {
            let entry = slope.as_ref().map_or("-".into(), entry);
            let _ = write!(text, "  {entry:>13}");
        }
    }
    text.push('\n');
    (text, marked)
}

/// The modes that code, in the plain pass and in the one that they alter; how exact they are for that, the most of all depths and
/// seeds.
fn coded_table(done: &Done<'_>, group: Group, metric: Metric) -> String {
    let plain = Method::CODED.map(|mode| by_depth(done, group, mode, |errors| Some(metric.of(errors))));
    let altered = Method::CODED.map(|mode| by_depth(done, group, mode, |errors| Some(errors.altered?.error)));
    // writing to a string cannot fail
    let mut text = format!("\n{:>15}", "");
    let _ = write!(
        text,
        "  {:<60}the pass that they alter, by |g - g*| / |g*|\n{:>15}",
        "codes, the plain pass", "depth N"
    );
    for mode in [Method::CODED; 2].as_flattened() {
        let _ = write!(text, "  {mode:>13}");
    }
    for depth in group.depths(done) {
        let _ = write!(text, "\n{depth:>15}");
        for column in plain.iter().chain(&altered) {
            let entry = column.iter().find(|(other, _)| *other == depth);
            let entry = entry.map_or("-".into(), |(_, spread)| format!("{:.2e}", spread.mean));
            let _ = write!(text, "  {entry:>13}");
        }
    }
    let most = |value: &dyn Fn(&ModeErrors) -> Option<f64>| {
        let most = most_of_coded(done, |spec| Group::of(spec) == group, value);
        most.map_or("-".into(), rounded)
    };
    let _ = writeln!(
        text,
        "\nat most: drift of the plain pass {}; the altered pass {} from its own exact gradient, drift {}, one block below a true state {}",
        most(&|errors| errors.drift),
        most(&|errors| Some(errors.altered?.own)),
        most(&|errors| errors.altered?.drift),
        most(&|errors| errors.altered?.step_drift)
    );
    text
}

/// How many times the error and the drift of `adjoint` are those of `corrected`, which costs the same.
fn gains(done: &Done<'_>, metric: Metric, floor: Floor) -> String {
    let groups = Group::all(done);
    let mut depths: Vec<usize> = groups.iter().flat_map(|group| group.depths(done)).collect();
    depths.sort_unstable();
    depths.dedup();
    let mut text = String::new();
    let error = |errors: &ModeErrors| Some(metric.of(errors));
    let at_floor = |group: Group, depth: usize| {
        let corrected = by_depth(done, group, Method::Corrected, error);
        corrected.iter().any(|(other, spread)| *other == depth && spread.mean <= floor.up_to(group))
    };
    for (what, value) in
        [("error", &error as &dyn Fn(&ModeErrors) -> Option<f64>), ("drift", &|errors: &ModeErrors| errors.drift)]
    {
        let _ = write!(
            text,
            "\nadjoint's {what} over corrected's, which costs the same; mean over seeds\n{:>41}",
            "depth N"
        );
        for depth in &depths {
            let _ = write!(text, "  {depth:>7}");
        }
        for group in &groups {
            let Group { scheme, weights, bn_stats, masks, precision } = *group;
            let ratios = ratios(done, *group, [Method::Adjoint, Method::Corrected], value);
            let _ = write!(
                text,
                "\n{scheme:>6} {weights:>10} {:>6} {:>10} {:>5}",
                bn_stats.name(),
                masks.name(),
                precision.name()
            );
            for depth in &depths {
                let ratio = ratios.iter().find(|(other, _)| other == depth);
                let near = at_floor(*group, *depth);
                let mark = if near && what == "error" { "*" } else { "" };
                let entry = ratio.map_or("-".into(), |(_, spread)| format!("{:.1}{mark}", spread.mean));
                let _ = write!(text, "  {entry:>7}");
            }
        }
        text.push('\n');
    }
    text
}
