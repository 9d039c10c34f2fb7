//! Work that goes through streams: run at once, or kept as a node of a graph.

use std::sync::Arc;

use super::code::{Code, Result};
use super::export::say;
use super::foreign::HostFunction;
use super::state::{Driver, Find, Handle, in_context, without_calls};
use super::stream::Place;
use crate::exec::{Kernel, Launch};

/// Faults kept for [`crate::Emulator::faults`]; a program that goes on after so many needs no more.
const FAULTS_KEPT: usize = 1000;

/// One piece of work.
#[derive(Debug, Clone)]
pub enum Work {
    /// A kernel with its parameter block.
    Kernel { kernel: Arc<Kernel>, launch: Launch, parameters: Vec<u8> },
    /// A copy from the host; the host's bytes are read when it runs.
    ToDevice { to: u64, from: Host, bytes: usize },
    /// A copy to the host.
    ToHost { to: Host, from: u64, bytes: usize },
    /// A copy within the device.
    Within { to: u64, from: u64, bytes: usize },
    /// A copy within the host.
    OnHost { to: Host, from: Host, bytes: usize },
    /// Rows of a repeated pattern of 1, 2 or 4 bytes; `pitch` bytes from row to row.
    Set { to: u64, pattern: Vec<u8>, columns: usize, rows: usize, pitch: usize },
    /// Rows of a rectangle, each a copy.
    Rows(Vec<Work>),
    /// An event's time.
    Record(Handle),
    /// A function of the host.
    Call(HostFunction),
}

impl Driver {
    /// Runs work of a stream, or adds it to the stream's capture. Arguments that cannot be right are refused either way.
    pub fn submit(&mut self, place: Place, call: &str, work: Work) -> Result<()> {
        match self.capture_of(place)? {
            Some(capture) => {
                self.valid(capture)?;
                self.check(call, &work)?;
                self.append(capture, place, work)
            }
            None => {
                self.refuse_implicit(place, call)?;
                self.check(call, &work)?;
                self.run(place.context(), &work)
            }
        }
    }

    /// Device addresses must lie in allocations, host addresses must not be the device's.
    fn check(&self, call: &str, work: &Work) -> Result<()> {
        let memory = &self.machine.memory;
        let device = |address: u64, bytes: usize| {
            if bytes == 0 {
                return Ok(());
            }
            memory.range(address, bytes as u64).map(drop).map_err(|e| {
                say(call, e);
                Code::INVALID_VALUE
            })
        };
        let host = |address: Host, bytes: usize| {
            let known = memory.holding(address.address()).filter(|_| !self.is_host(address.0));
            match known {
                Some(found) => {
                    say(call, format_args!("an address of the host is expected, and this is {}", found.describe()));
                    Err(Code::INVALID_VALUE)
                }
                None if address.0 == 0 && bytes > 0 => Err(Code::INVALID_VALUE),
                None => Ok(()),
            }
        };
        match *work {
            Work::ToDevice { to, from, bytes } => device(to, bytes).and_then(|()| host(from, bytes)),
            Work::ToHost { to, from, bytes } => device(from, bytes).and_then(|()| host(to, bytes)),
            Work::Within { to, from, bytes } => device(from, bytes).and_then(|()| device(to, bytes)),
            Work::OnHost { to, from, bytes } => host(from, bytes).and_then(|()| host(to, bytes)),
            Work::Set { to, ref pattern, columns, rows, pitch } => {
                let width = columns.checked_mul(pattern.len()).ok_or(Code::INVALID_VALUE)?;
                if to % pattern.len() as u64 != 0 || (rows > 1 && (pitch < width || pitch % pattern.len() != 0)) {
                    return Err(Code::INVALID_VALUE);
                }
                match rows {
                    0 => Ok(()),
                    _ => device(
                        to,
                        (rows - 1).checked_mul(pitch).and_then(|b| b.checked_add(width)).unwrap_or(usize::MAX),
                    ),
                }
            }
            Work::Rows(ref rows) => rows.iter().try_for_each(|row| self.check(call, row)),
            Work::Kernel { .. } | Work::Record(_) | Work::Call(_) => Ok(()),
        }
    }

    /// Does the work. What fails now is the device's failure: it spoils the context, and the call that submitted the
    /// work succeeds, as it would on hardware; the next call tells.
    pub fn run(&mut self, context: Handle, work: &Work) -> Result<()> {
        match self.perform(work) {
            Ok(()) => Ok(()),
            Err(code) => {
                self.contexts.find_mut(context)?.sticky = Some(code);
                Ok(())
            }
        }
    }

    fn perform(&mut self, work: &Work) -> Result<()> {
        let statistics = &mut self.statistics;
        let memory = &self.machine.memory;
        // Only a graph can hold addresses that were right once.
        let gone = |e| {
            say("cuGraphLaunch", e);
            Code::ILLEGAL_ADDRESS
        };
        match *work {
            Work::ToDevice { bytes: 0, .. } | Work::ToHost { bytes: 0, .. } | Work::Within { bytes: 0, .. } => Ok(()),
            Work::ToDevice { to, from, bytes } => {
                statistics.copies_to_device += 1;
                statistics.bytes_to_device += bytes as u64;
                memory.write(to, from.source(bytes)?).map_err(gone)
            }
            Work::ToHost { to, from, bytes } => {
                statistics.copies_to_host += 1;
                statistics.bytes_to_host += bytes as u64;
                memory.read(from, to.target(bytes)?).map_err(gone)
            }
            Work::Within { to, from, bytes } => {
                statistics.copies_within_device += 1;
                memory.copy(to, from, bytes as u64).map_err(gone)
            }
            Work::Rows(ref rows) => rows.iter().try_for_each(|row| self.perform(row)),
            Work::OnHost { to, from, bytes } => {
                // By way of a copy, as the two may overlap.
                let data = from.source(bytes)?.to_vec();
                to.target(bytes)?.copy_from_slice(&data);
                Ok(())
            }
            Work::Set { to, ref pattern, columns, rows, pitch } => {
                statistics.sets += 1;
                let row = |row: usize| match columns {
                    0 => Ok(()),
                    _ => memory.fill(to + (row * pitch) as u64, pattern, columns as u64),
                };
                (0..rows).try_for_each(row).map_err(gone)
            }
            // An event destroyed since it was captured has nobody to read it.
            Work::Record(event) => {
                let _ = self.stamp(event);
                Ok(())
            }
            Work::Call(function) => {
                without_calls(|| function.call());
                Ok(())
            }
            Work::Kernel { ref kernel, ref launch, ref parameters } => {
                statistics.launches += 1;
                let result = self.machine.launch(kernel, launch, parameters);
                self.machine.take_notes().iter().for_each(|note| say("note", note));
                result.map_err(|fault| {
                    say("fault", &fault);
                    let code = Code::from(fault.kind);
                    if self.faults.len() < FAULTS_KEPT {
                        self.faults.push(*fault);
                    }
                    code
                })
            }
        }
    }
}

exports! {
    fn cuLaunchHostFunc(stream: Handle, function: Option<extern "C" fn(*mut c_void)>, data: Host) {
        let function = HostFunction::new(function.ok_or(Code::INVALID_VALUE)?, data);
        in_context(|d, _| {
            let place = d.place(stream)?;
            d.submit(place, "cuLaunchHostFunc", Work::Call(function))
        })
    }
}
