//! The two schemes: one step with signed h, and its pullback.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a residual network steps from x_n to x_{n+1}, with h = 1/N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `x_{n+1} = x_n + h f(x_n, theta_n)`, N steps: a residual network.
    Euler,
    /// `k1 = f(x_n, theta_n)`, `k2 = f(x_n + h k1, theta_{n+1})`, `x_{n+1} = x_n + h/2 (k1 + k2)`, N - 1 steps: a HeunNet.
    Heun,
}

impl Scheme {
    /// Steps from x_0 to the head for N residual functions.
    pub const fn steps(self, depth: usize) -> usize {
        match self {
            Self::Euler => depth,
            Self::Heun => depth - 1,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
        })
    }
}
