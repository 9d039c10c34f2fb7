//! The checks of one resident block.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::Clock;
use super::finding::{Finding, What};
use super::launch::{LaunchChecks, PAGE, Page, lock};
use super::shadow::{RowAccess, Shadow};
use super::stamp::{GridStamp, Stamp, Tag};
use super::warp::{Across, Joint, Warp};
use super::{Access, FenceScope, Kind, WARP};

/// Epochs are counted anew for a block that would start later than this.
const LAST_BEGINNING: u32 = 1 << 30;

/// Pages that a block finds without asking the launch.
const CACHED_PAGES: usize = 64;

/// Bytes that a strong access is looked up by: neighbours within them count as one place.
const PLACE_SHIFT: u32 = 3;

/// Tells places in shared memory from those in global memory.
const SHARED_PLACE: u64 = 1 << 63;

/// Numbers and histories of pages, each where its number says.
type PageCache = [Option<(u64, Arc<Page>)>; CACHED_PAGES];

/// What is checked in one resident block, over which it also keeps the order of its warps.
#[derive(Debug)]
pub struct BlockChecks {
    launch: Arc<LaunchChecks>,
    block: u32,
    warps: Vec<Warp>,
    shared: Shadow<Stamp>,
    /// What strong writes of this block passed on within it.
    places: HashMap<u64, Clock>,
    /// Warps that arrived without waiting, for each barrier.
    arrived: HashMap<u32, Joint>,
    pages: Box<PageCache>,
}

impl BlockChecks {
    /// A block that has done nothing yet: its linear index in the grid, its warps (at most 32), and its bytes of
    /// shared memory, static and dynamic.
    pub fn new(launch: &Arc<LaunchChecks>, block: u32, warps: u32, shared_bytes: usize) -> BlockChecks {
        BlockChecks {
            launch: Arc::clone(launch),
            block,
            warps: (0..warps).map(|warp| Warp::new(warp, 0)).collect(),
            shared: Shadow::new(shared_bytes),
            places: HashMap::new(),
            arrived: HashMap::new(),
            pages: Box::new([const { None }; CACHED_PAGES]),
        }
    }

    /// Becomes another block of the launch, of as many warps and bytes, when this one has ended. The history of shared
    /// memory stays: its epochs go on, and all of it counts as before the block's first.
    pub fn restart(&mut self, block: u32) {
        let mut began = self.warps.iter().map(|warp| warp.epoch).max().unwrap_or(0);
        // Copies that nobody waited for are after whatever epoch there is.
        if began > LAST_BEGINNING || self.warps.iter().any(|warp| !warp.copies.are_done()) {
            began = 0;
            self.shared.forget();
        }
        self.block = block;
        self.warps.iter_mut().for_each(|warp| *warp = Warp::new(warp.index, began));
        self.places.clear();
        self.arrived.clear();
    }

    /// An access to shared memory, at offsets that lie within it and are aligned.
    ///
    /// # Errors
    /// It races, reads what nobody wrote, or touches a copy under way.
    pub fn shared(&mut self, access: &Access, offsets: &[u32; WARP]) -> Result<(), Finding> {
        self.shared_store(access, offsets, &|_| false)
    }

    /// The same, of a store that knows for which lanes memory holds already what they write.
    ///
    /// # Errors
    /// As [`BlockChecks::shared`].
    #[inline(always)]
    pub fn shared_store(
        &mut self,
        access: &Access,
        offsets: &[u32; WARP],
        held: &dyn Fn(u32) -> bool,
    ) -> Result<(), Finding> {
        if is_strong(access) {
            self.pass_on(access, |lane| SHARED_PLACE | u64::from(offsets[lane]) >> PLACE_SHIFT);
        }
        let warp = &self.warps[access.warp as usize];
        self.shared
            .access(&RowAccess { held, ..row(access, offsets, Stamp::new(access, warp.epoch)) }, &warp.within())
            .map_err(|clash| Finding::new(access, clash, 0, What::SharedRace, |&tag| (self.block, tag)))
    }

