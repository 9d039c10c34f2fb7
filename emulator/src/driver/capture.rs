//! Stream capture: work submitted to a capturing stream becomes nodes of a graph and does not run. Rules as in the CUDA
//! programming guide, "Prohibited and Unhandled Operations" and "Invalidation", and in the docs of `cuStreamBeginCapture`
//! and `cuThreadExchangeStreamCaptureMode`.

use std::cell::Cell;
use std::collections::HashMap;
use std::thread::{self, ThreadId};

use super::code::{Code, Result};
use super::export::say;
use super::graph::{Graph, Node};
use super::state::{Driver, Find, Handle, driver, in_context};
use super::stream::Place;
use super::work::Work;

const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;

/// A capture in progress.
#[derive(Debug)]
pub struct Capture {
    pub context: Handle,
    mode: u32,
    thread: ThreadId,
    origin: Handle,
    nodes: Vec<Node>,
    /// The streams that take part, each with the nodes that its next one comes after.
    tails: HashMap<Handle, Vec<usize>>,
    invalid: bool,
}

thread_local! {
    // How this thread takes calls that are unsafe during capture: cuThreadExchangeStreamCaptureMode.
    static MODE: Cell<u32> = const { Cell::new(GLOBAL) };
}

impl Driver {
    fn begin(&mut self, stream: Handle, mode: u32) -> Result<()> {
        let place = self.place(stream)?;
        if mode > RELAXED {
            return Err(Code::INVALID_VALUE);
        }
        let Place::Created(stream, context) = place else {
            say("cuStreamBeginCapture", "the legacy default stream cannot be captured");
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        };
        if self.streams.find(stream)?.capture.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        let handle = self.handle();
        let tails = HashMap::from([(stream, Vec::new())]);
        let thread = thread::current().id();
        let capture = Capture { context, mode, thread, origin: stream, nodes: Vec::new(), tails, invalid: false };
        self.captures.insert(handle, capture);
        self.streams.find_mut(stream)?.capture = Some(handle);
        Ok(())
    }

