//! Copies and sets, at once or through streams.

use super::code::Result;
use super::state::{Driver, Handle, in_context};
use super::stream::Place;
use super::work::Work;

impl Driver {
    /// A call that returns when its work is done: it goes through the legacy stream.
    fn at_once(&mut self, context: Handle, call: &str, work: Work) -> Result<()> {
        let place = Place::Legacy(context);
        self.refuse_implicit(place, call)?;
        self.refuse_unsafe(call)?;
        self.submit(place, call, work)
    }

    /// A copy whose addresses tell what they are (unified addressing).
    pub(super) fn sorted(&self, to: u64, from: u64, bytes: usize) -> Work {
        let device = |address: u64| self.machine.memory.holding(address).is_some() && !self.is_host(address as usize);
        let host = |address: u64| Host(address as usize);
        match (device(to), device(from)) {
            (true, true) => Work::Within { to, from, bytes },
            (true, false) => Work::ToDevice { to, from: host(from), bytes },
            (false, true) => Work::ToHost { to: host(to), from, bytes },
            (false, false) => Work::OnHost { to: host(to), from: host(from), bytes },
        }
    }
}

pub(super) fn now(call: &str, work: Work) -> Result<()> {
    in_context(|d, context| d.at_once(context, call, work))
}

pub(super) fn queue(stream: Handle, call: &str, work: Work) -> Result<()> {
    in_context(|d, _| {
        let place = d.place(stream)?;
        d.submit(place, call, work)
    })
}

fn set(to: u64, pattern: &[u8], columns: usize) -> Work {
    Work::Set { to, pattern: pattern.to_vec(), columns, rows: 1, pitch: 0 }
}

fn set_rows(to: u64, pitch: usize, pattern: &[u8], columns: usize, rows: usize) -> Work {
    Work::Set { to, pattern: pattern.to_vec(), columns, rows, pitch }
}

/// Between contexts of the one device there is nothing to cross.
fn contexts(d: &Driver, to: Handle, from: Handle) -> Result<()> {
    d.context(to)?;
    d.context(from).map(drop)
}

exports! {
    fn cuMemcpyHtoD_v2(to: u64, from: Host, bytes: usize) {
        now("cuMemcpyHtoD", Work::ToDevice { to, from, bytes })
    }
    fn cuMemcpyDtoH_v2(to: Host, from: u64, bytes: usize) {
        now("cuMemcpyDtoH", Work::ToHost { to, from, bytes })
    }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        now("cuMemcpyDtoD", Work::Within { to, from, bytes })
    }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: Host, bytes: usize, stream: Handle) {
        queue(stream, "cuMemcpyHtoDAsync", Work::ToDevice { to, from, bytes })
    }
    fn cuMemcpyDtoHAsync_v2(to: Host, from: u64, bytes: usize, stream: Handle) {
        queue(stream, "cuMemcpyDtoHAsync", Work::ToHost { to, from, bytes })
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        queue(stream, "cuMemcpyDtoDAsync", Work::Within { to, from, bytes })
    }
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        in_context(|d, context| {
            let work = d.sorted(to, from, bytes);
            d.at_once(context, "cuMemcpy", work)
        })
    }
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) {
        in_context(|d, _| {
            let place = d.place(stream)?;
            let work = d.sorted(to, from, bytes);
            d.submit(place, "cuMemcpyAsync", work)
        })
    }
    fn cuMemcpyPeer(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize) {
        in_context(|d, context| {
            contexts(d, to_context, from_context)?;
            d.at_once(context, "cuMemcpyPeer", Work::Within { to, from, bytes })
        })
    }
    fn cuMemcpyPeerAsync(
        to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle,
    ) {
        in_context(|d, _| {
            contexts(d, to_context, from_context)?;
            let place = d.place(stream)?;
            d.submit(place, "cuMemcpyPeerAsync", Work::Within { to, from, bytes })
        })
    }
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        now("cuMemsetD8", set(to, &[value], count))
    }
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        now("cuMemsetD16", set(to, &value.to_le_bytes(), count))
    }
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        now("cuMemsetD32", set(to, &value.to_le_bytes(), count))
    }
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        queue(stream, "cuMemsetD8Async", set(to, &[value], count))
    }
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        queue(stream, "cuMemsetD16Async", set(to, &value.to_le_bytes(), count))
    }
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        queue(stream, "cuMemsetD32Async", set(to, &value.to_le_bytes(), count))
    }
    fn cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, width: usize, height: usize) {
        now("cuMemsetD2D8", set_rows(to, pitch, &[value], width, height))
    }
    fn cuMemsetD2D16_v2(to: u64, pitch: usize, value: u16, width: usize, height: usize) {
        now("cuMemsetD2D16", set_rows(to, pitch, &value.to_le_bytes(), width, height))
    }
    fn cuMemsetD2D32_v2(to: u64, pitch: usize, value: u32, width: usize, height: usize) {
        now("cuMemsetD2D32", set_rows(to, pitch, &value.to_le_bytes(), width, height))
    }
    fn cuMemsetD2D8Async(to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Handle) {
        queue(stream, "cuMemsetD2D8Async", set_rows(to, pitch, &[value], width, height))
    }
    fn cuMemsetD2D16Async(to: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Handle) {
        queue(stream, "cuMemsetD2D16Async", set_rows(to, pitch, &value.to_le_bytes(), width, height))
    }
    fn cuMemsetD2D32Async(to: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Handle) {
        queue(stream, "cuMemsetD2D32Async", set_rows(to, pitch, &value.to_le_bytes(), width, height))
    }
}
