use proptest::prelude::*;

use super::*;
use crate::check::Access;
use crate::check::stamp::{GridStamp, Stamp};
use crate::check::warp::{Across, Warp};

/// What the history must be: lane after lane, cell after cell.
struct Plain<T>(Vec<Cell<T>>);

impl<T: Tag> Plain<T> {
    fn access<O: Order<T>>(&mut self, row: &RowAccess<T>, order: &O) -> Result<(), Clash<T>> {
        let (mut unwritten, mut twice) = (Ok(()), Ok(()));
        for lane in (0..WARP as u32).filter(|lane| row.mask >> lane & 1 == 1) {
            if row.kind == Kind::Read && is_between_equals(row, lane) {
                continue;
            }
            let (offset, me) = (row.offsets[lane as usize], row.tag.at(lane));
            for at in offset / 4..(offset + row.bytes) / 4 {
                let (cell, offset) = (&mut self.0[at as usize], offset.max(4 * at));
                let done = match row.kind {
                    Kind::Read => cell.read(me, order),
                    kind => cell.write(me, kind, order),
                };
                let Err(conflict) = done else { continue };
                match conflict {
                    Conflict::Unwritten if row.kind == Kind::Read => {
                        unwritten = unwritten.and(Err(Clash { conflict, lane, offset }));
                    }
                    Conflict::Write(other) if row.kind != Kind::Read && row.wrote(other, lane, offset) => {
                        twice = twice.and(Err(Clash { conflict: Conflict::Twice(other), lane, offset }));
                        cell.write = me;
                    }
                    _ => return Err(Clash { conflict, lane, offset }),
                }
            }
        }
        unwritten.and(twice)
    }
}

const BYTES: u32 = 1024;

/// Where lanes lie: in a row, in a row backwards, all in one place, in pairs, in rows of four lanes far apart, anywhere.
fn offsets(pattern: u8, start: u32, bytes: u32) -> [u32; WARP] {
    std::array::from_fn(|lane| {
        let lane = lane as u32;
        let at = match pattern {
            0..=2 => start + lane,
            3 => start + 31 - lane,
            4 => start,
            5 => start + lane / 2,
            6 => start + lane % 4 + lane / 4 * 9,
            _ => (start * 7 + lane) * (lane + 3),
        };
        at * bytes % BYTES
    })
}

#[derive(Debug, Clone)]
enum Step {
    Access {
        warp: usize,
        kind: Kind,
        strong: bool,
        pattern: u8,
        start: u32,
        bytes: u32,
        mask: u32,
    },
    /// Lanes of a warp meet.
    Meet {
        warp: usize,
        mask: u32,
    },
    /// All warps meet.
    Barrier,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![4 => Just(Kind::Read), 4 => Just(Kind::Write), 1 => Just(Kind::Atomic)];
    let bytes = prop_oneof![Just(4u32), Just(8), Just(16)];
    let mask = prop_oneof![3 => Just(u32::MAX), 1 => Just(0x0f0f_00ff), 1 => 1..u32::MAX];
    let access = (0..3usize, kind, any::<bool>(), 0..8u8, 0..16u32, bytes, mask.clone());
    prop_oneof![
        8 => access.prop_map(|(warp, kind, strong, pattern, start, bytes, mask)| {
            Step::Access { warp, kind, strong: strong && pattern == 4, pattern, start, bytes, mask }
        }),
        1 => (0..3usize, mask).prop_map(|(warp, mask)| Step::Meet { warp, mask }),
        3 => Just(Step::Barrier),
    ]
}

fn meet(warps: &mut [Warp]) {
    let clocks: Vec<_> = warps.iter().map(Warp::clock).collect();
    for warp in warps {
        clocks.iter().for_each(|clock| warp.learn(clock));
        warp.meet(u32::MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However many cells are looked at together, what comes out is what comes out of each for itself.
    #[test]
    fn cells_looked_at_together_are_as_if_alone(steps in prop::collection::vec(step(), 1..60), began in 0..3u32) {
        let mut warps: Vec<_> = (0..3).map(|warp| Warp::new(warp, began)).collect();
        let (mut shared, mut plain) = (Shadow::<Stamp>::new(BYTES as usize), Plain(vec![Cell::default(); 256]));
        let (mut global, mut flat) = (Shadow::<GridStamp>::new(BYTES as usize), Plain(vec![Cell::default(); 256]));
        for (line, step) in steps.into_iter().enumerate() {
            match step {
                Step::Meet { warp, mask } => warps[warp].meet(mask),
                Step::Barrier => meet(&mut warps),
                Step::Access { warp, kind, strong, pattern, start, bytes, mask } => {
                    let index = warp as u32;
                    let line = line as u32;
                    let access = Access { warp: index, mask, bytes, kind, strong, warp_only: false, line };
                    let (offsets, warp) = (offsets(pattern, start, bytes), &warps[warp]);
                    let tag = Stamp::new(&access, warp.epoch);
                    let row = RowAccess { kind, bytes, mask, offsets: &offsets, tag, held: &|_| false };
                    let found = shared.access(&row, &warp.within());
                    prop_assert_eq!(found, plain.access(&row, &warp.within()));
                    let order = Across { within: warp.within(), others: &warp.others };
                    let tag = GridStamp::new(tag, index % 2);
                    let row = RowAccess { kind, bytes, mask, offsets: &offsets, tag, held: &|_| false };
                    let across = global.access(&row, &order);
                    prop_assert_eq!(across, flat.access(&row, &order));
                    for at in 0..plain.0.len() {
                        if !ends(&found) {
                            prop_assert_eq!(shared.groups[at / EIGHT].cell(at), plain.0[at], "cell {}", at);
                        }
                        if !ends(&across) {
                            prop_assert_eq!(global.groups[at / EIGHT].cell(at), flat.0[at], "cell {}", at);
                        }
                    }
                    // A fault ends the launch; here it ends the program.
                    if ends(&found) || ends(&across) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether a caller does not go on after it.
fn ends<T>(found: &Result<(), Clash<T>>) -> bool {
    matches!(found, Err(Clash { conflict: Conflict::Write(_) | Conflict::Read(_), .. }))
}
