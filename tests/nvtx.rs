//! The ranges that a profiler sees: a library of the test's own takes the profiler's place and writes down what it is told.
#![cfg(all(feature = "cuda", target_os = "linux"))]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/driver.rs"]
mod driver;

use std::process::Command;

use cli::{Ended, Place};
use driver::with_driver;

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

const LINE: &str = "--data synthetic --depth 2 --channels 4 --batch 100 --max-steps 2 --quiet --device cuda --out out";

#[test]
fn a_profiler_sees_every_phase_of_a_step() {
    let place = Place::new();
    let (source, library, log) = (place.path("profiler.rs"), place.path("profiler.so"), place.path("log"));
    std::fs::write(&source, PROFILER).expect("a file");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--crate-type", "cdylib", "-o"]).arg(&library).arg(&source);
    let done = compile.output().expect("rustc starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let mut command = with_driver(&place, place.command(LINE));
    command.env("NVTX_INJECTION64_PATH", &library).env("NVTX_TEST_LOG", &log);
    let ended = Ended::of(LINE, command.spawn().expect("train_cifar starts"));
    assert_eq!(ended.code, Some(0), "{ended}");
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
    let place = Place::new();
    let mut command = with_driver(&place, place.command(LINE));
    command.env("NVTX_INJECTION64_PATH", place.path("nowhere.so"));
    let ended = Ended::of(LINE, command.spawn().expect("train_cifar starts"));
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(!ended.stderr.contains("nowhere"), "{ended}");
}
