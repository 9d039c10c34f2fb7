//! Kernels that sum over blocks and grids: scans, compaction, partitions of warps, locks, a sparse product.

mod support;

use support::corpus::{Random, everywhere, same_everywhere};

#[test]
fn a_scan_in_one_pass_looks_back() {
    for (len, threads) in [(1000usize, 128u32), (64, 64), (5000, 256)] {
        let mut random = Random(1);
        let x: Vec<u32> = (0..len).map(|_| random.below(1000) as u32).collect();
        let blocks = len.div_ceil(threads as usize);
        let y = same_everywhere("scans", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(4 * len));
            let (states, ticket) = (bench.zeros(8 * blocks), bench.zeros(4));
            bench.go("look_back_scan", (blocks as u32, threads), &[py, px, states, ticket, len as u64]);
            bench.get::<u32>(py, len)
        });
        let sums = x.iter().scan(0, |sum, v| {
            *sum += v;
            Some(*sum)
        });
        assert_eq!(y, sums.collect::<Vec<u32>>());
    }
}

#[test]
fn compaction_keeps_each_odd_value_once() {
    for kernel in ["compact", "compact_coalesced"] {
        for (len, shape) in [(1000usize, (8, 128)), (31, (1, 32)), (300, (5, 64))] {
            let mut random = Random(2);
            let x: Vec<u32> = (0..len).map(|_| random.below(1 << 20) as u32).collect();
            let mut odd: Vec<u32> = x.iter().copied().filter(|v| v & 1 == 1).collect();
            odd.sort_unstable();
            everywhere("scans", |bench| {
                let (px, py, count) = (bench.put(&x), bench.empty(4 * len), bench.zeros(4));
                bench.go(kernel, shape, &[py, count, px, len as u64]);
                assert_eq!(bench.get::<u32>(count, 1), [odd.len() as u32]);
                let mut y = bench.get::<u32>(py, odd.len());
                y.sort_unstable();
                assert_eq!(y, odd);
            });
        }
    }
}

#[test]
fn partitions_of_a_warp_reduce_on_their_own() {
    for threads in [32usize, 96, 256] {
        let mut random = Random(3);
        let x: Vec<i32> = (0..threads).map(|_| random.below(100) as i32).collect();
        let y = same_everywhere("scans", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(16 * threads));
            bench.go("partitions", (1, threads as u32), &[py, px]);
            bench.get::<[i32; 4]>(py, threads)
        });
        for (i, &[label, parity, small, scan]) in y.iter().enumerate() {
            let warp = &x[i / 32 * 32..][..32];
            assert_eq!(label, warp.iter().filter(|v| *v % 3 == x[i] % 3).sum::<i32>());
            assert_eq!(parity, *warp.iter().filter(|v| *v % 2 == x[i] % 2).max().unwrap());
            assert_eq!(small, *x[i / 8 * 8..][..8].iter().min().unwrap());
            assert_eq!(scan, warp[..=i % 32].iter().sum::<i32>());
        }
    }
}

#[test]
fn a_lock_lets_one_block_in_at_a_time() {
    for shape in [(1, 1), (40, 32), (9, 65)] {
        everywhere("scans", |bench| {
            let record = bench.zeros(24);
            bench.go("locked", shape, &[record]);
            let words = bench.get::<[u32; 6]>(record, 1)[0];
            assert_eq!([words[0], words[1], words[4]], [0, shape.0, shape.0 - 1]);
            let sum = f64::from_bits(u64::from(words[3]) << 32 | u64::from(words[2]));
            assert_eq!(sum, f64::from(shape.0 * (shape.0 - 1)) / 4.0);
        });
    }
}

#[test]
fn a_sparse_product_sums_each_row() {
    for (rows, shape) in [(50usize, (4, 64)), (7, (1, 32))] {
        let mut random = Random(4);
        let (mut starts, mut columns, mut values) = (vec![0i32], Vec::new(), Vec::new());
        let x: Vec<f64> = random.whole(rows).into_iter().map(f64::from).collect();
        let mut expected = Vec::new();
        for _ in 0..rows {
            let mut sum = 0.0;
            for _ in 0..random.below(12) {
                let (column, value) = (random.below(rows as u64) as i32, random.below(9) as f64 - 4.0);
                columns.push(column);
                values.push(value);
                sum += value * x[column as usize];
            }
            starts.push(columns.len() as i32);
            expected.push(sum);
        }
        let y = same_everywhere("scans", |bench| {
            let (ps, pc, pv, px) = (bench.put(&starts), bench.put(&columns), bench.put(&values), bench.put(&x));
            let py = bench.empty(8 * rows);
            bench.go("csr_matvec", shape, &[py, ps, pc, pv, px, rows as u64]);
            bench.get::<f64>(py, rows)
        });
        assert_eq!(y, expected);
    }
}

#[test]
fn doubles_add_up_atomically() {
    for (n, shape) in [(1000usize, (3, 96)), (10, (1, 32)), (4000, (16, 64))] {
        let x: Vec<f64> = Random(5).whole(n).into_iter().map(f64::from).collect();
        let sum = same_everywhere("scans", |bench| {
            let (px, sum) = (bench.put(&x), bench.zeros(8));
            bench.go("sum_doubles", shape, &[sum, px, n as u64]);
            bench.get::<f64>(sum, 1)
        });
        assert_eq!(sum, [x.iter().sum::<f64>()]);
    }
}
