//! The integrators by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::euler::EULER;
use super::heun::HEUN;
use super::rk4::RK4;
use super::tableau::Tableau;
use crate::error::{Error, Result};

/// How a residual network steps from x_0 to x_N, with the step size h.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `x_{n+1} = x_n + h f(x_n, theta_n)`, N steps: a residual network.
    Euler,
    /// `k1 = f(x_n, theta_n)`, `k2 = f(x_n + h k1, theta_{n+1})`, `x_{n+1} = x_n + h/2 (k1 + k2)`, N - 1 steps: a HeunNet.
    Heun,
    /// The classical method of four stages: (N - 1)/2 steps of 2h, each over three neighbouring residual functions.
    Rk4,
    /// A method of one's own, which has no name in settings.
    #[serde(skip)]
    #[cfg_attr(feature = "clap", value(skip))]
    Own(&'static Tableau),
}

// a tableau's coefficients are numbers: see `Tableau::problem`
impl Eq for Scheme {}

impl Scheme {
    /// Those that have names.
    pub const NAMED: [Self; 3] = [Self::Euler, Self::Heun, Self::Rk4];

    /// The method's coefficients.
    pub const fn tableau(self) -> &'static Tableau {
        match self {
            Self::Euler => &EULER,
            Self::Heun => &HEUN,
            Self::Rk4 => &RK4,
            Self::Own(tableau) => tableau,
        }
    }

    /// Steps from x_0 to the head for N residual functions; 0 where they are not enough for one.
    pub const fn steps(self, depth: usize) -> usize {
        let (span, stride) = (self.span(), self.tableau().stride);
        if depth < span { 0 } else { (depth - span) / stride + 1 }
    }

    /// Evaluations of f in one step.
    pub const fn stages(self) -> usize {
        self.tableau().stages()
    }

    /// Neighbouring residual functions that a step uses.
    pub const fn span(self) -> usize {
        self.tableau().span()
    }

    /// The first residual function that step n uses.
    pub const fn first(self, n: usize) -> usize {
        n * self.tableau().stride
    }

    /// Whether steps use all of N residual functions.
    pub const fn takes(self, depth: usize) -> bool {
        let (span, stride) = (self.span(), self.tableau().stride);
        depth >= span && (depth - span).is_multiple_of(stride)
    }

    /// The N that steps take, in words: `2 or more`, or `3, 5, 7 and so on`.
    pub fn depths(self) -> String {
        let (span, stride) = (self.span(), self.tableau().stride);
        match stride {
            1 => format!("{span} or more"),
            _ => format!("{span}, {}, {} and so on", span + stride, span + 2 * stride),
        }
    }

    /// Refuses N residual functions that steps do not take, and a tableau that is no method.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub fn check(self, depth: usize) -> Result<()> {
        if let Some(problem) = self.tableau().problem() {
            return Err(Error::Usage(format!("the tableau of `scheme` {self} {problem}")));
        }
        if self.takes(depth) {
            return Ok(());
        }
        let (span, depths) = (self.span(), self.depths());
        Err(Error::Usage(format!(
            "`scheme` {self} uses {span} neighbouring blocks per step and needs `depth` {depths}, not {depth}"
        )))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tableau().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_use_every_residual_function_or_the_depth_is_refused() {
        for (scheme, depth, steps) in [
            (Scheme::Euler, 1, 1),
            (Scheme::Euler, 8, 8),
            (Scheme::Heun, 2, 1),
            (Scheme::Heun, 8, 7),
            (Scheme::Rk4, 3, 1),
            (Scheme::Rk4, 9, 4),
        ] {
            assert!(scheme.check(depth).is_ok());
            assert_eq!(scheme.steps(depth), steps, "{scheme} {depth}");
            assert_eq!(scheme.first(steps - 1) + scheme.span(), depth, "{scheme} {depth}");
        }
        for (scheme, depth, words) in [
            (Scheme::Euler, 0, "`depth` 1 or more, not 0"),
            (Scheme::Heun, 1, "2 neighbouring blocks per step and needs `depth` 2 or more, not 1"),
            (Scheme::Rk4, 1, "`depth` 3, 5, 7 and so on, not 1"),
            (Scheme::Rk4, 8, "`depth` 3, 5, 7 and so on, not 8"),
        ] {
            assert!(scheme.check(depth).expect_err("a refusal").to_string().contains(words));
        }
        static NO_METHOD: Tableau = Tableau { name: "mine", b: &[0.5], ..EULER };
        let refused = Scheme::Own(&NO_METHOD).check(4).expect_err("a refusal").to_string();
        assert!(refused.contains("mine has parts of a step that do not sum to 1"), "{refused}");
    }
}