    fn end(&mut self, stream: Handle) -> Result<Handle> {
        let place = self.place(stream)?;
        let Some(handle) = self.capture_of(place)? else { return Err(Code::ILLEGAL_STATE) };
        let Place::Created(stream, _) = place else { return Err(Code::ILLEGAL_STATE) };
        let capture = self.captures.find(handle)?;
        if capture.origin != stream {
            return Err(Code::STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != RELAXED && capture.thread != thread::current().id() {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD);
        }
        let Some(capture) = self.end_all(handle) else { return Err(Code::ILLEGAL_STATE) };
        if capture.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        if !capture.is_joined() {
            say(
                "cuStreamEndCapture",
                "another stream has captured work that the capture's first stream does not wait for",
            );
            return Err(Code::STREAM_CAPTURE_UNJOINED);
        }
        let handle = self.handle();
        self.graphs.insert(handle, Graph { context: capture.context, nodes: capture.nodes });
        Ok(handle)
    }

    /// Ends a capture in all its streams.
    pub fn end_all(&mut self, capture: Handle) -> Option<Capture> {
        let old = self.captures.remove(&capture)?;
        self.streams.values_mut().filter(|s| s.capture == Some(capture)).for_each(|s| s.capture = None);
        Some(old)
    }

    /// Refuses further work on a capture, for the reason given; the user is told once.
    pub fn invalidate(&mut self, capture: Handle, call: &str, code: Code) -> Code {
        match self.captures.get_mut(&capture) {
            Some(c) if !c.invalid => {
                c.invalid = true;
                let text = code.text().unwrap_or_default().to_string_lossy();
                say(call, format_args!("{text}; the capture is invalid from here on"));
                code
            }
            Some(_) => Code::STREAM_CAPTURE_INVALIDATED,
            None => code,
        }
    }

    /// Checks that nothing has invalidated a capture.
    pub fn valid(&self, capture: Handle) -> Result<()> {
        if self.captures.find(capture)?.invalid { Err(Code::STREAM_CAPTURE_INVALIDATED) } else { Ok(()) }
    }

    /// The nodes that work in a capturing stream comes after.
    pub fn tail(&self, capture: Handle, place: Place) -> Result<Vec<usize>> {
        self.valid(capture)?;
        match place {
            Place::Created(stream, _) => {
                Ok(self.captures.find(capture)?.tails.get(&stream).cloned().unwrap_or_default())
            }
            Place::Legacy(_) => Err(Code::STREAM_CAPTURE_IMPLICIT),
        }
    }

    /// Adds work to a capture, behind what its stream has so far.
    pub fn append(&mut self, capture: Handle, place: Place, work: Work) -> Result<()> {
        let after = self.tail(capture, place)?;
        let Place::Created(stream, _) = place else { return Err(Code::STREAM_CAPTURE_IMPLICIT) };
        let capture = self.captures.find_mut(capture)?;
        capture.nodes.push(Node { work, after });
        capture.tails.insert(stream, vec![capture.nodes.len() - 1]);
        Ok(())
    }

    /// A stream waits for nodes of a capture: it takes part from now on.
    pub fn join(&mut self, place: Place, capture: Handle, nodes: &[usize]) -> Result<()> {
        self.valid(capture)?;
        let Place::Created(stream, context) = place else {
            return Err(self.invalidate(capture, "cuStreamWaitEvent", Code::STREAM_CAPTURE_IMPLICIT));
        };
        if context != self.captures.find(capture)?.context {
            return Err(self.invalidate(capture, "cuStreamWaitEvent", Code::STREAM_CAPTURE_ISOLATION));
        }
        match self.streams.find(stream)?.capture {
            Some(own) if own != capture => {
                self.invalidate(own, "cuStreamWaitEvent", Code::STREAM_CAPTURE_MERGE);
                return Err(self.invalidate(capture, "cuStreamWaitEvent", Code::STREAM_CAPTURE_MERGE));
            }
            _ => self.streams.find_mut(stream)?.capture = Some(capture),
        }
        let tail = self.captures.find_mut(capture)?.tails.entry(stream).or_default();
        tail.extend(nodes);
        tail.sort_unstable();
        tail.dedup();
        Ok(())
    }

    /// Work in the legacy stream would wait for every blocking stream, and a capturing one never completes.
    pub fn refuse_implicit(&mut self, place: Place, call: &str) -> Result<()> {
        let Place::Legacy(context) = place else { return Ok(()) };
        let blocking = |c: &Capture| c.context == context && c.tails.keys().any(|&s| self.is_blocking(s));
        let Some(capture) = self.captures.iter().find(|(_, c)| blocking(c)).map(|(&handle, _)| handle) else {
            return Ok(());
        };
        self.invalidate(capture, call, Code::STREAM_CAPTURE_IMPLICIT);
        Err(Code::STREAM_CAPTURE_IMPLICIT)
    }

    /// Calls that act at once, unseen by captures, such as `cuMemAlloc`: allowed or not by the modes of the thread and of
    /// the captures in progress. They invalidate the captures that forbid them.
    pub fn refuse_unsafe(&mut self, call: &str) -> Result<()> {
        let (own, mode) = (thread::current().id(), MODE.get());
        let forbids = |c: &Capture| match mode {
            RELAXED => false,
            _ if c.thread == own && c.mode != RELAXED => true,
            GLOBAL => c.mode == GLOBAL,
            _ => false,
        };
        let forbidding: Vec<_> = self.captures.iter().filter(|(_, c)| forbids(c)).map(|(&handle, _)| handle).collect();
        if forbidding.is_empty() {
            return Ok(());
        }
        for capture in forbidding {
            self.invalidate(capture, call, Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        Err(Code::STREAM_CAPTURE_UNSUPPORTED)
    }
}

impl Capture {
    /// Whether the first stream comes after every node.
    fn is_joined(&self) -> bool {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = self.tails.get(&self.origin).cloned().unwrap_or_default();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                open.extend(&self.nodes[node].after);
            }
        }
        reached.into_iter().all(|r| r)
    }

    fn status(&self) -> u32 {
        // CU_STREAM_CAPTURE_STATUS_ACTIVE and _INVALIDATED
        if self.invalid { 2 } else { 1 }
    }
}

fn status(stream: Handle) -> Result<(u32, u64)> {
    in_context(|d, _| {
        let place = d.place(stream)?;
        d.refuse_implicit(place, "cuStreamIsCapturing")?;
        Ok(match d.capture_of(place)? {
            Some(capture) => (d.captures.find(capture)?.status(), capture as u64),
            None => (0, 0),
        })
    })
}

exports! {
    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        in_context(|d, _| d.begin(stream, mode))
    }
    fn cuStreamEndCapture(stream: Handle, out: Out<Handle>) {
        in_context(|d, _| {
            let graph = d.end(stream);
            out.put(graph.unwrap_or(0))?;
            graph.map(drop)
        })
    }
    fn cuStreamIsCapturing(stream: Handle, out: Out<u32>) {
        out.put(status(stream)?.0)
    }
    fn cuStreamGetCaptureInfo_v2(
        stream: Handle, out: Out<u32>, id: Out<u64>, graph: Out<Handle>, nodes: Out<usize>, count: Out<usize>,
    ) {
        let (status, capture) = status(stream)?;
        // The graph under construction is not offered, nor its nodes.
        if status == 1 && (!graph.is_null() || !nodes.is_null() || !count.is_null()) {
            return Err(Code::NOT_SUPPORTED);
        }
        id.offer(capture);
        out.put(status)
    }
    fn cuStreamGetCaptureInfo_v3(
        stream: Handle, out: Out<u32>, id: Out<u64>, graph: Out<Handle>, nodes: Out<usize>, edges: Out<usize>,
        count: Out<usize>,
    ) {
        let (status, capture) = status(stream)?;
        if status == 1 && (!graph.is_null() || !nodes.is_null() || !edges.is_null() || !count.is_null()) {
            return Err(Code::NOT_SUPPORTED);
        }
        id.offer(capture);
        out.put(status)
    }
    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        driver(|_| {
            let wanted = mode.current()?;
            if wanted > RELAXED {
                return Err(Code::INVALID_VALUE);
            }
            mode.put(MODE.replace(wanted))
        })
    }
}

const _: () = assert!(GLOBAL < THREAD_LOCAL && THREAD_LOCAL < RELAXED, "modes are told apart by order");
