//! The GPU that CUDA tests run on: this machine's, or the emulator where there is none; said once on stderr.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rewind::cuda::{Cuda, Launched, on_launch};
use rewind::device::Device;
use rewind::device::Math;
use rewind_emulator::Emulator;
use rewind_emulator::machine::Options;

/// The emulator, unless this machine has a driver of its own.
pub fn emulator() -> Option<Emulator> {
    static EMULATOR: LazyLock<Option<Emulator>> = LazyLock::new(|| {
        let real = std::path::Path::new("/dev/nvidiactl").exists();
        (!real).then(|| rewind_emulator::install().expect("the emulator is a dependency of the tests"))
    });
    *EMULATOR
}

/// By operation: a kernel, and the sizes of its arguments.
pub type Launches = HashMap<&'static str, (usize, Vec<usize>)>;

/// The last launch of each operation.
pub static LAUNCHES: Mutex<Option<Launches>> = Mutex::new(None);

/// What is wrong with the arguments of a launch: a driver takes as many bytes as the kernel asks for, from wherever it is told. On a GPU
/// nobody says how many those are.
pub fn other_arguments(launched: &Launched<'_>) -> Option<String> {
    let Launched { operation, function, argument_bytes } = *launched;
    let taken = emulator()?.parameter_bytes(function).expect("the emulator loaded that kernel");
    (taken != argument_bytes).then(|| {
        format!("{operation} hands over arguments of {argument_bytes:?} bytes, and its kernel takes {taken:?}")
    })
}

/// Compares every launch of every test with what its kernel takes.
fn compare(launched: &Launched<'_>) {
    if let Some(what) = other_arguments(launched) {
        panic!("{what}");
    }
    let mut launches = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = launches.get_or_insert_default();
    known.insert(launched.operation, (launched.function, launched.argument_bytes.to_vec()));
}

/// The GPU, opened.
pub fn gpu(math: Math) -> Cuda {
    emulator();
    on_launch(compare);
    let cuda = Cuda::open(0, math).expect("a GPU or the emulator");
    static SAID: LazyLock<()> = LazyLock::new(|| ());
    if LazyLock::get(&SAID).is_none() {
        eprintln!("CUDA tests run on {}", cuda.name());
        LazyLock::force(&SAID);
    }
    cuda
}

/// Runs this thread's test in a process of its own, and gives true: it is over here. Gives false in that process, and on a GPU.
///
/// The emulator counts, and keeps its options, for a whole process, which makes its tests wait for each other. Apart, as many run at a
/// time as libtest has threads.
#[allow(dead_code)]
pub fn ran_apart() -> bool {
    const APART: &str = "REWIND_TEST_APART";
    let thread = std::thread::current();
    // libtest names a thread after its test, and runs a single one in the main thread
    let Some(test) = thread.name().filter(|name| *name != "main") else { return false };
    if emulator().is_none() || std::env::var_os(APART).is_some() {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(APART, "1");
    let ended = command.output().expect("the test starts again");
    let printed = String::from_utf8_lossy(&ended.stdout);
    print!("{printed}");
    eprint!("{}", String::from_utf8_lossy(&ended.stderr));
    // a name that no test has would pass too
    assert!(
        ended.status.success() && printed.contains("1 passed"),
        "{test}, in a process of its own: {}",
        ended.status
    );
    true
}

/// One test at a time: the emulator counts, and keeps its options, for the whole process.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// What `run` gives; on the emulator, once in the natural order of blocks and warps and in another, which must give the same and no
/// report.
#[allow(dead_code)]
pub fn in_any_order<T: PartialEq>(run: impl Fn() -> T) -> T {
    let _turn = turn();
    let expected = run();
    if let Some(emulator) = emulator() {
        let natural = emulator.options().expect("options");
        emulator.set_options(&Options { shuffle: Some(1), ..natural }).expect("options");
        let found = run();
        emulator.set_options(&natural).expect("options");
        assert!(found == expected, "other results in another order of blocks");
        no_faults();
    }
    expected
}

/// Fails if the emulator found anything wrong.
pub fn no_faults() {
    if let Some(emulator) = emulator() {
        let faults = emulator.take_faults().expect("the emulator answers");
        assert!(faults.is_empty(), "{}", faults[0]);
    }
}
