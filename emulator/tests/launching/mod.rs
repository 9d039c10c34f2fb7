//! A test kernel's module through cudarc, for each target and each way to run it, with checks on.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::cell::RefCell;
use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchArgs, LaunchConfig,
    ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;
use rewind_emulator::machine::Options;

use crate::device::{Turn, context, turn};
use crate::support::compiled;

/// A loaded module and a stream; remembers what was read back.
pub struct Kernels {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    pub module: Arc<CudaModule>,
    read: RefCell<Vec<u8>>,
}

/// Two threads, one, and five shuffled orders.
fn ways() -> Vec<Options> {
    let base = Options { checks: true, counters: true, shuffle: None, threads: 2, ..Options::default() };
    let shuffled = (1..=5).map(|seed| Options { shuffle: Some(seed), ..base });
    [base, Options { threads: 1, ..base }].into_iter().chain(shuffled).collect()
}

/// Runs `test` on the source's module for compute_80 and compute_90, in every way. No launch may fault, and whatever the test
/// reads with [`Kernels::get`] must have the same bits each way.
pub fn each(source: &str, test: impl Fn(&Kernels)) {
    let turn = turn();
    for arch in [80, 90] {
        let mut first: Option<Vec<u8>> = None;
        for way in ways() {
            let read = once(&turn, source, arch, way, &test);
            assert!(!read.is_empty(), "{source} tests nothing");
            let first = first.get_or_insert_with(|| read.clone());
            assert!(*first == read, "{source} for compute_{arch} has other bits with {way:?}");
        }
    }
}

/// Runs `test` on both modules in one thread and natural order, for results that depend on the order.
pub fn in_order(source: &str, test: impl Fn(&Kernels)) {
    let turn = turn();
    for arch in [80, 90] {
        once(&turn, source, arch, ways()[1], &test);
    }
}

fn once(turn: &Turn, source: &str, arch: u32, way: Options, test: &impl Fn(&Kernels)) -> Vec<u8> {
    turn.emulator.set_options(&way).expect("settings that exist");
    let context = context();
    let module = context.load_module(Ptx::from_src(compiled(source, arch))).expect("a supported module");
    let stream = context.new_stream().expect("a whole context");
    let kernels = Kernels { context, stream, module, read: RefCell::default() };
    test(&kernels);
    kernels.stream.synchronize().unwrap_or_else(|e| panic!("{e}: {:?}", turn.emulator.faults()));
    let faults = turn.emulator.take_faults().expect("initialised");
    assert!(faults.is_empty(), "{source} for compute_{arch} with {way:?}: {}", faults[0]);
    assert!(!turn.emulator.launches().expect("initialised").is_empty(), "{source} launches nothing");
    turn.emulator.reset_counters().expect("initialised");
    kernels.read.into_inner()
}

impl Kernels {
    pub fn function(&self, name: &str) -> CudaFunction {
        self.module.load_function(name).expect("the module has it")
    }

    /// A buffer with these values.
    pub fn put<T: DeviceRepr>(&self, values: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(values).expect("enough memory")
    }

    /// A buffer of zeros.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> CudaSlice<T> {
        self.stream.alloc_zeros(len).expect("enough memory")
    }

    /// A buffer that nothing has been written to: to read it is a fault.
    pub fn unwritten<T: DeviceRepr>(&self, len: usize) -> CudaSlice<T> {
        #[allow(unsafe_code)]
        // SAFETY: nothing is read before a kernel has written it; the emulator checks that.
        unsafe { self.stream.alloc(len) }.expect("enough memory")
    }

    /// The contents, which do not depend on the order.
    #[track_caller]
    pub fn get<T: DeviceRepr + bytemuck::Pod>(&self, buffer: &CudaSlice<T>) -> Vec<T> {
        let values = self.get_in_any_order(buffer);
        self.record(&values);
        values
    }

    /// Values that do not depend on the order.
    pub fn record<T: bytemuck::Pod>(&self, values: &[T]) {
        self.read.borrow_mut().extend_from_slice(bytemuck::cast_slice(values));
    }

    /// The contents, which may depend on the order.
    #[track_caller]
    pub fn get_in_any_order<T: DeviceRepr + bytemuck::Pod>(&self, buffer: &CudaSlice<T>) -> Vec<T> {
        self.stream.clone_dtoh(buffer).unwrap_or_else(|e| {
            let emulator = rewind_emulator::install().expect("installed already");
            let faults = emulator.take_faults().expect("initialised");
            panic!("{e}: {}", faults.first().map_or_else(String::new, ToString::to_string))
        })
    }
}

/// A launch with the arguments that were bound.
pub fn start(launch: &mut LaunchArgs<'_>, config: LaunchConfig, cooperative: bool) -> Result<(), DriverError> {
    #[allow(unsafe_code)]
    // SAFETY: the arguments are the kernel's in number and size, and the emulator checks the addresses.
    unsafe {
        if cooperative { launch.launch_cooperative(config) } else { launch.launch(config) }.map(drop)
    }
}

/// Blocks and threads along x.
pub fn shape(grid: u32, block: u32) -> LaunchConfig {
    boxes((grid, 1), (block, 1))
}

/// Blocks and threads along x and y.
pub fn boxes(grid: (u32, u32), block: (u32, u32)) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid.0, grid.1, 1), block_dim: (block.0, block.1, 1), shared_mem_bytes: 0 }
}

/// A launch of a function; gives its own result.
#[macro_export]
macro_rules! try_launch {
    ($kernels:expr, $function:expr, $shape:expr, cooperative: $cooperative:expr, $($argument:expr),+) => {{
        use cudarc::driver::PushKernelArg as _;
        launching::start($kernels.stream.launch_builder($function)$(.arg($argument))+, $shape, $cooperative)
    }};
}

/// A launch by name that must be accepted: `launch!(kernels, "name", shape, arguments...)`.
#[macro_export]
macro_rules! launch {
    ($kernels:expr, $name:expr, $shape:expr, $($argument:expr),+) => {{
        let function = $kernels.function($name);
        try_launch!($kernels, &function, $shape, cooperative: false, $($argument),+).expect("accepted")
    }};
}

/// Small integers: as floats, sums of products of a thousand are exact.
pub fn small(count: usize) -> impl Iterator<Item = i32> {
    (0..count as i32).map(|i| (i * 7 + 3) % 17 - 8)
}

/// A fixed sequence of numbers that look random (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1, on a grid of 2^-20.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 43) as f64 - f64::from(1 << 20)) / f64::from(1 << 20)
    }
}
