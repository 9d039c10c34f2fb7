//! Local arrays, variables of modules, parameters, vectors of values, output and refusals, through cudarc.

// The driver's raw call for the log of a refused module is unsafe.
#![allow(unsafe_code)]

mod device;
#[macro_use]
mod launching;
mod support;

use std::ffi::CString;

use cudarc::driver::sys::{self, CUjit_option as JitOption, CUresult};
use cudarc::driver::{CudaSlice, PushKernelArg};
use cudarc::nvrtc::Ptx;
use device::{code, context, reset, turn};
use launching::{Kernels, Random, each, shape};
use rewind_emulator::fault::FaultKind;
use rewind_emulator::machine::Options;
use support::compiled;

#[test]
fn local_arrays_are_indexed() {
    each("memory", |kernels| {
        for threads in [1_usize, 32, 100, 512] {
            let mut random = Random(threads as u64);
            let order: Vec<i32> = (0..32).map(|_| random.bits() as i32).collect();
            let order_there = kernels.put(&order);
            let mut out = kernels.unwritten::<i32>(threads);
            launch!(kernels, "local_array", shape(1, threads as u32), &mut out, &order_there);
            let place = |i: usize| order[i] as usize & 31;
            let sum = |thread: usize| {
                let mut stack: Vec<i32> = (0..32).map(|i| i * thread as i32).collect();
                (0..16).for_each(|i| stack.swap(place(i), 31 - i));
                (0..32).fold(0_i32, |sum, i| sum.wrapping_mul(3).wrapping_add(stack[place(i)]))
            };
            assert_eq!(kernels.get(&out), (0..threads).map(sum).collect::<Vec<_>>());
        }
    });
}

/// `Sizes` as the kernels declare it.
fn sizes(height: i32, width: i32, stride: i64, scale: [f32; 3]) -> [u64; 4] {
    let words = [height as u32, width as u32, scale[0].to_bits(), scale[1].to_bits()];
    let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    [pair(words[0], words[1]), stride as u64, pair(words[2], words[3]), pair(scale[2].to_bits(), 0)]
}

const COEFFICIENTS: [f32; 4] = [1.0, -2.5, 3.25, 0.5];
const TABLE: [f32; 5] = [1.0, 2.0, 3.0, 250.0, 5.0];

#[test]
fn variables_are_set_by_the_host_and_by_kernels() {
    each("memory", |kernels| {
        let mut counted = 5;
        for (threads, scale) in [(1_usize, [1.0, 2.0, -4.0]), (32, [0.5, 8.0, 0.0]), (100, [3.0, -1.0, 2.0])] {
            let mut there = kernels.module.get_global("sizes", &kernels.stream).unwrap();
            assert_eq!(there.len(), 32);
            let bytes: Vec<u8> = sizes(0, 0, 0, scale).iter().flat_map(|word| word.to_le_bytes()).collect();
            kernels.stream.memcpy_htod(&bytes, &mut there).unwrap();
            let mut out = kernels.unwritten::<f32>(threads);
            launch!(kernels, "constants", shape(1, threads as u32), &mut out);
            // What is left of a thread's sum is the number it drew from the counter; all of them exact.
            let found = kernels.get_in_any_order(&out).into_iter().enumerate();
            let drawn = found.map(|(i, v)| v - COEFFICIENTS[i % 4] * scale[i % 3] - TABLE[i % 5]);
            let mut drawn: Vec<f32> = drawn.collect();
            drawn.sort_by(f32::total_cmp);
            let numbers: Vec<f32> = (counted..counted + threads).map(|n| n as f32).collect();
            assert_eq!(drawn, numbers);
            counted += threads;
        }
        let counter = kernels.module.get_global("counter", &kernels.stream).unwrap();
        let counter = kernels.stream.clone_dtoh(&counter).unwrap();
        kernels.record(&counter);
        assert_eq!(counter, (counted as u32).to_le_bytes());
    });
}

#[test]
fn structs_are_parameters() {
    each("memory", |kernels| {
        for (threads, grid) in [(1_usize, 1), (32, 1), (100, 1), (1024, 1)] {
            let scale = [2.0, -3.0, 5.0];
            let x = [1.0_f32, 2.0, -3.0, 4.0, 0.5];
            let x_there = kernels.put(&x);
            let mut out = kernels.unwritten::<f32>(threads);
            let parameter = sizes(100, 7, 1 << 10, scale);
            launch!(kernels, "struct_param", shape(grid, threads as u32), &mut out, &parameter, &x_there);
            // Small integers and halves: exact.
            let rest = (-3.0 + 10.0) * 1024.0 + (2.0 - 6.0 + 12.0 + 2.0) + 7.0 - 100.0;
            let expected: Vec<f32> = (0..threads).map(|i| rest + scale[i % 3]).collect();
            assert_eq!(kernels.get(&out), expected);
        }
    });
}

