//! Where a flow starts and what it is to reach, drawn from a seed: the same at every depth.

use std::f64::consts::PI;
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::matrix::identity;

/// Largest element of the weights that are not zero at the start.
const AMPLITUDE: f64 = 0.5;

/// The streams of random numbers. Every block of a rough start has its own, from [`STREAM_BLOCKS`] on.
const STREAM_TARGET: u64 = 0;
const STREAM_SMOOTH: [u64; 2] = [1, 2];
const STREAM_BLOCKS: u64 = 16;

/// The weights before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// `theta_n = 0`, as the paper's code has it.
    Zero,
    /// `theta_n` on a smooth curve over n/N: neighbours are O(1/N) apart, which is what the theorem asks for.
    Smooth,
    /// Each its own draw, which the theorem excludes: neighbours are O(1) apart, and there is no limit.
    Rough,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zero, Self::Smooth, Self::Rough];

    /// Whether the weights lie on a curve over n/N that does not depend on N.
    pub const fn has_limit(self) -> bool {
        !matches!(self, Self::Rough)
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Zero => "zero",
            Self::Smooth => "smooth",
            Self::Rough => "rough",
        })
    }
}

/// `len` numbers uniform in [-1, 1).
fn uniform(seed: u64, stream: u64, len: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (0..len).map(|_| f64::from(rng.next_u32()) / f64::from(1u32 << 31) - 1.0).collect()
}

/// A target `[d, d]` at `distance` from the identity, in a random direction.
pub fn target(seed: u64, d: usize, distance: f64) -> Vec<f64> {
    let direction = uniform(seed, STREAM_TARGET, d * d);
    let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
    identity(d).iter().zip(direction).map(|(one, v)| one + distance * v / norm).collect()
}

/// The weights of `nodes` layers, of which layer n is at `at(n)` in [0, 1].
pub fn weights(start: Start, seed: u64, d: usize, nodes: usize, at: impl Fn(usize) -> f64) -> Vec<f64> {
    let len = d * d;
    match start {
        Start::Zero => vec![0.0; nodes * len],
        Start::Smooth => {
            let [a, b] = STREAM_SMOOTH.map(|stream| uniform(seed, stream, len));
            let node = |n| {
                let (sin, cos) = (PI * at(n)).sin_cos();
                a.iter().zip(&b).map(move |(a, b)| AMPLITUDE * (a * cos + b * sin) / 2f64.sqrt())
            };
            (0..nodes).flat_map(node).collect()
        }
        Start::Rough => (0..nodes)
            .flat_map(|n| uniform(seed, STREAM_BLOCKS + n as u64, len).into_iter().map(|v| AMPLITUDE * v))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::distance;
    use super::*;

    #[test]
    fn the_target_is_as_far_as_asked_and_the_seed_decides_where() {
        for d in [1, 2, 5] {
            let to = target(3, d, 0.75);
            assert!((distance(&to, &identity(d)) - 0.75).abs() < 1e-12);
            assert_ne!(to, target(4, d, 0.75));
        }
    }

    #[test]
    fn neighbours_come_closer_with_depth_where_the_start_is_smooth() {
        let largest = |start, nodes: usize| {
            let theta = weights(start, 1, 2, nodes, |n| n as f64 / nodes as f64);
            let apart = |(a, b)| distance(a, b);
            theta.chunks_exact(4).zip(theta[4..].chunks_exact(4)).map(apart).fold(0.0, f64::max)
        };
        assert_eq!(largest(Start::Zero, 64), 0.0);
        let ratio = largest(Start::Smooth, 64) / largest(Start::Smooth, 128);
        assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
        assert!(largest(Start::Rough, 128) >= largest(Start::Rough, 64));
    }
}
