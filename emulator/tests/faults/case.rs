//! One launch that is right, or has one fault; under every order and number of threads, with and without checks.

use std::collections::HashMap;

use rewind_emulator::exec::Launch;
use rewind_emulator::fault::{Fault, FaultKind};
use rewind_emulator::machine::Options;

use crate::support::bench::Bench;

/// Instructions after which a warp counts as stuck: far more than any right kernel here takes.
const LIMIT: u64 = 1 << 17;

/// An argument of the kernel.
#[derive(Debug, Clone)]
pub enum Argument {
    Is(i64),
    /// Memory of so many bytes that nobody has written.
    Empty(usize),
    /// Zeros.
    Zeros(usize),
    /// Memory of so many bytes of which the first ones are zeros and the rest unwritten.
    Partly(usize, usize),
    Words(Vec<i32>),
    /// Memory that has been freed.
    Freed(usize),
    /// The bytes of a structure.
    Struct([i32; 4]),
}
pub use Argument::*;

/// A launch.
#[derive(Debug, Clone)]
pub struct Case {
    source: &'static str,
    kernel: &'static str,
    launch: Launch,
    arguments: Vec<Argument>,
    limit: u64,
}

/// Where things lie in a run.
pub struct Map {
    /// Addresses of what was allocated for the arguments.
    pub arguments: Vec<u64>,
    /// And of the module's variables.
    pub variables: HashMap<String, (u64, u64)>,
}

/// What is to be found.
pub struct Found {
    pub kind: FaultKind,
    /// How the PTX line begins.
    pub text: &'static str,
    /// Block, warp and lane; one of these, where the order decides.
    pub who: &'static [(u32, u32, u32)],
    pub address: fn(&Fault, &Map) -> Option<u64>,
    /// Parts of the sentence.
    pub says: fn(&Fault, &Map) -> Vec<String>,
    /// What becomes of it without checks: `None` if the kernel runs to its end.
    pub unchecked: Option<FaultKind>,
}

/// One block of so many threads.
pub fn case(source: &'static str, kernel: &'static str, threads: u32, arguments: &[Argument]) -> Case {
    let launch = Launch { grid: [1, 1, 1], block: [threads, 1, 1], dynamic_shared: 0, cooperative: false };
    Case { source, kernel, launch, arguments: arguments.to_vec(), limit: LIMIT }
}

/// Nothing but the fault's own words.
pub fn nothing(_: &Fault, _: &Map) -> Vec<String> {
    Vec::new()
}

pub fn nowhere(_: &Fault, _: &Map) -> Option<u64> {
    None
}

impl Case {
    pub fn grid(mut self, blocks: u32) -> Case {
        self.launch.grid[0] = blocks;
        self
    }

    pub fn block(mut self, shape: [u32; 3]) -> Case {
        self.launch.block = shape;
        self
    }

    pub fn dynamic(mut self, bytes: u32) -> Case {
        self.launch.dynamic_shared = bytes;
        self
    }

    pub fn limit(mut self, instructions: u64) -> Case {
        self.limit = instructions;
        self
    }

    pub fn cooperative(mut self) -> Case {
        self.launch.cooperative = true;
        self
    }

    fn run(&self, options: Options, arch: u32) -> (Result<(), Box<Fault>>, Bench, Map) {
        let mut bench = Bench::from_text(&crate::support::compiled(self.source, arch), options);
        let kernel = bench.module.kernels[self.kernel].clone();
        assert_eq!(kernel.parameters.len(), self.arguments.len(), "{self:?}");
        let mut block = vec![0; kernel.parameter_bytes as usize];
        let mut values = Vec::new();
        for (parameter, argument) in kernel.parameters.iter().zip(&self.arguments) {
            let value = match argument {
                Is(value) => *value as u64,
                Empty(bytes) => bench.empty(*bytes),
                Zeros(bytes) => bench.put(&vec![0u8; *bytes]),
                Partly(bytes, written) => {
                    let address = bench.empty(*bytes);
                    bench.machine.memory.write(address, &vec![0; *written]).unwrap();
                    address
                }
                Words(words) => bench.put(words),
                Freed(bytes) => {
                    let address = bench.put(&vec![0u8; *bytes]);
                    drop(bench.machine.memory.release(address).unwrap());
                    address
                }
                Struct(_) => 0,
            };
            let (at, bytes) = (parameter.offset as usize, parameter.bytes as usize);
            match argument {
                Struct(words) => block[at..at + bytes].copy_from_slice(bytemuck::cast_slice(words)),
                _ => block[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]),
            }
            values.push(value);
        }
        let result = bench.machine.launch(&kernel, &self.launch, &block);
        let map = Map { arguments: values, variables: bench.module.variables.clone() };
        (result, bench, map)
    }

    /// Every variant: natural order, two shuffled ones, one and two host threads, both targets; with checks or without.
    fn variants(&self, checks: bool) -> impl Iterator<Item = (Options, u32)> + use<> {
        let instruction_limit = self.limit;
        [1, 2].into_iter().flat_map(move |threads| {
            [(None, 80), (Some(1), 80), (Some(2), 90)].map(|(shuffle, arch)| {
                (Options { checks, counters: checks, shuffle, threads, instruction_limit }, arch)
            })
        })
    }

    /// Nothing is found.
    pub fn silent(&self) {
        self.gives(0, None);
    }

    /// Nothing is found, and an argument's memory ends up as these words.
    pub fn gives(&self, argument: usize, words: impl Into<Option<Vec<i32>>>) {
        let words = words.into();
        for (options, arch) in self.variants(true).chain(self.variants(false)) {
            let (result, bench, map) = self.run(options, arch);
            result.unwrap_or_else(|e| panic!("{self:?} {options:?}: {e}"));
            if let Some(words) = &words {
                assert_eq!(&bench.get::<i32>(map.arguments[argument], words.len()), words, "{self:?} {options:?}");
            }
        }
    }

    /// Exactly this is found.
    pub fn finds(&self, found: &Found) {
        for (options, arch) in self.variants(true) {
            let (result, _, map) = self.run(options, arch);
            let Err(fault) = result else { panic!("nothing found: {self:?} {options:?}") };
            let at = format!("{self:?} {options:?}: {fault}");
            assert_eq!(fault.kind, found.kind, "{at}");
            assert_eq!(fault.kernel, self.kernel, "{at}");
            assert!(fault.text.starts_with(found.text), "{at}");
            let ptx = crate::support::compiled(self.source, arch);
            assert_eq!(ptx.lines().nth(fault.line as usize - 1).map(str::trim), Some(&*fault.text), "{at}");
            assert_eq!(fault.block[1..], [0, 0], "{at}");
            assert!(found.who.contains(&(fault.block[0], fault.warp, fault.lane)), "{at}");
            let [x, y, _] = self.launch.block;
            let linear = 32 * fault.warp + fault.lane;
            assert_eq!(fault.thread, [linear % x, linear / x % y, linear / x / y], "{at}");
            assert_eq!(fault.address, (found.address)(&fault, &map), "{at}");
            for part in (found.says)(&fault, &map) {
                assert!(fault.to_string().contains(&part), "no `{part}` in {at}");
            }
        }
        for (options, arch) in self.variants(false) {
            let (result, ..) = self.run(options, arch);
            let kind = result.err().map(|fault| fault.kind);
            assert_eq!(kind, found.unchecked, "without checks: {self:?} {options:?}");
        }
    }
}
