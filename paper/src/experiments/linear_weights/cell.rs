//! What is measured: deep linear residual networks `x_{n+1} = x_n + theta_n x_n / N`, the setting of the paper's theorem on convergence to a
//! limit ODE, and of its figure 2. A cell is a net of one depth and its limit, side by side under the flow.

use std::sync::atomic::{AtomicBool, Ordering};

use rewind::error::Result;
use serde::{Deserialize, Serialize};

use super::limit::Limit;
use super::matrix::distance;
use super::net::LinearNet;
use super::start::{Start, target, weights};
use crate::cells::Cell;

/// The experiment's name, and that of its folder.
pub(super) const NAME: &str = "linear-weights";

/// A cell and what it gave.
pub(super) type Done<'a> = [(&'a FlowSpec, Flow)];

/// The limit has at least so many intervals.
const LIMIT_INTERVALS: usize = 4096;

/// What a flow starts from, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowSpec {
    /// Number of layers N.
    pub depth: usize,
    /// Rows and columns of the weights.
    pub dim: usize,
    /// The weights at the start.
    pub start: Start,
    /// Decides target and start.
    pub seed: u64,
    /// Of the target from the identity.
    pub distance: f64,
    /// Of the flow's explicit Euler steps; the paper's code has 1.
    pub time_step: f64,
    /// The flow ends when the loss is below it.
    pub stop_loss: f64,
    /// It also ends after so many steps.
    pub most_steps: usize,
}

impl Cell for FlowSpec {
    type Result = Flow;

    fn key(&self) -> String {
        format!("d{}-{}-seed{}-depth{:04}", self.dim, self.start, self.seed, self.depth)
    }

    fn work(&self) -> f64 {
        let limit = if self.start.has_limit() { self.limit_intervals() } else { 0 };
        (self.depth + limit) as f64
    }
}

/// What a flow gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Steps done.
    pub steps: usize,
    /// Whether the loss fell below the bound.
    pub converged: bool,
    /// Loss at the start.
    pub first_loss: f64,
    /// Loss at the end.
    pub last_loss: f64,
    /// `N max_n |theta_{n+1} - theta_n|` at the start.
    pub first_roughness: f64,
    /// At the end.
    pub last_roughness: f64,
    /// The largest over all steps.
    pub most_roughness: f64,
    /// How far the net was from its limit, if there is one.
    pub limit: Option<FromLimit>,
    /// Some steps' weights.
    pub snapshots: Vec<Snapshot>,
}

/// Distances from the limit, each the largest over layers and steps: uniform in depth and in training time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromLimit {
    /// `max |theta_n - theta(n/N)|`.
    pub weights: f64,
    /// `max |x_n - X(n/N)|`.
    pub states: f64,
}

/// Weights against depth at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Steps done.
    pub step: usize,
    /// Loss there.
    pub loss: f64,
    /// Row 1, column 2 of every layer's weights (row 1, column 1 where there is one).
    pub weights: Vec<f64>,
}

impl FlowSpec {
    /// The limit's nodes are the net's and others between them.
    fn limit_intervals(&self) -> usize {
        self.depth * LIMIT_INTERVALS.div_ceil(self.depth)
    }

    /// Runs the flow; none if it was told to stop.
    ///
    /// # Errors
    /// If the machine has no room.
    pub fn run(&self, stop: &AtomicBool) -> Result<Option<Flow>> {
        let Self { depth, dim, start, seed, .. } = *self;
        let to = target(seed, dim, self.distance);
        let mut net = LinearNet::new(dim, weights(start, seed, dim, depth, |n| n as f64 / depth as f64))?;
        let mut limit = start.has_limit().then(|| {
            let intervals = self.limit_intervals();
            Limit::new(dim, weights(start, seed, dim, intervals + 1, |j| j as f64 / intervals as f64))
        });
        let first_roughness = roughness(dim, &net);
        let mut flow = Flow {
            steps: 0,
            converged: false,
            first_loss: 0.0,
            last_loss: 0.0,
            first_roughness,
            last_roughness: first_roughness,
            most_roughness: 0.0,
            limit: limit.as_ref().map(|_| FromLimit { weights: 0.0, states: 0.0 }),
            snapshots: Vec::new(),
        };
        for step in 0.. {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let loss = net.forward(&to)?;
            // a flow that leaves the finite numbers ends at the last step that was among them
            if !loss.is_finite() {
                break;
            }
            flow.observe(self, step, loss, &net);
            if let (Some(limit), Some(from)) = (&mut limit, &mut flow.limit) {
                limit.forward(&to);
                from.observe(dim, &net, limit);
            }
            if flow.converged || step == self.most_steps {
                break;
            }
            net.descend(&to, self.time_step)?;
            if let Some(limit) = &mut limit {
                limit.descend(&to, self.time_step);
            }
        }
        Ok(Some(flow))
    }
}

