//! The ranges that a profiler sees: a library of the test's own takes the profiler's place and writes down what it is told.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use rewind::device::Math;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::sweep::{Gradient, SweepSpec};
use support::gpu::gpu;
use support::{NO_SGD, SCHEMES, batch, small};

/// A profiler: appends `+name` and `-` to the file NVTX_TEST_LOG.
const PROFILER: &str = r#"
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write;

#[repr(C)]
struct Callbacks {
    bytes: usize,
    table: unsafe extern "C" fn(c_int, *mut *mut *mut *const c_void, *mut c_uint) -> c_int,
}

fn log(line: &str) {
    let path = std::env::var("NVTX_TEST_LOG").unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

unsafe extern "C" fn push(name: *const c_char) -> c_int {
    log(&format!("+{}", unsafe { CStr::from_ptr(name) }.to_str().unwrap()));
    0
}

unsafe extern "C" fn pop() -> c_int {
    log("-");
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn InitializeInjectionNvtx2(export: unsafe extern "C" fn(u32) -> *const c_void) -> c_int {
    unsafe {
        let version = export(3).cast::<u32>().add(2).read();
        let callbacks = export(1).cast::<Callbacks>();
        assert!(version == 3 && (*callbacks).bytes == size_of::<Callbacks>() && export(2).is_null());
        // every module that a profiler may ask for is there, its entries 1 to size - 1 can be written, no others exist
        for (module, entries) in [(1, 16), (2, 9), (3, 15), (4, 7), (5, 16), (6, 7)] {
            let (mut table, mut size) = (std::ptr::null_mut(), 0);
            assert!(((*callbacks).table)(module, &mut table, &mut size) != 0 && size == entries);
            assert!((*table).is_null() && (*table.add(size as usize)).is_null());
            for entry in 1..size as usize {
                **table.add(entry) = std::ptr::null();
            }
            if module == 1 {
                **table.add(9) = push as *const c_void;
                **table.add(11) = pop as *const c_void;
            }
        }
        assert!(((*callbacks).table)(7, std::ptr::null_mut(), std::ptr::null_mut()) == 0);
    }
    log("attached");
    1
}
"#;

/// Two steps on the GPU; the tests below start it again, in a process of its own whose environment names a profiler.
#[test]
fn two_steps() {
    let cuda = gpu(Math::Fp32);
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    let mut net = Net::new(&cuda, NetSpec { sweep, ..small(sweep, 2, 16, 2) }, Init::Paper, 0).expect("net");
    for _ in 0..2 {
        batch(&mut net, &cuda, 2);
        let (result, _) = net.train_step(&cuda, NO_SGD).expect("step");
        assert!(result.loss.is_finite());
    }
}

fn two_steps_with(profiler: &Path, log: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "two_steps", "--nocapture"]);
    command.env("NVTX_INJECTION64_PATH", profiler).env("NVTX_TEST_LOG", log);
    let done = command.output().expect("this test starts");
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
    done
}

#[test]
fn a_profiler_sees_every_phase_of_a_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let [source, library, log] = ["profiler.rs", "profiler.so", "log"].map(|name| folder.path().join(name));
    std::fs::write(&source, PROFILER).expect("a file");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--crate-type", "cdylib", "-o"]).arg(&library).arg(&source);
    let done = compile.output().expect("rustc starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    two_steps_with(&library, &log);
    let text = std::fs::read_to_string(&log).expect("the profiler was loaded");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("attached"));
    let (mut open, mut phases) = (0usize, vec![]);
    for line in lines {
        match line.strip_prefix('+') {
            Some(name) => {
                open += 1;
                phases.push(name);
            }
            None => open = open.checked_sub(1).expect("no range ends that has not begun"),
        }
    }
    assert_eq!(open, 0, "every range ends");
    let step = ["stem", "blocks forward", "head", "head backward", "blocks backward", "stem backward", "update"];
    assert!(phases.windows(step.len()).any(|window| window == step), "{phases:?}");
}

#[test]
fn a_profiler_that_is_not_there_is_not_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = two_steps_with(&folder.path().join("nowhere.so"), &folder.path().join("log"));
    assert!(!String::from_utf8_lossy(&done.stderr).contains("nowhere"));
    assert!(!folder.path().join("log").exists());
}
