//! Sums, warp-wide operations, atomics and barriers, through cudarc.

mod device;
#[macro_use]
mod launching;
mod support;

use launching::{Random, each, in_order, shape, small};

fn floats(count: usize) -> Vec<f32> {
    small(count).map(|v| v as f32).collect()
}

#[test]
fn vectors_add() {
    each("vector_add", |kernels| {
        for (len, grid, block) in [(1_usize, 1, 32), (1000, 4, 256), (1000, 3, 96), (7777, 5, 33)] {
            let (a, b) = (floats(len), floats(len + 5)[5..].to_vec());
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut out = kernels.unwritten::<f32>(len);
            launch!(kernels, "vector_add", shape(grid, block), &mut out, &a_there, &b_there, &(len as u32));
            let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            assert_eq!(kernels.get(&out), sums, "{len} in {grid} blocks of {block}");
        }
    });
}

#[test]
fn vectors_add_four_at_a_time() {
    each("vector_add", |kernels| {
        for (len4, grid, block) in [(1_usize, 1, 32), (250, 1, 256), (1000, 4, 256), (300, 10, 33)] {
            let (a, b) = (floats(4 * len4), floats(4 * len4 + 3)[3..].to_vec());
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut out = kernels.unwritten::<f32>(4 * len4);
            launch!(kernels, "vector_add4", shape(grid, block), &mut out, &a_there, &b_there, &(len4 as u32));
            let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            assert_eq!(kernels.get(&out), sums, "{len4} in {grid} blocks of {block}");
        }
    });
}

#[test]
fn blocks_sum_by_shuffles() {
    each("reduction", |kernels| {
        for (len, grid, block) in [(1_usize, 1, 32), (1000, 1, 1024), (1000, 3, 96), (20_000, 4, 512)] {
            let x = floats(len);
            let x_there = kernels.put(&x);
            let mut out = kernels.unwritten::<f32>(grid);
            launch!(kernels, "block_sum", shape(grid as u32, block), &mut out, &x_there, &(len as u32));
            // A block takes every grid-th piece of its size.
            let mut sums = vec![0.0; grid];
            for (at, x) in x.iter().enumerate() {
                sums[at / block as usize % grid] += x;
            }
            assert_eq!(kernels.get(&out), sums, "{len} in {grid} blocks of {block}");
        }
    });
}

/// What a thread of `warp_operations` finds; `warp` are the values of its warp's threads.
fn warp_operations(block: &[u32], warp: &[u32], lane: usize) -> [u32; 16] {
    let own = warp[lane];
    let lanes = |f: &dyn Fn(u32) -> bool| warp.iter().rev().fold(0, |mask, &v| mask << 1 | u32::from(f(v)));
    let mask = lanes(&|_| true);
    let all_same = warp.iter().all(|&v| v == own);
    let fold = |f: fn(u32, u32) -> u32| warp.iter().copied().reduce(f).unwrap();
    [
        lanes(&|v| v & 1 == 1),
        u32::from(warp.iter().any(|&v| v > 5)),
        u32::from(warp.iter().all(|&v| v > 5)),
        lanes(&|v| v == own),
        // Carries into nothing when all 32 lanes agree, as in the kernel.
        if all_same { mask.wrapping_add(1) } else { 0 },
        fold(u32::wrapping_add),
        fold(|a, b| (a as i32).min(b as i32) as u32),
        fold(u32::max),
        fold(|a, b| a & b),
        fold(|a, b| a | b),
        fold(|a, b| a ^ b),
        warp[lane / 8 * 8 + 3],
        warp[lane.saturating_sub(1)],
        block.iter().filter(|&&v| v & 2 != 0).count() as u32,
        u32::from(block.iter().all(|&v| v != 0)) + u32::from(block.iter().any(|&v| v != 0)),
        mask.count_ones(),
    ]
}

#[test]
fn warps_vote_match_reduce_and_shuffle() {
    each("reduction", |kernels| {
        // Warps that are not full end after the lane that the others of its segment of eight look at.
        for threads in [32, 64, 96, 1024, 20, 60] {
            let mut random = Random(threads as u64);
            let inputs: [Vec<u32>; 4] = [
                (0..threads).map(|_| (random.bits() >> 60) as u32).collect(),
                (0..threads).map(|_| random.bits() as u32).collect(),
                vec![7; threads],
                vec![0; threads],
            ];
            for x in inputs {
                let x_there = kernels.put(&x);
                let mut out = kernels.unwritten::<u32>(16 * threads);
                launch!(kernels, "warp_operations", shape(1, threads as u32), &mut out, &x_there);
                let out = kernels.get(&out);
                for (thread, found) in out.chunks_exact(16).enumerate() {
                    let warp = x.chunks(32).nth(thread / 32).unwrap();
                    assert_eq!(found, warp_operations(&x, warp, thread % 32), "thread {thread} of {threads}");
                }
            }
        }
    });
}

