//! Launches through cudarc: results, the checks before a launch, faults and how contexts recover, occupancy, modules.

// The driver's raw calls are unsafe.
#![allow(unsafe_code)]

mod device;
mod support;

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction_attribute as Attribute, CUresult};
use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg, result};
use cudarc::nvrtc::Ptx;
use device::{code, context, kernel, reset, turn};
use rewind_emulator::fault::FaultKind;
use support::compiled;

const INVALID_VALUE: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

fn shape(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: shared }
}

/// A kernel without parameters for sm_80.
fn text(directives: &str, body: &str) -> String {
    format!(".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k() {directives} {{\n{body}\nret;\n}}\n")
}

/// Stores a word at an address that is its one parameter.
const STORE: &str = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry store(.param .u64 at, .param .u32 value)\n\
    {\n.reg .b64 %d<3>; .reg .b32 %r<2>;\nld.param.u64 %d1, [at];\nld.param.u32 %r1, [value];\n\
    cvta.to.global.u64 %d2, %d1;\nst.global.u32 [%d2], %r1;\nret;\n}\n";

fn store(stream: &Arc<CudaStream>, function: &CudaFunction, address: u64, value: u32) -> Result<(), DriverError> {
    let mut launch = stream.launch_builder(function);
    launch.arg(&address).arg(&value);
    // SAFETY: the parameters are the kernel's; the emulator checks the address.
    unsafe { launch.launch(shape(1, 1, 0)) }.map(drop)
}

fn vector_add(
    stream: &Arc<CudaStream>,
    function: &CudaFunction,
    (out, a, b): (&mut CudaSlice<f32>, &CudaSlice<f32>, &CudaSlice<f32>),
    config: LaunchConfig,
) -> Result<(), DriverError> {
    let len = a.len() as u32;
    let mut launch = stream.launch_builder(function);
    launch.arg(out).arg(a).arg(b).arg(&len);
    // SAFETY: the parameters are the kernel's.
    unsafe { launch.launch(config) }.map(drop)
}

/// The code of a launch of a kernel without parameters.
fn launched(function: &CudaFunction, config: LaunchConfig, cooperative: bool) -> CUresult {
    let stream = context().default_stream();
    let mut launch = stream.launch_builder(function);
    // SAFETY: there are no parameters.
    code(unsafe { if cooperative { launch.launch_cooperative(config) } else { launch.launch(config) } })
}

#[test]
fn kernels_run_and_are_counted() {
    let turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    let function = kernel(&context, &compiled("vector_add", 90), "vector_add");
    let len = 1000;
    let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
    let b: Vec<f32> = (0..len).map(|i| 0.5 * i as f32).collect();
    let (a_there, b_there) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    for (grid, block) in [(1, 32), (4, 256), (3, 100), (40, 33)] {
        let mut out = stream.alloc_zeros::<f32>(len).unwrap();
        vector_add(&stream, &function, (&mut out, &a_there, &b_there), shape(grid, block, 0)).unwrap();
        let out = stream.clone_dtoh(&out).unwrap();
        assert!(out.iter().zip(a.iter().zip(&b)).all(|(o, (a, b))| *o == a + b), "{grid} blocks of {block}");
    }
    let launches = turn.emulator.launches().unwrap();
    assert_eq!(launches.len(), 4);
    assert_eq!(turn.emulator.statistics().unwrap().launches, 4);
    assert!(turn.emulator.counters_json().unwrap().contains("vector_add"));
    turn.emulator.reset_counters().unwrap();
    assert!(turn.emulator.launches().unwrap().is_empty());
}

#[test]
fn printing_and_asserts_reach_the_host() {
    let turn = turn();
    let context = context();
    let stream = context.default_stream();
    let function = kernel(&context, &compiled("printf", 90), "prints");
    let run = |n: i32| {
        let mut launch = stream.launch_builder(&function);
        launch.arg(&n);
        // SAFETY: the parameter is the kernel's.
        unsafe { launch.launch(shape(2, 32, 0)) }.unwrap();
        code(stream.synchronize())
    };
    turn.emulator.printed().unwrap();
    assert_eq!(run(3), CUresult::CUDA_SUCCESS);
    let printed = turn.emulator.printed().unwrap();
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["block 0 of 2, n = 3", "block 1 of 2, n = 3"]);
    assert_eq!(turn.emulator.printed().unwrap(), "", "taken");
    assert_eq!(run(7), CUresult::CUDA_ERROR_ASSERT);
    assert_eq!(turn.emulator.take_faults().unwrap()[0].kind, FaultKind::Assert);
    reset();
}