#[test]
fn templates_are_found_by_their_mangled_names() {
    each("memory", |kernels| {
        for threads in [1_usize, 32, 77, 1024] {
            let singles: Vec<f32> = (0..threads).map(|i| i as f32 + 0.5).collect();
            let doubles: Vec<f64> = (0..threads).map(|i| i as f64 * 0.1).collect();
            let (mut s, mut d) = (kernels.put(&singles), kernels.put(&doubles));
            launch!(kernels, "_Z9scale_allIfEvPT_S0_", shape(1, threads as u32), &mut s, &1.5_f32);
            launch!(kernels, "_Z9scale_allIdEvPT_S0_", shape(1, threads as u32), &mut d, &0.3_f64);
            assert_eq!(kernels.get(&s), singles.iter().map(|v| v * 1.5).collect::<Vec<_>>());
            assert_eq!(kernels.get(&d), doubles.iter().map(|v| v * 0.3).collect::<Vec<_>>());
        }
        assert!(kernels.module.load_function("scale_all").is_err());
    });
}

#[test]
fn vectors_of_values_are_read() {
    each("memory", |kernels| {
        for threads in [1_usize, 7, 31, 32] {
            let mut random = Random(threads as u64);
            let mut words = |count: usize| (0..count).map(|_| random.bits()).collect::<Vec<u64>>();
            let a: Vec<u32> = words(4 * threads).iter().map(|&v| v as u32).collect();
            let b: Vec<u16> = words(4 * threads).iter().map(|&v| v as u16).collect();
            let c: Vec<u8> = words(4 * threads).iter().map(|&v| v as u8).collect();
            let d: Vec<i64> = words(2 * threads).iter().map(|&v| v as i64).collect();
            let (at, bt, ct, dt) = (kernels.put(&a), kernels.put(&b), kernels.put(&c), kernels.put(&d));
            // The upper half takes a clock's time.
            let mut out = kernels.zeros::<i32>(2 * 64);
            launch!(kernels, "vectors", shape(1, threads as u32), &mut out, &at, &bt, &ct, &dt);
            let out = kernels.get_in_any_order(&out);
            let expected = (0..threads).flat_map(|i| {
                let (x, y, z, w) = (&a[4 * i..], &b[4 * i..], &c[4 * i..], &d[2 * i..]);
                let sum = x[0].wrapping_add(y[1].into()).wrapping_add(z[2].into()).wrapping_add(w[1] as u32);
                [sum as i32, (x[3] ^ u32::from(y[0]) ^ u32::from(z[3]) ^ w[0] as u32) as i32]
            });
            assert_eq!(out[..2 * threads], expected.collect::<Vec<_>>());
            kernels.record(&out[..2 * threads]);
        }
    });
}

fn print(kernels: &Kernels, grid: u32, block: u32, n: i32) {
    launch!(kernels, "prints", shape(grid, block), &n);
}

#[test]
fn output_is_captured() {
    let emulator = rewind_emulator::install().unwrap();
    each("printf", |kernels| {
        emulator.printed().unwrap();
        for (grid, block, n) in [(1_u32, 1, -1), (3, 32, 6), (12, 100, i32::MIN)] {
            print(kernels, grid, block, n);
            let printed = emulator.printed().unwrap();
            let mut lines: Vec<&str> = printed.lines().collect();
            lines.sort_unstable();
            let mut expected: Vec<_> = (0..grid).map(|b| format!("block {b} of {grid}, n = {n}")).collect();
            expected.sort_unstable();
            assert_eq!(lines, expected);
            kernels.record(lines.concat().as_bytes());
        }
    });
}

#[test]
fn a_failed_assert_has_its_own_code() {
    let turn = turn();
    for arch in [80, 90] {
        for (grid, block) in [(1, 1), (2, 64)] {
            let context = context();
            let stream = context.new_stream().unwrap();
            let module = context.load_module(Ptx::from_src(compiled("printf", arch))).unwrap();
            let function = module.load_function("prints").unwrap();
            let mut launch = stream.launch_builder(&function);
            launch.arg(&7_i32);
            launching::start(&mut launch, shape(grid, block), false).expect("the launch itself succeeds");
            assert_eq!(code(stream.synchronize()), CUresult::CUDA_ERROR_ASSERT);
            let lost: Result<CudaSlice<u32>, _> = stream.alloc_zeros(1);
            assert_eq!(code(lost), CUresult::CUDA_ERROR_ASSERT, "it stays");
            let faults = turn.emulator.take_faults().unwrap();
            assert_eq!(faults[0].kind, FaultKind::Assert);
            let text = faults[0].to_string();
            assert!(text.contains("n != 7") && text.contains("printf.cu") && text.contains("prints"), "{text}");
            reset();
        }
    }
}

#[test]
fn recursion_is_refused_when_the_module_loads() {
    let turn = turn();
    turn.emulator.set_options(&Options::default()).unwrap();
    let context = context();
    for arch in [80, 90] {
        let source = compiled("recursion", arch);
        assert_eq!(code(context.load_module(Ptx::from_src(source.as_str()))), CUresult::CUDA_ERROR_INVALID_PTX);
        let image = CString::new(source).unwrap();
        let mut log = [0_u8; 400];
        let mut options = [JitOption::CU_JIT_ERROR_LOG_BUFFER, JitOption::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast(), log.len() as *mut std::ffi::c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: options and values go together, and the log is as long as they say.
        let refused = unsafe {
            sys::cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        assert_eq!(refused, CUresult::CUDA_ERROR_INVALID_PTX);
        let text = std::str::from_utf8(&log[..values[1] as usize]).unwrap();
        assert!(text.contains("fibonacci") && text.contains("recursi"), "{text}");
    }
}
