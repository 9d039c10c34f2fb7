//! Matrix products: on tensor cores of integers and doubles, by dp4a, tiled in singles; attention; columns of images.

mod support;

use half::f16;
use support::corpus::{Random, assert_close, same_everywhere};

/// `a [m, k] * b [n, k]^T + c`
fn product<A: Copy + Into<i64>, B: Copy + Into<i64>>(a: &[A], b: &[B], c: &[i32], (n, k): (usize, usize)) -> Vec<i64> {
    let dot = |i: usize| (0..k).map(|q| a[i / n * k + q].into() * b[i % n * k + q].into()).sum::<i64>();
    c.iter().enumerate().map(|(i, &c)| i64::from(c) + dot(i)).collect()
}

#[test]
fn products_of_bytes_wrap_or_saturate() {
    let mut random = Random(1);
    let mut bytes = |n| (0..n).map(|_| random.bits() as u8).collect::<Vec<u8>>();
    let (a, b) = (bytes(512), bytes(256));
    let mut c: Vec<i32> = (0..128).map(|i| i * 1000 - 64000).collect();
    c[..4].copy_from_slice(&[i32::MAX, i32::MIN, i32::MAX - 5, i32::MIN + 5]);
    let signed = |v: &[u8]| v.iter().map(|&b| b as i8).collect::<Vec<_>>();
    let (d, saturated) = same_everywhere("tensor", |bench| {
        let (pa, pb, pc, pd) = (bench.put(&a), bench.put(&b), bench.put(&c), bench.empty(512));
        bench.go("mma_s8", (1, 32), &[pd, pa, pb, pc]);
        let d = bench.get::<i32>(pd, 128);
        bench.go("mma_u8", (1, 32), &[pd, pa, pb, pc]);
        (d, bench.get::<i32>(pd, 128))
    });
    let wrapped = product(&signed(&a), &signed(&b), &c, (8, 32)).into_iter().map(|v| v as i32);
    assert_eq!(d, wrapped.collect::<Vec<_>>());
    let limits = (i64::from(i32::MIN), i64::from(i32::MAX));
    let clamped = product(&a[..256], &signed(&b[..128]), &c, (8, 16)).into_iter().map(|v| v.clamp(limits.0, limits.1));
    assert_eq!(saturated, clamped.map(|v| v as i32).collect::<Vec<_>>());
}

#[test]
fn products_of_doubles_are_fused() {
    let mut random = Random(2);
    let mut numbers = |n| (0..n).map(|_| f64::from(random.float(1.0)) * 1.000000001).collect::<Vec<f64>>();
    let (a, b, c) = (numbers(32), numbers(32), numbers(64));
    let d = same_everywhere("tensor", |bench| {
        let (pa, pb, pc, pd) = (bench.put(&a), bench.put(&b), bench.put(&c), bench.empty(512));
        bench.go("mma_f64", (1, 32), &[pd, pa, pb, pc]);
        bench.get::<f64>(pd, 64)
    });
    for (i, &d) in d.iter().enumerate() {
        let fused = (0..4).fold(c[i], |sum, k| a[i / 8 * 4 + k].mul_add(b[i % 8 * 4 + k], sum));
        assert_eq!(d, fused);
    }
}

