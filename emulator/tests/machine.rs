//! Kernels on the machine itself, without the driver: right results, whatever the order and the number of threads.

mod support;

use std::sync::Arc;

use rewind_emulator::exec::Launch;
use rewind_emulator::fault::FaultKind;
use rewind_emulator::machine::{Machine, Options};
use rewind_emulator::profile::H100_SXM;
use support::bench::Bench;

/// Natural order, two shuffled ones, and one thread.
fn variants() -> Vec<Options> {
    let base = Options { threads: 2, ..Options::default() };
    vec![
        base,
        Options { threads: 1, ..base },
        Options { shuffle: Some(1), ..base },
        Options { shuffle: Some(2), ..base },
        Options { checks: false, counters: false, ..base },
    ]
}

/// Small integers as floats: sums and products of a few are exact.
fn small(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + 3) % 17) as f32 - 8.0).collect()
}

#[test]
fn vector_add_adds() {
    for options in variants() {
        for (len, grid, block) in [(1u32, 1, 32), (1000, 4, 256), (1000, 3, 96), (7777, 5, 33)] {
            let mut bench = Bench::new("vector_add", options);
            let (a, b) = (small(len as usize), small(len as usize + 5)[5..].to_vec());
            let (x, y, out) = (bench.put(&a), bench.put(&b), bench.empty(4 * len as usize));
            bench
                .run("vector_add", [grid, 1, 1], [block, 1, 1], &[out, x, y, len.into()])
                .unwrap_or_else(|e| panic!("{e}"));
            let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            assert_eq!(bench.get::<f32>(out, len as usize), sums);
        }
    }
}

#[test]
fn convolution_sums_windows() {
    for options in variants() {
        for (h, w) in [(8usize, 8usize), (10, 13), (1, 1), (17, 5)] {
            let mut bench = Bench::new("conv3x3", options);
            let (x, weights) = (small(h * w * 16), small(9 * 256));
            let (px, pw, py) = (bench.put(&x), bench.put(&weights), bench.empty(4 * h * w * 16));
            let grid = [w.div_ceil(8) as u32, h.div_ceil(8) as u32, 1];
            bench
                .run("conv3x3", grid, [256, 1, 1], &[py, px, pw, h as u64, w as u64])
                .unwrap_or_else(|e| panic!("{e}"));
            let mut y = vec![0.0f32; h * w * 16];
            for (i, j, co) in (0..h).flat_map(|i| (0..w).flat_map(move |j| (0..16).map(move |c| (i, j, c)))) {
                for (kh, kw, ci) in (0..3).flat_map(|a| (0..3).flat_map(move |b| (0..16).map(move |c| (a, b, c)))) {
                    let (r, c) = (i + kh, j + kw);
                    if (1..=h).contains(&r) && (1..=w).contains(&c) {
                        let v = x[((r - 1) * w + c - 1) * 16 + ci];
                        y[(i * w + j) * 16 + co] += v * weights[((kh * 3 + kw) * 16 + ci) * 16 + co];
                    }
                }
            }
            assert_eq!(bench.get::<f32>(py, y.len()), y, "{h}x{w}");
        }
    }
}

#[test]
fn a_grid_wide_barrier_lets_all_blocks_meet() {
    for options in variants() {
        let mut bench = Bench::new("grid_barrier", options);
        let x = small(300);
        let total: f32 = x.iter().sum::<f32>() + 1.0;
        let (px, sums) = (bench.put(&x), bench.put(&[1.0f32]));
        let launch = Launch { grid: [5, 1, 1], block: [64, 1, 1], dynamic_shared: 0, cooperative: true };
        bench.launch("grid_barrier", launch, &[px, sums, 300]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(bench.get::<f32>(px, 300), x.iter().map(|v| v / total).collect::<Vec<_>>());
    }
}

#[test]
fn an_access_out_of_bounds_is_named() {
    for options in variants() {
        let mut bench = Bench::new("vector_add", options);
        let (x, y, out) = (bench.put(&small(100)), bench.put(&small(99)), bench.empty(400));
        let fault = bench.run("vector_add", [1, 1, 1], [128, 1, 1], &[out, x, y, 100]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::OutOfBounds);
        assert_eq!((fault.warp, fault.lane, fault.thread, fault.address), (3, 3, [99, 0, 0], Some(y + 396)));
        assert!(fault.to_string().contains("lies 1 bytes after allocation 2 of 396 bytes"), "{fault}");
        assert!(fault.text.starts_with("ld.global.f32"), "{fault}");
    }
}

/// A text that was loaded before is not read again; one with variables gets new ones each time.
#[test]
fn a_text_without_variables_is_lowered_once() {
    let mut machine = Machine::new(&H100_SXM, Options::default());
    let kernel = |name: &str, variable: &str| {
        format!(".version 8.0\n.target sm_80\n.address_size 64\n{variable}\n.visible .entry {name}() {{ ret; }}\n")
    };
    let (plain, other) = (kernel("plain", ""), kernel("other", ""));
    let first = machine.load(plain.as_bytes()).expect("supported");
    machine.load(other.as_bytes()).expect("supported");
    machine.unload(&first);
    let second = machine.load(plain.as_bytes()).expect("supported");
    assert!(Arc::ptr_eq(&first.kernels["plain"], &second.kernels["plain"]));
    assert_eq!(second.kernels.len(), 1);

    let variable = kernel("own", ".visible .global .align 4 .u32 counter = 7;");
    let [one, two] = [0, 1].map(|_| machine.load(variable.as_bytes()).expect("supported"));
    assert!(!Arc::ptr_eq(&one.kernels["own"], &two.kernels["own"]));
    assert_ne!(one.variables["counter"].0, two.variables["counter"].0);
}
