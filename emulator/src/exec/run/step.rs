//! A warp's run: its operations one after the other, and which of its groups goes on.

use super::env::{Env, Faulty};
use super::warp::{Group, PATIENCE, State, Stop, TURN, Warp};
use crate::exec::code::{Action, Op};
use crate::exec::ops::{access, atomic, collective, copy, matrices, mbarrier, print, tiles};
use crate::fault::FaultKind;
use crate::lanes::WARP;
use crate::ptx::SpecialRegister;

impl Warp {
    /// Runs until something stops it, for at most `slice` instructions.
    #[allow(unsafe_code)]
    pub fn run(&mut self, env: &mut Env<'_, '_>, slice: u64) -> Faulty<Stop> {
        let code = env.grid.code;
        let Some((mut pc, mut mask)) = self.take(false) else {
            return Ok(if self.alive == 0 { Stop::Done } else { Stop::Blocked });
        };
        let mut meet = self.meeting(pc);
        let mut left = slice;
        // While another group has its turn, where that ends.
        let mut turn_end = u64::MAX;
        // Goes on with another group, or stops.
        macro_rules! switch {
            () => {{
                turn_end = u64::MAX;
                match self.take(false) {
                    Some((p, m)) => (pc, mask) = (p, m),
                    None => {
                        self.executed += slice - left;
                        return Ok(if self.alive == 0 { Stop::Done } else { Stop::Blocked });
                    }
                }
                meet = self.meeting(pc);
                continue;
            }};
        }
        loop {
            if pc >= meet && turn_end == u64::MAX {
                self.park(pc, mask, State::Ready, pc);
                switch!();
            }
            if left == 0 || left == turn_end {
                self.park(pc, mask, State::Ready, pc);
                if left == 0 {
                    self.executed += slice;
                    return Ok(Stop::Slice);
                }
                switch!();
            }
            left -= 1;
            let op = &code.ops[pc as usize];
            let exec = match op.guard {
                None => mask,
                Some(guard) => mask & self.lanes.predicate(guard),
            };
            if let Some(counters) = &mut env.counters {
                counters.executed(pc, exec.count_ones());
            }
            if self.marks.is_some() && !op.action.gathers() {
                self.follow(env, op, pc, mask, exec)?;
            }
            match &op.action {
                Action::Row(run) => {
                    if exec != 0 {
                        // SAFETY: lowered for the SIMD level that this machine was found to have.
                        unsafe { run(&mut self.lanes, code.operands(op), exec) };
                    }
                }
                Action::Branch(target) => {
                    let backward = *target <= pc;
                    if exec == mask {
                        pc = *target;
                    } else if exec == 0 {
                        pc += 1;
                    } else {
                        if let Some(counters) = &mut env.counters {
                            counters.divergent_branch(pc);
                        }
                        self.park(*target, exec, State::Ready, *target);
                        self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
                        switch!();
                    }
                    if backward && !self.groups.is_empty() {
                        meet = self.meeting(pc.saturating_sub(1));
                        self.patience -= 1;
                        if self.patience == 0 {
                            self.patience = PATIENCE;
                            if let Some((p, m)) = self.take(true) {
                                self.park(pc, mask, State::Ready, pc);
                                (pc, mask) = (p, m);
                                meet = self.meeting(pc);
                                turn_end = left.saturating_sub(TURN);
                            }
                        }
                    }
                    continue;
                }
                Action::Table(targets) => {
                    let indices = *self.lanes.row(code.operands(op)[0]);
                    let mut rest = exec;
                    while rest != 0 {
                        let index = indices[rest.trailing_zeros() as usize];
                        let same = (0..WARP).filter(|&l| rest >> l & 1 == 1 && indices[l] == index);
                        let same = same.fold(0, |m, l| m | 1 << l);
                        // An index beyond the list is undefined (PTX ISA section 9.7.12.4).
                        let Some(&target) = targets.get(index as usize) else {
                            let what = format!("branch index {index} in a list of {}", targets.len());
                            return Err(env.fault(FaultKind::OutOfBounds, self.index, op, rest, None, what));
                        };
                        self.park(target, same, State::Ready, target);
                        rest &= !same;
                    }
                    self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
                    switch!();
                }
                Action::Exit => {
                    self.end(exec, op.line);
                    mask &= !exec;
                    if mask == 0 {
                        switch!();
                    }
                    meet = self.meeting(pc);
                }
                Action::Trap => {
                    if exec != 0 {
                        return Err(env.fault(FaultKind::Trap, self.index, op, exec, None, "trap".into()));
                    }
                }
                Action::Load(access) => access::load(self, env, op, access, exec, pc)?,
                Action::Store(access) => access::store(self, env, op, access, exec, pc)?,
                Action::Atomic(atomic) => atomic::run(self, env, op, atomic, exec, pc)?,
                Action::CopyAsync(copy) => copy::start(self, env, op, copy, exec, pc)?,
                Action::Mbarrier(barrier) => {
                    if exec != 0 && mbarrier::run(self, env, op, barrier, exec, pc)? {
                        self.park(pc + 1, mask, State::Ready, pc + 1);
                        self.executed += slice - left;
                        return Ok(Stop::Slice);
                    }
                }
                Action::CopyBulk(copy) => mbarrier::copy(self, env, op, copy, exec, pc)?,
                Action::CopyCommit => {
                    if let Some(checks) = &mut env.checks {
                        checks.cp_async_commit(self.index, exec);
                    }
                }
                Action::CopyWait(pending) => {
                    if let Some(checks) = &mut env.checks {
                        checks.cp_async_wait(self.index, exec, *pending);
                    }
                }
                Action::Barrier(_) => {
                    if exec != 0 {
                        if let Some(counters) = &mut env.counters {
                            counters.barrier();
                        }
                        self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
                        // The block decides what state this group takes.
                        self.park(pc + 1, exec, State::Ready, pc);
                        self.executed += slice - left;
                        return Ok(Stop::Barrier { at: pc, mask: exec });
                    }
                }
                Action::LoadMatrix(_)
                | Action::StoreMatrix(_)
                | Action::Matrix(_)
                | Action::LoadTile(_)
                | Action::StoreTile(_) => {
                    if exec != 0 {
                        if exec != self.alive {
                            self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
                            self.park(pc, exec, State::Gather { mask: self.alive }, pc);
                            switch!();
                        }
                        if exec != u32::MAX {
                            let what = "only part of the warp executes an operation that needs all 32 lanes".into();
                            return Err(env.fault(FaultKind::Convergence, self.index, op, exec, None, what));
                        }
                        if self.marks.is_some() {
                            self.follow(env, op, pc, mask, exec)?;
                        }
                        match &op.action {
                            Action::LoadMatrix(m) => matrices::load(self, env, op, m, pc)?,
                            Action::StoreMatrix(m) => matrices::store(self, env, op, m, pc)?,
                            Action::LoadTile(t) => tiles::load(self, env, op, t, pc)?,
                            Action::StoreTile(t) => tiles::store(self, env, op, t, pc)?,
                            // SAFETY: as for rows.
                            Action::Matrix(run) => unsafe { run(&mut self.lanes, code.operands(op), exec) },
                            _ => {}
                        }
                    }
                }
                Action::WarpSync
                | Action::Shuffle(_)
                | Action::Vote(_)
                | Action::Match { .. }
                | Action::Reduce(..)
                | Action::Elect => {
                    if exec != 0 {
                        match collective::members(self, env, op, exec)?[..] {
                            [(members, _)] if exec == members & self.alive => collective::run(self, env, op, exec, pc)?,
                            ref parts => {
                                for &(members, lanes) in parts {
                                    let needed = members & self.alive;
                                    if lanes == needed {
                                        collective::run(self, env, op, lanes, pc)?;
                                        self.park(pc + 1, lanes, State::Ready, pc + 1);
                                    } else if !self.gathered(op, env, pc, lanes, needed)? {
                                        self.park(pc, lanes, State::Gather { mask: needed }, pc);
                                    }
                                }
                                self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
                                switch!();
                            }
                        }
                    }
                }
                Action::ActiveMask => {
                    if exec != 0 {
                        collective::active_mask(self, code.operands(op)[0], exec);
                    }
                }
                Action::Fence { wide } => {
                    if let Some(checks) = &mut env.checks
                        && exec != 0
                    {
                        checks.fence(self.index, crate::exec::run::env::scope(*wide));
                    }
                }
                Action::Clock(special) => self.clock(op, env, *special, exec, slice - left),
                Action::Yield => {
                    if exec != 0 {
                        self.park(pc + 1, mask, State::Ready, pc + 1);
                        self.executed += slice - left;
                        return Ok(Stop::Slice);
                    }
                }
                Action::Nothing => {}
                Action::Print { format, arguments, result } => {
                    print::print(self, env, op, (*format, *arguments, *result), exec)?;
                }
                Action::Assert(places) => {
                    if exec != 0 {
                        return Err(print::assertion(self, env, op, *places, exec));
                    }
                }
            }
            pc += 1;
        }
    }