#[test]
fn bytes_multiply_by_fours() {
    for (m, n, quads) in [(16usize, 16usize, 16usize), (20, 33, 5), (1, 7, 40)] {
        let mut random = Random(3);
        let mut bytes = |n| (0..n).map(|_| random.bits() as i8).collect::<Vec<i8>>();
        let (a, b) = (bytes(m * quads * 4), bytes(n * quads * 4));
        let c = same_everywhere("tensor", |bench| {
            let (pa, pb, pc) = (bench.put(&a), bench.put(&b), bench.empty(4 * m * n));
            let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
            let sizes = [m, n, quads].map(|v| v as u64);
            bench.go_shaped("dp4a_product", (grid, [16, 16, 1], 0), &[&[pc, pa, pb][..], &sizes].concat());
            bench.get::<i32>(pc, m * n)
        });
        let expected = product(&a, &b, &vec![0; m * n], (n, quads * 4));
        assert_eq!(c.into_iter().map(i64::from).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_tiled_product_goes_through_two_buffers() {
    for (m, n, k) in [(64usize, 64usize, 8usize), (128, 64, 24), (64, 192, 16)] {
        let mut random = Random(4);
        let (a, b) = (random.whole(m * k), random.whole(k * n));
        let c = same_everywhere("tensor", |bench| {
            let (pa, pb, pc) = (bench.put(&a), bench.put(&b), bench.empty(4 * m * n));
            let grid = [n as u32 / 64, m as u32 / 64, 1];
            bench.go_shaped("sgemm", (grid, [256, 1, 1], 0), &[pc, pa, pb, m as u64, n as u64, k as u64]);
            bench.get::<f32>(pc, m * n)
        });
        for (i, &c) in c.iter().enumerate() {
            assert_eq!(c, (0..k).map(|q| a[i / n * k + q] * b[q * n + i % n]).sum::<f32>());
        }
    }
}

#[test]
fn windows_of_an_image_become_columns() {
    for ([channels, h, w, size, stride], shape) in [([3usize, 8, 9, 3, 1], (4, 64)), ([2, 11, 7, 5, 2], (1, 96))] {
        let image = Random(5).floats(channels * h * w, 1.0);
        let pad = size / 2;
        let [oh, ow] = [h, w].map(|side| (side + 2 * pad - size) / stride + 1);
        let count = channels * size * size * oh * ow;
        let columns = same_everywhere("tensor", |bench| {
            let (image, columns) = (bench.put(&image), bench.empty(4 * count));
            let sizes = [channels, h, w, size, stride].map(|v| v as u64);
            bench.go("im2col", shape, &[&[columns, image][..], &sizes].concat());
            bench.get::<f32>(columns, count)
        });
        let mut columns = columns.into_iter();
        for (c, window) in (0..channels).flat_map(|c| (0..size * size).map(move |window| (c, window))) {
            for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let (r, s) = (y * stride + window / size, x * stride + window % size);
                let inside = (pad..h + pad).contains(&r) && (pad..w + pad).contains(&s);
                let expected = if inside { image[(c * h + r - pad) * w + s - pad] } else { 0.0 };
                assert_eq!(columns.next(), Some(expected));
            }
        }
    }
}

#[test]
fn attention_keeps_a_running_maximum() {
    for (queries, keys, shape) in [(16usize, 16usize, (1, 32)), (64, 48, (2, 64)), (32, 160, (2, 32))] {
        let mut random = Random(6);
        let mut halves = |n| (0..n).map(|_| f16::from_f32(random.float(2.0))).collect::<Vec<f16>>();
        let (q, k, v) = (halves(queries * 16), halves(keys * 16), halves(keys * 16));
        let bits = |all: &[f16]| all.iter().map(|h| h.to_bits()).collect::<Vec<u16>>();
        let o = same_everywhere("tensor", |bench| {
            let (pq, pk, pv) = (bench.put(&bits(&q)), bench.put(&bits(&k)), bench.put(&bits(&v)));
            let po = bench.empty(4 * queries * 16);
            bench.go("attention", shape, &[po, pq, pk, pv, keys as u64]);
            bench.get::<f32>(po, queries * 16)
        });
        let expected = q.chunks(16).flat_map(|q| {
            let dot = |k: &[f16]| q.iter().zip(k).map(|(a, b)| a.to_f64() * b.to_f64()).sum::<f64>();
            let scores: Vec<f64> = k.chunks(16).map(|k| (dot(k) * 0.25).exp()).collect();
            let sum: f64 = scores.iter().sum();
            let weighted = |c: usize| scores.iter().zip(v.chunks(16)).map(|(s, v)| s * v[c].to_f64()).sum::<f64>();
            // Weights are rounded to halves, 2^-11 of values up to 2; what singles add is far below.
            (0..16).map(|c| (weighted(c) / sum, 1.1 * 2.0 / 2048.0)).collect::<Vec<_>>()
        });
        assert_close("attention", o.iter().map(|&v| v.into()), expected);
    }
}
