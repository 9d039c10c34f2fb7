//! build.rs by itself, in a folder of its own, with small shell scripts for compilers: which compiler it takes, what it makes
//! of it, and what it says when that is nothing.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard};

use tempfile::TempDir;

/// The build script as an executable.
static SCRIPT: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("build");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let done = Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&program).arg(source).output();
    let done = done.expect("rustc starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (folder, program)
});

/// A folder with two kernels and their checked-in PTX. One at a time: a process started while another thread writes a
/// compiler holds that file open for a moment, and a file that is being written cannot be run.
struct Sources(TempDir, #[allow(dead_code)] MutexGuard<'static, ()>);

/// How the script ended.
struct Built {
    succeeded: bool,
    stdout: String,
    stderr: String,
    /// images.rs, where there is one.
    images: String,
}

impl Sources {
    fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("kernels/ptx")).expect("a folder");
        fs::create_dir(folder.path().join("out")).expect("a folder");
        for name in ["one", "two"] {
            fs::write(folder.path().join(format!("kernels/{name}.cu")), "// fine").expect("a file");
            fs::write(folder.path().join(format!("kernels/ptx/{name}.ptx")), "held").expect("a file");
        }
        Self(folder, turn)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn out(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap_or_default()
    }

    /// A compiler in `folder` that calls itself version `number`, knows these GPUs, logs what it is asked, and refuses
    /// sources with the word BROKEN.
    fn compiler(&self, folder: &str, number: &str, known: &str) -> PathBuf {
        let (folder, log) = (self.path(folder), self.path("log"));
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            r#"#!/bin/sh
case "$1" in
    --version) echo "Cuda compilation tools, release 1.2, V{number}"; exit ;;
    --list-gpu-code) printf '%s\n' {known}; exit ;;
esac
all="$*"
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
read -r line < "$1"
case "$line" in *BROKEN*) echo "$1(1): error: no such thing" >&2; exit 2 ;; esac
echo "{number} $all" >> "{}"
printf 'made by {number}\n.version 9.1\n' > "$out"
"#,
            log.display()
        );
        let program = folder.join("nvcc");
        fs::write(&program, text).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        program
    }

    fn build(&self, variables: &[(&str, &Path)]) -> Built {
        let _ = fs::remove_dir_all(self.path("out"));
        fs::create_dir(self.path("out")).expect("a folder");
        let mut command = Command::new(&SCRIPT.1);
        command.current_dir(self.0.path()).env_clear();
        command.env("OUT_DIR", self.path("out")).env("CARGO_FEATURE_CUDA", "1").env("CARGO_PKG_VERSION", "7.8.9");
        command.env("NUM_JOBS", "3").envs(variables.iter().copied());
        let done = command.output().expect("the script starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Built {
            succeeded: done.status.success(),
            stdout: text(done.stdout),
            stderr: text(done.stderr),
            images: self.out("images.rs"),
        }
    }

    /// As [`Sources::build`], and it must fail with one message that holds these words.
    fn refused(&self, variables: &[(&str, &Path)], words: &[&str]) {
        let built = self.build(variables);
        assert!(!built.succeeded && built.images.is_empty(), "{variables:?}");
        assert!(!built.stderr.contains("panicked"), "{}", built.stderr);
        for word in words {
            assert!(built.stderr.contains(word), "no {word:?} in {:?}", built.stderr);
        }
    }
}

#[test]
fn without_a_compiler_the_checked_in_ptx_is_embedded_silently() {
    let sources = Sources::new();
    let built = sources.build(&[]);
    assert!(built.succeeded && built.stderr.is_empty(), "{}", built.stderr);
    assert!(built.stdout.lines().all(|line| line.starts_with("cargo::rerun-if-")), "{}", built.stdout);
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "REWIND_CUDA_ARCHS"] {
        assert!(built.stdout.contains(&format!("env-changed={variable}\n")), "{}", built.stdout);
    }
    assert_eq!((sources.out("one.ptx").as_str(), sources.out("two.ptx").as_str()), ("held", "held"));
    assert!(built.images.contains("\"PTX, as checked in\""), "{}", built.images);
    assert!(built.images.contains("TOOLKIT: Option<i32> = None"), "{}", built.images);
    assert!(built.images.contains("\"7.8.9 (kernels: PTX, as checked in)\""), "{}", built.images);
    fs::remove_file(sources.path("kernels/ptx/two.ptx")).expect("a file");
    sources.refused(&[], &["kernels/ptx/two.ptx cannot be read"]);
}

