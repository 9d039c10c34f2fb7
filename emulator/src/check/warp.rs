//! What one warp knows, and what its lanes know of each other.

use std::sync::Arc;

use super::WARP;
use super::clock::{Blocks, Clock, Epochs, join, join_option, raise};
use super::copies::Copies;
use super::shadow::Order;
use super::stamp::{GridStamp, Stamp, Tag, WARPS};

/// For each lane the epoch of its own warp up to which it knows each other lane.
type Lanes = [[u32; WARP]; WARP];

/// One warp. Time passes in epochs: each event that may pass something on ends one, so that what is done afterwards can
/// be told from what was passed on.
#[derive(Debug)]
pub(super) struct Warp {
    pub index: u32,
    /// What happened up to this epoch is of an earlier block: all that happens here comes after it.
    began: u32,
    pub epoch: u32,
    /// Epoch up to which every lane knows each warp; the own warp's entry is what all lanes know of all lanes.
    pub seen: Epochs,
    /// What single lanes know beyond that, since the last time that all of them met.
    lanes: Option<Box<Lanes>>,
    /// What is known of other blocks.
    pub others: Arc<Blocks>,
    /// What a strong write passes on within the block: what was known at the last fence (release patterns, PTX ISA
    /// section 8.8).
    pub released_block: Option<Clock>,
    /// The same for the whole GPU.
    pub released_gpu: Option<Clock>,
    /// Places that the last strong access read. What they pass on is looked up only later: another host thread may
    /// write there between the check and the access itself.
    pub read_places: Vec<u64>,
    /// What strong reads took up within the block; a fence makes it known (acquire patterns).
    pub pending_block: Clock,
    /// The same from the whole GPU.
    pub pending_gpu: Arc<Blocks>,
    pub copies: Copies,
}

impl Warp {
    pub fn new(index: u32, began: u32) -> Warp {
        Warp {
            index,
            began,
            epoch: began + 1,
            seen: [began; WARPS],
            lanes: None,
            others: Arc::default(),
            released_block: None,
            released_gpu: None,
            read_places: Vec::new(),
            pending_block: Clock::default(),
            pending_gpu: Arc::default(),
            copies: Copies::default(),
        }
    }

    /// All that this warp knows and did.
    pub fn clock(&self) -> Clock {
        let mut own = self.seen;
        own[self.index as usize] = self.epoch;
        Clock { own, others: Arc::clone(&self.others) }
    }

    /// Ends an epoch.
    pub fn tick(&mut self) {
        self.epoch = self.epoch.saturating_add(1).min(u32::MAX - 1);
    }

    pub fn learn(&mut self, clock: &Clock) {
        raise(&mut self.seen, &clock.own);
        join(&mut self.others, &clock.others);
    }

    /// Makes known what strong reads took up: within the block, or from everywhere.
    pub fn acquire(&mut self, block: u32, everywhere: bool) {
        let pending = std::mem::take(&mut self.pending_block);
        self.learn(&pending);
        if everywhere {
            let pending = std::mem::take(&mut self.pending_gpu);
            if let Some(own) = pending.get(block) {
                raise(&mut self.seen, own);
            }
            join(&mut self.others, &pending);
        }
    }

    /// The lanes of the mask meet.
    pub fn meet(&mut self, mask: u32) {
        if mask == u32::MAX {
            self.seen[self.index as usize] = self.epoch;
            self.lanes = None;
        } else {
            let members = (0..WARP).filter(|lane| mask >> lane & 1 == 1);
            let lanes = self.lanes.get_or_insert_with(|| Box::new([[0; WARP]; WARP]));
            let mut joint = [0; WARP];
            for lane in members.clone() {
                raise(&mut joint, &lanes[lane]);
                joint[lane] = self.epoch;
            }
            // A lane's knowledge of itself is not read, so that raising the others by it is enough.
            for lane in members {
                lanes[lane] = joint;
            }
        }
        self.tick();
    }

    /// The order that shared memory is checked by.
    pub fn within(&self) -> Within<'_> {
        Within { began: self.began, seen: &self.seen, lanes: self.lanes.as_deref() }
    }
}

/// What the participants of a barrier know together.
#[derive(Debug, Default)]
pub(super) struct Joint {
    clock: Clock,
    released_block: Option<Clock>,
    released_gpu: Option<Clock>,
}

impl Joint {
    /// A warp arrives.
    pub fn add(&mut self, warp: &Warp) {
        self.clock.join(&warp.clock());
        join_option(&mut self.released_block, &warp.released_block);
        join_option(&mut self.released_gpu, &warp.released_gpu);
    }

    /// A warp that waited goes on. What any participant released, all of them may pass on: fence by all, barrier,
    /// atomic by one is a common way to write it, and works.
    pub fn hand_to(&self, warp: &mut Warp) {
        warp.learn(&self.clock);
        join_option(&mut warp.released_block, &self.released_block);
        join_option(&mut warp.released_gpu, &self.released_gpu);
    }
}

/// Order within a block.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    began: u32,
    seen: &'a Epochs,
    lanes: Option<&'a Lanes>,
}

impl Within<'_> {
    #[inline(always)]
    fn is_known(&self, earlier: Stamp) -> bool {
        earlier.epoch() <= self.seen[earlier.warp()]
    }

    #[inline(always)]
    fn is_before(&self, earlier: Stamp, me: Stamp) -> bool {
        self.is_known(earlier) || self.is_before_lane(earlier, me)
    }

    #[inline(always)]
    fn is_before_lane(&self, earlier: Stamp, me: Stamp) -> bool {
        earlier.same_warp(me)
            && !earlier.is_unfinished()
            && (earlier.lane() == me.lane()
                || self.lanes.is_some_and(|l| earlier.epoch() <= l[me.lane() as usize][earlier.lane() as usize]))
    }
}

impl Order<Stamp> for Within<'_> {
    #[inline(always)]
    fn unwritten(&self, write: Stamp) -> bool {
        write.epoch() <= self.began
    }

    #[inline(always)]
    fn before(&self, earlier: Stamp, me: Stamp) -> bool {
        self.is_before(earlier, me)
    }

    #[inline(always)]
    fn known(&self, earlier: Stamp, _: Stamp) -> bool {
        self.is_known(earlier)
    }

    #[inline(always)]
    fn by_lane(&self) -> bool {
        self.lanes.is_some()
    }
}

/// Order within a launch.
pub(super) struct Across<'a> {
    pub within: Within<'a>,
    pub others: &'a Blocks,
}

impl Order<GridStamp> for Across<'_> {
    /// The driver's memory has a history of its own.
    #[inline(always)]
    fn unwritten(&self, _: GridStamp) -> bool {
        false
    }

    #[inline(always)]
    fn before(&self, earlier: GridStamp, me: GridStamp) -> bool {
        self.known(earlier, me) || earlier.block == me.block && self.within.is_before_lane(earlier.stamp(), me.stamp())
    }

    #[inline(always)]
    fn known(&self, earlier: GridStamp, me: GridStamp) -> bool {
        let stamp = earlier.stamp();
        if earlier.block == me.block {
            return self.within.is_known(stamp);
        }
        stamp.is_none() || self.others.get(earlier.block).is_some_and(|known| stamp.epoch() <= known[stamp.warp()])
    }

    #[inline(always)]
    fn by_lane(&self) -> bool {
        self.within.lanes.is_some()
    }
}
