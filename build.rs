//! Embeds the CUDA kernels: compiled here where there is an nvcc, else the checked-in PTX of `kernels/ptx`.
//!
//! nvcc is `NVCC`, or in the `bin` folder of `CUDA_HOME` or `CUDA_PATH`, or on PATH. Having none is normal and silent. With
//! one, machine code for the GPUs of `REWIND_CUDA_ARCHS` is embedded beside the PTX.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, thread};

/// The virtual architecture of the PTX: the oldest that has what the kernels use, so that every newer card takes it.
const PTX_ARCH: u32 = 80;
/// The version of PTX that the kernels use nothing newer than: drivers of CUDA 12.0 read it. A compiler writes its own into its
/// PTX, which older drivers then refuse unread. CI has the assemblers of older CUDAs read the checked-in files.
const PTX_VERSION: (u32, u32) = (8, 0);
/// Machine code beside it, where nobody says otherwise: Ampere (data centre, desktop), Ada, Hopper, Blackwell (the same two).
const DEFAULT_ARCHS: &str = "80;86;89;90;100;120";
const ARCHS: &str = "REWIND_CUDA_ARCHS";

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", ARCHS] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // without the CUDA device nothing is embedded
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let named = named_archs().unwrap_or_else(|complaint| fail(&complaint));
    let nvcc = find_nvcc().unwrap_or_else(|complaint| fail(&complaint));
    let (archs, toolkit, origin) = match &nvcc {
        Some(nvcc) => {
            let archs = archs_for(nvcc, named).unwrap_or_else(|complaint| fail(&complaint));
            let targets: Vec<String> = archs.iter().map(|arch| format!("sm_{arch}")).chain(["PTX".into()]).collect();
            let (toolkit, version) = version(nvcc);
            (archs, toolkit, format!("{}, compiled by {version}", targets.join(", ")))
        }
        None => (vec![], None, "PTX, as checked in".to_string()),
    };
    let sources = sources();
    match &nvcc {
        Some(nvcc) => compile_all(nvcc, &sources, &archs, &out),
        None => sources.iter().for_each(|source| copy_checked_in(source, &out)),
    }
    let images = listing(&sources, &archs, toolkit, &out, &origin);
    fs::write(out.join("images.rs"), images).expect("OUT_DIR can be written");
}

/// Ends the build with one message.
fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(1);
}

fn sources() -> Vec<PathBuf> {
    let files = fs::read_dir("kernels").expect("the kernels are part of the sources");
    let mut all: Vec<_> = files.map(|f| f.expect("a readable folder").path()).collect();
    all.retain(|f| f.extension().is_some_and(|e| e == "cu"));
    all.sort();
    all
}

fn stem(source: &Path) -> &str {
    source.file_stem().and_then(OsStr::to_str).expect("kernels have plain names")
}

fn find_nvcc() -> Result<Option<PathBuf>, String> {
    let named = env::var_os("NVCC").filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(nvcc) = &named
        && !nvcc.is_file()
    {
        return Err(format!("NVCC is {}, which is no file: name the compiler itself, or unset NVCC", nvcc.display()));
    }
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).filter(|home| !home.is_empty());
    let homes = homes.map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(named.or_else(|| homes.chain(env::split_paths(&path)).map(|folder| folder.join(&program)).find(|p| p.is_file())))
}

