//! Running kernels: lowering to row operations, warps with divergence, blocks with barriers, grids over host threads.
//!
//! `code` is a kernel in the form that runs; `lower` makes it of PTX, `run` runs it, and `ops` has what one operation of a warp does.
//! `chain` follows how long results take.

mod chain;
mod code;
mod file;
mod lower;
mod ops;
mod run;
mod shuffle;
mod used;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::check::LaunchChecks;
use crate::counters::{self, LaunchCounts};
use crate::fault::Fault;
use crate::load_error::LoadError;
use crate::memory::{Cells, GlobalMemory};
use crate::options::Options;
use crate::profile::Profile;
use crate::ptx::{FunctionKind, LaunchBounds, Module, Parameter};
use crate::row::Level;

/// A kernel ready to run.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the module.
    pub name: String,
    /// Where each parameter lies in the parameter block.
    pub parameters: Vec<Parameter>,
    /// Bytes of the parameter block.
    pub parameter_bytes: u64,
    /// Launch bounds.
    pub bounds: LaunchBounds,
    /// Bytes of shared memory that the kernel declares.
    pub static_shared: u32,
    /// Whether it uses dynamic shared memory.
    pub dynamic_shared: bool,
    /// Bytes of local memory a thread.
    pub local_bytes: u32,
    /// Bytes of constant memory of its module.
    pub const_bytes: u64,
    /// 32-bit registers a thread would need: an estimate from liveness in the PTX, as ptxas is not here to say.
    pub registers: u32,
    /// Whether that is no estimate but what ptxas said.
    pub registers_known: bool,
    /// `.version` of its module, times ten: 90.
    pub ptx_version: u32,
    /// `.target` of its module: 80 for sm_80.
    pub target: u32,
    code: code::Code,
}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// All blocks are resident at once, so that they may wait for each other.
    pub cooperative: bool,
}

/// A module placed in memory.
#[derive(Debug)]
pub struct Loaded {
    /// Its kernels by name.
    pub kernels: HashMap<String, Arc<Kernel>>,
    /// Address and size of its global and constant variables by name.
    pub variables: HashMap<String, (u64, u64)>,
}

/// Lowers every kernel of a module whose variables lie at these addresses; `measured` are registers that are known.
pub(crate) fn lower_module(
    module: &Module,
    addresses: &[u64],
    source: &Arc<str>,
    const_bytes: u64,
    measured: &HashMap<String, u32>,
) -> Result<HashMap<String, Arc<Kernel>>, LoadError> {
    let mut kernels = HashMap::new();
    for (index, function) in module.functions.iter().enumerate() {
        if function.kind != FunctionKind::Entry || function.body.is_none() {
            continue;
        }
        let code = lower::kernel(module, index as u32, addresses, source, Level::detect())?;
        let known = measured.get(&function.name).copied();
        let kernel = Kernel {
            name: function.name.clone(),
            parameters: function.parameters.clone(),
            parameter_bytes: function.parameter_bytes(),
            bounds: function.bounds,
            static_shared: code.static_shared,
            dynamic_shared: code.dynamic_shared,
            local_bytes: code.local_bytes,
            const_bytes,
            registers: known.unwrap_or_else(|| lower::registers::estimate(module, index as u32)),
            registers_known: known.is_some(),
            ptx_version: module.version.0 * 10 + module.version.1,
            target: module.target.sm,
            code,
        };
        kernels.insert(function.name.clone(), Arc::new(kernel));
    }
    Ok(kernels)
}

/// What a launch runs on.
pub(crate) struct Run<'a> {
    pub options: &'a Options,
    pub profile: &'a Profile,
    pub memory: &'a GlobalMemory,
}

/// What became of a launch.
pub(crate) struct Outcome {
    pub fault: Option<Box<Fault>>,
    pub counts: Option<LaunchCounts>,
    pub printed: String,
    /// By the two lines concerned.
    pub notes: BTreeMap<(u32, u32), String>,
}

impl Run<'_> {
    /// Runs a launch to its end; `numbers` are the launch's own and the address of the grid's barrier.
    pub fn launch(&self, kernel: &Kernel, launch: &Launch, parameters: &[u8], numbers: (u64, u64)) -> Outcome {
        let Some(cells) = Cells::zeroed(parameters.len()) else {
            return Outcome {
                fault: Some(Box::new(Fault::no_memory(&kernel.name))),
                counts: None,
                printed: String::new(),
                notes: BTreeMap::new(),
            };
        };
        cells.write(0, parameters);
        let grid = run::env::Grid {
            kernel: &kernel.name,
            code: &kernel.code,
            file: kernel.code.file.get_or_init(|| file::File::of(&kernel.code)),
            launch,
            options: self.options,
            profile: self.profile,
            global: self.memory,
            parameters: &cells,
            checks: self.options.checks.then(|| Arc::new(LaunchChecks::new())),
            serial: numbers.0,
            workspace: numbers.1,
            printed: Mutex::new(String::new()),
            notes: Mutex::default(),
            latencies: chain::Latencies::of(self.options, self.profile, &kernel.code),
            arrivals: chain::Arrivals::default(),
        };
        let (fault, counted) = match grid.run() {
            Ok(counted) => (None, counted),
            Err(fault) => (Some(fault), None),
        };
        let described = counters::Launch {
            kernel: kernel.name.clone(),
            grid: launch.grid,
            block: launch.block,
            static_shared: kernel.static_shared,
            dynamic_shared: launch.dynamic_shared,
            registers: kernel.registers,
        };
        let counts = counted
            .map(|c| LaunchCounts { chain: c.chain(self.profile.name), ..c.summary(&kernel.code.classes, &described) });
        let printed = grid.printed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let notes = grid.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        Outcome { fault, counts, printed, notes }
    }
}
