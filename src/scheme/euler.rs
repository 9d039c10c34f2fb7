//! Euler's method, a residual network: `x_{n+1} = x_n + h f(x_n, theta_n)`.

use super::tableau::Tableau;

/// ```text
/// 0 |
/// --+---
///   | 1
/// ```
pub const EULER: Tableau =
    Tableau { name: "euler", net: "ResNet (Euler)", a: &[&[]], b: &[1.0], theta: &[0], stride: 1 };
