//! Heun's method, a HeunNet: `k1 = f(x_n, theta_n)`, `k2 = f(x_n + h k1, theta_{n+1})`, `x_{n+1} = x_n + h/2 (k1 + k2)`.

use super::tableau::Tableau;

/// ```text
/// 0 |
/// 1 | 1
/// --+---------
///   | 1/2 1/2
/// ```
pub const HEUN: Tableau =
    Tableau { name: "heun", net: "HeunNet (Heun)", a: &[&[], &[1.0]], b: &[0.5, 0.5], theta: &[0, 1], stride: 1 };