#[test]
fn tiles_of_eight_lanes_sum() {
    each("grid_barrier", |kernels| {
        for threads in [8_usize, 32, 72, 256] {
            let x: Vec<i32> = small(threads).collect();
            let x_there = kernels.put(&x);
            let mut out = kernels.unwritten::<i32>(threads / 8);
            launch!(kernels, "tile_sum", shape(1, threads as u32), &mut out, &x_there);
            assert_eq!(kernels.get(&out), x.chunks_exact(8).map(|t| t.iter().sum()).collect::<Vec<i32>>());
        }
    });
}

#[test]
fn tiles_of_two_warps_sum() {
    each("grid_barrier", |kernels| {
        for threads in [64_usize, 256] {
            let x: Vec<i32> = small(threads).collect();
            let x_there = kernels.put(&x);
            let mut out = kernels.unwritten::<i32>(threads / 64);
            launch!(kernels, "wide_tile_sum", shape(1, threads as u32), &mut out, &x_there);
            assert_eq!(kernels.get(&out), x.chunks_exact(64).map(|t| t.iter().sum()).collect::<Vec<i32>>());
        }
    });
}

#[test]
fn all_blocks_of_a_cooperative_launch_meet() {
    each("grid_barrier", |kernels| {
        for (len, grid, block) in [(300_usize, 5, 64), (1, 1, 32), (1000, 40, 33), (4000, 4, 1024)] {
            let x = floats(len);
            // The sums are small integers, so that the order of the atomics does not matter.
            let total: f32 = x.iter().sum::<f32>() + 0.5;
            let (mut x_there, mut sums) = (kernels.put(&x), kernels.put(&[0.5_f32]));
            let function = kernels.function("grid_barrier");
            try_launch!(
                kernels, &function, shape(grid, block), cooperative: true, &mut x_there, &mut sums, &(len as u32))
            .unwrap();
            assert_eq!(kernels.get(&x_there), x.iter().map(|v| v / total).collect::<Vec<_>>());
        }
    });
}

#[test]
fn bytes_are_counted() {
    each("histogram", |kernels| {
        for (len, grid, block) in [(1_usize, 1, 32), (5000, 4, 256), (3000, 7, 100), (1000, 2, 1024)] {
            let mut random = Random(len as u64);
            // Small values are frequent, so that lanes meet in a bin.
            let x: Vec<u8> = (0..len).map(|_| (random.bits() >> 56) as u8 & (random.bits() >> 56) as u8).collect();
            let x_there = kernels.put(&x);
            let mut bins = kernels.zeros::<u32>(256);
            launch!(kernels, "histogram", shape(grid, block), &mut bins, &x_there, &(len as u32));
            let mut counts = vec![0; 256];
            x.iter().for_each(|&x| counts[usize::from(x)] += 1);
            assert_eq!(kernels.get(&bins), counts, "{len} in {grid} blocks of {block}");
        }
    });
}

#[test]
fn every_atomic_gives_the_old_value() {
    each("histogram", |kernels| {
        for v in [0_u32, 1, 5, 0x8000_0001, u32::MAX] {
            // One thread, number 0: others would store to the same places.
            let mut i = kernels.put(&[3, -4, -5, 6, 7, 8]);
            let mut u = kernels.put(&[11_u32, v, 5, 6, 0x0f0f, 0x1010, 0xffff, 9, 12]);
            let mut l = kernels.put(&[u64::MAX, 1, 3, 10]);
            let (mut f, mut d) = (kernels.put(&[0.5_f32, -1.0]), kernels.put(&[0.25_f64]));
            // A pair of halves: 1.5 and -2.
            let mut h = kernels.put(&[0x3e00_u16, 0xc000]);
            let mut old = kernels.unwritten::<i32>(15);
            launch!(kernels, "atomics", shape(1, 1), &mut i, &mut u, &mut l, &mut f, &mut d, &mut h, &v, &mut old);
            let expected = [3, -4, -5, 11, v as i32, 5, 6, 0x0f0f, 0x1010, 0xffff, -1, 1, 3, 0, 0];
            assert_eq!(kernels.get(&old), expected);
            assert_eq!(kernels.get(&i), [3, -4, 0, 6, 7, 8]);
            // Incremented up to v and then 0; decremented from 0 or from above v to v.
            let (up, down) = (if 5 >= v { 0 } else { 6 }, if 6 > v { v } else { 5 });
            let bits = [0x0f0f & v, 0x1010 | v, 0xffff ^ v];
            let expected = [v, v.wrapping_add(1), up, down, bits[0], bits[1], bits[2], v.min(9), 12 | v];
            assert_eq!(kernels.get(&u), expected);
            assert_eq!(kernels.get(&l), [0, 2, 7, 10]);
            assert_eq!((kernels.get(&f), kernels.get(&d)), (vec![2.0, 1.0], vec![2.75]));
            assert_eq!(kernels.get(&h), [0x4100, 0]);
        }
    });
}