    /// An access to global memory, at absolute addresses that are allocated and aligned.
    ///
    /// # Errors
    /// It races.
    pub fn global(&mut self, access: &Access, addresses: &[u64; WARP]) -> Result<(), Finding> {
        self.global_store(access, addresses, &|_| false)
    }

    /// The same, of a store that knows for which lanes memory holds already what they write.
    ///
    /// # Errors
    /// As [`BlockChecks::global`].
    #[inline(always)]
    pub fn global_store(
        &mut self,
        access: &Access,
        addresses: &[u64; WARP],
        held: &dyn Fn(u32) -> bool,
    ) -> Result<(), Finding> {
        // Only shared memory has barriers enough for volatile reads to be asked for order.
        let access = &Access { warp_only: false, ..*access };
        if is_strong(access) {
            self.pass_on(access, |lane| addresses[lane] >> PLACE_SHIFT);
        }
        let warp = &self.warps[access.warp as usize];
        let tag = GridStamp::new(Stamp::new(access, warp.epoch), self.block);
        let order = Across { within: warp.within(), others: &warp.others };
        let mut told: Result<(), Finding> = Ok(());
        let mut rest = access.mask;
        while rest != 0 {
            let number = addresses[rest.trailing_zeros() as usize] / PAGE;
            let mut mask = 0;
            for (lane, address) in addresses.iter().enumerate() {
                mask |= u32::from(address / PAGE == number) << lane;
            }
            mask &= rest;
            rest &= !mask;
            let offsets = addresses.map(|address| (address % PAGE) as u32);
            let page = cached(&mut self.pages, &self.launch, number);
            let row = RowAccess { mask, held, ..row(access, &offsets, tag) };
            let result = lock(page).access(&row, &order).map_err(|clash| {
                Finding::new(access, clash, number * PAGE, What::GlobalRace, |tag| (tag.block, tag.stamp()))
            });
            match result {
                Err(finding) if finding.what == What::SameInstructionWrite => told = Err(finding),
                Err(finding) if finding.what == What::SameValueWrite => told = told.and(Err(finding)),
                other => other?,
            }
        }
        told
    }

    /// Whether some of these bytes of shared memory was never written.
    pub fn shared_unwritten(&self, offset: u32, bytes: u32) -> bool {
        // When the block began is the same for all its warps.
        self.warps.first().is_some_and(|warp| self.shared.is_unwritten(offset, bytes, &warp.within()))
    }

    /// `bar.warp.sync`, or another way for the lanes of the mask to meet: called once, when all of them have come.
    pub fn warp_sync(&mut self, warp: u32, mask: u32) {
        self.warps[warp as usize].meet(mask);
    }

    /// A warp comes to a barrier and does not wait there: `barrier.arrive`.
    pub fn arrive(&mut self, barrier: u32, warp: u32) {
        let warp = &mut self.warps[warp as usize];
        self.arrived.entry(barrier).or_default().add(warp);
        warp.tick();
    }

    /// A barrier completes (`barrier.sync`, `barrier.red`): these warps waited there, besides those that arrived.
    pub fn barrier(&mut self, barrier: u32, warps: &[u32]) {
        let mut joint = self.arrived.remove(&barrier).unwrap_or_default();
        for &warp in warps {
            self.take_up(warp);
            let warp = &mut self.warps[warp as usize];
            warp.acquire(self.block, true);
            joint.add(warp);
        }
        for &warp in warps {
            let warp = &mut self.warps[warp as usize];
            joint.hand_to(warp);
            warp.meet(u32::MAX);
        }
    }

    /// A fence of a warp: `fence`, `membar`, or the one that an atomic with `.acquire` or `.release` has built in. For
    /// a release it comes before the access, for an acquire after.
    pub fn fence(&mut self, warp: u32, scope: FenceScope) {
        self.take_up(warp);
        let warp = &mut self.warps[warp as usize];
        warp.acquire(self.block, scope == FenceScope::Gpu);
        let clock = warp.clock();
        if scope == FenceScope::Gpu {
            warp.released_gpu = Some(clock.clone());
        }
        warp.released_block = Some(clock);
        warp.tick();
    }

