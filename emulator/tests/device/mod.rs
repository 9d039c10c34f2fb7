//! The emulator behind cudarc: one process has one driver, so that tests of a file take turns.
// Each test file is a crate of its own and uses a part of this. The driver's raw calls are unsafe.
#![allow(dead_code, unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, DriverError, result};
use cudarc::nvrtc::Ptx;
use rewind_emulator::Emulator;

/// A turn: the emulator with nothing left of earlier tests.
pub struct Turn {
    pub emulator: Emulator,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for a turn.
pub fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let emulator = rewind_emulator::install().expect("cargo builds the library beside the tests");
    result::init().expect("an emulator always initialises");
    reset();
    emulator.take_faults().expect("initialised");
    emulator.reset_statistics().expect("initialised");
    emulator.reset_counters().expect("initialised");
    Turn { emulator, _turn: turn }
}

/// Resets the primary context, faults and all.
pub fn reset() {
    // SAFETY: handles into the context fail cleanly afterwards.
    let code = unsafe { sys::cuDevicePrimaryCtxReset_v2(0) };
    assert_eq!(code, CUresult::CUDA_SUCCESS);
}

pub fn context() -> Arc<CudaContext> {
    CudaContext::new(0).expect("there is a device")
}

/// A kernel of a module's text.
pub fn kernel(context: &Arc<CudaContext>, ptx: &str, name: &str) -> CudaFunction {
    let module = context.load_module(Ptx::from_src(ptx)).expect("a valid module");
    module.load_function(name).expect("the module has it")
}

/// The code of a failure.
pub fn code<T>(result: Result<T, DriverError>) -> CUresult {
    match result {
        Ok(_) => CUresult::CUDA_SUCCESS,
        Err(DriverError(code)) => code,
    }
}