#[test]
fn launches_beyond_the_limits_are_refused() {
    let turn = turn();
    let context = context();
    let plain = kernel(&context, &text("", ""), "k");
    assert_eq!(launched(&plain, shape(1, 1024, 0), false), CUresult::CUDA_SUCCESS);
    for config in [shape(1, 1025, 0), shape(1, 0, 0), shape(0, 1, 0), shape(1 << 31, 1, 0)] {
        assert_eq!(launched(&plain, config, false), INVALID_VALUE, "{config:?}");
    }
    let deep = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 65), shared_mem_bytes: 0 };
    assert_eq!(launched(&plain, deep, false), INVALID_VALUE);
    let tall = LaunchConfig { grid_dim: (1, 65536, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
    assert_eq!(launched(&plain, tall, false), INVALID_VALUE);

    let bounded = kernel(&context, &text(".maxntid 64, 2, 1", ""), "k");
    assert_eq!(bounded.max_threads_per_block().unwrap(), 128);
    assert_eq!(launched(&bounded, shape(1, 128, 0), false), CUresult::CUDA_SUCCESS, "the product binds");
    assert_eq!(launched(&bounded, shape(1, 129, 0), false), INVALID_VALUE);
    let required = kernel(&context, &text(".reqntid 64, 1, 1", ""), "k");
    assert_eq!(launched(&required, shape(1, 64, 0), false), CUresult::CUDA_SUCCESS);
    assert_eq!(launched(&required, shape(1, 32, 0), false), INVALID_VALUE);
    context.synchronize().unwrap();
    assert_eq!(turn.emulator.statistics().unwrap().launches, 3, "what is refused does not run");
}

#[test]
fn too_many_registers_by_an_estimate_are_a_warning() {
    let turn = turn();
    let context = context();
    // 200 values alive at once: more than the 64 that 1024 threads can have.
    let loads: String = (0..200).map(|i| format!("ld.shared.u32 %r{i}, [s+{}];\n", 4 * i)).collect();
    let stores: String = (0..200).map(|i| format!("st.shared.u32 [s+{}], %r{i};\n", 4 * ((i + 1) % 200))).collect();
    let ends = "mov.u32 %r0, %tid.x; setp.ge.u32 %p0, %r0, 0; @%p0 exit;";
    let body = format!(
        ".reg .b32 %r<200>; .reg .pred %p<1>; .shared .align 4 .b8 s[800];\n{ends}\n{loads}bar.sync 0;\n{stores}"
    );
    let greedy = kernel(&context, &text("", &body), "k");
    let registers = greedy.num_regs().unwrap();
    assert!((200..=255).contains(&registers), "{registers}");
    let most = greedy.max_threads_per_block().unwrap() as u32;
    assert!(most < 1024);
    assert_eq!(launched(&greedy, shape(1, 1024, 0), false), CUresult::CUDA_SUCCESS);
    context.synchronize().unwrap();
    assert_eq!(turn.emulator.statistics().unwrap().launches, 1, "it ran");
    // With a bound, ptxas spills instead.
    let bounded = kernel(&context, &text(".maxntid 1024, 1, 1", &body), "k");
    assert!(bounded.num_regs().unwrap() <= 64);
}

#[test]
fn dynamic_shared_memory_needs_the_opt_in() {
    let _turn = turn();
    let context = context();
    let function = kernel(&context, &text("", ".shared .align 4 .b8 s[1024];"), "k");
    let dynamic = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(function.get_attribute(dynamic).unwrap(), 47 << 10);
    assert_eq!(launched(&function, shape(1, 32, 47 << 10), false), CUresult::CUDA_SUCCESS);
    assert_eq!(launched(&function, shape(1, 32, (47 << 10) + 1), false), INVALID_VALUE);
    // 227 KiB on this device, of which the kernel has one.
    assert_eq!(code(function.set_attribute(dynamic, (226 << 10) + 1)), INVALID_VALUE);
    function.set_attribute(dynamic, 226 << 10).unwrap();
    assert_eq!(launched(&function, shape(1, 32, 226 << 10), false), CUresult::CUDA_SUCCESS);
    assert_eq!(code(function.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS, 3)), INVALID_VALUE);
}

