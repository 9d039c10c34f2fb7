//! The classical Runge-Kutta method of fourth order. A step is 2h long, from theta_{2n} over theta_{2n+1} in its middle, which two stages
//! use, to theta_{2n+2}, so that no theta lies between those that there are.

use super::tableau::Tableau;

/// ```text
/// 0   |
/// 1/2 | 1/2
/// 1/2 | 0   1/2
/// 1   | 0   0   1
/// ----+----------------
///     | 1/6 1/3 1/3 1/6
/// ```
pub const RK4: Tableau = Tableau {
    name: "rk4",
    net: "Runge-Kutta net (RK4)",
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    theta: &[0, 1, 1, 2],
    stride: 2,
};
