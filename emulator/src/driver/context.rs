//! Contexts: the device's one primary context and those that programs create; each thread's stack of current ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::thread::ThreadId;

use super::code::{Code, Result};
use super::state::{Driver, Find, Handle, driver, in_context};

/// A context.
#[derive(Debug, Default)]
pub struct Context {
    pub flags: u32,
    /// A fault has happened: every call gives this code until the context is destroyed or reset.
    pub sticky: Option<Code>,
    /// Each thread's default stream (`CU_STREAM_PER_THREAD`), made when first used.
    pub per_thread: HashMap<ThreadId, Handle>,
    pub limits: HashMap<u32, usize>,
    cache: u32,
}

/// The device's primary context.
#[derive(Debug, Default)]
pub struct Primary {
    handle: Option<Handle>,
    retained: u32,
    flags: u32,
}

thread_local! {
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

fn top() -> Option<Handle> {
    STACK.with_borrow(|stack| stack.last().copied())
}

impl Driver {
    /// The thread's current context, unless a fault spoiled it.
    pub fn current(&self) -> Result<Handle> {
        let handle = top().ok_or(Code::INVALID_CONTEXT)?;
        self.whole(handle)?;
        Ok(handle)
    }

    /// Checks that a context exists and that no fault spoiled it.
    pub fn whole(&self, context: Handle) -> Result<()> {
        match self.contexts.get(&context).ok_or(Code::CONTEXT_IS_DESTROYED)?.sticky {
            Some(code) => Err(code),
            None => Ok(()),
        }
    }

    /// A context given by handle, null for the current one; it may be spoiled.
    pub fn context(&self, handle: Handle) -> Result<Handle> {
        let handle = if handle == 0 { top().ok_or(Code::INVALID_CONTEXT)? } else { handle };
        self.contexts.contains_key(&handle).then_some(handle).ok_or(Code::INVALID_CONTEXT)
    }

    fn device(&self, ordinal: i32) -> Result<()> {
        if ordinal == 0 { Ok(()) } else { Err(Code::INVALID_DEVICE) }
    }

    fn open_context(&mut self, flags: u32) -> Handle {
        let handle = self.handle();
        self.contexts.insert(handle, Context { flags, ..Context::default() });
        handle
    }

    /// Frees all that belongs to a context. Leaks of the program end here, as on hardware.
    fn clear_context(&mut self, context: Handle) {
        let captures: Vec<_> = self.captures.iter().filter(|(_, c)| c.context == context).map(|(&h, _)| h).collect();
        captures.into_iter().for_each(|capture| drop(self.end_all(capture)));
        self.streams.retain(|_, s| s.context != context);
        self.events.retain(|_, e| e.context != context);
        self.graphs.retain(|_, g| g.context != context);
        self.executables.retain(|_, g| g.context != context);
        let modules: Vec<_> = self.modules.iter().filter(|(_, m)| m.context == context).map(|(&h, _)| h).collect();
        for module in modules {
            // Cannot fail: it was just listed.
            let _ = self.unload(module);
        }
        let blocks: Vec<_> = self.owners.iter().filter(|(_, o)| o.0 == context).map(|(&base, _)| base).collect();
        for base in blocks {
            // Cannot fail: the table lists live allocations alone.
            let _ = self.release(base);
        }
        let host: Vec<_> = self.host.iter().filter(|(_, b)| b.context == context).map(|(&at, _)| at).collect();
        for at in host {
            // Cannot fail: it was just listed.
            let _ = self.release_host(at);
        }
    }

    fn close_context(&mut self, context: Handle) {
        self.clear_context(context);
        self.contexts.remove(&context);
    }
}

fn set_top(context: Handle) {
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        if context != 0 {
            stack.push(context);
        }
    });
}

fn create(out: &Out<Handle>, flags: u32, device: i32) -> Result<()> {
    driver(|d| {
        d.device(device)?;
        if out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let handle = d.open_context(flags);
        STACK.with_borrow_mut(|stack| stack.push(handle));
        out.put(handle)
    })
}