/// What `REWIND_CUDA_ARCHS` asks for: compute capabilities without the dot, `none` for PTX alone; nothing if it is not set.
fn named_archs() -> Result<Option<Vec<u32>>, String> {
    let Some(value) = env::var_os(ARCHS).filter(|v| !v.is_empty()) else { return Ok(None) };
    let value = value.into_string().map_err(|_| format!("{ARCHS} is no text"))?;
    if value.trim() == "none" {
        return Ok(Some(vec![]));
    }
    let entries = value.split(|c: char| c == ';' || c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    let mut archs = entries.map(arch).collect::<Result<Vec<u32>, String>>()?;
    archs.sort_unstable();
    archs.dedup();
    Ok(Some(archs))
}

fn arch(entry: &str) -> Result<u32, String> {
    match entry.parse::<u32>() {
        Ok(arch) if arch < PTX_ARCH => {
            Err(format!("{ARCHS} names {entry}, and the kernels need compute capability 8.0: name 80 or newer"))
        }
        Ok(arch) if arch < 1000 => Ok(arch),
        _ => Err(format!(
            "{ARCHS} holds \"{entry}\", which is no GPU architecture: give numbers such as {DEFAULT_ARCHS}, or none"
        )),
    }
}

/// The named architectures, or those of the default that this nvcc knows.
fn archs_for(nvcc: &Path, named: Option<Vec<u32>>) -> Result<Vec<u32>, String> {
    let listed = output(nvcc, &["--list-gpu-code"]).unwrap_or_default();
    let known: Vec<u32> = listed.split_whitespace().filter_map(|w| w.strip_prefix("sm_")?.parse().ok()).collect();
    // a compiler without that list complains by itself
    let knows = |arch: &u32| known.is_empty() || known.contains(arch);
    let Some(named) = named else {
        return Ok(DEFAULT_ARCHS.split(';').filter_map(|arch| arch.parse().ok()).filter(knows).collect());
    };
    match named.iter().find(|arch| !knows(arch)) {
        None => Ok(named),
        Some(arch) => {
            let known: Vec<String> = known.iter().filter(|&&arch| arch >= PTX_ARCH).map(u32::to_string).collect();
            Err(format!("{ARCHS} names {arch}, which {} does not know: it knows {}", nvcc.display(), known.join(", ")))
        }
    }
}

/// The major version and `nvcc 13.0.88`, or nothing and the path where the compiler does not tell.
fn version(nvcc: &Path) -> (Option<u32>, String) {
    let text = output(nvcc, &["--version"]).unwrap_or_default();
    let number = text.split_whitespace().rfind(|w| w.starts_with('V') && w.contains('.'));
    let major = number.and_then(|number| number[1..].split('.').next()?.parse().ok());
    (major, number.map_or_else(|| nvcc.display().to_string(), |number| format!("nvcc {}", &number[1..])))
}

fn output(nvcc: &Path, arguments: &[&str]) -> Option<String> {
    let done = Command::new(nvcc).args(arguments).output().ok().filter(|done| done.status.success())?;
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn ptx_file(source: &Path, out: &Path) -> PathBuf {
    out.join(format!("{}.ptx", stem(source)))
}

fn cubin_file(source: &Path, arch: u32, out: &Path) -> PathBuf {
    out.join(format!("{}.sm_{arch}.cubin", stem(source)))
}

fn checked_in(source: &Path) -> String {
    format!("kernels/ptx/{}.ptx", stem(source))
}

fn copy_checked_in(source: &Path, out: &Path) {
    let held = checked_in(source);
    if let Err(error) = fs::copy(&held, ptx_file(source, out)) {
        fail(&format!("{held} cannot be read ({error}): it belongs to the sources, check them out again"));
    }
}

/// One run of the compiler.
struct Job<'a> {
    source: &'a Path,
    /// The source, or what an earlier run made of it.
    from: PathBuf,
    target: String,
    form: &'static str,
    to: PathBuf,
}

/// Compiles every kernel file to PTX, and that to machine code for every target: the code that a driver makes of the PTX, and the source
/// is understood once.
fn compile_all(nvcc: &Path, sources: &[PathBuf], archs: &[u32], out: &Path) {
    let to_ptx = |source| {
        let (from, target) = (PathBuf::from(source), format!("compute_{PTX_ARCH}"));
        Job { source, from, target, form: "-ptx", to: ptx_file(source, out) }
    };
    let to_code = |(source, &arch)| {
        let target = format!("sm_{arch}");
        Job { source, from: ptx_file(source, out), target, form: "-cubin", to: cubin_file(source, arch, out) }
    };
    // what takes long is begun first: as the checked-in PTX tells, which is longer where there is more to compile
    let mut sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    sources.sort_by_key(|source| Reverse(fs::metadata(checked_in(source)).map_or(0, |held| held.len())));
    let pairs = sources.iter().flat_map(|&source| archs.iter().map(move |arch| (source, arch)));
    let rounds: [Vec<Job>; 2] = [sources.iter().copied().map(to_ptx).collect(), pairs.map(to_code).collect()];
    for jobs in rounds {
        if let Err(complaint) = at_a_time(jobs, |job| compile(nvcc, &job)) {
            fail(&complaint);
        }
    }
}

/// Does all jobs, as many at a time as cargo allows.
fn at_a_time<J: Send>(jobs: Vec<J>, done: impl Fn(J) -> Result<(), String> + Sync) -> Result<(), String> {
    let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, jobs.len().max(1));
    let queue = Mutex::new(jobs.into_iter());
    let next = || queue.lock().expect("no thread panics with the lock").next();
    let work = || std::iter::from_fn(&next).try_for_each(&done);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let all: Vec<_> = running.into_iter().map(|thread| thread.join().expect("compiling does not panic")).collect();
        all.into_iter().collect()
    })
}

