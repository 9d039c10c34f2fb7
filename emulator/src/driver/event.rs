//! Events. The work before them is done when they are recorded, so that they are complete at once; their times are the
//! host's monotonic clock.

use std::time::Instant;

use super::code::{Code, Result};
use super::state::{Driver, Find, Handle, in_context};
use super::work::Work;

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
const ALL_FLAGS: u32 = 1 | DISABLE_TIMING | INTERPROCESS;
/// `CU_EVENT_RECORD_EXTERNAL`, `CU_EVENT_WAIT_EXTERNAL`
const EXTERNAL: u32 = 1;

/// An event.
#[derive(Debug)]
pub struct Event {
    pub context: Handle,
    flags: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Never,
    Recorded(Instant),
    /// Recorded in a capturing stream: it stands for these nodes of the capture.
    Captured(Handle, Vec<usize>),
}

impl Driver {
    fn create_event(&mut self, context: Handle, flags: u32) -> Result<Handle> {
        // An event between processes cannot have times.
        if flags & !ALL_FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
            return Err(Code::INVALID_VALUE);
        }
        if flags & INTERPROCESS != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        self.statistics.events += 1;
        let handle = self.handle();
        self.events.insert(handle, Event { context, flags, state: State::Never });
        Ok(handle)
    }

    /// Notes the time, as a node of a graph or a stream without capture does.
    pub fn stamp(&mut self, event: Handle) -> Result<()> {
        self.events.find_mut(event)?.state = State::Recorded(Instant::now());
        Ok(())
    }

    fn record(&mut self, event: Handle, stream: Handle, flags: u32) -> Result<()> {
        let place = self.place(stream)?;
        if flags & !EXTERNAL != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if self.events.find(event)?.context != place.context() {
            return Err(Code::INVALID_HANDLE);
        }
        match self.capture_of(place)? {
            Some(capture) if flags & EXTERNAL == 0 => {
                let tail = self.tail(capture, place)?;
                self.events.find_mut(event)?.state = State::Captured(capture, tail);
                Ok(())
            }
            _ => self.submit(place, "cuEventRecord", Work::Record(event)),
        }
    }

    fn wait(&mut self, stream: Handle, event: Handle, flags: u32) -> Result<()> {
        let place = self.place(stream)?;
        if flags & !EXTERNAL != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let state = self.events.find(event)?.state.clone();
        match (self.capture_of(place)?, state) {
            (_, State::Captured(capture, nodes)) if self.captures.contains_key(&capture) => {
                self.join(place, capture, &nodes)
            }
            // The capture is over: its nodes are no part of any stream's work.
            (None, State::Captured(..)) => Err(Code::CAPTURED_EVENT),
            (None, State::Never) => Ok(()),
            (None, State::Recorded(_)) => self.refuse_implicit(place, "cuStreamWaitEvent"),
            // A wait for an event that was never recorded does nothing, in a capture too.
            (Some(capture), State::Never) => self.valid(capture),
            (Some(capture), _) if flags & EXTERNAL != 0 => self.valid(capture),
            (Some(capture), _) => Err(self.invalidate(capture, "cuStreamWaitEvent", Code::STREAM_CAPTURE_ISOLATION)),
        }
    }

    fn time(&self, event: Handle) -> Result<Instant> {
        let event = self.events.find(event)?;
        match event.state {
            State::Captured(..) => Err(Code::CAPTURED_EVENT),
            State::Recorded(at) if event.flags & DISABLE_TIMING == 0 => Ok(at),
            // Without time, or never recorded.
            _ => Err(Code::INVALID_HANDLE),
        }
    }

    /// For waits of the host: an event in a capture will never complete.
    fn completed(&mut self, event: Handle, call: &str) -> Result<()> {
        match self.events.find(event)?.state {
            State::Captured(capture, _) => {
                if self.captures.contains_key(&capture) {
                    self.invalidate(capture, call, Code::CAPTURED_EVENT);
                }
                Err(Code::CAPTURED_EVENT)
            }
            // Unseen by captures, hence among the calls that they may forbid.
            _ => self.refuse_unsafe(call),
        }
    }
}

fn elapsed(out: &Out<f32>, start: Handle, end: Handle) -> Result<()> {
    in_context(|d, _| {
        let (start, end) = (d.time(start)?, d.time(end)?);
        // Either order is allowed; the time is negative if the end came first.
        let seconds = if end >= start { (end - start).as_secs_f64() } else { -(start - end).as_secs_f64() };
        out.put((seconds * 1e3) as f32)
    })
}

exports! {
    fn cuEventCreate(out: Out<Handle>, flags: u32) {
        in_context(|d, context| out.put(d.create_event(context, flags)?))
    }
    fn cuEventRecord(event: Handle, stream: Handle) {
        in_context(|d, _| d.record(event, stream, 0))
    }
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) {
        in_context(|d, _| d.record(event, stream, flags))
    }
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32) {
        in_context(|d, _| d.wait(stream, event, flags))
    }
    fn cuEventQuery(event: Handle) {
        in_context(|d, _| d.completed(event, "cuEventQuery"))
    }
    fn cuEventSynchronize(event: Handle) {
        in_context(|d, _| {
            d.statistics.synchronisations += 1;
            d.completed(event, "cuEventSynchronize")
        })
    }
    fn cuEventDestroy_v2(event: Handle) {
        in_context(|d, _| d.events.take(event).map(drop))
    }
    fn cuEventElapsedTime(out: Out<f32>, start: Handle, end: Handle) {
        elapsed(&out, start, end)
    }
    fn cuEventElapsedTime_v2(out: Out<f32>, start: Handle, end: Handle) {
        elapsed(&out, start, end)
    }
}
