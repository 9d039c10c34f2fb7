//! A warp: 32 lanes that run together where they can.
//!
//! Lanes at the same instruction form a group. Of a warp's groups the one furthest behind runs, and groups that meet
//! merge: code that the compiler laid out in order reconverges where its branches do. A group that loops while others
//! wait gives them a turn now and then, so that lanes may wait for each other (PTX ISA section 3.1).

use super::block::Env;
use super::code::{Action, Op};
use super::{access, atomic, collective, copy, matrices, mbarrier, print, tiles};
use crate::fault::{Fault, FaultKind};
use crate::lanes::{Lanes, WARP};
use crate::memory::Cells;
use crate::ptx::SpecialRegister;

/// Backward branches that a group takes before the warp's other groups get a turn, and how long that is.
const PATIENCE: u32 = 4096;
const TURN: u64 = 4096;

/// A fault on its way out.
pub(super) type Faulty<T> = Result<T, Box<Fault>>;

/// What a group waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Ready,
    /// At a warp operation, for the other lanes of its mask.
    Gather { mask: u32 },
    /// Behind a block barrier.
    Barrier { id: u32 },
}

/// Lanes at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
    /// The operation that it waits at.
    pub at: u32,
}

/// Why a warp stops.
pub(super) enum Stop {
    /// All lanes have ended.
    Done,
    /// Every group waits.
    Blocked,
    /// Its turn is over.
    Slice,
    /// Some lanes reached the barrier at this operation; they are parked behind it.
    Barrier { at: u32, mask: u32 },
}

/// One warp of a block.
pub(super) struct Warp {
    pub index: u32,
    pub lanes: Lanes,
    pub local: Cells,
    /// A byte for each of local memory: written yet?
    pub local_written: Option<Cells>,
    /// Lanes that have not ended, and where those that have did.
    pub alive: u32,
    pub ended_at: [u32; WARP],
    pub groups: Vec<Group>,
    /// Instructions so far: also the clock.
    pub executed: u64,
    patience: u32,
}

impl Warp {
    pub fn new(index: u32, lanes: Lanes, local: Cells, local_written: Option<Cells>) -> Warp {
        let (ended_at, groups) = ([0; WARP], Vec::with_capacity(4));
        Warp { index, lanes, local, local_written, alive: 0, ended_at, groups, executed: 0, patience: PATIENCE }
    }

    /// Starts over with these lanes.
    pub fn start(&mut self, alive: u32) {
        self.lanes.reset();
        self.alive = alive;
        self.executed = 0;
        self.patience = PATIENCE;
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: alive, state: State::Ready, at: 0 });
        if let Some(written) = &self.local_written {
            written.fill(0, written.bytes(), 0);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.groups.iter().any(|g| g.state == State::Ready)
    }

    /// Lets groups that waited behind a barrier go on.
    pub fn release(&mut self, barrier: u32) {
        for group in &mut self.groups {
            if group.state == (State::Barrier { id: barrier }) {
                group.state = State::Ready;
            }
        }
    }

    /// Takes the ready group that is furthest behind, with all that are at the same place; or, for a turn, the one
    /// furthest ahead.
    fn take(&mut self, ahead: bool) -> Option<(u32, u32)> {
        let ready = self.groups.iter().filter(|g| g.state == State::Ready).map(|g| g.pc);
        let pc = if ahead { ready.max() } else { ready.min() }?;
        let mut mask = 0;
        self.groups.retain(|g| {
            let here = g.pc == pc && matches!(g.state, State::Ready | State::Gather { .. });
            mask |= if here { g.mask } else { 0 };
            !here
        });
        Some((pc, mask))
    }

    /// The next place ahead where other lanes are.
    fn meeting(&self, pc: u32) -> u32 {
        let waiting = self.groups.iter().filter(|g| g.pc > pc && !matches!(g.state, State::Barrier { .. }));
        waiting.map(|g| g.pc).min().unwrap_or(u32::MAX)
    }

    fn park(&mut self, pc: u32, mask: u32, state: State, at: u32) {
        if mask != 0 {
            self.groups.push(Group { pc, mask, state, at });
        }
    }

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
                Action::WarpSync | Action::Shuffle(_) | Action::Vote(_) | Action::Match { .. } | Action::Reduce(..) => {
                    if exec != 0 {
                        match collective::members(self, env, op, exec)?[..] {
                            [(members, _)] if exec == members & self.alive => collective::run(self, env, op, exec)?,
                            ref parts => {
                                for &(members, lanes) in parts {
                                    let needed = members & self.alive;
                                    if lanes == needed {
                                        collective::run(self, env, op, lanes)?;
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
                        checks.fence(self.index, super::block::scope(*wide));
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
        collective::run(self, env, op, needed)?;
        self.park(pc + 1, lanes, State::Ready, pc + 1);
        Ok(true)
    }

    /// Ends lanes; those who wait for them look again.
    pub fn end(&mut self, lanes: u32, line: u32) {
        self.alive &= !lanes;
        for lane in (0..WARP).filter(|l| lanes >> l & 1 == 1) {
            self.ended_at[lane] = line;
        }
        if lanes != 0 {
            for group in self.groups.iter_mut().filter(|g| matches!(g.state, State::Gather { .. })) {
                group.state = State::Ready;
            }
        }
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
