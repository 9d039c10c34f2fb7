//! How a net steps from x_0 to x_N: explicit Runge-Kutta methods over its residual functions, each by its Butcher tableau. An
//! integrator is one file: a [`Tableau`], from which the step, its reverse and its exact pullback follow.

mod euler;
mod heun;
mod kind;
mod rk4;
mod stack;
mod step;
mod step_size;
mod tableau;

pub use kind::Scheme;
pub use stack::{Averages, Stack, StackSpec, Statistics};
pub use step::{Cotangents, SingleStage, Step, StepCache, StepGrads, StepStats};
pub use step_size::StepSize;
pub use tableau::Tableau;
