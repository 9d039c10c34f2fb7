//! All that the driver knows, behind one lock. Handles are numbers looked up in tables, so that a stale or foreign one is
//! an error and never a crash.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::capture::Capture;
use super::code::{Code, Result};
use super::context::{Context, Primary};
use super::event::Event;
use super::graph::Graph;
use super::host::HostBlock;
use super::module::{Function, Module};
use super::pool::Pool;
use super::settings;
use super::statistics::Statistics;
use super::stream::Stream;
use crate::fault::Fault;
use crate::machine::Machine;

/// What a caller sees of an object.
pub type Handle = usize;

/// Everything.
pub struct Driver {
    pub machine: Machine,
    last_handle: Handle,
    pub primary: Primary,
    pub contexts: HashMap<Handle, Context>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    pub modules: HashMap<Handle, Module>,
    pub functions: HashMap<Handle, Function>,
    pub captures: HashMap<Handle, Capture>,
    pub graphs: HashMap<Handle, Graph>,
    pub executables: HashMap<Handle, Graph>,
    pub pools: HashMap<Handle, Pool>,
    pub default_pool: Handle,
    pub current_pool: Handle,
    /// The context and, if it came from one, the pool of every allocation, by address.
    pub owners: HashMap<u64, (Handle, Option<Handle>)>,
    /// Host memory that the device can reach, by address.
    pub host: HashMap<usize, HostBlock>,
    pub faults: Vec<Fault>,
    pub statistics: Statistics,
    /// What kernels printed, as far as the machine has handed it over.
    pub printed: String,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    // Set while a host function runs in this thread: it holds the lock.
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

fn lock() -> Result<MutexGuard<'static, Option<Driver>>> {
    if IN_HOST_FUNCTION.get() {
        // "Host functions must not make any CUDA API calls" (cuLaunchHostFunc).
        return Err(Code::NOT_PERMITTED);
    }
    // A panic while the lock was held has been reported; state is plain tables, still fit to use.
    Ok(DRIVER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs a host function, during which this thread's calls are refused.
pub fn without_calls(function: impl FnOnce()) {
    IN_HOST_FUNCTION.set(true);
    function();
    IN_HOST_FUNCTION.set(false);
}

/// `cuInit`
pub fn initialise() -> Result<()> {
    let mut driver = lock()?;
    if driver.is_none() {
        *driver = Some(Driver::new()?);
    }
    Ok(())
}

/// Works on the state; refused before `cuInit`.
pub fn driver<R>(work: impl FnOnce(&mut Driver) -> Result<R>) -> Result<R> {
    work(lock()?.as_mut().ok_or(Code::NOT_INITIALIZED)?)
}

/// Works on the state on behalf of the thread's current context, which must be whole.
pub fn in_context<R>(work: impl FnOnce(&mut Driver, Handle) -> Result<R>) -> Result<R> {
    driver(|d| {
        let context = d.current()?;
        work(d, context)
    })
}

impl Driver {
    fn new() -> Result<Driver> {
        let (profile, options) = settings::chosen()?;
        let mut machine = Machine::new(profile, options);
        machine.measured = settings::measured_registers()?;
        let mut driver = Driver {
            machine,
            last_handle: 0x1000,
            primary: Primary::default(),
            contexts: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            pools: HashMap::new(),
            default_pool: 0,
            current_pool: 0,
            owners: HashMap::new(),
            host: HashMap::new(),
            faults: Vec::new(),
            statistics: Statistics::default(),
            printed: String::new(),
        };
        driver.default_pool = driver.handle();
        driver.current_pool = driver.default_pool;
        driver.pools.insert(driver.default_pool, Pool::default());
        Ok(driver)
    }

    /// A number that no object has had before. Steps leave room for what a caller might add to a pointer by mistake.
    pub fn handle(&mut self) -> Handle {
        self.last_handle += 0x10;
        self.last_handle
    }
}

/// Finds an object by its handle.
pub trait Find<T> {
    /// The object, or `CUDA_ERROR_INVALID_HANDLE`.
    fn find(&self, handle: Handle) -> Result<&T>;
    /// The same to change it.
    fn find_mut(&mut self, handle: Handle) -> Result<&mut T>;
    /// Takes it out.
    fn take(&mut self, handle: Handle) -> Result<T>;
}

impl<T> Find<T> for HashMap<Handle, T> {
    fn find(&self, handle: Handle) -> Result<&T> {
        self.get(&handle).ok_or(Code::INVALID_HANDLE)
    }

    fn find_mut(&mut self, handle: Handle) -> Result<&mut T> {
        self.get_mut(&handle).ok_or(Code::INVALID_HANDLE)
    }

    fn take(&mut self, handle: Handle) -> Result<T> {
        self.remove(&handle).ok_or(Code::INVALID_HANDLE)
    }
}
