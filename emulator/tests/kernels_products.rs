//! Matrix products and a convolution, through cudarc: in shared memory, in dynamic shared memory, on tensor cores.

mod device;
#[macro_use]
mod launching;
mod support;

use cudarc::driver::LaunchConfig;
use cudarc::driver::sys::{CUfunction_attribute as Attribute, CUresult};
use device::code;
use launching::{Random, boxes, each, shape, small};

fn floats(count: usize) -> Vec<f32> {
    small(count).map(|v| v as f32).collect()
}

/// `c[m, n] = a[m, k] b[k, n]`; exact, as the numbers are small integers.
fn product(a: &[f32], b: &[f32], n: usize, k: usize) -> Vec<f32> {
    let rows = a.chunks_exact(k);
    let entry = |row: &[f32], col| row.iter().zip(b.iter().skip(col).step_by(n)).map(|(a, b)| a * b).sum();
    rows.flat_map(|row| (0..n).map(move |col| entry(row, col))).collect()
}

#[test]
fn tiles_of_matrices_multiply() {
    each("matmul", |kernels| {
        for (m, n, k) in [(16, 16, 16), (32, 48, 64), (48, 16, 112)] {
            let (a, b) = (floats(m * k), floats(k * n + 5)[5..].to_vec());
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut c = kernels.unwritten::<f32>(m * n);
            let grid = (n as u32 / 16, m as u32 / 16);
            launch!(kernels, "matmul16", boxes(grid, (16, 16)), &mut c, &a_there, &b_there, &(n as i32), &(k as i32));
            assert_eq!(kernels.get(&c), product(&a, &b, n, k), "{m}x{n}x{k}");
        }
    });
}

#[test]
fn tiles_lie_in_dynamic_shared_memory() {
    each("matmul", |kernels| {
        for (tile, m, n, k) in [(8, 16, 24, 40), (16, 32, 16, 48), (32, 64, 32, 32), (5, 10, 5, 15)] {
            let (a, b) = (floats(m * k), floats(k * n + 5)[5..].to_vec());
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut c = kernels.unwritten::<f32>(m * n);
            let grid = ((n / tile) as u32, (m / tile) as u32);
            let mut config = boxes(grid, (tile as u32, tile as u32));
            config.shared_mem_bytes = 8 * (tile * tile) as u32;
            let (n32, k32, tile) = (n as i32, k as i32, tile as i32);
            launch!(kernels, "matmul_dynamic", config, &mut c, &a_there, &b_there, &n32, &k32, &tile);
            assert_eq!(kernels.get(&c), product(&a, &b, n, k), "{m}x{n}x{k} in tiles of {tile}");
        }
    });
}

#[test]
fn much_dynamic_shared_memory_needs_the_attribute() {
    each("matmul", |kernels| {
        let (a, b) = (floats(64), floats(64));
        let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
        let mut c = kernels.zeros::<f32>(64);
        let function = kernels.function("matmul_dynamic");
        let mut run = |bytes: u32| {
            let config = LaunchConfig { shared_mem_bytes: bytes, ..boxes((1, 1), (8, 8)) };
            code(try_launch!(
                kernels, &function, config, cooperative: false, &mut c, &a_there, &b_there, &8_i32, &8_i32, &8_i32))
        };
        assert_eq!(run(48 << 10), CUresult::CUDA_SUCCESS);
        assert_eq!(run((48 << 10) + 4), CUresult::CUDA_ERROR_INVALID_VALUE);
        function.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 227 << 10).unwrap();
        assert_eq!(run(227 << 10), CUresult::CUDA_SUCCESS);
        assert_eq!(run((227 << 10) + 4), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(kernels.get(&c), product(&a, &b, 8, 8));
    });
}

