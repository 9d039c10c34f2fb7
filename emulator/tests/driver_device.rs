//! The device, contexts, options and the installed emulator itself.

// The driver's raw calls are unsafe.
#![allow(unsafe_code)]

mod device;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use cudarc::driver::{CudaContext, result};
use device::{code, context, turn};
use rewind_emulator::profile::{A100_SXM, H100_SXM};

#[test]
fn the_device_is_what_its_profile_says() {
    let turn = turn();
    let context = context();
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert_eq!(context.name().unwrap(), "rewind PTX emulator (h100-sxm)");
    assert_eq!(context.compute_capability().unwrap(), (9, 0));
    assert_eq!(context.total_mem().unwrap() as u64, H100_SXM.memory_bytes);
    assert_ne!(context.uuid().unwrap().bytes, [0; 16]);
    let attribute = |a| context.attribute(a).unwrap();
    assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 132);
    assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 227 << 10);
    assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED), 1);
    assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), 0);
    assert!(turn.emulator.set_gpu(&A100_SXM).is_err(), "another GPU has been seen");
    turn.emulator.set_gpu(&H100_SXM).expect("the same one");
    let mut version = 0;
    // SAFETY: plain queries.
    unsafe {
        assert_eq!(sys::cuDriverGetVersion(&mut version), CUresult::CUDA_SUCCESS);
        let mut short = [1_i8; 8];
        assert_eq!(sys::cuDeviceGetName(short.as_mut_ptr().cast(), 8, 0), CUresult::CUDA_SUCCESS);
        assert_eq!(short.map(|c| c as u8), *b"rewind \0");
    }
    assert_eq!(version, 13000);
}

#[test]
fn errors_have_names_and_sentences() {
    let _turn = turn();
    let error = cudarc::driver::DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_eq!(error.error_name().unwrap(), c"CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_eq!(error.error_string().unwrap(), c"an illegal memory access was encountered");
    // Every code that cudarc knows would show as an enum's name; these are the first and the last.
    for code in [CUresult::CUDA_SUCCESS, CUresult::CUDA_ERROR_EXTERNAL_DEVICE, CUresult::CUDA_ERROR_UNKNOWN] {
        let name = cudarc::driver::DriverError(code).error_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name, format!("{code:?}"));
    }
}

#[test]
fn contexts_are_stacked_by_thread() {
    let _turn = turn();
    let primary = context();
    let own = CudaContext::new_non_primary(0, 0).unwrap();
    let current = || result::ctx::get_current().unwrap();
    assert_eq!(current(), Some(own.cu_ctx()));
    primary.bind_to_thread().unwrap();
    assert_eq!(current(), Some(primary.cu_ctx()));
    let elsewhere = std::thread::spawn(|| {
        let none = result::ctx::get_current().unwrap().is_none();
        // SAFETY: refused.
        (none, code(unsafe { result::malloc_sync(4) }))
    });
    assert_eq!(elsewhere.join().unwrap(), (true, CUresult::CUDA_ERROR_INVALID_CONTEXT));
    let handle = own.cu_ctx();
    // SAFETY: live, then destroyed and refused.
    unsafe {
        assert_eq!(sys::cuCtxPushCurrent_v2(handle), CUresult::CUDA_SUCCESS);
        assert_eq!(current(), Some(handle));
        assert_eq!(sys::cuCtxPopCurrent_v2(&mut std::ptr::null_mut()), CUresult::CUDA_SUCCESS);
        assert_eq!(current(), Some(primary.cu_ctx()));
        drop(own);
        assert_eq!(sys::cuCtxSetCurrent(handle), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        assert_eq!(sys::cuCtxDestroy_v2(primary.cu_ctx()), CUresult::CUDA_ERROR_INVALID_CONTEXT);
    }
}

#[test]
fn options_are_set_and_told() {
    let turn = turn();
    let before = turn.emulator.options().unwrap();
    assert!(before.checks);
    let mut changed = before;
    changed.threads = 1;
    changed.shuffle = Some(7);
    turn.emulator.set_options(&changed).unwrap();
    assert_eq!(turn.emulator.options().unwrap(), changed);
    turn.emulator.set_options(&before).unwrap();
}

#[test]
fn calls_that_are_not_there_say_so() {
    let _turn = turn();
    let _context = context();
    // SAFETY: refused before anything is read.
    let array = unsafe { sys::cuArrayCreate_v2(&mut std::ptr::null_mut(), std::ptr::null()) };
    assert_eq!(array, CUresult::CUDA_ERROR_NOT_SUPPORTED);
    let (mut address, mut status) =
        (std::ptr::null_mut(), sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS);
    // SAFETY: the names are nul-terminated.
    unsafe {
        let found = sys::cuGetProcAddress_v2(c"cuMemAlloc".as_ptr(), &mut address, 13000, 0, &mut status);
        assert_eq!((found, address.is_null()), (CUresult::CUDA_SUCCESS, false));
        let missing = sys::cuGetProcAddress_v2(c"cuNoSuchCall".as_ptr(), &mut address, 13000, 0, &mut status);
        assert_eq!((missing, address.is_null()), (CUresult::CUDA_SUCCESS, true));
    }
    assert_eq!(status, sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}
