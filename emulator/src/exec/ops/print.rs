//! `printf` and `assert` on the device: what nvcc turns into calls of `vprintf` and `__assertfail`.

use crate::exec::code::{Bank, Op};
use crate::exec::ops::access::memories;
use crate::exec::ops::place::{Memories, Place};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::lanes::WARP;

/// The longest text that is read from the device.
const LONGEST: usize = 1 << 16;

/// Reads up to 8 bytes at a generic address; `None` where nothing lies.
fn word(warp: &Warp, env: &Env<'_, '_>, lane: usize, address: u64, bytes: usize) -> Option<u64> {
    let memories = memories!(warp, env);
    let Place { cells, offsets, .. } = memories.place(Bank::Generic, &[address; WARP], 1 << lane, 1).ok()?;
    let at = offsets[lane] as usize;
    let mut raw = [0; 8];
    if at + bytes > cells.bytes() {
        return None;
    }
    cells.read(at, &mut raw[..bytes]);
    Some(u64::from_le_bytes(raw))
}

/// A pointer that lies in the thread's local memory.
fn pointer(warp: &Warp, env: &Env<'_, '_>, lane: usize, local: u32) -> u64 {
    word(warp, env, lane, crate::memory::LOCAL_WINDOW + u64::from(local), 8).unwrap_or(0)
}

fn text(warp: &Warp, env: &Env<'_, '_>, lane: usize, mut address: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(byte @ 1..) = word(warp, env, lane, address, 1)
        && out.len() < LONGEST
    {
        out.push(byte as u8);
        address += 1;
    }
    out
}

/// `vprintf`, lane after lane; the result is the number of arguments, as CUDA's is.
pub(in crate::exec) fn print(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    (format, arguments, result): (u32, u32, Option<u32>),
    exec: u32,
) -> Faulty<()> {
    for lane in (0..WARP).filter(|l| exec >> l & 1 == 1) {
        let pattern = text(warp, env, lane, pointer(warp, env, lane, format));
        let mut at = pointer(warp, env, lane, arguments);
        let mut count = 0;
        let mut missing = false;
        let mut next = |bytes: usize| {
            at = at.checked_next_multiple_of(bytes as u64).unwrap_or(at);
            let value = word(warp, env, lane, at, bytes);
            missing |= value.is_none();
            at = at.wrapping_add(bytes as u64);
            count += 1;
            value.unwrap_or(0)
        };
        let line = crate::exec::ops::format::format(&pattern, &mut next, &|address| text(warp, env, lane, address));
        if missing {
            let what = "printf reads an argument where no memory lies".into();
            return Err(env.fault(FaultKind::OutOfBounds, warp.index, op, 1 << lane, None, what));
        }
        let line = String::from_utf8_lossy(&line);
        env.grid.printed.lock().unwrap_or_else(|e| e.into_inner()).push_str(&line);
        if let Some(result) = result {
            let place = lane * env.grid.code.local_stride() + result as usize;
            // Byte for byte: a module may declare its result at any alignment.
            warp.local.write(place, &u32::to_le_bytes(count));
            if let Some(written) = &warp.local_written {
                written.fill(place, 4, 1);
            }
        }
    }
    Ok(())
}

/// The fault that a failed `assert` becomes, in CUDA's words.
pub(in crate::exec) fn assertion(warp: &Warp, env: &Env<'_, '_>, op: &Op, places: [u32; 4], exec: u32) -> Box<Fault> {
    let lane = exec.trailing_zeros() as usize % WARP;
    let [message, file, line, function] = places;
    let read = |place| String::from_utf8_lossy(&text(warp, env, lane, pointer(warp, env, lane, place))).into_owned();
    let number = pointer(warp, env, lane, line) as u32;
    let what = format!("assertion `{}` failed, {}:{number}, in {}", read(message), read(file), read(function));
    env.fault(FaultKind::Assert, warp.index, op, exec, None, what)
}