#[test]
fn convolution_sums_windows() {
    each("conv3x3", |kernels| {
        for (h, w) in [(8_usize, 8_usize), (10, 13), (1, 1), (3, 17)] {
            let (x, weights) = (floats(h * w * 16), floats(9 * 256));
            let (x_there, weights_there) = (kernels.put(&x), kernels.put(&weights));
            let mut out = kernels.unwritten::<f32>(h * w * 16);
            let config = boxes((w.div_ceil(8) as u32, h.div_ceil(8) as u32), (256, 1));
            launch!(kernels, "conv3x3", config, &mut out, &x_there, &weights_there, &(h as i32), &(w as i32));
            let mut y = vec![0.0_f32; h * w * 16];
            for (at, y) in y.iter_mut().enumerate() {
                let (i, j, co) = (at / 16 / w, at / 16 % w, at % 16);
                for (tap, weights) in weights.chunks_exact(256).enumerate() {
                    let (row, col) = (i + tap / 3, j + tap % 3);
                    if (1..=h).contains(&row) && (1..=w).contains(&col) {
                        let pixel = &x[((row - 1) * w + col - 1) * 16..][..16];
                        *y += pixel.iter().enumerate().map(|(ci, v)| v * weights[ci * 16 + co]).sum::<f32>();
                    }
                }
            }
            assert_eq!(kernels.get(&out), y, "{h}x{w}");
        }
    });
}

/// Compares with sums in double precision. The tensor core keeps the products exact and adds `terms` of them in single
/// precision, cutting off: `terms * 2^-23` of the sum of magnitudes.
#[track_caller]
fn assert_products(
    found: &[f32],
    rows: usize,
    terms: usize,
    a: &dyn Fn(usize, usize) -> f64,
    b: &dyn Fn(usize, usize) -> f64,
) {
    for (at, &found) in found.iter().enumerate() {
        let (m, n) = (at / 8, at % 8);
        let products = (0..terms).map(|k| if m < rows { a(m, k) * b(k, n) } else { 0.0 });
        let bound = products.clone().map(f64::abs).sum::<f64>() * terms as f64 * 2f64.powi(-23);
        let sum: f64 = products.sum();
        assert!((f64::from(found) - sum).abs() <= bound, "c[{m}, {n}] = {found}, expected {sum} within {bound}");
    }
}

/// To the 10 bits that tf32 keeps, ties away from zero.
fn tf32(x: f32) -> f64 {
    f64::from(f32::from_bits((x.to_bits() + 0x1000) & !0x1fff))
}

#[test]
fn tensor_cores_multiply_tf32() {
    each("mma", |kernels| {
        for seed in 0..4 {
            let mut random = Random(seed);
            let a: Vec<f32> = (0..128).map(|_| random.unit() as f32).collect();
            let b: Vec<f32> = (0..64).map(|_| random.unit() as f32).collect();
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut c = kernels.unwritten::<f32>(128);
            launch!(kernels, "mma_tf32", shape(1, 32), &mut c, &a_there, &b_there);
            let c = kernels.get(&c);
            assert_products(&c, 16, 8, &|m, k| tf32(a[m * 8 + k]), &|k, n| tf32(b[n * 8 + k]));
        }
    });
}

#[test]
fn tensor_cores_multiply_halves() {
    type Format = (&'static str, fn(f32) -> u16, fn(u16) -> f64);
    let formats: [Format; 2] = [
        ("mma_bf16", |x| half::bf16::from_f32(x).to_bits(), |x| half::bf16::from_bits(x).to_f64()),
        ("mma_f16", |x| half::f16::from_f32(x).to_bits(), |x| half::f16::from_bits(x).to_f64()),
    ];
    each("mma", |kernels| {
        for (name, narrow, widen) in formats {
            for rows in [16, 9, 1, 0] {
                let mut random = Random(rows as u64);
                // The rows that are not copied do not even exist.
                let a: Vec<u16> = (0..16 * rows.max(1)).map(|_| narrow(random.unit() as f32)).collect();
                let b: Vec<u16> = (0..128).map(|_| narrow(random.unit() as f32)).collect();
                let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
                let mut c = kernels.unwritten::<f32>(128);
                launch!(kernels, name, shape(1, 32), &mut c, &a_there, &b_there, &(rows as i32));
                let c = kernels.get(&c);
                assert_products(&c, rows, 16, &|m, k| widen(a[m * 16 + k]), &|k, n| widen(b[k * 8 + n]));
            }
        }
    });
}
