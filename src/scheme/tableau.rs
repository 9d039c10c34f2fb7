//! Butcher tableaus over residual functions.

/// An explicit Runge-Kutta method: stage i evaluates `k_i = f(y_i, theta_{first + theta[i]})` at `y_i = x + s sum_j a[i][j] k_j`, and
/// the step leads to `x + s sum_i b[i] k_i`, with the step's length `s = stride h`.
///
/// The reversed step is the same with -s and with its stages' residual functions in reverse order. Where their times lie
/// symmetrically in the step, `theta[i] + theta[S-1-i] = stride` of S stages, that is the method run backwards in time: forth and
/// back end within `O(s^{p+1})` of where they began, p the method's order, and within `O(s^{p+2})` where p is even. Elsewhere,
/// as with Euler's method, they end within `O(s^2)`.
#[derive(Debug, PartialEq)]
pub struct Tableau {
    /// The name in settings.
    pub name: &'static str,
    /// What a net of such steps is called.
    pub net: &'static str,
    /// a: a row for each stage, with as many coefficients as stages come before it.
    pub a: &'static [&'static [f64]],
    /// b: each stage's part of the step.
    pub b: &'static [f64],
    /// Which residual function each stage uses, counted from the step's first.
    pub theta: &'static [usize],
    /// Residual functions from the first of one step to the first of the next.
    pub stride: usize,
}

impl Tableau {
    /// Evaluations in a step.
    pub const fn stages(&self) -> usize {
        self.b.len()
    }

    /// Neighbouring residual functions that a step uses.
    pub const fn span(&self) -> usize {
        let (mut i, mut last) = (0, 0);
        while i < self.theta.len() {
            if self.theta[i] > last {
                last = self.theta[i];
            }
            i += 1;
        }
        last + 1
    }

    /// What is wrong with the tableau, if anything is: it has rows of the wrong length, or is no method, or its stages' times
    /// are not those of their residual functions, or a step leaves residual functions out.
    pub fn problem(&self) -> Option<&'static str> {
        let Self { a, b, theta, stride, .. } = self;
        let near = |x: f64, y: f64| (x - y).abs() < 1e-12;
        let explicit = !b.is_empty() && [a.len(), theta.len()] == [b.len(); 2];
        if !explicit || a.iter().enumerate().any(|(i, row)| row.len() != i) {
            return Some("has not one coefficient for each stage before a stage");
        }
        if !near(b.iter().sum(), 1.0) {
            return Some("has parts of a step that do not sum to 1");
        }
        if !(1..=self.span()).contains(stride) {
            return Some("leaves residual functions out between two steps");
        }
        let at = |(row, theta): (&&[f64], &usize)| near(row.iter().sum(), *theta as f64 / *stride as f64);
        if !a.iter().zip(*theta).all(at) {
            return Some("has a stage whose time is not that of its residual function");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{euler::EULER, heun::HEUN, rk4::RK4};
    use super::*;

    #[test]
    fn tableaus_are_methods_over_neighbouring_residual_functions() {
        for tableau in [EULER, HEUN, RK4] {
            assert_eq!(tableau.problem(), None, "{}", tableau.name);
        }
        assert_eq!([EULER, HEUN, RK4].map(|tableau| (tableau.stages(), tableau.span())), [(1, 1), (2, 2), (4, 3)]);
    }

    #[test]
    fn what_is_no_method_is_named() {
        for (tableau, word) in [
            (Tableau { a: &[&[], &[]], ..HEUN }, "coefficient"),
            (Tableau { b: &[0.5, 0.25], ..HEUN }, "sum to 1"),
            (Tableau { stride: 2, ..EULER }, "out between"),
            (Tableau { theta: &[0, 2], stride: 1, ..HEUN }, "time"),
        ] {
            assert!(tableau.problem().is_some_and(|problem| problem.contains(word)), "{word}");
        }
    }
}