fn compile(nvcc: &Path, job: &Job) -> Result<(), String> {
    let mut command = Command::new(nvcc);
    command.arg("-std=c++17").arg(format!("-arch={}", job.target)).arg(job.form).arg("-o").arg(&job.to).arg(&job.from);
    let done = command.output().map_err(|e| format!("{} cannot be started: {e}", nvcc.display()))?;
    if done.status.success() {
        return if job.form == "-ptx" { for_older_drivers(&job.to) } else { Ok(()) };
    }
    let message = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    Err(format!("nvcc refuses {} for {}:\n{message}", job.source.display(), job.target))
}

/// States [`PTX_VERSION`] in a PTX file that states a newer one.
fn for_older_drivers(file: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", file.display());
    let text = fs::read_to_string(file).map_err(failed)?;
    let lowered = |line: &str| {
        let (major, minor) = line.strip_prefix(".version ")?.split_once('.')?;
        let stated: (u32, u32) = (major.trim().parse().ok()?, minor.trim().parse().ok()?);
        (stated > PTX_VERSION).then(|| format!(".version {}.{}\n", PTX_VERSION.0, PTX_VERSION.1))
    };
    let lines = text.split_inclusive('\n').map(|line| lowered(line).unwrap_or_else(|| line.to_string()));
    fs::write(file, lines.collect::<String>()).map_err(failed)
}

/// `images.rs`: every kernel file's PTX and machine code, and where they come from.
fn listing(sources: &[PathBuf], archs: &[u32], toolkit: Option<u32>, out: &Path, origin: &str) -> String {
    let mut list = String::from("pub const EMBEDDED: &[Embedded] = &[\n");
    for source in sources {
        let cubins: String = archs
            .iter()
            .map(|&arch| {
                let (major, minor) = (arch / 10, arch % 10);
                format!("(({major}, {minor}), include_bytes!({:?})), ", cubin_file(source, arch, out))
            })
            .collect();
        let (name, ptx) = (stem(source), ptx_file(source, out));
        list += &format!("    Embedded {{ file: {name:?}, ptx: include_str!({ptx:?}), cubins: &[{cubins}] }},\n");
    }
    list += "];\n/// The major version of the CUDA whose compiler made the machine code.\n";
    list += &format!(
        "pub const TOOLKIT: Option<i32> = {toolkit:?};\n/// Which images are embedded, and who made them.\npub const ORIGIN: &str = {origin:?};\n"
    );
    let version = format!("{} (kernels: {origin})", env::var("CARGO_PKG_VERSION").expect("cargo sets it"));
    list + &format!("/// The package's version, and the same of the kernels.\npub const VERSION: &str = {version:?};\n")
}
