//! Another GPU than the one posed as without a choice. In a file of its own, as a process sees one GPU.

mod device;
mod support;

use cudarc::driver::sys::CUresult;
use cudarc::nvrtc::Ptx;
use device::{code, context};
use rewind_emulator::profile::A100_SXM;
use support::compiled;

#[test]
fn an_a100_refuses_what_is_made_for_an_h100() {
    let emulator = rewind_emulator::install().expect("cargo builds the library beside the tests");
    assert!(emulator.faults().is_err(), "there is nothing to ask before cuInit");
    emulator.set_gpu(&A100_SXM).expect("no GPU has been seen");
    let options = emulator.options().expect("known before cuInit");
    emulator.set_options(&rewind_emulator::machine::Options { threads: 1, ..options }).expect("they can be set, too");
    let context = context();
    assert_eq!(context.name().unwrap(), "rewind PTX emulator (a100-sxm)");
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert_eq!(emulator.options().unwrap().threads, 1);
    context.load_module(Ptx::from_src(compiled("vector_add", 80))).expect("made for it");
    let newer = context.load_module(Ptx::from_src(compiled("vector_add", 90)));
    assert_eq!(code(newer), CUresult::CUDA_ERROR_INVALID_PTX);
}