#[test]
fn cooperative_grids_must_fit_at_once() {
    let _turn = turn();
    let context = context();
    let function = kernel(&context, &text("", ""), "k");
    // 132 multiprocessors of 2048 threads.
    assert_eq!(launched(&function, shape(264, 1024, 0), true), CUresult::CUDA_SUCCESS);
    let large = launched(&function, shape(265, 1024, 0), true);
    assert_eq!(large, CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    assert_eq!(launched(&function, shape(265, 1024, 0), false), CUresult::CUDA_SUCCESS);
}

#[test]
fn arguments_come_one_by_one_or_in_a_buffer() {
    let _turn = turn();
    let context = context();
    let stream = context.default_stream();
    // cudarc keeps its function's handle to itself.
    let load = || -> Result<_, DriverError> {
        let image = std::ffi::CString::new(STORE).unwrap();
        // SAFETY: nul-terminated PTX.
        unsafe {
            let module = result::module::load_data(image.as_ptr().cast())?;
            result::module::get_function(module, c"store".into())
        }
    };
    let function = load().unwrap();
    let there = stream.alloc_zeros::<u32>(1).unwrap();
    let (address, guard) = cudarc::driver::DevicePtr::device_ptr(&there, &stream);
    drop(guard);
    let buffer = [address, 77];
    let launch = |mut size: usize, extra: bool, pointers: &mut [*mut c_void]| {
        let mut list = [
            std::ptr::without_provenance_mut(1),
            buffer.as_ptr() as *mut _,
            std::ptr::without_provenance_mut(2),
            (&raw mut size).cast(),
            std::ptr::null_mut(),
        ];
        let extra = if extra { list.as_mut_ptr() } else { std::ptr::null_mut() };
        let pointers = if pointers.is_empty() { std::ptr::null_mut() } else { pointers.as_mut_ptr() };
        // SAFETY: the arguments are as the kernel wants them, or refused.
        unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, std::ptr::null_mut(), pointers, extra) }
    };
    assert_eq!(launch(12, true, &mut []), CUresult::CUDA_SUCCESS);
    assert_eq!(stream.clone_dtoh(&there).unwrap(), [77]);
    assert_eq!(launch(11, true, &mut []), INVALID_VALUE, "too small");
    assert_eq!(launch(17, true, &mut []), INVALID_VALUE, "too large");
    assert_eq!(launch(0, false, &mut []), INVALID_VALUE, "none at all");
    let (mut address, mut value) = (address, 78_u32);
    let mut pointers = [(&raw mut address).cast(), (&raw mut value).cast()];
    assert_eq!(launch(12, true, &mut pointers), INVALID_VALUE, "both");
    assert_eq!(launch(0, false, &mut pointers), CUresult::CUDA_SUCCESS);
    assert_eq!(stream.clone_dtoh(&there).unwrap(), [78]);
    pointers[1] = std::ptr::null_mut();
    assert_eq!(launch(0, false, &mut pointers), INVALID_VALUE, "a null argument");
    // SAFETY: refused.
    let null = unsafe {
        let (no_function, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        sys::cuLaunchKernel(no_function, 1, 1, 1, 1, 1, 1, 0, std::ptr::null_mut(), none, std::ptr::null_mut())
    };
    assert_eq!(null, CUresult::CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn a_fault_stays_until_the_context_is_reset() {
    let turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    let function = kernel(&context, STORE, "store");
    let there = stream.alloc_zeros::<u32>(4).unwrap();
    let (address, guard) = cudarc::driver::DevicePtr::device_ptr(&there, &stream);
    drop(guard);
    store(&stream, &function, address + 12, 1).unwrap();
    store(&stream, &function, address + 16, 1).expect("the launch itself succeeds");
    let illegal = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    assert_eq!(code(stream.synchronize()), illegal);
    assert_eq!(code(context.synchronize()), illegal);
    assert_eq!(code(stream.clone_dtoh(&there)), illegal);
    assert_eq!(code(store(&stream, &function, address, 1)), illegal);
    // SAFETY: plain calls.
    unsafe {
        assert_eq!(code(result::malloc_sync(4)), illegal);
        assert_eq!(code(result::free_sync(address)), illegal);
    }
    assert_eq!(context.name().unwrap(), "rewind PTX emulator (h100-sxm)", "the device itself still answers");

    let faults = turn.emulator.take_faults().unwrap();
    assert_eq!(faults.len(), 1);
    let fault = &faults[0];
    assert_eq!((fault.kind, fault.kernel.as_str()), (FaultKind::OutOfBounds, "store"));
    assert_eq!((fault.line, fault.address), (10, Some(address + 16)), "{fault}");
    assert!(turn.emulator.faults().unwrap().is_empty());

    reset();
    context.synchronize().expect("the context is whole again");
    let old = code(store(&stream, &function, address, 1));
    assert_eq!(old, CUresult::CUDA_ERROR_INVALID_HANDLE, "what it held is gone");
    let stream = context.new_stream().unwrap();
    let function = kernel(&context, STORE, "store");
    let mut there = stream.alloc_zeros::<u32>(1).unwrap();
    let mut launch = stream.launch_builder(&function);
    launch.arg(&mut there).arg(&5_u32);
    // SAFETY: the parameters are the kernel's.
    unsafe { launch.launch(shape(1, 1, 0)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&there).unwrap(), [5]);
}

#[test]
fn faults_have_the_codes_of_hardware() {
    let turn = turn();
    let cases = [
        (8, FaultKind::OutOfBounds, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS),
        (2, FaultKind::Misaligned, CUresult::CUDA_ERROR_MISALIGNED_ADDRESS),
    ];
    for (offset, kind, expected) in cases {
        let context = context();
        let stream = context.new_stream().unwrap();
        let function = kernel(&context, STORE, "store");
        let there = stream.alloc_zeros::<u32>(2).unwrap();
        let (address, guard) = cudarc::driver::DevicePtr::device_ptr(&there, &stream);
        drop(guard);
        store(&stream, &function, address + offset, 1).unwrap();
        assert_eq!(code(stream.synchronize()), expected);
        assert_eq!(turn.emulator.take_faults().unwrap()[0].kind, kind);
        reset();
    }
    let context = context();
    let trap = kernel(&context, &text("", "trap;"), "k");
    assert_eq!(launched(&trap, shape(1, 1, 0), false), CUresult::CUDA_SUCCESS);
    assert_eq!(code(context.synchronize()), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    reset();
}

#[test]
fn contexts_fail_one_by_one() {
    let _turn = turn();
    let good = context();
    let bad = cudarc::driver::CudaContext::new_non_primary(0, 0).unwrap();
    let function = kernel(&bad, STORE, "store");
    store(&bad.default_stream(), &function, 64, 1).unwrap();
    assert_eq!(code(bad.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    good.synchronize().expect("another context is not concerned");
    // A function of another context is refused.
    let foreign = code(store(&good.default_stream(), &function, 64, 1));
    assert_eq!(foreign, CUresult::CUDA_ERROR_INVALID_HANDLE);
    drop((function, bad));
    good.synchronize().unwrap();
}

#[test]
fn occupancy_follows_threads_and_shared_memory() {
    let _turn = turn();
    let context = context();
    let function = kernel(&context, &text("", ".shared .align 4 .b8 s[1024];"), "k");
    let blocks =
        |threads, dynamic| function.occupancy_max_active_blocks_per_multiprocessor(threads, dynamic, None).unwrap();
    assert_eq!(blocks(1024, 0), 2);
    assert_eq!(blocks(64, 0), 32);
    // 228 KiB, of which each block takes 48 and one that the system keeps.
    assert_eq!(blocks(64, 47 << 10), 4);
    extern "C" fn none(_block: std::ffi::c_int) -> usize {
        0
    }
    let (grid, block) = function.occupancy_max_potential_block_size(none, 0, 0, None).unwrap();
    assert_eq!((grid, block), (264, 1024));
    let limited = function.occupancy_max_potential_block_size(none, 0, 256, None).unwrap();
    assert_eq!(limited, (1056, 256));
    // Two blocks share 228 KiB; each has 1 KiB of its own and 1 KiB is kept.
    assert_eq!(function.occupancy_available_dynamic_smem_per_block(2, 64).unwrap(), 112 << 10);
    assert_eq!(code(function.occupancy_available_dynamic_smem_per_block(3, 1024)), INVALID_VALUE);
}

#[test]
fn a_module_for_an_older_gpu_runs() {
    let _turn = turn();
    let context = context();
    // What NVRTC makes where no architecture is asked for, and what older toolkits make.
    for (version, target) in [("9.0", "sm_75"), ("6.0", "sm_50"), ("9.4", "sm_80")] {
        let old = text("", "").replace("9.0", version).replace("sm_80", target);
        assert_eq!(launched(&kernel(&context, &old, "k"), shape(1, 32, 0), false), CUresult::CUDA_SUCCESS, "{target}");
    }
    context.synchronize().unwrap();
}

#[test]
fn modules_that_cannot_run_are_refused_with_the_codes_of_hardware() {
    let turn = turn();
    let context = context();
    let refused = |source: &str| code(context.load_module(Ptx::from_src(source)));
    assert_eq!(refused("not PTX at all"), CUresult::CUDA_ERROR_INVALID_PTX);
    assert_eq!(refused(&text("", "frobnicate.u32;")), CUresult::CUDA_ERROR_INVALID_PTX);
    let newer = text("", "").replace("9.0", "9.5");
    assert_eq!(refused(&newer), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let above = text("", "").replace("sm_80", "sm_100");
    assert_eq!(refused(&above), CUresult::CUDA_ERROR_INVALID_PTX);
    let cubin = b"\x7fELF\x02\x01\x01\0".to_vec();
    let binary = code(context.load_module(Ptx::from_binary(cubin)));
    assert_eq!(binary, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_eq!(turn.emulator.statistics().unwrap().modules, 0);
    let missing = code(context.load_module(Ptx::from_file("no/such/file.ptx")));
    assert_eq!(missing, CUresult::CUDA_ERROR_FILE_NOT_FOUND);
    let module = context.load_module(Ptx::from_src(text("", ""))).unwrap();
    assert_eq!(code(module.load_function("other")), CUresult::CUDA_ERROR_NOT_FOUND);
}

#[test]
fn the_jit_log_says_what_is_wrong() {
    let _turn = turn();
    let _context = context();
    let source = std::ffi::CString::new(text("", "frobnicate.u32;")).unwrap();
    let mut log = [1_u8; 400];
    use sys::CUjit_option as Option;
    let mut options = [Option::CU_JIT_ERROR_LOG_BUFFER, Option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: options and values go together.
    let code = unsafe {
        let image = source.as_ptr().cast();
        sys::cuModuleLoadDataEx(&mut module, image, 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    let written = values[1] as usize;
    let text = std::str::from_utf8(&log[..written]).unwrap();
    assert!(text.contains("frobnicate") && text.contains("line 5"), "{text}");
    assert_eq!(log[written], 0);
}

#[test]
fn variables_of_modules_are_found_by_name() {
    let _turn = turn();
    let context = context();
    let source = text("", "")
        .replace(".visible .entry", ".visible .global .align 4 .b32 table[3] = {1, 2, 3};\n.visible .entry");
    let module = context.load_module(Ptx::from_src(source)).unwrap();
    let stream = context.default_stream();
    let table = module.get_global("table", &stream).unwrap();
    // SAFETY: three words, as declared.
    let table = unsafe { table.transmute::<u32>(3) }.unwrap();
    assert_eq!(stream.clone_dtoh(&table).unwrap(), [1, 2, 3]);
    assert!(module.get_global("chair", &stream).is_err());
}
