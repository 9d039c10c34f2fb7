//! How the kernels of the corpus are run: on both targets, by one and two host threads, in shuffled orders, with every
//! check on.

use rewind_emulator::exec::Launch;
use rewind_emulator::machine::Options;

use super::bench::Bench;
use super::compiled;

/// Half the distance from 1 to the next single: the relative error of one rounding.
pub const ROUND32: f64 = 1.0 / (1 << 24) as f64;

/// Targets and options that must all give the same.
fn variants() -> [(u32, Options); 5] {
    let base = Options { threads: 2, ..Options::default() };
    [
        (80, base),
        (90, base),
        (80, Options { threads: 1, ..base }),
        (80, Options { shuffle: Some(3), ..base }),
        (90, Options { shuffle: Some(4), ..base }),
    ]
}

/// Runs `test` everywhere; it looks at its results itself.
pub fn everywhere(source: &str, test: impl Fn(&mut Bench)) {
    for (arch, options) in variants() {
        test(&mut Bench::from_text(&compiled(source, arch), options));
    }
}

/// Runs `test` everywhere; its result must be the same, bit for bit.
pub fn same_everywhere<T: PartialEq + std::fmt::Debug>(source: &str, test: impl Fn(&mut Bench) -> T) -> T {
    let mut results = variants().map(|(arch, options)| {
        let result = test(&mut Bench::from_text(&compiled(source, arch), options));
        (arch, options, result)
    });
    let (first, others) = results.split_first_mut().expect("there are variants");
    for (arch, options, result) in others {
        assert!(*result == first.2, "compute_{arch}, {options:?} gives other bits");
    }
    let [(.., result), ..] = results;
    result
}

impl Bench {
    /// A launch that must succeed, of a grid and blocks of one dimension.
    pub fn go(&mut self, kernel: &str, (blocks, threads): (u32, u32), parameters: &[u64]) {
        self.go_shaped(kernel, ([blocks, 1, 1], [threads, 1, 1], 0), parameters);
    }

    /// A launch that must succeed: grid, block, bytes of dynamic shared memory.
    pub fn go_shaped(&mut self, kernel: &str, (grid, block, shared): ([u32; 3], [u32; 3], u32), parameters: &[u64]) {
        let launch = Launch { grid, block, dynamic_shared: shared, cooperative: false };
        self.launch(kernel, launch, parameters).unwrap_or_else(|e| panic!("{kernel}: {e}"));
    }

    /// Zeros.
    pub fn zeros(&mut self, bytes: usize) -> u64 {
        self.put(&vec![0u8; bytes])
    }
}

/// A generator of the test's numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// Within `-size..size`.
    pub fn float(&mut self, size: f32) -> f32 {
        ((self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0) * size
    }

    pub fn floats(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.float(size)).collect()
    }

    /// Whole numbers from -8 to 8, whose sums and products in singles are exact.
    pub fn whole(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(17) as f32 - 8.0).collect()
    }
}

/// Each value within its tolerance of the expected one.
#[track_caller]
pub fn assert_close(what: &str, got: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = (f64, f64)>) {
    let (mut got, mut expected, mut i) = (got.into_iter(), expected.into_iter(), 0);
    loop {
        match (got.next(), expected.next()) {
            (Some(g), Some((e, tolerance))) => {
                assert!((g - e).abs() <= tolerance, "{what}[{i}] is {g}, not {e} to within {tolerance:e}");
            }
            (None, None) => return,
            _ => panic!("{what} has another length"),
        }
        i += 1;
    }
}

/// The error function, by a series of positive terms.
pub fn erf(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    (2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum).clamp(-1.0, 1.0)
}