#[test]
fn the_first_compiler_named_is_taken() {
    let sources = Sources::new();
    let named = sources.compiler("a folder with blanks", "1.0", "sm_80");
    sources.compiler("home/bin", "2.0", "sm_80");
    sources.compiler("path/bin", "3.0", "sm_80");
    sources.compiler("searched", "4.0", "sm_80");
    let (home, path, searched) = (sources.path("home"), sources.path("path"), sources.path("searched"));
    let all = [
        ("NVCC", named.as_path()),
        ("CUDA_HOME", home.as_path()),
        ("CUDA_PATH", path.as_path()),
        ("PATH", searched.as_path()),
    ];
    for (left, number) in ["1.0", "2.0", "3.0", "4.0"].into_iter().enumerate() {
        let built = sources.build(&all[left..]);
        assert!(built.succeeded && built.stderr.is_empty(), "{}", built.stderr);
        let origin = format!("sm_80, PTX, compiled by nvcc {number}");
        assert!(built.images.contains(&origin), "no {origin:?} in {}", built.images);
        for (file, version) in
            [("one.ptx", "8.0"), ("two.ptx", "8.0"), ("one.sm_80.cubin", "9.1"), ("two.sm_80.cubin", "9.1")]
        {
            // drivers of CUDA 12.0 read the PTX, whatever compiler made it
            assert_eq!(sources.out(file), format!("made by {number}\n.version {version}\n"), "{file}");
        }
        let major = number.split('.').next().expect("a number");
        assert!(built.images.contains(&format!("TOOLKIT: Option<i32> = Some({major})")), "{}", built.images);
    }
    // a variable that is set to nothing names nothing
    let empty = Path::new("");
    let built = sources.build(&[("NVCC", empty), ("CUDA_HOME", empty), ("CUDA_PATH", &path)]);
    assert!(built.images.contains("nvcc 3.0"), "{}", built.images);
    sources.refused(&[("NVCC", &sources.path("nowhere"))], &["NVCC is ", "nowhere", "which is no file"]);
}

#[test]
fn every_file_is_compiled_for_every_gpu_asked_for() {
    let sources = Sources::new();
    let nvcc = sources.compiler("bin", "5.0", "sm_75 sm_80 sm_86 sm_90 sm_120");
    let embedded = |built: &Built| -> Vec<String> {
        let parts = built.images.lines().find(|line| line.contains("\"one\"")).expect("one.cu").split("((");
        parts.skip(1).map(|part| part.split(')').next().expect("a pair").replace(", ", "")).collect()
    };
    // of the default those that the compiler knows
    let built = sources.build(&[("NVCC", &nvcc)]);
    assert_eq!(embedded(&built), ["80", "86", "90", "120"]);
    let log = fs::read_to_string(sources.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 2 * 5, "{log}");
    // the source is understood once, machine code is made of the PTX
    let lines =
        |words: &str, from: &str| log.lines().filter(|line| line.contains(words) && line.ends_with(from)).count();
    assert_eq!(
        (lines("-arch=compute_80 -ptx", ".cu"), lines("-arch=sm_90 -cubin", ".ptx"), lines("", ".cu")),
        (2, 2, 2),
        "{log}"
    );
    for (asked, gpus) in
        [("120;80", vec!["80", "120"]), ("90, 86 90", vec!["86", "90"]), ("none", vec![]), ("86", vec!["86"])]
    {
        let built = sources.build(&[("NVCC", &nvcc), ("REWIND_CUDA_ARCHS", Path::new(asked))]);
        assert!(built.succeeded, "{}", built.stderr);
        assert_eq!(embedded(&built), gpus, "{asked}");
    }
}

#[test]
fn gpus_that_make_no_sense_are_refused_in_one_sentence() {
    let sources = Sources::new();
    let nvcc = sources.compiler("bin", "5.0", "sm_75 sm_80 sm_86");
    for (asked, word) in [
        ("80;sm_90", "\"sm_90\", which is no GPU architecture"),
        ("8.6", "\"8.6\""),
        ("-80", "\"-80\""),
        ("4000", "\"4000\""),
        ("75", "compute capability 8.0"),
        ("80,89", "names 89, which "),
    ] {
        let variables = [("NVCC", nvcc.as_path()), ("REWIND_CUDA_ARCHS", Path::new(asked))];
        sources.refused(&variables, &["REWIND_CUDA_ARCHS", word]);
        assert_eq!(sources.build(&variables).stderr.lines().count(), 1);
    }
    // without a compiler too: the mistake would show only later
    sources.refused(&[("REWIND_CUDA_ARCHS", Path::new("many"))], &["REWIND_CUDA_ARCHS", "\"many\""]);
}

#[test]
fn a_kernel_that_does_not_compile_is_named_with_the_compilers_message() {
    let sources = Sources::new();
    let nvcc = sources.compiler("bin", "5.0", "sm_80");
    fs::write(sources.path("kernels/two.cu"), "// BROKEN\n").expect("a file");
    let words = ["nvcc refuses kernels/two.cu for ", "kernels/two.cu(1): error: no such thing"];
    sources.refused(&[("NVCC", &nvcc)], &words);
    // a file that cannot be run
    let plain = sources.path("plain");
    fs::write(&plain, "").expect("a file");
    sources.refused(&[("NVCC", &plain)], &["cannot be started"]);
}

#[test]
fn without_the_cuda_device_nothing_is_compiled() {
    let sources = Sources::new();
    let nvcc = sources.compiler("bin", "5.0", "sm_80");
    let mut command = Command::new(&SCRIPT.1);
    let out = sources.path("out");
    let done = command.current_dir(sources.0.path()).env_clear().env("OUT_DIR", &out).env("NVCC", nvcc).output();
    assert!(done.expect("the script starts").status.success());
    assert!(sources.out("images.rs").is_empty() && !sources.path("log").exists());
}
