//! Passes over shared memory's banks that a request needs.

use crate::lanes::WARP;

/// Banks, each four bytes wide: word `w` lies in bank `w % 32`.
const BANKS: u32 = 32;

/// More words than any multiprocessor's shared memory has (228 KiB).
const WORDS: usize = 256 * 1024 / 4;

/// Patterns that are remembered, each where its instruction's number says.
const REMEMBERED: usize = 64;

/// A request with conflicts. An instruction mostly makes the same one again, if elsewhere: a distance of whole words turns the
/// banks round and changes nothing else.
#[derive(Debug, Clone, Copy, Default)]
struct Pattern {
    /// From the first lane's offset.
    distances: [u32; WARP],
    mask: u32,
    bytes: u32,
    /// 0 for none yet.
    wavefronts: u32,
}

/// Room to find equal words in.
#[derive(Debug, Clone, Default)]
pub(super) struct Banks {
    /// The request that touched a word last; empty until a request needs it, as many launches have none.
    last: Vec<u32>,
    /// The number of the request at hand, from 1.
    request: u32,
    /// Empty until then as well.
    patterns: Vec<Pattern>,
}

impl Banks {
    /// Wavefronts needed, and those needed without conflicts.
    ///
    /// Accesses of up to 4 bytes take all lanes in one phase, of 8 bytes half a warp, of 16 bytes a quarter, so that a
    /// phase asks for at most 128 bytes. A phase takes as many wavefronts as the busiest bank has different words
    /// asked of it; lanes that ask for the same word are served together. An aligned access of 8 bytes is one unit
    /// that fills two neighbouring banks, and so on, so that it is enough to count units over `32 / words` unit banks.
    #[inline(always)]
    pub fn wavefronts(&mut self, at: u32, offsets: &[u32; WARP], mask: u32, bytes: u32) -> (u32, u32) {
        // 7 at most: a lane for itself.
        let shift = bytes.max(4).next_power_of_two().trailing_zeros().min(7);
        let lanes = BANKS >> (shift - 2);
        let ideal = phases(mask, lanes);
        if mask == u32::MAX {
            let step = offsets[1].wrapping_sub(offsets[0]);
            if (step == 0 || step == bytes) && offsets[0].is_multiple_of(bytes) && regular(offsets, step) {
                return (ideal, ideal);
            }
        }
        if all_apart(offsets, mask, shift, lanes) {
            return (ideal, ideal);
        }
        // Within a word the distances do not tell which words the lanes ask for.
        if !offsets[0].is_multiple_of(1 << shift) {
            return (self.scattered(offsets, mask, shift, lanes), ideal);
        }
        let distances = offsets.map(|offset| offset.wrapping_sub(offsets[0]));
        if self.patterns.is_empty() {
            self.patterns.resize(REMEMBERED, Pattern::default());
        }
        let known = &self.patterns[at as usize % REMEMBERED];
        let mut difference = known.mask ^ mask | known.bytes ^ bytes;
        for (known, distance) in known.distances.iter().zip(&distances) {
            difference |= known ^ distance;
        }
        if difference == 0 && known.wavefronts > 0 {
            return (known.wavefronts, ideal);
        }
        let wavefronts = self.scattered(offsets, mask, shift, lanes);
        self.patterns[at as usize % REMEMBERED] = Pattern { distances, mask, bytes, wavefronts };
        (wavefronts, ideal)
    }

    #[inline(never)]
    fn scattered(&mut self, offsets: &[u32; WARP], mask: u32, shift: u32, lanes: u32) -> u32 {
        self.request = self.request.wrapping_add(1);
        if self.request == 0 {
            self.last.fill(0);
            self.request = 1;
        }
        self.last.resize(WORDS, 0);
        // Units by phase and unit bank: `lanes` unit banks in each of `32 / lanes` phases.
        let mut busy = [0u8; BANKS as usize];
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros();
            left &= left - 1;
            let phase_first = lane & !(lanes - 1);
            let unit = offsets[lane as usize % WARP] >> shift;
            // The same unit in another phase is another place: there are as many phases as words in a unit.
            let place = (unit << (shift - 2)) + (phase_first >> (7 - shift));
            let last = &mut self.last[place as usize % WORDS];
            busy[(phase_first + unit % lanes) as usize % WARP] += u8::from(*last != self.request);
            *last = self.request;
        }
        let by_phase = busy.chunks_exact(lanes as usize);
        by_phase.map(|banks| u32::from(banks.iter().copied().max().unwrap_or(0))).sum()
    }
}

/// Whether each run of neighbouring lanes with the same unit has a unit bank for itself. If not there may still be no
/// conflict, as runs of the same unit can meet.
#[inline(always)]
fn all_apart(offsets: &[u32; WARP], mask: u32, shift: u32, lanes: u32) -> bool {
    // Inactive lanes take nothing and end a run: two runs of one unit merely look like a conflict.
    let mut units = [u32::MAX; WARP + 1];
    for lane in 0..WARP {
        units[lane + 1] = if mask >> lane & 1 == 1 { offsets[lane] >> shift } else { u32::MAX };
    }
    let (mut taken, mut runs) = (0u32, 0);
    for lane in 0..WARP {
        let phase_first = lane as u32 & !(lanes - 1);
        let unit = units[lane + 1];
        // There are as many unit banks as lanes in a phase: a power of two.
        let place = ((unit & (lanes - 1)) + phase_first) % BANKS;
        let starts = u32::from(unit != units[lane] || lane as u32 == phase_first) & (mask >> lane & 1);
        taken |= starts << place;
        runs += starts;
    }
    taken.count_ones() == runs
}

/// Groups of `lanes` lanes of which at least one is active.
fn phases(mask: u32, lanes: u32) -> u32 {
    if lanes == WARP as u32 {
        return 1;
    }
    let group = (1u32 << lanes) - 1;
    (0..WARP as u32 / lanes).filter(|i| mask >> (i * lanes) & group != 0).count() as u32
}

/// Whether every offset is `step` past the one before; without branches, for SIMD.
#[inline(always)]
fn regular(offsets: &[u32; WARP], step: u32) -> bool {
    let mut differences = 0;
    let mut expected = offsets[0];
    for &offset in offsets {
        differences |= offset ^ expected;
        expected = expected.wrapping_add(step);
    }
    differences == 0
}