    /// `cp.async`: its write to shared memory, which takes place some time before the wait. The read of global memory
    /// is announced with [`BlockChecks::global`].
    ///
    /// # Errors
    /// The destination is still in use by another thread, or by a copy under way.
    pub fn cp_async(&mut self, access: &Access, offsets: &[u32; WARP]) -> Result<(), Finding> {
        let access = Access { kind: Kind::Write, strong: false, warp_only: false, ..*access };
        self.shared(&access, offsets)?;
        let warp = &mut self.warps[access.warp as usize];
        let tag = Stamp::new(&access, warp.epoch).unfinished();
        for (lane, &offset) in offsets.iter().enumerate() {
            if access.mask >> lane & 1 == 1 {
                self.shared.overwrite(offset, access.bytes, tag.at(lane as u32));
            }
        }
        warp.copies.issue(access.mask, access.bytes, access.line, offsets);
        Ok(())
    }

    /// `cp.async.commit_group`.
    pub fn cp_async_commit(&mut self, warp: u32, mask: u32) {
        self.warps[warp as usize].copies.commit(mask);
    }

    /// `cp.async.wait_group` with the number of groups that may stay pending, or `cp.async.wait_all`. What is waited
    /// for counts as written by its thread now.
    pub fn cp_async_wait(&mut self, warp: u32, mask: u32, pending: Option<u32>) {
        let Warp { index, epoch, copies, .. } = &mut self.warps[warp as usize];
        copies.wait(mask, pending, |lane, offset, bytes, line| {
            let access = Access { warp: *index, mask, bytes, kind: Kind::Write, strong: false, warp_only: false, line };
            self.shared.overwrite(offset, bytes, Stamp::new(&access, *epoch).at(lane));
        });
    }

    /// A strong access: writes pass on what the warp released, reads take up what was passed on.
    fn pass_on(&mut self, access: &Access, place: impl Fn(usize) -> u64) {
        self.take_up(access.warp);
        let warp = &mut self.warps[access.warp as usize];
        let lanes = (0..WARP).filter(|lane| access.mask >> lane & 1 == 1);
        let mut last = None;
        for first in lanes.map(place) {
            if last == Some(first) {
                continue;
            }
            last = Some(first);
            for place in [first, first + 1].into_iter().take(if access.bytes > 1 << PLACE_SHIFT { 2 } else { 1 }) {
                if access.kind != Kind::Read {
                    if let Some(released) = &warp.released_block {
                        self.places.entry(place).or_default().join(released);
                    }
                    if place & SHARED_PLACE == 0
                        && let Some(released) = &warp.released_gpu
                    {
                        self.launch.publish(place, self.block, released);
                    }
                }
                if access.kind != Kind::Write {
                    warp.read_places.push(place);
                }
            }
        }
    }

    /// Looks up what the last strong read took up.
    fn take_up(&mut self, warp: u32) {
        let warp = &mut self.warps[warp as usize];
        for place in warp.read_places.drain(..) {
            if !self.places.is_empty()
                && let Some(clock) = self.places.get(&place)
            {
                warp.pending_block.join(clock);
            }
            if place & SHARED_PLACE == 0
                && let Some(blocks) = self.launch.published(place)
            {
                super::clock::join(&mut warp.pending_gpu, &blocks);
            }
        }
    }
}

fn is_strong(access: &Access) -> bool {
    access.strong || access.kind == Kind::Atomic
}

fn row<'a, T>(access: &Access, offsets: &'a [u32; WARP], tag: T) -> RowAccess<'a, T> {
    RowAccess { kind: access.kind, bytes: access.bytes, mask: access.mask, offsets, tag, held: &|_| false }
}

fn cached<'a>(pages: &'a mut PageCache, launch: &LaunchChecks, number: u64) -> &'a Arc<Page> {
    let slot = &mut pages[number as usize % CACHED_PAGES];
    if slot.as_ref().is_none_or(|(cached, _)| *cached != number) {
        *slot = None;
    }
    &slot.get_or_insert_with(|| (number, launch.page(number))).1
}
