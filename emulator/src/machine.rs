//! The emulated GPU, without the driver's handles and rules around it: memory, loaded modules, launches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::counters::LaunchCounts;
use crate::exec::{self, Kernel, Launch, Loaded};
use crate::fault::Fault;
pub use crate::load_error::LoadError;
use crate::memory::{GlobalMemory, Origin};
pub use crate::options::Options;
use crate::profile::Profile;
use crate::ptx::{Module, Space};

/// Kernels by name.
type Kernels = HashMap<String, Arc<Kernel>>;

/// Texts whose kernels are kept for the next time.
const TEXTS_KEPT: usize = 32;

/// The GPU.
#[derive(Debug)]
pub struct Machine {
    /// What it pretends to be.
    pub profile: &'static Profile,
    /// How it runs.
    pub options: Options,
    /// Global memory.
    pub memory: GlobalMemory,
    /// Registers of kernels by name, where somebody measured them.
    pub measured: HashMap<String, u32>,
    /// Texts that declare no variables, and their kernels: programs load the same ones again and again.
    lowered: Vec<(Arc<str>, Kernels)>,
    launches: u64,
    counts: Vec<LaunchCounts>,
    printed: String,
    notes: Vec<String>,
    /// Kernels and lines that a note was taken of.
    noted: HashSet<(String, (u32, u32))>,
    workspace: Option<u64>,
}

impl Machine {
    /// A GPU with empty memory.
    pub fn new(profile: &'static Profile, options: Options) -> Machine {
        let memory = GlobalMemory::new(profile.memory_bytes, options.checks);
        Machine {
            profile,
            options,
            memory,
            measured: HashMap::new(),
            lowered: Vec::new(),
            launches: 0,
            counts: Vec::new(),
            printed: String::new(),
            notes: Vec::new(),
            noted: HashSet::new(),
            workspace: None,
        }
    }

    /// Loads PTX: text up to the first zero byte or the end. Global and constant variables are placed and filled.
    ///
    /// # Errors
    /// A text that is refused, or variables that do not fit.
    pub fn load(&mut self, image: &[u8]) -> Result<Loaded, LoadError> {
        let text = image.split(|&b| b == 0).next().unwrap_or_default();
        if let Some((_, kernels)) = self.lowered.iter().find(|(known, _)| known.as_bytes() == text) {
            return Ok(Loaded { kernels: kernels.clone(), variables: HashMap::new() });
        }
        let module = Module::from_bytes(image)?;
        let source: Arc<str> = String::from_utf8_lossy(text).into();
        let mut placed = Vec::new();
        let loaded = self.place(&module, &source, &mut placed);
        if loaded.is_err() {
            placed.iter().for_each(|&address| drop(self.memory.release(address)));
        }
        loaded
    }

    fn place(&mut self, module: &Module, source: &Arc<str>, placed: &mut Vec<u64>) -> Result<Loaded, LoadError> {
        let mut addresses = vec![0; module.variables.len()];
        let mut variables = HashMap::new();
        let mut const_bytes = 0;
        for (address, variable) in addresses.iter_mut().zip(&module.variables) {
            let bytes = variable.bytes.unwrap_or(0);
            let origin = match variable.space {
                Space::Global => Origin::Variable(variable.name.clone()),
                Space::Const => Origin::Constant(variable.name.clone()),
                _ => continue,
            };
            *address = self.memory.allocate(bytes, origin)?;
            placed.push(*address);
            self.memory.write(*address, &variable.initial[..variable.initial.len().min(bytes as usize)])?;
            variables.insert(variable.name.clone(), (*address, bytes));
            const_bytes += if variable.space == Space::Const { bytes } else { 0 };
        }
        for (address, variable) in addresses.iter().zip(&module.variables) {
            for relocation in &variable.relocations {
                let target = addresses[relocation.variable as usize].wrapping_add_signed(relocation.addend);
                self.memory.write(address + relocation.offset, &target.to_le_bytes())?;
            }
        }
        let kernels = exec::lower_module(module, &addresses, source, const_bytes, &self.measured)?;
        if variables.is_empty() {
            if self.lowered.len() == TEXTS_KEPT {
                self.lowered.remove(0);
            }
            self.lowered.push((source.clone(), kernels.clone()));
        }
        Ok(Loaded { kernels, variables })
    }

    /// Frees a module's variables.
    pub fn unload(&mut self, module: &Loaded) {
        for (address, _) in module.variables.values() {
            // Each was allocated by `load`; nobody else can free it.
            drop(self.memory.release(*address));
        }
    }

    /// Runs a kernel to its end. The caller has checked the launch against the device's limits; `parameters` is the
    /// parameter block.
    ///
    /// # Errors
    /// The first fault.
    pub fn launch(&mut self, kernel: &Kernel, launch: &Launch, parameters: &[u8]) -> Result<(), Box<Fault>> {
        self.launches += 1;
        let workspace = match (launch.cooperative, self.workspace) {
            (false, _) => 0,
            (true, Some(address)) => address,
            (true, None) => {
                let origin = Origin::Variable("the grid's barrier".into());
                let address = self.memory.allocate(64, origin).unwrap_or(0);
                self.workspace = Some(address);
                address
            }
        };
        let run = exec::Run { options: &self.options, profile: self.profile, memory: &self.memory };
        let done = run.launch(kernel, launch, parameters, (self.launches, workspace));
        if !done.printed.is_empty() {
            print!("{}", done.printed);
            self.printed.push_str(&done.printed);
        }
        for (lines, what) in done.notes {
            if self.noted.insert((kernel.name.clone(), lines)) {
                self.notes.push(format!("kernel {}: {what}", kernel.name));
            }
        }
        self.counts.extend(done.counts);
        done.fault.map_or(Ok(()), Err)
    }

    /// The counts of every launch since the last call of [`Machine::reset_counts`], if counting is on.
    pub fn counts(&self) -> &[LaunchCounts] {
        &self.counts
    }

    /// Forgets the counts.
    pub fn reset_counts(&mut self) {
        self.counts.clear();
    }

    /// What the checks noted since the last call, once for each kernel and line: legal, and yet perhaps not meant.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// What kernels have printed since the last call.
    pub fn take_printed(&mut self) -> String {
        std::mem::take(&mut self.printed)
    }
}
