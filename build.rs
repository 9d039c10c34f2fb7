//! Embeds the CUDA kernels: compiled here where there is an nvcc, else the checked-in PTX of `kernels/ptx`.
//!
//! nvcc is `NVCC`, or in the `bin` folder of `CUDA_HOME` or `CUDA_PATH`, or on PATH. Having none is normal and silent. With
//! one, machine code for the GPUs of `REWIND_CUDA_ARCHS` is embedded beside the PTX.

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

fn copy_checked_in(source: &Path, out: &Path) {
    let held = format!("kernels/ptx/{}.ptx", stem(source));
    if let Err(error) = fs::copy(&held, ptx_file(source, out)) {
        fail(&format!("{held} cannot be read ({error}): it belongs to the sources, check them out again"));
    }
}

/// Compiles every kernel file for every target, as many at a time as cargo allows.
fn compile_all(nvcc: &Path, sources: &[PathBuf], archs: &[u32], out: &Path) {
    let mut jobs = vec![];
    for source in sources {
        jobs.push((source, format!("-arch=compute_{PTX_ARCH}"), "-ptx", ptx_file(source, out)));
        jobs.extend(archs.iter().map(|&a| (source, format!("-arch=sm_{a}"), "-cubin", cubin_file(source, a, out))));
    }
    let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, jobs.len());
    let queue = Mutex::new(jobs.into_iter());
    let work = || -> Result<(), String> {
        loop {
            let next = queue.lock().expect("no thread panics with the lock").next();
            let Some((source, arch, form, to)) = next else { return Ok(()) };
            compile(nvcc, source, &[&arch, form], &to)?;
        }
    };
    let done: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("compiling does not panic")).collect()
    });
    if let Some(complaint) = done.into_iter().find_map(Result::err) {
        fail(&complaint);
    }
}

fn compile(nvcc: &Path, source: &Path, target: &[&str], to: &Path) -> Result<(), String> {
    let done = Command::new(nvcc).arg("-std=c++17").args(target).arg("-o").arg(to).arg(source).output();
    let done = done.map_err(|e| format!("{} cannot be started: {e}", nvcc.display()))?;
    if done.status.success() {
        return if target.contains(&"-ptx") { for_older_drivers(to) } else { Ok(()) };
    }
    let message = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    Err(format!("nvcc refuses {} for {}:\n{message}", source.display(), target[0].trim_start_matches("-arch=")))
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
