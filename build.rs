//! Embeds the CUDA kernels: compiled here where there is an nvcc, else the checked-in PTX of `kernels/ptx`.
//!
//! nvcc is `NVCC`, or in the `bin` folder of `CUDA_HOME` or `CUDA_PATH`, or on PATH. Having none is normal and silent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The virtual architecture of the PTX: the oldest that has what the kernels use, so that every newer card takes it.
const PTX_ARCH: &str = "compute_80";

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let nvcc = find_nvcc();
    let mut list = String::from("pub const PTX: &[(&str, &str)] = &[\n");
    for source in sources() {
        let name = source.file_stem().expect("a file").to_string_lossy().into_owned();
        let ptx = out.join(format!("{name}.ptx"));
        match &nvcc {
            Some(nvcc) => compile(nvcc, &source, &ptx),
            None => drop(fs::copy(format!("kernels/ptx/{name}.ptx"), &ptx).unwrap_or_else(|e| {
                panic!("kernels/ptx/{name}.ptx cannot be read ({e}): it belongs to the sources, check them out again")
            })),
        }
        list += &format!("    ({name:?}, include_str!({:?})),\n", ptx.display().to_string());
    }
    list += "];\n";
    let compiler = nvcc.map_or("the checked-in PTX".into(), |nvcc| format!("PTX compiled by {}", nvcc.display()));
    list += &format!("/// Where the embedded kernels come from.\npub const ORIGIN: &str = {compiler:?};\n");
    fs::write(out.join("images.rs"), list).expect("OUT_DIR can be written");
}

fn sources() -> Vec<PathBuf> {
    let files = fs::read_dir("kernels").expect("the kernels are part of the sources");
    let mut all: Vec<_> = files.map(|f| f.expect("a readable folder").path()).collect();
    all.retain(|f| f.extension().is_some_and(|e| e == "cu"));
    all.sort();
    all
}

fn find_nvcc() -> Option<PathBuf> {
    let named = env::var_os("NVCC").filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(nvcc) = &named
        && !nvcc.is_file()
    {
        panic!("NVCC is {}, which is no file: name the compiler itself, or unset NVCC", nvcc.display());
    }
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    named.or_else(|| homes.chain(env::split_paths(&path)).map(|folder| folder.join(&program)).find(|p| p.is_file()))
}

fn compile(nvcc: &Path, source: &Path, ptx: &Path) {
    let arch = format!("-arch={PTX_ARCH}");
    let done = Command::new(nvcc).args(["-std=c++17", "-ptx", &arch, "-o"]).arg(ptx).arg(source).output();
    let done = done.unwrap_or_else(|e| panic!("{} cannot be started: {e}", nvcc.display()));
    if !done.status.success() {
        let message = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        panic!("nvcc refuses {}:\n{message}", source.display());
    }
}
