//! Another GPU than the one posed as without a choice. In a file of its own, as a process sees one GPU.

mod device;
mod support;

use cudarc::driver::LaunchConfig;
use cudarc::driver::sys::CUresult;
use cudarc::nvrtc::Ptx;
use device::{code, context};
use rewind_emulator::profile::A100_SXM;
use support::compiled;

#[test]
fn an_a100_refuses_what_is_made_for_an_h100_or_takes_too_many_registers() {
    let said = std::env::temp_dir().join(format!("rewind-emulator-ptxas-{}", std::process::id()));
    let text =
        "ptxas info    : Compiling entry function 'vector_add' for 'sm_80'\nptxas info    : Used 200 registers\n";
    std::fs::write(&said, text).expect("a temporary file");
    // SAFETY: this is the process's one test, and nobody else reads the environment yet.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("REWIND_EMULATOR_PTXAS", &said);
    }
    let emulator = rewind_emulator::install().expect("cargo builds the library beside the tests");
    assert!(emulator.faults().is_err(), "there is nothing to ask before cuInit");
    emulator.set_gpu(&A100_SXM).expect("no GPU has been seen");
    let options = emulator.options().expect("known before cuInit");
    emulator.set_options(&rewind_emulator::machine::Options { threads: 1, ..options }).expect("they can be set, too");
    let context = context();
    assert_eq!(context.name().unwrap(), "rewind PTX emulator (a100-sxm)");
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert_eq!(emulator.options().unwrap().threads, 1);
    std::fs::remove_file(said).expect("it was read at `cuInit`");
    let module = context.load_module(Ptx::from_src(compiled("vector_add", 80))).expect("made for it");
    // Registers as ptxas counted them: what is known may be refused.
    let function = module.load_function("vector_add").unwrap();
    assert_eq!(function.num_regs().unwrap(), 200);
    let stream = context.default_stream();
    let shape = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1024, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: refused before the arguments, which are missing, are looked at.
    #[allow(unsafe_code)]
    let refused = unsafe { stream.launch_builder(&function).launch(shape) };
    assert_eq!(code(refused), CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    let newer = context.load_module(Ptx::from_src(compiled("vector_add", 90)));
    assert_eq!(code(newer), CUresult::CUDA_ERROR_INVALID_PTX);
}
