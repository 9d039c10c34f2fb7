//! Every operation of the fast devices against the f64 reference, at odd sizes, and every fused operation against its
//! definition in primitives.
//!
//! Tolerances: a sum of K rounded terms is off by at most about `8 sqrt(K) eps` times the sum of the terms' magnitudes with
//! overwhelming probability (Higham and Mary 2019, lambda = 8); the magnitude is the same operation on absolute values where
//! it is linear in its operands, and is stated where it is not.

mod batch_norm;
mod bed;
mod block;
mod code;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod coded_block;
mod coded_step;
mod conv;
mod data;
mod elementwise;
mod ends;
mod fit;
mod gradients;
mod head;
mod mask;
mod rounding;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use rewind::shape::{Conv, Shape};

/// Odd on purpose: C of 1, 3, 16, 32, 33, 48, 64, 128; H != W; N = 1; a last group of images that is not full; a last tile of
/// 64 pixels that is not full, behind several groups of tiles.
pub const MAPS: [Shape; 12] = [
    Shape::map(1, 1, 1, 1),
    Shape::map(1, 5, 4, 1),
    Shape::map(3, 7, 9, 3),
    Shape::map(2, 10, 10, 16),
    Shape::map(5, 6, 13, 33),
    Shape::map(131, 4, 5, 8),
    Shape::map(2, 7, 6, 32),
    Shape::map(2, 9, 11, 64),
    Shape::map(1, 12, 35, 40),
    Shape::map(1, 7, 9, 48),
    Shape::map(2, 6, 5, 128),
    Shape::map(3, 17, 21, 16),
];

/// The net's two, and odd ones.
pub const CONVS: [Conv; 9] = [
    Conv::SAME_3X3,
    Conv::STEM_5X5,
    Conv { kernel: 1, stride: 1, padding: 0 },
    Conv { kernel: 3, stride: 2, padding: 1 },
    Conv { kernel: 1, stride: 2, padding: 0 },
    // paddings other than the usual, up to more than the kernel is wide
    Conv { kernel: 3, stride: 1, padding: 0 },
    Conv { kernel: 3, stride: 1, padding: 2 },
    Conv { kernel: 5, stride: 1, padding: 2 },
    Conv { kernel: 2, stride: 1, padding: 3 },
];

/// Runs `operation`, on maps of so many channels, on the reference and on every fast device, and compares each output within its tolerance. The
/// operation returns named outputs; `tolerance` maps an output's name to the tolerance of its elements.
macro_rules! compare {
    ($what:expr, $channels:expr, $operation:ident($($argument:expr),*), $tolerance:expr) => {{
        let expected = $operation(&Reference, $($argument),*);
        let check = |device: &str, found: Outputs, looser: f64| {
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                let tolerance = $tolerance(*name);
                let bound = |i: usize| looser * tolerance[i % tolerance.len()];
                assert_close(&format!("{} {name} on {device}", $what), found, expected, bound);
            }
        };
        for cpu in cpus() {
            check(&cpu.name(), $operation(cpu, $($argument),*), 1.0);
        }
        #[cfg(all(feature = "cuda", target_os = "linux"))]
        for (cuda, looser) in crate::bed::cudas_for($channels) {
            let run = || $operation(cuda, $($argument),*);
            // one block for all tiles: there is one order
            let found = if cuda.name().ends_with("in few blocks") {
                let _turn = crate::support::gpu::turn();
                let found = run();
                crate::support::gpu::no_faults();
                found
            } else {
                crate::support::gpu::in_any_order(run)
            };
            crate::bed::assert_near(&format!("{} on {}", $what, cuda.name()), &found, &expected);
            check(&cuda.name(), found, *looser);
        }
    }};
}
pub(crate) use compare;
