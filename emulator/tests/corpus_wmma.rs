//! Tensor cores through the C++ interface, whose fragments go through memory in any layout.

mod support;

use half::{bf16, f16};
use support::bench::Bench;
use support::corpus::{Random, same_everywhere};

/// A matrix of whole numbers by rows, and as it lies in memory.
fn matrix(random: &mut Random, rows: usize, columns: usize, by_rows: bool) -> (Vec<f32>, Vec<f32>) {
    let all = random.whole(rows * columns);
    let stored = if by_rows { all.clone() } else { turned(&all, columns) };
    (all, stored)
}

fn turned(all: &[f32], columns: usize) -> Vec<f32> {
    (0..all.len()).map(|i| all[i % (all.len() / columns) * columns + i / (all.len() / columns)]).collect()
}

fn product(a: &[f32], b: &[f32], c: &[f32], k: usize) -> Vec<f32> {
    let n = b.len() / k;
    let dot = |i: usize| (0..k).map(|q| a[i / n * k + q] * b[q * n + i % n]).sum::<f32>();
    c.iter().enumerate().map(|(i, c)| c + dot(i)).collect()
}

fn halves(all: &[f32]) -> Vec<u16> {
    all.iter().map(|&v| f16::from_f32(v).to_bits()).collect()
}

fn brains(all: &[f32]) -> Vec<u16> {
    all.iter().map(|&v| bf16::from_f32(v).to_bits()).collect()
}

#[test]
fn tiles_of_all_shapes_and_layouts() {
    type Bits = fn(&[f32]) -> Vec<u16>;
    for (kernel, tile, [a_rows, b_rows, c_rows], bits) in [
        ("wmma_rc", [16, 16], [true, false, true], halves as Bits),
        ("wmma_rr", [16, 16], [true, true, false], halves),
        ("wmma_cr_32", [32, 8], [false, true, true], halves),
        ("wmma_cc_8", [8, 32], [false, false, true], brains),
        ("wmma_bf16", [16, 16], [true, false, true], brains),
    ] {
        for (down, across, k, threads) in [(1usize, 1usize, 16usize, 32u32), (2, 3, 48, 64)] {
            let (m, n) = (down * tile[0], across * tile[1]);
            let mut random = Random(1);
            let (a, stored_a) = matrix(&mut random, m, k, a_rows);
            let (b, stored_b) = matrix(&mut random, k, n, b_rows);
            let (c, stored_c) = matrix(&mut random, m, n, c_rows);
            let d = same_everywhere("wmma", |bench: &mut Bench| {
                let (pa, pb) = (bench.put(&bits(&stored_a)), bench.put(&bits(&stored_b)));
                let pc = bench.put(&stored_c);
                let grid = [(across as u32).div_ceil(threads / 32), down as u32, 1];
                let sizes = [m, n, k].map(|v| v as u64);
                bench.go_shaped(kernel, (grid, [threads, 1, 1], 0), &[&[pc, pa, pb][..], &sizes].concat());
                bench.get::<f32>(pc, m * n)
            });
            // Sums of whole numbers: exact in any order.
            let expected: Vec<f32> = product(&a, &b, &c, k).into_iter().map(|v| 2.0 * v + 1.0).collect();
            assert_eq!(d, if c_rows { expected } else { turned(&expected, n) }, "{kernel} {m} {n} {k}");
        }
    }
}

#[test]
fn sums_in_halves_go_through_shared_memory() {
    let mut random = Random(2);
    let ((a, stored_a), (b, stored_b)) = (matrix(&mut random, 16, 16, true), matrix(&mut random, 16, 16, false));
    let c = same_everywhere("wmma", |bench| {
        let (pa, pb, pc) = (bench.put(&halves(&stored_a)), bench.put(&halves(&stored_b)), bench.empty(512));
        bench.go("wmma_half", (1, 32), &[pc, pa, pb]);
        bench.get::<u16>(pc, 256)
    });
    assert_eq!(c, halves(&product(&a, &b, &[1.0; 256], 16)));
}

#[test]
fn integers_doubles_and_tensor_floats() {
    let mut random = Random(3);
    let ((a, _), (b, columns)) = (matrix(&mut random, 16, 16, true), matrix(&mut random, 16, 16, false));
    let bytes = |all: &[f32]| all.iter().map(|&v| v as i8).collect::<Vec<_>>();
    let c = same_everywhere("wmma", |bench| {
        let (pa, pb, pc) = (bench.put(&bytes(&a)), bench.put(&bytes(&columns)), bench.empty(1024));
        bench.go("wmma_s8", (1, 32), &[pc, pa, pb]);
        bench.get::<i32>(pc, 256)
    });
    let expected = product(&a, &b, &[7.0; 256], 16);
    assert_eq!(c, expected.iter().map(|&v| v as i32).collect::<Vec<_>>());

    let ((a, _), (b, columns)) = (matrix(&mut random, 8, 4, true), matrix(&mut random, 4, 8, false));
    let wide = |all: &[f32]| all.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let c = same_everywhere("wmma", |bench| {
        let (pa, pb, pc) = (bench.put(&wide(&a)), bench.put(&wide(&columns)), bench.empty(512));
        bench.go("wmma_f64", (1, 32), &[pc, pa, pb]);
        bench.get::<f64>(pc, 64)
    });
    assert_eq!(c, wide(&product(&a, &b, &[0.5; 64], 4)));

    let ((a, _), (b, columns)) = (matrix(&mut random, 16, 8, true), matrix(&mut random, 8, 16, false));
    let c = same_everywhere("wmma", |bench| {
        let (pa, pb, pc) = (bench.put(&a), bench.put(&columns), bench.empty(1024));
        bench.go("wmma_tf32", (1, 32), &[pc, pa, pb]);
        bench.get::<f32>(pc, 256)
    });
    assert_eq!(c, product(&a, &b, &[0.0; 256], 8));
}
