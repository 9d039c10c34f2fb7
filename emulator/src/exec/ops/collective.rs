//! What the lanes of a warp do together: shuffles, votes, matches, reductions (PTX ISA sections 9.7.9.6 and 9.7.13).

use crate::exec::code::{Action, Op, Shuffle, Vote};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, Slot, WARP, Width};
use crate::ptx::{AtomicOp, ScalarType};

/// Lanes of a mask.
fn each(mask: u32) -> impl Iterator<Item = usize> {
    (0..WARP).filter(move |lane| mask >> lane & 1 == 1)
}

/// The one mask of members that all lanes of `exec` name, as most do, if it names them.
#[inline(always)]
pub(in crate::exec) fn agreed(warp: &Warp, env: &Env<'_, '_>, op: &Op, exec: u32) -> Option<u32> {
    let masks = warp.lanes.row(*env.grid.operands(op).last()?);
    let members = masks[exec.trailing_zeros() as usize % WARP];
    let mut others = 0;
    for (lane, mask) in masks.iter().enumerate() {
        others |= u32::from(*mask != members) << lane;
    }
    (others & exec == 0 && exec & !members == 0).then_some(members)
}

/// The lanes split by the mask of members that they name, mostly into one part: `(members, lanes)`.
///
/// # Errors
/// A lane whose mask does not name itself.
pub(in crate::exec) fn members(warp: &Warp, env: &Env<'_, '_>, op: &Op, exec: u32) -> Faulty<Vec<(u32, u32)>> {
    let slots = env.grid.operands(op);
    let masks = warp.lanes.row(slots[slots.len() - 1]);
    let mut parts: Vec<(u32, u32)> = Vec::with_capacity(1);
    for lane in each(exec) {
        match parts.iter_mut().find(|(members, _)| *members == masks[lane]) {
            Some((_, lanes)) => *lanes |= 1 << lane,
            None => parts.push((masks[lane], 1 << lane)),
        }
    }
    for (members, lanes) in &mut parts {
        let outside = *lanes & !*members;
        if outside != 0 && env.grid.options.checks {
            let what = format!("the mask {members:#010x} of a warp operation does not name its own lane");
            return Err(env.fault(FaultKind::Shuffle, warp.index, op, outside, None, what));
        }
        *members |= *lanes;
    }
    Ok(parts)
}

/// Runs the operation for lanes that have come together.
pub(in crate::exec) fn run(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, exec: u32, pc: u32) -> Faulty<()> {
    if warp.is_marked() {
        warp.follow(env, op, pc, exec, exec)?;
    }
    let slots = env.grid.operands(op);
    match &op.action {
        Action::WarpSync => {
            if let Some(checks) = &mut env.checks {
                checks.warp_sync(warp.index, exec);
            }
        }
        Action::Shuffle(mode) => return shuffle(warp, env, op, *mode, slots, exec),
        Action::Vote(vote) => {
            let (destination, truth) = (slots[0], warp.lanes.predicate(slots[1]) & exec);
            let holds = match vote {
                Vote::Ballot => {
                    u32::store(&mut warp.lanes, destination, [truth; WARP], exec);
                    return Ok(());
                }
                Vote::All => truth == exec,
                Vote::Any => truth != 0,
                Vote::Uniform => truth == exec || truth == 0,
            };
            warp.lanes.set_predicate(destination, if holds { u32::MAX } else { 0 }, exec);
        }
        Action::Match { all, width } => {
            let values = match width {
                Width::W64 => *warp.lanes.wide(slots[2]),
                _ => warp.lanes.row(slots[2]).map(u64::from),
            };
            let same = |lane: usize| each(exec).filter(|&l| values[l] == values[lane]).fold(0u32, |m, l| m | 1 << l);
            let mut out = [0; WARP];
            each(exec).for_each(|lane| out[lane] = same(lane));
            if *all {
                let agree = each(exec).all(|lane| out[lane] == exec);
                out = [if agree { exec } else { 0 }; WARP];
                warp.lanes.set_predicate(slots[1], if agree { u32::MAX } else { 0 }, exec);
            }
            u32::store(&mut warp.lanes, slots[0], out, exec);
        }
        Action::Elect => {
            // The ISA leaves open which one it is, and asks that it be the same for the same mask.
            let leader = exec.trailing_zeros();
            u32::store(&mut warp.lanes, slots[0], [leader; WARP], exec);
            warp.lanes.set_predicate(slots[1], 1 << leader, exec);
        }
        Action::Reduce(reduction, ty) => {
            let values = warp.lanes.row(slots[1]);
            let all = each(exec).map(|lane| values[lane]);
            let signed = *ty == ScalarType::S32;
            let result = match reduction {
                AtomicOp::Add => all.fold(0, u32::wrapping_add),
                AtomicOp::And => all.fold(u32::MAX, |a, b| a & b),
                AtomicOp::Or => all.fold(0, |a, b| a | b),
                AtomicOp::Xor => all.fold(0, |a, b| a ^ b),
                AtomicOp::Min if signed => all.map(|v| v as i32).min().unwrap_or(0) as u32,
                AtomicOp::Max if signed => all.map(|v| v as i32).max().unwrap_or(0) as u32,
                AtomicOp::Min => all.min().unwrap_or(0),
                _ => all.max().unwrap_or(0),
            };
            u32::store(&mut warp.lanes, slots[0], [result; WARP], exec);
        }
        _ => {}
    }
    Ok(())
}

/// `shfl.sync`.
fn shuffle(warp: &mut Warp, env: &Env<'_, '_>, op: &Op, mode: Shuffle, slots: &[Slot], exec: u32) -> Faulty<()> {
    let &[destination, predicate, value, lane_or_delta, clamp, _] = slots else { return Ok(()) };
    let (values, b, c) = (*warp.lanes.row(value), *warp.lanes.row(lane_or_delta), *warp.lanes.row(clamp));
    let (mut out, mut inside, mut sources) = ([0; WARP], 0u32, [0; WARP]);
    for lane in 0..WARP {
        let (from, valid) = mode.source(lane, b[lane], c[lane]);
        sources[lane] = from;
        out[lane] = values[from % WARP];
        inside |= u32::from(valid) << lane;
    }
    if env.grid.options.checks
        && exec != u32::MAX
        && let Some(lane) = each(exec).find(|&lane| exec >> sources[lane] & 1 == 0)
    {
        let what = format!("a shuffle reads lane {}, which takes no part (lanes {exec:#010x} do)", sources[lane]);
        return Err(env.fault(FaultKind::Shuffle, warp.index, op, 1 << lane, None, what));
    }
    u32::store(&mut warp.lanes, destination, out, exec);
    warp.lanes.set_predicate(predicate, inside, exec);
    Ok(())
}

/// `activemask`: the lanes that run this instruction together.
pub(in crate::exec) fn active_mask(warp: &mut Warp, destination: Slot, exec: u32) {
    u32::store(&mut warp.lanes, destination, [exec; WARP], exec);
}
