//! Block barriers (PTX ISA section 9.7.13.1): sixteen of them, each for all threads of the block or for a number of them.

use crate::exec::code::{Action, BarrierKind};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::{State, Warp};
use crate::fault::FaultKind;
use crate::lanes::{Lane, Slot, WARP};
use crate::ptx::BarrierOp;

const BARRIERS: u32 = 16;

/// Lanes that have come to a barrier.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    warp: usize,
    mask: u32,
    /// Where the predicate of a reduction holds.
    truth: u32,
    /// The operation.
    at: u32,
    /// When, if that is followed.
    clock: u64,
}

/// The barriers of a block, by number.
#[derive(Debug, Clone, Default)]
pub(in crate::exec) struct Barriers {
    open: Vec<(u32, Option<u32>, Vec<Arrival>)>,
}

impl Barriers {
    /// A warp's lanes came to a barrier; they are the group it parked last.
    pub fn reached(&mut self, warps: &mut [Warp], env: &mut Env<'_, '_>, w: usize, at: u32, mask: u32) -> Faulty<()> {
        let code = env.grid.code;
        let op = &code.ops[at as usize];
        let Action::Barrier(barrier) = &op.action else { return Ok(()) };
        let mut slots = env.grid.operands(op).iter().copied();
        let first = mask.trailing_zeros() as usize % WARP;
        if matches!(barrier.kind, BarrierKind::Reduce(_)) {
            slots.next();
        }
        let value = |slot: Option<Slot>| slot.map_or(0, |s| warps[w].lanes.row(s)[first]);
        let id = value(slots.next());
        let count = barrier.counted.then(|| value(slots.next()));
        let truth = match barrier.kind {
            BarrierKind::Reduce(_) => slots.next().map_or(0, |s| warps[w].lanes.predicate(s)) & mask,
            _ => 0,
        };
        let refuse = |what: String| Err(env.fault(FaultKind::Barrier, w as u32, op, mask, None, what));
        if id >= BARRIERS {
            return refuse(format!("barrier {id}, and there are {BARRIERS}"));
        }
        let threads = env.grid.launch.block.iter().product::<u32>();
        if let Some(count) = count
            && (count == 0 || !count.is_multiple_of(WARP as u32) || count > threads.next_multiple_of(WARP as u32))
        {
            return refuse(format!("a barrier for {count} threads, which is no multiple of 32 up to the block's size"));
        }
        let place = self.open.iter().position(|(open, ..)| *open == id).unwrap_or_else(|| {
            self.open.push((id, count, Vec::new()));
            self.open.len() - 1
        });
        let (_, expected, arrivals) = &mut self.open[place];
        if *expected != count {
            return refuse(format!(
                "barrier {id} for {} threads, which others wait at for {}",
                count.map_or("all".into(), |c| c.to_string()),
                expected.map_or("all".into(), |c| c.to_string())
            ));
        }
        if env.grid.options.checks && count.is_none() {
            // Barriers are told apart by their number, not by their place. Warps may meet at several; the threads of one warp
            // must come together (PTX ISA section 9.7.13.1: `.aligned`).
            let line = |a: &Arrival| code.ops[a.at as usize].line;
            let elsewhere = || arrivals.iter().filter(|a| line(a) != op.line && barrier.aligned);
            if let Some(other) = elsewhere().find(|a| a.warp == w).or_else(|| elsewhere().next()) {
                let what = format!(
                    "threads of one block come to the same barrier {id} at different places: warp {} is at line {} (`{}`)",
                    other.warp,
                    line(other),
                    code.text(line(other)).trim()
                );
                if other.warp == w {
                    return refuse(what);
                }
                env.note(op.line, line(other), format!("{what}, and warp {w} at line {}", op.line));
            }
        }
        let clock = env.chain.as_ref().map_or(0, |chain| chain.issued(w));
        arrivals.push(Arrival { warp: w, mask, truth, at, clock });
        let waits = barrier.kind != BarrierKind::Arrive;
        if let Some(group) = warps[w].groups.iter_mut().rev().find(|g| g.at == at && g.mask == mask)
            && waits
        {
            group.state = State::Barrier { id };
        }
        if !waits && let Some(checks) = &mut env.checks {
            checks.arrive(id, w as u32);
        }
        self.settle(warps, env, id)
    }

    /// Completes a barrier if everyone has come.
    fn settle(&mut self, warps: &mut [Warp], env: &mut Env<'_, '_>, id: u32) -> Faulty<()> {
        let Some(place) = self.open.iter().position(|(open, ..)| *open == id) else { return Ok(()) };
        let (_, count, arrivals) = &self.open[place];
        let lanes: u32 = arrivals.iter().map(|a| a.mask.count_ones()).sum();
        let complete = match count {
            None if env.grid.options.checks => lanes >= env.grid.launch.block.iter().product::<u32>(),
            None => lanes >= warps.iter().map(|w| w.alive.count_ones()).sum::<u32>(),
            // A warp whose lanes have all come counts in full, as the hardware counts warps.
            Some(count) => {
                let whole = |w: &Warp| {
                    let here = arrivals.iter().filter(|a| a.warp == w.index as usize).fold(0, |m, a| m | a.mask);
                    if here != 0 && here & w.alive == w.alive { WARP as u32 } else { here.count_ones() }
                };
                warps.iter().map(whole).sum::<u32>() >= *count
            }
        };
        if !complete {
            return Ok(());
        }
        let (_, _, arrivals) = self.open.swap_remove(place);
        let code = env.grid.code;
        let truths: u32 = arrivals.iter().map(|a| a.truth.count_ones()).sum();
        for arrival in &arrivals {
            let op = &code.ops[arrival.at as usize];
            if let Action::Barrier(crate::exec::code::Barrier { kind: BarrierKind::Reduce(reduction), .. }) = &op.action
            {
                let lanes_of = &mut warps[arrival.warp].lanes;
                let slot = env.grid.operands(op)[0];
                let holds = match reduction {
                    BarrierOp::Popc => {
                        u32::store(lanes_of, slot, [truths; WARP], arrival.mask);
                        continue;
                    }
                    BarrierOp::And => truths == lanes,
                    BarrierOp::Or => truths > 0,
                };
                lanes_of.set_predicate(slot, if holds { u32::MAX } else { 0 }, arrival.mask);
            }
        }
        let waited = |a: &&Arrival| {
            !matches!(
                &code.ops[a.at as usize].action,
                Action::Barrier(crate::exec::code::Barrier { kind: BarrierKind::Arrive, .. })
            )
        };
        if let Some(chain) = &mut env.chain {
            let last = arrivals.iter().map(|a| a.clock).max().unwrap_or(0);
            arrivals.iter().filter(waited).for_each(|a| chain.pass_barrier(a.warp, last));
        }
        if let Some(checks) = &mut env.checks {
            let mut waiting: Vec<u32> = arrivals.iter().filter(waited).map(|a| a.warp as u32).collect();
            waiting.sort_unstable();
            waiting.dedup();
            checks.barrier(id, &waiting);
        }
        warps.iter_mut().for_each(|w| w.release(id));
        Ok(())
    }

    /// Looks at every barrier again, after threads have ended.
    pub fn settle_all(&mut self, warps: &mut [Warp], env: &mut Env<'_, '_>) -> Faulty<()> {
        let open: Vec<u32> = self.open.iter().map(|(id, ..)| *id).collect();
        open.into_iter().try_for_each(|id| self.settle(warps, env, id))
    }
}
