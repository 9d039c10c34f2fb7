//! In which order blocks and warps run: their natural one, or one drawn from a seed to bring out what depends on it.

/// A stream of random numbers (SplitMix64): small, and the same everywhere.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

/// One block's order of warps.
#[derive(Debug, Clone)]
pub(in crate::exec) struct Order {
    random: Option<Random>,
    warps: Vec<usize>,
}

impl Order {
    pub fn natural() -> Order {
        Order { random: None, warps: Vec::new() }
    }

    pub fn new(seed: Option<u64>, block: u32) -> Order {
        let random = seed.map(|s| Random(s ^ (u64::from(block) << 32 | 0x5bd1_e995)));
        Order { random, warps: Vec::new() }
    }

    /// The order of the next round.
    pub fn warps(&mut self, count: usize) -> Warps {
        if self.warps.len() != count {
            self.warps = (0..count).collect();
        }
        if let Some(random) = &mut self.random {
            random.shuffle(&mut self.warps);
        }
        self.warps.clone()
    }

    /// How long a warp runs at most: shuffled, anything from a few instructions to a few hundred.
    pub fn slice(&mut self, natural: u64) -> u64 {
        self.random.as_mut().map_or(natural, |r| (8 << (r.next() % 6)) + r.next() % 8)
    }
}

type Warps = Vec<usize>;

/// The order of all blocks; `None` if it is the natural one.
pub(in crate::exec) fn blocks(seed: Option<u64>, count: u32) -> Option<Vec<u32>> {
    let mut random = Random(seed?);
    let mut all: Vec<u32> = (0..count).collect();
    random.shuffle(&mut all);
    Some(all)
}