#[test]
fn atomics_of_many_threads_add_up() {
    each("atomics", |kernels| {
        for (grid, block) in [(1_u32, 32_u32), (3, 100), (8, 256)] {
            let threads = (grid * block) as usize;
            let mut sums = kernels.put(&[0_u32, u32::MAX, 0, 0, 0, 0]);
            let mut tickets = kernels.unwritten::<u32>(2 * threads);
            let mut wide = kernels.zeros::<u64>(1);
            let (mut f, mut d) = (kernels.zeros::<f32>(1), kernels.zeros::<f64>(1));
            launch!(kernels, "many_atomics", shape(grid, block), &mut sums, &mut wide, &mut f, &mut d, &mut tickets);
            let last = threads as u32 - 1;
            let xor = (0..=last).fold(0, |x, t| x ^ t);
            let or = (0..=last).fold(0, |x, t| x | t);
            let expected = [last * threads as u32 / 2, 0, last, xor, or, threads as u32 % 10];
            assert_eq!(kernels.get(&sums), expected, "{grid} blocks of {block}");
            assert_eq!(kernels.get(&wide), [threads as u64 * ((1 << 33) + 1)]);
            // Multiples of a half: exact in any order.
            assert_eq!(kernels.get(&f), [threads as f32 * 0.5]);
            assert_eq!(kernels.get(&d), [threads as f64 * 0.25]);
            // Each partial sum is seen once: thread numbers add up to them in some order; the counter runs through all.
            let tickets = kernels.get_in_any_order(&tickets);
            let adding: Vec<[u32; 2]> = tickets.chunks_exact(2).map(|t| [t[0], t[1]]).collect();
            let mut counted: Vec<u32> = adding.iter().map(|t| t[1]).collect();
            counted.sort_unstable();
            let mut wrapped: Vec<u32> = (0..threads as u32).map(|t| t % 10).collect();
            wrapped.sort_unstable();
            assert_eq!(counted, wrapped);
            // The thread numbers, sorted by the sum before them, so that each sum is the one before plus its thread.
            let mut order: Vec<u32> = (0..threads as u32).collect();
            order.sort_by_key(|&t| (adding[t as usize][0], t != 0));
            let mut sum = 0;
            for t in order {
                assert_eq!(adding[t as usize][0], sum, "thread {t}");
                sum += t;
            }
        }
    });
}

#[test]
fn a_lock_lets_one_thread_in() {
    each("atomics", |kernels| {
        for (grid, block) in [(1_u32, 64_u32), (4, 32), (3, 50)] {
            let mut lock = kernels.zeros::<u32>(1);
            let mut total = kernels.zeros::<u32>(1);
            launch!(kernels, "locked", shape(grid, block), &mut lock, &mut total);
            assert_eq!(kernels.get(&total), [(0..grid * block).sum::<u32>()]);
            assert_eq!(kernels.get(&lock), [0]);
        }
    });
}

#[test]
fn float_atomics_in_natural_order() {
    // Sums of floats depend on the order, so that the bits are promised for one thread and the natural order only.
    in_order("grid_barrier", |kernels| {
        let mut random = Random(9);
        let x: Vec<f32> = (0..300).map(|_| random.unit() as f32).collect();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (mut x_there, mut sums) = (kernels.put(&x), kernels.zeros::<f32>(1));
            let function = kernels.function("grid_barrier");
            try_launch!(kernels, &function, shape(5, 64), cooperative: true, &mut x_there, &mut sums, &300_u32)
                .unwrap();
            seen.push(kernels.get(&sums)[0]);
        }
        assert_eq!(seen[0].to_bits(), seen[1].to_bits());
        let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
        // 300 additions of numbers below 1, none of whose partial sums exceeds 300.
        assert!((f64::from(seen[0]) - exact).abs() <= 300.0 * 300.0 * 2f64.powi(-24));
    });
}
