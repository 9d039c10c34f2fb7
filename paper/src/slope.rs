//! The order of convergence that measurements show: a straight line through their logarithms.

/// The slope of log y over log x, by least squares: -1 where y falls as 1/x. None below two points that have logarithms, or
/// where all have the same x.
pub fn log_log_slope(points: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let logarithms = |(x, y): (f64, f64)| (x > 0.0 && y > 0.0).then(|| (x.ln(), y.ln()));
    let points: Vec<(f64, f64)> = points.into_iter().filter_map(logarithms).collect();
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_have_their_exponent_as_slope() {
        for exponent in [-2.0, -1.0, 0.0, 0.5] {
            let slope = log_log_slope([2.0f64, 8.0, 64.0, 100.0].map(|x| (x, 3.0 * x.powf(exponent)))).unwrap();
            assert!((slope - exponent).abs() < 1e-12, "{slope} for {exponent}");
        }
    }

    #[test]
    fn what_has_no_slope_has_none() {
        assert_eq!(log_log_slope([]), None);
        assert_eq!(log_log_slope([(4.0, 1.0)]), None);
        assert_eq!(log_log_slope([(4.0, 1.0), (4.0, 2.0)]), None);
        assert_eq!(log_log_slope([(4.0, 1.0), (8.0, 0.0)]), None);
    }
}