    /// `bar.warp.sync` may be reached at different places: true once all lanes of the mask wait at one, and go on.
    fn gathered(&mut self, op: &Op, env: &mut Env<'_, '_>, pc: u32, lanes: u32, needed: u32) -> Faulty<bool> {
        let code = env.grid.code;
        if !matches!(op.action, Action::WarpSync) {
            return Ok(false);
        }
        let waits = |g: &Group| {
            g.state == State::Gather { mask: needed } && matches!(code.ops[g.at as usize].action, Action::WarpSync)
        };
        let there = self.groups.iter().filter(|g| waits(g)).fold(lanes, |m, g| m | g.mask);
        if there != needed {
            return Ok(false);
        }
        for group in self.groups.iter_mut().filter(|g| waits(g)) {
            group.state = State::Ready;
            group.pc += 1;
        }
        collective::run(self, env, op, needed, pc)?;
        self.park(pc + 1, lanes, State::Ready, pc + 1);
        Ok(true)
    }

    /// Clocks count the warp's instructions: a time that is the same in every run.
    fn clock(&mut self, op: &Op, env: &Env<'_, '_>, special: SpecialRegister, exec: u32, since: u64) {
        let now = self.executed + since;
        let slot = env.grid.code.operands(op)[0];
        match special {
            SpecialRegister::Clock64 | SpecialRegister::Globaltimer => {
                crate::lanes::Lane::store(&mut self.lanes, slot, [now; WARP], exec);
            }
            SpecialRegister::ClockHi | SpecialRegister::GlobaltimerHi => {
                crate::lanes::Lane::store(&mut self.lanes, slot, [(now >> 32) as u32; WARP], exec);
            }
            _ => crate::lanes::Lane::store(&mut self.lanes, slot, [now as u32; WARP], exec),
        }
    }
}