impl Flow {
    fn observe(&mut self, spec: &FlowSpec, step: usize, loss: f64, net: &LinearNet) {
        if step == 0 {
            self.first_loss = loss;
        }
        self.steps = step;
        self.last_loss = loss;
        self.converged = loss < spec.stop_loss;
        self.last_roughness = roughness(spec.dim, net);
        self.most_roughness = self.most_roughness.max(self.last_roughness);
        // the start, the powers of four, and the end
        let power = step.is_power_of_two() && step.trailing_zeros().is_multiple_of(2);
        if step == 0 || power || self.converged || step == spec.most_steps {
            let element = usize::from(spec.dim > 1);
            let weights = net.theta.iter().skip(element).step_by(spec.dim * spec.dim).copied().collect();
            self.snapshots.push(Snapshot { step, loss, weights });
        }
    }
}

impl FromLimit {
    fn observe(&mut self, dim: usize, net: &LinearNet, limit: &Limit) {
        let (len, stride) = (dim * dim, limit.intervals() / net.depth());
        let farthest = |ours: &[f64], theirs: &[f64]| {
            let layers = ours.chunks_exact(len).enumerate();
            layers.map(|(n, ours)| distance(ours, &theirs[limit.node(stride * n)])).fold(0.0, f64::max)
        };
        self.weights = self.weights.max(farthest(&net.theta, &limit.theta));
        self.states = self.states.max(farthest(&net.states, &limit.states));
    }
}

/// `N max_n |theta_{n+1} - theta_n|`.
fn roughness(dim: usize, net: &LinearNet) -> f64 {
    let len = dim * dim;
    let layers = net.theta.chunks_exact(len);
    net.depth() as f64 * layers.clone().zip(layers.skip(1)).map(|(a, b)| distance(a, b)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slope::log_log_slope;

    const SPEC: FlowSpec = FlowSpec {
        depth: 16,
        dim: 2,
        start: Start::Smooth,
        seed: 1,
        distance: 0.5,
        time_step: 0.25,
        stop_loss: 1e-8,
        most_steps: 2000,
    };

    fn run(spec: FlowSpec) -> Flow {
        spec.run(&AtomicBool::new(false)).expect("flow").expect("nobody stops it")
    }

    #[test]
    fn the_distance_to_the_limit_falls_as_one_over_the_depth() {
        for (start, dim) in [(Start::Zero, 2), (Start::Smooth, 3)] {
            let flows = [16, 32, 64, 128].map(|depth| (depth as f64, run(FlowSpec { depth, dim, start, ..SPEC })));
            assert!(flows.iter().all(|(_, flow)| flow.converged && flow.last_loss < 1e-8));
            for value in [|from: FromLimit| from.weights, |from: FromLimit| from.states] {
                let points = flows.each_ref().map(|(depth, flow)| (*depth, value(flow.limit.unwrap())));
                let slope = log_log_slope(points).unwrap();
                println!("{start}, d = {dim}: {slope:.3}, {points:?}");
                assert!((slope + 1.0).abs() < 0.1, "{start}, d = {dim}: {slope}");
            }
        }
    }

    #[test]
    fn neighbours_stay_close_where_they_start_close_and_only_there() {
        for (start, slope, slack) in [(Start::Zero, 0.0, 0.1), (Start::Smooth, 0.0, 0.1), (Start::Rough, 1.0, 0.2)] {
            let points = [16, 64, 256].map(|depth| {
                let flow = run(FlowSpec { depth, start, ..SPEC });
                assert!(flow.converged);
                (depth as f64, flow.most_roughness)
            });
            let found = log_log_slope(points).unwrap();
            assert!((found - slope).abs() < slack, "{start}: {found}, {points:?}");
        }
    }

    #[test]
    fn a_flow_ends_at_its_bounds() {
        let short = run(FlowSpec { most_steps: 5, ..SPEC });
        assert_eq!((short.steps, short.converged), (5, false));
        assert_eq!(short.snapshots.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 1, 4, 5]);
        assert_eq!(short.snapshots[0].weights.len(), 16);
        let wild = run(FlowSpec { time_step: 1e3, ..SPEC });
        assert!(!wild.converged && wild.last_loss.is_finite());
        assert_eq!(SPEC.run(&AtomicBool::new(true)).expect("flow"), None);
        assert_eq!(run(FlowSpec { dim: 1, most_steps: 1, ..SPEC }).snapshots[1].weights.len(), 16);
    }
}
