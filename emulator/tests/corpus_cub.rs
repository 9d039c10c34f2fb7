//! A library's collectives, and atomics in the manner of the C++ standard.

mod support;

use support::corpus::{Random, everywhere, same_everywhere};

fn numbers(count: usize) -> Vec<i32> {
    let mut random = Random(1);
    (0..count).map(|_| random.below(2000) as i32 - 1000).collect()
}

#[test]
fn cub_reduces_over_blocks_and_warps() {
    for blocks in [1usize, 3] {
        let x = numbers(128 * blocks);
        let out = same_everywhere("cub", |bench| {
            let (px, out) = (bench.put(&x), bench.empty(20 * blocks));
            bench.go("cub_reduce", (blocks as u32, 128), &[out, px]);
            bench.get::<i32>(out, 5 * blocks)
        });
        for (out, x) in out.chunks(5).zip(x.chunks(128)) {
            assert_eq!(out[0], x.iter().sum::<i32>());
            assert_eq!(&out[1..], x.chunks(32).map(|w| *w.iter().max().unwrap()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn cub_scans_a_block() {
    let x = numbers(512);
    let y = same_everywhere("cub", |bench| {
        let (px, py) = (bench.put(&x), bench.empty(2048));
        bench.go("cub_scan", (1, 128), &[py, px]);
        bench.get::<i32>(py, 512)
    });
    let mut sum = 0;
    for (y, x) in y.iter().zip(&x) {
        assert_eq!(*y, sum);
        sum += x;
    }
}

#[test]
fn cub_sorts_pairs_in_a_block() {
    let mut random = Random(2);
    let keys: Vec<u32> = (0..256).map(|_| random.below(1 << 30) as u32).collect();
    let (sorted, values) = same_everywhere("cub", |bench| {
        let (pk, pv) = (bench.put(&keys), bench.empty(1024));
        bench.go("cub_sort", (1, 128), &[pk, pv]);
        (bench.get::<u32>(pk, 256), bench.get::<i32>(pv, 256))
    });
    let mut expected: Vec<(u32, i32)> = keys.into_iter().zip(0..).collect();
    expected.sort_by_key(|p| p.0);
    assert_eq!(sorted.into_iter().zip(values).collect::<Vec<_>>(), expected);
}

#[test]
fn the_last_block_sees_what_all_others_counted() {
    for (n, shape) in [(1000usize, (5, 64)), (30, (1, 32)), (5000, (12, 128))] {
        let mut random = Random(3);
        let x: Vec<u8> = (0..n).map(|_| random.bits() as u8).collect();
        everywhere("cub", |bench| {
            let (px, bins, done, total) = (bench.put(&x), bench.zeros(64), bench.zeros(4), bench.zeros(4));
            bench.go("atomics", shape, &[bins, done, total, px, n as u64]);
            for (bin, count) in bench.get::<u32>(bins, 16).into_iter().enumerate() {
                assert_eq!(count as usize, x.iter().filter(|&&v| v as usize % 16 == bin).count());
            }
            assert_eq!(bench.get::<u32>(total, 1), [n as u32]);
        });
    }
}
