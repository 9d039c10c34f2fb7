//! The vertical axes. Nets of two blocks are tens of points apart and deep ones tenths: a linear axis would show one of the two.

use std::ops::Range;

use rewind_train::chart::Curve;

/// Errors below this share of a per cent are drawn there.
const LEAST_ERROR: f64 = 0.1;
/// Differences in points up to which the axis is about linear.
const LINEAR_GAP: f64 = 0.5;

/// What an axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Per cent, on a logarithmic axis.
    Error,
    /// Points, of either sign: linear around 0, logarithmic away from it.
    Gap,
}

impl Axis {
    /// Where a value goes on a logarithmic axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Error => value.max(LEAST_ERROR),
            Self::Gap => (value / LINEAR_GAP).asinh().exp(),
        }
    }

    /// The value at a place, as text.
    pub fn label(self, place: f64) -> String {
        let value = match self {
            Self::Error => place,
            Self::Gap => place.ln().sinh() * LINEAR_GAP,
        };
        // ticks are whole tenths; adding 0 takes the sign from -0
        format!("{}", (10.0 * value).round() / 10.0 + 0.0)
    }

    /// The curve, with places for values.
    pub fn drawn(self, curve: &Curve) -> Curve {
        let point = |(x, value): &(f64, f64)| (*x, self.place(*value));
        let band = |(x, low, high): &(f64, f64, f64)| (*x, self.place(*low), self.place(*high));
        Curve {
            line: curve.line.iter().map(point).collect(),
            marks: curve.marks.iter().map(point).collect(),
            band: curve.band.iter().map(band).collect(),
            ..curve.clone()
        }
    }

    /// What the curves take of a logarithmic axis, some room, and above `legend` times as much again for their names.
    pub fn range<'c>(self, curves: impl Iterator<Item = &'c Curve>, legend: f64) -> Range<f64> {
        let values = curves.flat_map(|curve| {
            let bands = curve.band.iter().flat_map(|(_, low, high)| [*low, *high]);
            curve.line.iter().map(|point| point.1).chain(bands).collect::<Vec<f64>>()
        });
        // a difference is seen against none
        let zero = (self == Self::Gap).then_some(0.0);
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let logarithms = values.chain(zero).map(|value| self.place(value).ln());
        let (low, high) = logarithms.fold(none, |(low, high), at| (low.min(at), high.max(at)));
        if low > high {
            return 1.0..10.0;
        }
        let room = (0.06 * (high - low)).max(0.02);
        (low - room).exp()..(high + room + legend * (high - low + 2.0 * room)).exp()
    }

    /// The places of round values in a range.
    pub fn ticks(self, range: &Range<f64>) -> Vec<f64> {
        let values: &[f64] = match self {
            Self::Error => {
                &[1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 60.0, 70.0, 80.0, 90.0]
            }
            Self::Gap => &[-50.0, -20.0, -10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
        };
        values.iter().map(|value| self.place(*value)).filter(|place| range.contains(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_the_values_whose_places_they_are_at() {
        for (axis, values) in [(Axis::Error, [0.1, 12.5, 39.7, 90.0]), (Axis::Gap, [-41.7, -0.1, 0.0, 20.0])] {
            let places = values.map(|value| axis.place(value));
            assert!(places[0] > 0.0 && places.is_sorted_by(|a, b| a < b), "{axis:?} {places:?}");
            assert_eq!(places.map(|place| axis.label(place)), values.map(|value| format!("{value}")));
        }
        assert_eq!(Axis::Error.place(0.0), LEAST_ERROR);
    }

    #[test]
    fn ticks_are_those_in_range_and_a_difference_is_seen_against_none() {
        let (name, colour, marks, band) =
            (String::new(), rewind_train::chart::BLUE, Vec::new(), vec![(2.0, 3.0, 22.0)]);
        let curve = Curve { name, colour, hollow: false, line: vec![(2.0, 12.0)], marks, band };
        let ticks = |axis: Axis| -> Vec<String> {
            let range = axis.range([&curve].into_iter(), 0.0);
            axis.ticks(&range).into_iter().map(|place| axis.label(place)).collect()
        };
        assert_eq!(ticks(Axis::Error), ["5", "10", "15", "20"]);
        assert_eq!(ticks(Axis::Gap), ["0", "0.5", "1", "2", "5", "10", "20"]);
    }
}
