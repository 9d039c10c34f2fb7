//! Streams. Work runs when it is submitted, in the order of submission, so that every stream is always idle: one of the
//! orders that hardware may choose. What streams do carry is capture.

use std::thread;

use super::code::{Code, Result};
use super::state::{Driver, Find, Handle, in_context};

pub const LEAST_PRIORITY: i32 = 0;
pub const GREATEST_PRIORITY: i32 = -5;

const LEGACY: Handle = 1;
const PER_THREAD: Handle = 2;
const NON_BLOCKING: u32 = 1;

/// A stream that a program created, or a thread's default one.
#[derive(Debug)]
pub struct Stream {
    pub context: Handle,
    pub flags: u32,
    pub priority: i32,
    /// The capture that it takes part in.
    pub capture: Option<Handle>,
}

/// A stream as a call names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The context's legacy default stream.
    Legacy(Handle),
    /// One with a handle, and its context.
    Created(Handle, Handle),
}

impl Place {
    /// Its context.
    pub fn context(self) -> Handle {
        match self {
            Place::Legacy(context) | Place::Created(_, context) => context,
        }
    }
}

impl Driver {
    /// Finds the stream that a call names; its context and the current one must be whole.
    pub fn place(&mut self, stream: Handle) -> Result<Place> {
        let current = self.current()?;
        match stream {
            0 | LEGACY => Ok(Place::Legacy(current)),
            PER_THREAD => {
                let id = thread::current().id();
                let known = self.contexts.find(current)?.per_thread.get(&id).copied();
                let handle = match known {
                    Some(handle) => handle,
                    None => {
                        let handle = self.open_stream(current, 0, LEAST_PRIORITY);
                        self.contexts.find_mut(current)?.per_thread.insert(id, handle);
                        handle
                    }
                };
                Ok(Place::Created(handle, current))
            }
            handle => {
                let context = self.streams.find(handle)?.context;
                self.whole(context)?;
                Ok(Place::Created(handle, context))
            }
        }
    }

    fn open_stream(&mut self, context: Handle, flags: u32, priority: i32) -> Handle {
        let handle = self.handle();
        self.streams.insert(handle, Stream { context, flags, priority, capture: None });
        handle
    }

    fn create_stream(&mut self, context: Handle, flags: u32, priority: i32) -> Result<Handle> {
        if flags > NON_BLOCKING {
            return Err(Code::INVALID_VALUE);
        }
        self.statistics.streams += 1;
        // Priorities outside the range are clamped, as cuStreamCreateWithPriority promises.
        Ok(self.open_stream(context, flags, priority.clamp(GREATEST_PRIORITY, LEAST_PRIORITY)))
    }

    /// The capture that a stream takes part in.
    pub fn capture_of(&self, place: Place) -> Result<Option<Handle>> {
        match place {
            Place::Legacy(_) => Ok(None),
            Place::Created(stream, _) => Ok(self.streams.find(stream)?.capture),
        }
    }

    /// Whether a stream waits for the legacy default stream, and it for the stream.
    pub fn is_blocking(&self, stream: Handle) -> bool {
        self.streams.get(&stream).is_some_and(|s| s.flags & NON_BLOCKING == 0)
    }

    fn synchronise(&mut self, place: Place) -> Result<()> {
        self.statistics.synchronisations += 1;
        if let Some(capture) = self.capture_of(place)? {
            return Err(self.invalidate(capture, "cuStreamSynchronize", Code::STREAM_CAPTURE_UNSUPPORTED));
        }
        self.refuse_implicit(place, "cuStreamSynchronize")
    }

    /// `cuCtxSynchronize`: no stream of the context may be capturing.
    pub fn synchronise_context(&mut self, context: Handle) -> Result<()> {
        self.statistics.synchronisations += 1;
        let capture = self.captures.iter().find(|(_, c)| c.context == context).map(|(&handle, _)| handle);
        match capture {
            Some(capture) => Err(self.invalidate(capture, "cuCtxSynchronize", Code::STREAM_CAPTURE_UNSUPPORTED)),
            None => Ok(()),
        }
    }
}

/// Something about a stream, the legacy one as it is made.
fn about<R>(stream: Handle, work: impl FnOnce(&Driver, Handle, Option<&Stream>) -> Result<R>) -> Result<R> {
    in_context(|d, _| match d.place(stream)? {
        Place::Legacy(context) => work(d, context, None),
        Place::Created(handle, context) => work(d, context, Some(d.streams.find(handle)?)),
    })
}

exports! {
    fn cuStreamCreate(out: Out<Handle>, flags: u32) {
        in_context(|d, context| out.put(d.create_stream(context, flags, LEAST_PRIORITY)?))
    }
    fn cuStreamCreateWithPriority(out: Out<Handle>, flags: u32, priority: i32) {
        in_context(|d, context| out.put(d.create_stream(context, flags, priority)?))
    }
    fn cuStreamDestroy_v2(stream: Handle) {
        in_context(|d, _| {
            // The default streams cannot be destroyed: they are in no table under these numbers.
            let old = d.streams.take(stream)?;
            if let Some(capture) = old.capture {
                d.invalidate(capture, "cuStreamDestroy", Code::STREAM_CAPTURE_INVALIDATED);
            }
            Ok(())
        })
    }
    fn cuStreamSynchronize(stream: Handle) {
        in_context(|d, _| {
            let place = d.place(stream)?;
            d.synchronise(place)
        })
    }
    fn cuStreamQuery(stream: Handle) {
        in_context(|d, _| {
            let place = d.place(stream)?;
            match d.capture_of(place)? {
                Some(capture) => Err(d.invalidate(capture, "cuStreamQuery", Code::STREAM_CAPTURE_UNSUPPORTED)),
                None => Ok(()),
            }
        })
    }
    fn cuStreamGetCtx(stream: Handle, out: Out<Handle>) {
        about(stream, |_, context, _| out.put(context))
    }
    fn cuStreamGetFlags(stream: Handle, out: Out<u32>) {
        about(stream, |_, _, stream| out.put(stream.map_or(0, |s| s.flags)))
    }
    fn cuStreamGetPriority(stream: Handle, out: Out<i32>) {
        about(stream, |_, _, stream| out.put(stream.map_or(LEAST_PRIORITY, |s| s.priority)))
    }
    fn cuStreamGetDevice(stream: Handle, out: Out<i32>) {
        about(stream, |_, _, _| out.put(0))
    }
    fn cuStreamGetId(stream: Handle, out: Out<u64>) {
        in_context(|d, _| match d.place(stream)? {
            Place::Legacy(_) => out.put(LEGACY as u64),
            Place::Created(handle, _) => out.put(handle as u64),
        })
    }
}
