//! What is compared with what: for each shape our gradient mode, the peer's, and the ratio that is asked for.

use rewind::scheme::Scheme;
use rewind::sweep::Gradient;

/// Our mode against one of the peer's, or another of ours.
#[derive(Clone, Copy)]
pub struct Comparison {
    pub ours: Gradient,
    pub other: (Side, Gradient),
    /// How many times as fast ours must be.
    pub at_least: f64,
    /// And how many times it should be.
    pub aim: f64,
}

const fn against(ours: Gradient, peer: Gradient, at_least: f64, aim: f64) -> Comparison {
    Comparison { ours, other: (Side::Peer, peer), at_least, aim }
}

/// 4 evaluations of f a block against 5.
const CODED_AGAINST_ADJOINT: Comparison =
    Comparison { ours: Gradient::Coded, other: (Side::Ours, Gradient::Adjoint), at_least: 1.0 / 0.85, aim: 1.25 };

const NARROW: &[Comparison] = &[
    against(Gradient::Adjoint, Gradient::Adjoint, 2.0, 4.0),
    against(Gradient::Corrected, Gradient::Adjoint, 2.0, 4.0),
    against(Gradient::Backprop, Gradient::Backprop, 1.7, 3.0),
    against(Gradient::Corrected, Gradient::Backprop, 1.2, 2.0),
    against(Gradient::Coded, Gradient::Backprop, 1.4, 2.0),
    CODED_AGAINST_ADJOINT,
];
const HEUN: &[Comparison] = &[against(Gradient::Adjoint, Gradient::Adjoint, 2.0, 4.0)];
const WIDE: &[Comparison] = &[
    against(Gradient::Adjoint, Gradient::Adjoint, 1.3, 2.0),
    against(Gradient::Backprop, Gradient::Backprop, 1.3, 2.0),
];
/// The peer's peak of resident memory over ours, at the depth below.
pub const MEMORY: (f64, f64) = (5.0, 20.0);
/// Where memory is compared.
pub const MEMORY_DEPTH: usize = 256;
/// A net's shape, and how long it is timed.
#[derive(Clone, Copy)]
pub struct Net {
    pub scheme: Scheme,
    pub channels: usize,
    /// Rows and columns of the blocks' maps: 10 by the 5x5 stem, 32 by the 3x3 one.
    pub map: usize,
    pub batch: usize,
    pub depth: usize,
    /// Seconds of timed steps a run; where a step takes long, the least number of steps decides.
    pub seconds: f64,
}

/// A shape and its comparisons.
pub struct Row {
    pub net: Net,
    pub comparisons: &'static [Comparison],
}

impl Net {
    /// Such as `euler/16/10x10/256/64`: scheme, channels, map, batch, depth.
    pub fn id(&self) -> String {
        let Self { scheme, channels, map, batch, depth, .. } = self;
        format!("{scheme}/{channels}/{map}x{map}/{batch}/{depth}")
    }

    /// A shape whose peer takes seconds per step.
    pub fn is_slow(&self) -> bool {
        self.map == 32 || self.depth >= 256
    }
}

/// The narrow net of the paper.
pub const fn narrow(scheme: Scheme, depth: usize, seconds: f64) -> Net {
    Net { scheme, channels: 16, map: 10, batch: 256, depth, seconds }
}

const fn wide(map: usize) -> Net {
    Net { scheme: Scheme::Euler, channels: 64, map, batch: 128, depth: 16, seconds: 4.0 }
}

/// The table.
pub const ROWS: [Row; 7] = [
    Row { net: narrow(Scheme::Euler, 16, 4.0), comparisons: NARROW },
    Row { net: narrow(Scheme::Euler, 64, 4.0), comparisons: NARROW },
    Row { net: narrow(Scheme::Euler, MEMORY_DEPTH, 6.0), comparisons: NARROW },
    Row { net: narrow(Scheme::Heun, 16, 4.0), comparisons: HEUN },
    Row { net: narrow(Scheme::Heun, 64, 4.0), comparisons: HEUN },
    Row { net: wide(10), comparisons: WIDE },
    Row { net: wide(32), comparisons: WIDE },
];

/// The order of one round: ours and the peer's in turn, as far as the row has them.
pub const ROUND: [(Side, Gradient); 6] = [
    (Side::Ours, Gradient::Adjoint),
    (Side::Ours, Gradient::Coded),
    (Side::Ours, Gradient::Corrected),
    (Side::Peer, Gradient::Adjoint),
    (Side::Ours, Gradient::Backprop),
    (Side::Peer, Gradient::Backprop),
];

/// Whose run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Ours,
    Peer,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Ours => "rewind",
            Side::Peer => "torch",
        }
    }
}

impl Row {
    /// Whether any comparison needs this run.
    pub fn needs(&self, run: (Side, Gradient)) -> bool {
        self.comparisons.iter().any(|c| run == (Side::Ours, c.ours) || run == c.other)
    }
}
