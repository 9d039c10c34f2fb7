//! A warp's run: its operations one after the other, and which of its groups goes on.

use super::env::{Env, Faulty};
use super::warp::{Group, PATIENCE, State, Stop, TURN, Warp};
use crate::exec::code::{Action, Op};
use crate::exec::ops::{access, collective, copy, matrices, mbarrier, print, tiles};
use crate::fault::FaultKind;
use crate::lanes::WARP;
use crate::ptx::SpecialRegister;

impl Warp {
    /// Runs until something stops it, for at most `slice` instructions.
    #[allow(unsafe_code)]
    pub fn run(&mut self, env: &mut Env<'_, '_>, slice: u64) -> Faulty<Stop> {
        let code = env.grid.code;
        let Some((mut pc, mut mask)) = self.take(false) else {
            return Ok(self.idle());
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
                        return Ok(self.idle());
                    }
                }
                meet = self.meeting(pc);
                continue;
            }};
        }
        // Lets other warps run.
        macro_rules! give_way {
            () => {{
                self.park(pc + 1, mask, State::Ready, pc + 1);
                self.executed += slice - left;
                return Ok(Stop::Slice);
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
            let exec = op.guard.map_or(mask, |guard| mask & self.lanes.predicate(guard));
            self.count(env, op, pc, exec);
            if self.marks.is_some() && !op.action.gathers() {
                self.follow(env, op, pc, mask, exec)?;
            }
            match &op.action {
                Action::Row(run) => {
                    if exec != 0 {
                        // SAFETY: lowered for the SIMD level that this machine was found to have.
                        unsafe { run(&mut self.lanes, env.grid.operands(op), exec) };
                    }
                }
                Action::Branch(target) => {
                    let backward = *target <= pc;
                    if exec == mask {
                        pc = *target;
                    } else if exec == 0 {
                        pc += 1;
                    } else {
                        self.diverge(env, *target, pc, mask, exec);
                        switch!();
                    }
                    if backward && !self.groups.is_empty() {
                        meet = self.meeting(pc.saturating_sub(1));
                        if let Some((p, m)) = self.other_turn() {
                            self.park(pc, mask, State::Ready, pc);
                            (pc, mask) = (p, m);
                            meet = self.meeting(pc);
                            turn_end = left.saturating_sub(TURN);
                        }
                    }
                    continue;
                }
                Action::Table(targets) => {
                    self.spread(env, op, targets, pc, mask, exec)?;
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
                Action::Load(access) => self.load(env, op, access, exec, pc)?,
                Action::Store(access) => access::store(self, env, op, access, exec, pc)?,
                Action::Atomic(atomic) => self.atomic(env, op, atomic, exec, pc)?,
                Action::Mbarrier(barrier) => {
                    if exec != 0 && mbarrier::run(self, env, op, barrier, exec, pc)? {
                        give_way!();
                    }
                }
                Action::Barrier(_) => {
                    if exec != 0 {
                        self.arrive(env, pc, mask, exec);
                        self.executed += slice - left;
                        return Ok(Stop::Barrier { at: pc, mask: exec });
                    }
                }
                action if action.gathers() => {
                    if exec != 0 && !self.meet(env, op, pc, mask, exec)? {
                        switch!();
                    }
                }
                Action::Yield if exec != 0 => give_way!(),
                _ => self.plainly(env, op, pc, exec, slice - left)?,
            }
            pc += 1;
        }
    }

    /// Why a warp stops that has no group to go on with.
    fn idle(&self) -> Stop {
        if self.alive == 0 { Stop::Done } else { Stop::Blocked }
    }

    /// The lanes of `exec` come to a block barrier. The block decides what state their group takes.
    fn arrive(&mut self, env: &mut Env<'_, '_>, pc: u32, mask: u32, exec: u32) {
        if let Some(counters) = &mut env.counters {
            counters.barrier();
        }
        self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
        self.park(pc + 1, exec, State::Ready, pc);
    }

    /// The lanes of `exec` take a branch, the others do not.
    fn diverge(&mut self, env: &mut Env<'_, '_>, target: u32, pc: u32, mask: u32, exec: u32) {
        if let Some(counters) = &mut env.counters {
            counters.divergent_branch(pc);
        }
        self.park(target, exec, State::Ready, target);
        self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
    }

    /// Another group, once this one has gone back often enough while others wait.
    fn other_turn(&mut self) -> Option<(u32, u32)> {
        self.patience -= 1;
        if self.patience > 0 {
            return None;
        }
        self.patience = PATIENCE;
        self.take(true)
    }

    /// What needs nobody else and leads nowhere else: `since` instructions ran in this turn.
    fn plainly(&mut self, env: &mut Env<'_, '_>, op: &Op, pc: u32, exec: u32, since: u64) -> Faulty<()> {
        match &op.action {
            Action::CopyAsync(copy) => {
                copy::start(self, env, op, copy, exec, pc)?;
                if let Some(chain) = &mut env.chain {
                    chain.copied(self.index);
                }
            }
            Action::CopyBulk(copy) => {
                mbarrier::copy(self, env, op, copy, exec, pc)?;
                if let Some(chain) = &mut env.chain {
                    chain.drop_loads();
                }
            }
            Action::CopyCommit => {
                if let Some(chain) = &mut env.chain {
                    chain.commit(self.running(exec));
                }
                if let Some(checks) = &mut env.checks {
                    checks.cp_async_commit(self.index, exec);
                }
            }
            Action::CopyWait(pending) => {
                if let Some(chain) = &mut env.chain {
                    chain.wait_copies(self.running(exec), *pending);
                }
                if let Some(checks) = &mut env.checks {
                    checks.cp_async_wait(self.index, exec, *pending);
                }
            }
            Action::Clock(special) => self.clock(op, env, *special, exec, since),
            Action::Print { format, arguments, result } => {
                print::print(self, env, op, (*format, *arguments, *result), exec)?;
            }
            _ if exec == 0 => {}
            Action::ActiveMask => collective::active_mask(self, env.grid.operands(op)[0], exec),
            Action::Fence { wide } => {
                if let Some(checks) = &mut env.checks {
                    checks.fence(self.index, crate::exec::run::env::scope(*wide));
                }
            }
            Action::Trap => return Err(env.fault(FaultKind::Trap, self.index, op, exec, None, "trap".into())),
            Action::Assert(places) => return Err(print::assertion(self, env, op, *places, exec)),
            // what `run` does itself is listed, so that a new action is not forgotten in silence
            Action::Nothing
            | Action::Yield
            | Action::Row(_)
            | Action::Branch(_)
            | Action::Table(_)
            | Action::Exit
            | Action::Load(_)
            | Action::Store(_)
            | Action::Atomic(_)
            | Action::Mbarrier(_)
            | Action::Barrier(_)
            | Action::LoadMatrix(_)
            | Action::StoreMatrix(_)
            | Action::Matrix(_)
            | Action::LoadTile(_)
            | Action::StoreTile(_)
            | Action::WarpSync
            | Action::Shuffle(_)
            | Action::Vote(_)
            | Action::Match { .. }
            | Action::Reduce(..)
            | Action::Elect => {}
        }
        Ok(())
    }

    /// A branch by index: each lane of `exec` waits where its own leads, the others behind it.
    fn spread(&mut self, env: &Env<'_, '_>, op: &Op, targets: &[u32], pc: u32, mask: u32, exec: u32) -> Faulty<()> {
        let indices = *self.lanes.row(env.grid.operands(op)[0]);
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
        Ok(())
    }

    /// An operation that lanes do together; false where some have to be waited for.
    #[inline]
    fn meet(&mut self, env: &mut Env<'_, '_>, op: &Op, pc: u32, mask: u32, exec: u32) -> Faulty<bool> {
        let met = match op.action {
            Action::LoadMatrix(_)
            | Action::StoreMatrix(_)
            | Action::Matrix(_)
            | Action::LoadTile(_)
            | Action::StoreTile(_) => self.together(env, op, pc, mask, exec)?,
            _ => self.exchange(env, op, pc, mask, exec)?,
        };
        if met {
            self.issued(env, pc, exec);
        }
        Ok(met)
    }

    /// An operation of the whole warp; false where lanes have to be waited for.
    #[allow(unsafe_code)]
    #[inline]
    fn together(&mut self, env: &mut Env<'_, '_>, op: &Op, pc: u32, mask: u32, exec: u32) -> Faulty<bool> {
        if exec != self.alive {
            self.park(pc + 1, mask & !exec, State::Ready, pc + 1);
            self.park(pc, exec, State::Gather { mask: self.alive }, pc);
            return Ok(false);
        }
        if exec != u32::MAX {
            let what = "only part of the warp executes an operation that needs all 32 lanes".into();
            return Err(env.fault(FaultKind::Convergence, self.index, op, exec, None, what));
        }
        if self.marks.is_some() {
            self.follow(env, op, pc, mask, exec)?;
        }
        match &op.action {
            Action::LoadMatrix(m) => matrices::load(self, env, op, m, exec, pc)?,
            Action::StoreMatrix(m) => matrices::store(self, env, op, m, exec, pc)?,
            Action::LoadTile(t) => tiles::load(self, env, op, t, pc)?,
            Action::StoreTile(t) => tiles::store(self, env, op, t, pc)?,
            // SAFETY: lowered for the SIMD level that this machine was found to have.
            Action::Matrix(run) => unsafe { run(&mut self.lanes, env.grid.operands(op), exec) },
            _ => {}
        }
        Ok(true)
    }

    /// An operation of the lanes that its mask names; false where some of them have to be waited for.
    #[inline]
    fn exchange(&mut self, env: &mut Env<'_, '_>, op: &Op, pc: u32, mask: u32, exec: u32) -> Faulty<bool> {
        if let Some(members) = collective::agreed(self, env, op, exec)
            && exec == members & self.alive
        {
            collective::run(self, env, op, exec, pc)?;
            return Ok(true);
        }
        match collective::members(self, env, op, exec)?[..] {
            [(members, _)] if exec == members & self.alive => {
                collective::run(self, env, op, exec, pc)?;
                Ok(true)
            }
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
                Ok(false)
            }
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
        let slot = env.grid.operands(op)[0];
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
