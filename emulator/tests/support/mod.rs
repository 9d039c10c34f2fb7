//! Where the test kernels lie, and a kernel around a few lines of PTX.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod bench;
pub mod corpus;

use std::path::{Path, PathBuf};

use rewind_emulator::ptx::{Instruction, Module, PtxError};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Names of the CUDA sources, without ending, sorted.
pub fn sources() -> Vec<String> {
    let files = std::fs::read_dir(folder("cuda")).expect("the sources are checked in");
    let stem = |e: std::io::Result<std::fs::DirEntry>| {
        e.expect("a readable folder").path().file_stem().expect("a name").to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = files.map(stem).collect();
    names.sort();
    names
}

/// A source's PTX for compute_80 or compute_90.
pub fn compiled(source: &str, arch: u32) -> String {
    let path = folder("ptx").join(format!("{source}.compute_{arch}.ptx"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn parsed(text: &str) -> Module {
    Module::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// Registers for the tests of single instructions; line 4 of [`kernel`]. Indices run within a width, in this order.
pub const REGISTERS: &str = ".reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .f32 %f<16>; \
     .reg .b64 %d<8>; .reg .f64 %g<4>; .shared .align 16 .b8 tile[64]; .local .align 4 .b8 stack[16];";

/// A module of one kernel for sm_90 whose code starts on line 5.
pub fn kernel(code: &str) -> String {
    kernel_for(90, code)
}

pub fn kernel_for(arch: u32, code: &str) -> String {
    format!(
        ".version 9.0 .target sm_{arch} .address_size 64 .global .b32 total; .const .b32 table[4];\n\
         .visible .entry k(.param .u64 x, .param .u32 n)\n{{\n{REGISTERS}\n{code}\n}}\n"
    )
}

/// The one instruction, decoded.
pub fn decoded(code: &str) -> Instruction {
    let module = Module::parse(&kernel(code)).unwrap_or_else(|e| panic!("{e}"));
    module.functions[0].body.as_ref().unwrap().instructions[0].clone()
}

/// What the one instruction is refused for.
pub fn refusal(code: &str) -> String {
    match Module::parse(&kernel(code)) {
        Err(PtxError::Instruction { kernel, line, what, .. }) => {
            assert_eq!((kernel.as_str(), line), ("k", 5));
            what
        }
        other => panic!("`{code}` gave {other:?}"),
    }
}