exports! {
    fn cuDevicePrimaryCtxRetain(out: Out<Handle>, device: i32) {
        driver(|d| {
            d.device(device)?;
            if out.is_null() {
                return Err(Code::INVALID_VALUE);
            }
            let handle = match d.primary.handle {
                Some(handle) => handle,
                None => d.open_context(d.primary.flags),
            };
            d.primary.handle = Some(handle);
            d.primary.retained += 1;
            out.put(handle)
        })
    }
    fn cuDevicePrimaryCtxRelease_v2(device: i32) {
        driver(|d| {
            d.device(device)?;
            let handle = d.primary.handle.ok_or(Code::INVALID_CONTEXT)?;
            d.primary.retained = d.primary.retained.saturating_sub(1);
            if d.primary.retained == 0 {
                d.close_context(handle);
                d.primary.handle = None;
            }
            Ok(())
        })
    }
    fn cuDevicePrimaryCtxReset_v2(device: i32) {
        driver(|d| {
            d.device(device)?;
            // The handle stays valid for those who retain it; everything in it goes, a fault too.
            if let Some(handle) = d.primary.handle {
                d.clear_context(handle);
                d.contexts.insert(handle, Context { flags: d.primary.flags, ..Context::default() });
            }
            Ok(())
        })
    }
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) {
        driver(|d| {
            d.device(device)?;
            d.primary.flags = flags;
            Ok(())
        })
    }
    fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) {
        driver(|d| {
            d.device(device)?;
            flags.put(d.primary.flags)?;
            active.put(d.primary.handle.is_some().into())
        })
    }
    fn cuCtxCreate_v2(out: Out<Handle>, flags: u32, device: i32) {
        create(&out, flags, device)
    }
    fn cuCtxCreate_v3(out: Out<Handle>, affinity: In<[i32; 2]>, count: i32, flags: u32, device: i32) {
        if count != 0 && !affinity.is_null() {
            return Err(Code::UNSUPPORTED_EXEC_AFFINITY);
        }
        create(&out, flags, device)
    }
    fn cuCtxCreate_v4(out: Out<Handle>, parameters: In<[usize; 3]>, flags: u32, device: i32) {
        // Affinity and graphics interoperation are all that the parameters can ask for.
        let asks = |[affinity, count, graphics]: [usize; 3]| affinity != 0 && count as u32 != 0 || graphics != 0;
        if !parameters.is_null() && asks(parameters.get()?) {
            return Err(Code::NOT_SUPPORTED);
        }
        create(&out, flags, device)
    }
    fn cuCtxDestroy_v2(context: Handle) {
        driver(|d| {
            if d.primary.handle == Some(context) || !d.contexts.contains_key(&context) {
                return Err(Code::INVALID_CONTEXT);
            }
            d.close_context(context);
            if top() == Some(context) {
                set_top(0);
            }
            Ok(())
        })
    }
    fn cuCtxGetCurrent(out: Out<Handle>) {
        driver(|_| out.put(top().unwrap_or(0)))
    }
    fn cuCtxSetCurrent(context: Handle) {
        driver(|d| {
            if context != 0 {
                d.context(context)?;
            }
            set_top(context);
            Ok(())
        })
    }
    fn cuCtxPushCurrent_v2(context: Handle) {
        driver(|d| {
            if context == 0 {
                return Err(Code::INVALID_CONTEXT);
            }
            let context = d.context(context)?;
            STACK.with_borrow_mut(|stack| stack.push(context));
            Ok(())
        })
    }
    fn cuCtxPopCurrent_v2(out: Out<Handle>) {
        driver(|_| {
            let old = STACK.with_borrow_mut(Vec::pop).ok_or(Code::INVALID_CONTEXT)?;
            out.offer(old);
            Ok(())
        })
    }
    fn cuCtxGetDevice(out: Out<i32>) {
        driver(|d| {
            d.context(0)?;
            out.put(0)
        })
    }
    fn cuCtxGetFlags(out: Out<u32>) {
        in_context(|d, context| out.put(d.contexts.find(context)?.flags))
    }
    fn cuCtxSetFlags(flags: u32) {
        in_context(|d, context| {
            d.contexts.find_mut(context)?.flags = flags;
            Ok(())
        })
    }
    fn cuCtxGetId(context: Handle, out: Out<u64>) {
        driver(|d| out.put(d.context(context)? as u64))
    }
    fn cuCtxGetApiVersion(context: Handle, out: Out<u32>) {
        driver(|d| {
            d.context(context)?;
            out.put(3020)
        })
    }
    fn cuCtxSynchronize() {
        in_context(|d, context| d.synchronise_context(context))
    }
    fn cuCtxGetLimit(out: Out<usize>, limit: u32) {
        in_context(|d, context| {
            // CUlimit: stack of a thread, printf buffer, heap; as drivers start them.
            let start = match limit {
                0 => 1024,
                1 => 1 << 20,
                2 => 8 << 20,
                _ => return Err(Code::UNSUPPORTED_LIMIT),
            };
            out.put(d.contexts.find(context)?.limits.get(&limit).copied().unwrap_or(start))
        })
    }
    fn cuCtxSetLimit(limit: u32, value: usize) {
        in_context(|d, context| {
            if limit > 2 {
                return Err(Code::UNSUPPORTED_LIMIT);
            }
            d.contexts.find_mut(context)?.limits.insert(limit, value);
            Ok(())
        })
    }
    fn cuCtxGetCacheConfig(out: Out<u32>) {
        in_context(|d, context| out.put(d.contexts.find(context)?.cache))
    }
    fn cuCtxSetCacheConfig(config: u32) {
        in_context(|d, context| {
            if config > 3 {
                return Err(Code::INVALID_VALUE);
            }
            d.contexts.find_mut(context)?.cache = config;
            Ok(())
        })
    }
    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        in_context(|_, _| {
            least.offer(super::stream::LEAST_PRIORITY);
            greatest.offer(super::stream::GREATEST_PRIORITY);
            Ok(())
        })
    }
    fn cuCtxResetPersistingL2Cache() {
        in_context(|_, _| Ok(()))
    }
    fn cuCtxEnablePeerAccess(peer: Handle, _flags: u32) {
        in_context(|d, context| {
            // There is one device, and a device is not its own peer.
            if d.context(peer)? == context { Err(Code::INVALID_CONTEXT) } else { Err(Code::PEER_ACCESS_UNSUPPORTED) }
        })
    }
    fn cuCtxDisablePeerAccess(peer: Handle) {
        in_context(|d, _| {
            d.context(peer)?;
            Err(Code::PEER_ACCESS_NOT_ENABLED)
        })
    }
}
