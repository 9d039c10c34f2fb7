//! What the checks report.

use super::shadow::{Clash, Conflict};
use super::stamp::Stamp;
use super::{Access, Kind};

/// What is wrong with an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Not ordered with another thread's access to shared memory.
    SharedRace,
    /// Not ordered with another thread's access to global memory.
    GlobalRace,
    /// Two lanes write the same byte in one instruction; which value stays is undefined. The rest of the row was
    /// checked as well, so that a caller who sees the same value in both may go on.
    SameInstructionWrite,
    /// Not ordered with another thread's write, and writes the same value: whichever comes last, the outcome is the same. The
    /// rest of the row was checked as well.
    SameValueWrite,
    /// Reads shared memory that nobody wrote in this block. The rest of the row was checked as well, if it is no atomic.
    UninitialisedShared,
    /// Touches the destination of a `cp.async` before its thread waited for it.
    AsyncCopyNotWaited,
}

/// The earlier access that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Linear index of the block.
    pub block: u32,
    /// Warp in the block.
    pub warp: u32,
    /// Lane in the warp.
    pub lane: u32,
    /// Line of the PTX file; 0 when it was too large to keep.
    pub line: u32,
    /// What it did.
    pub kind: Kind,
}

/// Something wrong with an access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind of fault.
    pub what: What,
    /// Lane whose access it is.
    pub lane: u32,
    /// First byte concerned: an offset into shared memory or a device address.
    pub address: u64,
    /// The earlier access, if there is one.
    pub other: Option<Other>,
    /// All of this, to be read.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Finding {}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Atomic => "atomic",
        }
    }
}

impl Finding {
    /// The same clash within an instruction, of another two lanes.
    pub fn between(&self, access: &Access, lane: u32, other: u32, address: u64) -> Finding {
        let other = self.other.map(|o| Other { lane: other, ..o });
        let text = describe(self.what, access, lane, address, other.as_ref());
        Finding { what: self.what, lane, address, other, text }
    }

    /// What to say of a clash. `base` is where the stretch of memory starts, `locate` splits a tag.
    pub(super) fn new<T>(
        access: &Access,
        clash: Clash<T>,
        base: u64,
        race: What,
        locate: impl Fn(&T) -> (u32, Stamp),
    ) -> Finding {
        let (what, other) = match clash.conflict {
            Conflict::Unwritten => (What::UninitialisedShared, None),
            Conflict::Twice(tag) => (What::SameInstructionWrite, Some((locate(&tag), Kind::Write))),
            Conflict::Same(tag) => (What::SameValueWrite, Some((locate(&tag), Kind::Write))),
            Conflict::Read(tag) => (race, Some((locate(&tag), Kind::Read))),
            Conflict::Write(tag) => {
                let unfinished = locate(&tag).1.is_unfinished();
                let what = if unfinished { What::AsyncCopyNotWaited } else { race };
                (what, Some((locate(&tag), Kind::Write)))
            }
        };
        let other = other.map(|((block, stamp), kind)| Other {
            block,
            warp: stamp.warp() as u32,
            lane: stamp.lane(),
            line: stamp.line(),
            kind: if stamp.is_atomic() { Kind::Atomic } else { kind },
        });
        let address = base + u64::from(clash.offset);
        let text = describe(what, access, clash.lane, address, other.as_ref());
        Finding { what, lane: clash.lane, address, other, text }
    }
}

fn describe(what: What, access: &Access, lane: u32, address: u64, other: Option<&Other>) -> String {
    let Access { warp, bytes, line, .. } = *access;
    let kind = access.kind.name();
    let me = format!("{bytes}-byte {kind} of {address:#x} at line {line} by warp {warp} lane {lane}");
    let other = other.map_or_else(String::new, |other| {
        let Other { block, warp, lane, line, kind } = *other;
        let kind = kind.name();
        format!("{kind} at line {line} by block {block} warp {warp} lane {lane}")
    });
    match what {
        What::SharedRace => format!("data race in shared memory: {me} is not ordered after the {other}"),
        What::GlobalRace => format!("data race in global memory: {me} is not ordered after the {other}"),
        What::SameInstructionWrite => format!("two lanes write one place in one instruction: {me}, and the {other}"),
        What::SameValueWrite => format!("several threads write the same value: {me}, and the {other}"),
        What::UninitialisedShared => format!("uninitialised shared memory: {me}, which nobody wrote in this block"),
        What::AsyncCopyNotWaited => {
            format!("asynchronous copy not waited for: {me} touches the destination of the cp.async {other}")
        }
    }
}
