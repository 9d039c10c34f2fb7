//! A machine with a module on it, for tests below the driver.

use rewind_emulator::exec::{Launch, Loaded};
use rewind_emulator::fault::Fault;
use rewind_emulator::machine::{Machine, Options};
use rewind_emulator::memory::Origin;
use rewind_emulator::profile::H100_SXM;

use super::compiled;

/// A machine with a module on it.
pub struct Bench {
    pub machine: Machine,
    pub module: Loaded,
}

impl Bench {
    pub fn new(source: &str, options: Options) -> Bench {
        Bench::from_text(&compiled(source, 80), options)
    }

    pub fn from_text(text: &str, options: Options) -> Bench {
        let mut machine = Machine::new(&H100_SXM, options);
        let module = machine.load(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        Bench { machine, module }
    }

    pub fn put<T: bytemuck::Pod>(&mut self, data: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let address = self.empty(bytes.len());
        self.machine.memory.write(address, bytes).unwrap();
        address
    }

    pub fn empty(&mut self, bytes: usize) -> u64 {
        self.machine.memory.allocate(bytes as u64, Origin::Plain).unwrap()
    }

    pub fn get<T: bytemuck::Pod>(&self, address: u64, count: usize) -> Vec<T> {
        let mut out = vec![T::zeroed(); count];
        self.machine.memory.read(address, bytemuck::cast_slice_mut(&mut out)).unwrap();
        out
    }

    pub fn run(&mut self, kernel: &str, grid: [u32; 3], block: [u32; 3], parameters: &[u64]) -> Result<(), Box<Fault>> {
        self.launch(kernel, Launch { grid, block, dynamic_shared: 0, cooperative: false }, parameters)
    }

    /// Parameters as 64-bit values, cut to each parameter's size.
    pub fn launch(&mut self, kernel: &str, launch: Launch, parameters: &[u64]) -> Result<(), Box<Fault>> {
        let kernel = self.module.kernels[kernel].clone();
        let mut block = vec![0; kernel.parameter_bytes as usize];
        assert_eq!(kernel.parameters.len(), parameters.len());
        for (parameter, value) in kernel.parameters.iter().zip(parameters) {
            let at = parameter.offset as usize;
            block[at..at + parameter.bytes as usize].copy_from_slice(&value.to_le_bytes()[..parameter.bytes as usize]);
        }
        self.machine.launch(&kernel, &launch, &block)
    }
}
