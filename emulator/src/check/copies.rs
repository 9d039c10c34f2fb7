//! Asynchronous copies that were issued and not yet waited for (PTX ISA section 9.7.9.25.3).

use super::WARP;

/// One `cp.async` of a warp.
#[derive(Debug)]
struct Copy {
    offsets: [u32; WARP],
    /// The group that each lane's copy belongs to: the number of commits before it.
    groups: [u32; WARP],
    /// Lanes that have not waited for it.
    mask: u32,
    bytes: u32,
    line: u32,
}

/// The copies of one warp.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pending: Vec<Copy>,
    commits: [u32; WARP],
}

impl Copies {
    pub fn issue(&mut self, mask: u32, bytes: u32, line: u32, offsets: &[u32; WARP]) {
        self.pending.push(Copy { offsets: *offsets, groups: self.commits, mask, bytes, line });
    }

    /// Whether all were waited for.
    pub fn are_done(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn commit(&mut self, mask: u32) {
        for (lane, commits) in self.commits.iter_mut().enumerate() {
            *commits = commits.saturating_add(mask >> lane & 1);
        }
    }

    /// The lanes of the mask wait until at most so many of their latest groups are pending, or for all copies, also
    /// those of no group. Hands each finished copy to `finish`: lane, offset, bytes, line.
    pub fn wait(&mut self, mask: u32, pending: Option<u32>, mut finish: impl FnMut(u32, u32, u32, u32)) {
        let commits = &self.commits;
        self.pending.retain_mut(|copy| {
            let mut waiting = copy.mask & mask;
            while waiting != 0 {
                let lane = waiting.trailing_zeros();
                waiting &= waiting - 1;
                let at = lane as usize;
                if pending.is_none_or(|n| copy.groups[at] < commits[at].saturating_sub(n)) {
                    copy.mask &= !(1 << lane);
                    finish(lane, copy.offsets[at], copy.bytes, copy.line);
                }
            }
            copy.mask != 0
        });
    }
}
