//! Kernels without races give the same bits in one thread, in two and in every order, through cudarc: also where the numbers
//! are rounded, so that any other order of additions would show. (The harness compares what a test reads; the tests of
//! `kernels_*.rs`, on numbers that are exact, are compared in the same way.)

mod device;
#[macro_use]
mod launching;
mod support;

use cudarc::driver::LaunchConfig;
use launching::{Kernels, Random, boxes, each, shape};

/// Numbers with all their bits in use.
fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| (random.bits() as i64 as f64 / 2f64.powi(63)) as f32).collect()
}

#[test]
fn sums_by_shuffles() {
    each("reduction", |kernels| {
        let x = kernels.put(&floats(1, 30_000));
        for (grid, block) in [(1_usize, 1024), (7, 96), (40, 256)] {
            let mut out = kernels.unwritten::<f32>(grid);
            launch!(kernels, "block_sum", shape(grid as u32, block), &mut out, &x, &30_000_u32);
            kernels.get(&out);
        }
    });
}

#[test]
fn orders_of_addition_show() {
    // What the tests here rest on: the inputs' sums depend on the order.
    let x = floats(1, 30_000);
    let forward: f32 = x.iter().sum();
    let backward: f32 = x.iter().rev().sum();
    assert_ne!(forward.to_bits(), backward.to_bits());
}

#[test]
fn products_of_matrices() {
    each("matmul", |kernels| {
        let (a, b) = (kernels.put(&floats(2, 64 * 80)), kernels.put(&floats(3, 80 * 48)));
        for dynamic in [false, true] {
            let mut c = kernels.unwritten::<f32>(64 * 48);
            let config = boxes((3, 4), (16, 16));
            if dynamic {
                let config = LaunchConfig { shared_mem_bytes: 2048, ..config };
                launch!(kernels, "matmul_dynamic", config, &mut c, &a, &b, &48_i32, &80_i32, &16_i32);
            } else {
                launch!(kernels, "matmul16", config, &mut c, &a, &b, &48_i32, &80_i32);
            }
            kernels.get(&c);
        }
    });
}

#[test]
fn convolutions() {
    each("conv3x3", |kernels| {
        let (x, w) = (kernels.put(&floats(4, 20 * 27 * 16)), kernels.put(&floats(5, 9 * 256)));
        let mut y = kernels.unwritten::<f32>(20 * 27 * 16);
        launch!(kernels, "conv3x3", boxes((4, 3), (256, 1)), &mut y, &x, &w, &20_i32, &27_i32);
        kernels.get(&y);
    });
}

#[test]
fn products_on_tensor_cores() {
    each("mma", |kernels| {
        let (a, b) = (kernels.put(&floats(6, 128)), kernels.put(&floats(7, 64)));
        let mut c = kernels.unwritten::<f32>(128);
        launch!(kernels, "mma_tf32", shape(1, 32), &mut c, &a, &b);
        kernels.get(&c);
        for (name, exponent) in [("mma_bf16", 0x3f80), ("mma_f16", 0x3c00)] {
            let mut random = Random(8);
            let mut halves = |count| (0..count).map(|_| exponent | random.bits() as u16 & 0x807f).collect::<Vec<u16>>();
            let (a, b) = (kernels.put(&halves(256)), kernels.put(&halves(128)));
            let mut c = kernels.unwritten::<f32>(128);
            launch!(kernels, name, shape(1, 32), &mut c, &a, &b, &16_i32);
            kernels.get(&c);
        }
    });
}

#[test]
fn functions() {
    each("math", |kernels| {
        let a: Vec<f32> = floats(9, 513).iter().map(|x| x * 40.0).collect();
        let a = kernels.put(&a);
        let mut out = kernels.unwritten::<f32>(40 * 512);
        launch!(kernels, "single_math", shape(1, 512), &mut out, &a);
        kernels.get(&out);
        let a: Vec<f64> = floats(10, 513).iter().map(|&x| f64::from(x) * 40.0).collect();
        let (a, mut n) = (kernels.put(&a), kernels.put(&vec![1_i64 << 60; 512]));
        let mut out = kernels.unwritten::<f64>(16 * 512);
        launch!(kernels, "double_math", shape(1, 512), &mut out, &a, &mut n);
        kernels.get(&out);
        kernels.get(&n);
    });
}

#[test]
fn halves() {
    each("half", |kernels| {
        let mut random = Random(11);
        let mut bits = |count: usize| (0..count).map(|_| random.bits() as u16).collect::<Vec<_>>();
        // All values, not-a-numbers and infinities too.
        let (a, b, mut p) = (kernels.put(&bits(512)), kernels.put(&bits(512)), kernels.put(&bits(4 * 256)));
        let run = |kernels: &Kernels, name: &str, each: usize, threads: u32| {
            let mut out = kernels.unwritten::<u16>(each * threads as usize);
            launch!(kernels, name, shape(1, threads), &mut out, &a, &b);
            kernels.get(&out);
        };
        run(kernels, "half_arithmetic", 16, 512);
        run(kernels, "half2_arithmetic", 8, 256);
        let mut out = kernels.unwritten::<u16>(8 * 256);
        launch!(kernels, "bf16_arithmetic", shape(1, 256), &mut out, &a, &b, &mut p);
        kernels.get(&out);
        kernels.get(&p);
    });
}
