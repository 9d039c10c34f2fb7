//! `auto`: which blocks of a sweep are reconstructed and which are coded, by what the sweep measured.
//!
//! A block is coded from the step on in which its local error passes [`TOLERANCE`] or its iteration contracts by less than
//! [`CONTRACTION`]; it is reconstructed again once a probe finds both far enough below. Trials: reconstruction held where local
//! errors stayed below a few thousandths, and a net whose blocks are close to no ODE says so within its first steps.

use serde::{Deserialize, Serialize};

use super::{Gradient, LocalError, SweepSpec};
use crate::scheme::StepSize;

/// How a step's state is found again on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By the reverse step.
    Reconstructed,
    /// By the reverse step and [`PASSES`] fixed-point passes: what ought to be coded where there is no room for its code.
    Refined,
    /// By the code of this number.
    Coded(usize),
}

/// The local error from which on a block is coded.
pub const TOLERANCE: f64 = 0.003;
/// The contraction from which on it is.
pub const CONTRACTION: f64 = 0.7;
/// A local error so small that it may be rounding, which does not contract.
pub const NEGLIGIBLE: f64 = 1e-5;
/// The part of both below which a coded block is released.
pub const RELEASE: f64 = 0.25;
/// Fixed-point passes where there is no room for a code.
pub const PASSES: usize = 3;
/// Blocks from which on a net with h = 1/N starts reconstructed. Trials found errors above the tolerance below 16 blocks after 250
/// steps, and weights grow for longer than that.
pub const DEEP: usize = 32;

impl SweepSpec {
    /// How every step starts.
    pub fn first_ways(&self, depth: usize, step_size: StepSize) -> Vec<Way> {
        let (steps, room) = (self.scheme.steps(depth), self.stored_codes(depth));
        let coded = match self.gradient {
            Gradient::Coded => true,
            Gradient::Auto => step_size == StepSize::One || depth < DEEP,
            _ => false,
        };
        let way = |n| match () {
            () if !coded => Way::Reconstructed,
            () if n < room => Way::Coded(n),
            () => Way::Refined,
        };
        (0..steps).map(way).collect()
    }
}

/// What a step's local error asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stay,
    Code,
    Release,
}

impl Wish {
    fn of(way: Way, error: Option<LocalError>) -> Self {
        let Some(LocalError { delta, rho }) = error else { return Self::Stay };
        let contracts = |most: f64| rho <= most || delta < NEGLIGIBLE;
        let sound = delta < RELEASE * TOLERANCE && contracts(RELEASE * CONTRACTION);
        // what is no number is bad
        let bad = !(delta <= TOLERANCE && contracts(CONTRACTION));
        match way {
            Way::Coded(_) | Way::Refined if sound => Self::Release,
            Way::Reconstructed | Way::Refined if bad => Self::Code,
            _ => Self::Stay,
        }
    }
}

/// Chooses anew from what a sweep measured, `errors` of each step where it was; there are `room` codes. Says whether anything
/// changed; allocates only then.
pub fn choose(ways: &mut [Way], errors: &[Option<LocalError>], room: usize) -> bool {
    let stays = |(way, error): (&Way, &Option<LocalError>)| Wish::of(*way, *error) == Wish::Stay;
    if ways.iter().zip(errors).all(stays) {
        return false;
    }
    let mut free = vec![true; room];
    for way in ways.iter() {
        if let Way::Coded(slot) = way {
            free[*slot] = false;
        }
    }
    let mut free: Vec<usize> = (0..room).rev().filter(|slot| free[*slot]).collect();
    let mut changed = false;
    for (way, error) in ways.iter_mut().zip(errors) {
        let next = match (Wish::of(*way, *error), *way) {
            (Wish::Stay, way) => way,
            (Wish::Release, Way::Coded(slot)) => {
                free.push(slot);
                Way::Reconstructed
            }
            (Wish::Release, _) => Way::Reconstructed,
            (Wish::Code, _) => free.pop().map_or(Way::Refined, Way::Coded),
        };
        changed |= next != *way;
        *way = next;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Scheme;

    fn errors(deltas: &[f64]) -> Vec<Option<LocalError>> {
        deltas.iter().map(|delta| Some(LocalError { delta: *delta, rho: 0.1 })).collect()
    }

    #[test]
    fn bad_blocks_are_coded_and_good_ones_released_with_hysteresis() {
        let mut ways = vec![Way::Reconstructed; 3];
        assert!(choose(&mut ways, &errors(&[0.001, 0.004, f64::NAN]), 3));
        assert_eq!(ways, [Way::Reconstructed, Way::Coded(0), Way::Coded(1)]);
        // between release and tolerance nothing moves
        assert!(!choose(&mut ways, &errors(&[0.002, 0.002, 0.002]), 3));
        assert!(choose(&mut ways, &[None, errors(&[0.0001])[0], None], 3));
        assert_eq!(ways, [Way::Reconstructed, Way::Reconstructed, Way::Coded(1)]);
        let rounding = Some(LocalError { delta: 1e-7, rho: 2.0 });
        assert!(!choose(&mut ways, &[rounding, None, None], 3));
        let slow = Some(LocalError { delta: 1e-4, rho: 0.8 });
        assert!(choose(&mut ways, &[slow, None, None], 3));
        assert_eq!(ways[0], Way::Coded(0));
    }

    #[test]
    fn without_room_a_block_is_refined_until_there_is_some() {
        let mut ways = vec![Way::Reconstructed; 2];
        choose(&mut ways, &errors(&[0.1, 0.1]), 1);
        assert_eq!(ways, [Way::Coded(0), Way::Refined]);
        choose(&mut ways, &errors(&[0.0, 0.0]), 1);
        assert_eq!(ways, [Way::Reconstructed, Way::Reconstructed]);
    }

    #[test]
    fn shallow_nets_and_plain_ones_start_coded() {
        let auto = SweepSpec { code_room: Some(2), ..SweepSpec::new(Scheme::Euler, Gradient::Auto) };
        assert_eq!(auto.first_ways(3, StepSize::OverDepth), [Way::Coded(0), Way::Coded(1), Way::Refined]);
        assert_eq!(auto.first_ways(32, StepSize::OverDepth), [Way::Reconstructed; 32]);
        assert_eq!(auto.first_ways(32, StepSize::One)[..3], [Way::Coded(0), Way::Coded(1), Way::Refined]);
        let coded = SweepSpec::new(Scheme::Heun, Gradient::Coded);
        assert_eq!(coded.first_ways(16, StepSize::OverDepth).last(), Some(&Way::Coded(14)));
    }
}
