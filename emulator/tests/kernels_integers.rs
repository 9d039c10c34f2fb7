//! Integer arithmetic, carries, branches and calls, through cudarc.

mod device;
#[macro_use]
mod launching;
mod support;

use cudarc::driver::PushKernelArg;
use cudarc::driver::sys::CUresult;
use device::{code, context, reset, turn};
use launching::{Random, each, shape};
use rewind_emulator::machine::Options;
use support::compiled;

/// Numbers of all sizes, with the limits among them.
fn integers(seed: u64, count: usize) -> Vec<u32> {
    const EDGES: [u32; 8] = [0, 1, u32::MAX, 1 << 31, i32::MAX as u32, 0xffff, 0x8000, 0x80_0000];
    let mut random = Random(seed);
    let mut number = || {
        let bits = random.bits();
        if bits.is_multiple_of(3) { EDGES[(bits >> 8) as usize % 8] } else { (bits >> 32) as u32 >> (bits >> 8 & 31) }
    };
    (0..count).map(|_| number()).collect()
}

/// The low 24 bits with their sign.
fn s24(x: i32) -> i64 {
    i64::from(x << 8 >> 8)
}

/// The eight bits at a place, with their sign.
fn s8(x: i32, at: u32) -> i32 {
    i32::from((x >> (8 * at)) as i8)
}

/// What `integers` stores for one thread; `a` has three values, `b` two.
fn expected_integers(a: &[u32], b: &[u32]) -> [i32; 40] {
    let (x, y, s) = (a[0] as i32, b[0], b[0] as i32);
    let pair = u64::from(y) << 32 | u64::from(x as u32);
    let square = i64::from(x) * i64::from(x);
    let u24 = u64::from(y & 0xff_ffff);
    let apart = (i64::from(x) - i64::from(a[1] as i32)).unsigned_abs() as u32;
    let halves = |f: fn(u16, u16) -> u16| {
        let (low, high) = (f(x as u16, y as u16), f((x >> 16) as u16, (y >> 16) as u16));
        (u32::from(high) << 16 | u32::from(low)) as i32
    };
    [
        x.wrapping_add(s),
        x.wrapping_mul(x),
        x.wrapping_div(s),
        x.wrapping_rem(s),
        (y / 7) as i32,
        (y % b[1]) as i32,
        (square >> 32) as i32,
        ((u64::from(y) * u64::from(y)) >> 32) as i32,
        (s24(x) * s24(x)) as i32,
        (u24 * u24) as i32,
        apart.wrapping_add(y) as i32,
        x.min(s),
        y.max(9) as i32,
        x.wrapping_abs(),
        x.wrapping_neg(),
        !x,
        x & s,
        x | s,
        x ^ s,
        x << (y & 31),
        x >> 3,
        (y >> 3) as i32,
        (pair << 5 >> 32) as i32,
        (pair >> (y & 31)) as i32,
        y.count_ones() as i32,
        y.leading_zeros() as i32,
        if y == 0 { 0 } else { y.trailing_zeros() as i32 + 1 },
        y.reverse_bits() as i32,
        (x & 0xffff) | s << 16,
        (0..4).map(|i| s8(x, i) * s8(s, i)).sum::<i32>() + 3,
        if x > s { x } else { 4 },
        (y >> 5 & 0x3f) as i32,
        0,
        0,
        (x & s) ^ (x | a[2] as i32),
        s,
        i32::from(x as i16) * s8(s, 0) + (x >> 16) * s8(s, 1) + 3,
        x,
        halves(u16::wrapping_add),
        0,
    ]
}

#[test]
fn integers_of_every_width() {
    each("integer", |kernels| {
        for (seed, threads) in [(1, 1_usize), (2, 32), (3, 100), (4, 256), (5, 512)] {
            let a = integers(seed, threads + 2);
            let mut b = integers(seed + 10, threads + 1);
            // Division by zero has no result, and neither has the least number by -1.
            b.iter_mut().filter(|b| matches!(**b, 0 | u32::MAX)).for_each(|b| *b = 3);
            let mut random = Random(seed);
            let wide: Vec<i64> = (0..4 * threads).map(|i| random.bits() as i64 >> (i / 4 % 50) | 2).collect();
            let shorts: Vec<i16> = (0..threads).map(|_| random.bits() as i16).collect();
            let bytes: Vec<u8> = (0..threads).map(|_| random.bits() as u8).collect();
            let mut out = kernels.unwritten::<i32>(40 * threads);
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let (mut w_there, mut s_there, mut c_there) =
                (kernels.put(&wide), kernels.put(&shorts), kernels.put(&bytes));
            let threads = threads as u32;
            launch!(
                kernels,
                "integers",
                shape(1, threads),
                &mut out,
                &a_there,
                &b_there,
                &mut w_there,
                &mut s_there,
                &mut c_there
            );
            let (out, w, s, c) =
                (kernels.get(&out), kernels.get(&w_there), kernels.get(&s_there), kernels.get(&c_there));
            for (i, found) in out.chunks_exact(40).enumerate() {
                let (x, l, m) = (a[i] as i32, wide[4 * i], wide[4 * i + 1]);
                let mut expected = expected_integers(&a[i..i + 3], &b[i..i + 2]);
                expected[32] = l.count_ones() as i32;
                expected[33] = l.leading_zeros() as i32;
                assert_eq!(found, expected, "x = {x:#x}, y = {:#x}", b[i]);
                let high = ((i128::from(l) * i128::from(m)) >> 64) as i64;
                let last = i64::from(x).wrapping_mul(m).wrapping_add(high);
                assert_eq!(w[4 * i..4 * i + 4], [l.wrapping_mul(m), l / m, l % m, last], "{l} and {m}");
                assert_eq!(s[i], shorts[i].wrapping_mul(3).wrapping_add(x as i16));
                assert_eq!(c[i], bytes[i].wrapping_add(x as u8));
            }
        }
    });
}

#[test]
fn carries_run_from_word_to_word() {
    each("integer", |kernels| {
        for seed in 0..12 {
            let a = integers(seed, 12);
            let a_there = kernels.put(&a);
            let mut out = kernels.unwritten::<u32>(6);
            // One thread: all would store to the same places.
            launch!(kernels, "carries", shape(1, 1), &mut out, &a_there);
            let [low, high, top] = {
                let sum = (u128::from(a[2]) << 32 | u128::from(a[0])) + (u128::from(a[3]) << 32 | u128::from(a[1]));
                [sum as u32, (sum >> 32) as u32, (sum >> 64) as u32]
            };
            let borrowed = a[4].wrapping_sub(a[5]).wrapping_sub(u32::from(a[4] < a[5]));
            let product = u64::from(a[6]) * u64::from(a[7]) + u64::from(borrowed);
            let field = a[8] >> 4 & 0xff;
            let inserted = (field & !0xf00) | (a[8] & 0xf) << 8;
            let found = if inserted == 0 { u32::MAX } else { 31 - inserted.leading_zeros() };
            let mixed = top ^ a[9] ^ a[10];
            let moved = ((u64::from(a[9]) << 32 | u64::from(mixed)) >> 16) as u32;
            let chosen = if a[11] < 4 { 1 } else { moved };
            // The last high word of the product is not kept, its low one is overwritten by the high one.
            let expected = [low, high, top, (product >> 32) as u32, found, chosen];
            assert_eq!(kernels.get(&out), expected, "{a:x?}");
        }
    });
}

#[test]
fn loops_end_lane_by_lane() {
    each("divergence", |kernels| {
        for (len, grid, block) in [(1_usize, 1, 32), (500, 4, 128), (1000, 10, 100), (77, 1, 96)] {
            let start: Vec<u32> = (0..len as u32).map(|i| i * 37 % 991 + 1).collect();
            let start_there = kernels.put(&start);
            let mut steps = kernels.unwritten::<u32>(len);
            launch!(kernels, "collatz", shape(grid, block), &mut steps, &start_there, &(len as u32));
            let count = |&start: &u32| {
                let next = |&v: &u64| (v != 1).then(|| if v & 1 == 1 { 3 * v + 1 } else { v / 2 });
                std::iter::successors(Some(u64::from(start)), next).count() as u32 - 1
            };
            assert_eq!(kernels.get(&steps), start.iter().map(count).collect::<Vec<_>>());
        }
    });
}

#[test]
fn switches_jump_lane_by_lane() {
    each("divergence", |kernels| {
        for (len, grid, block) in [(1_usize, 1, 32), (200, 2, 128), (333, 4, 100), (96, 1, 96)] {
            // Case 3 reads its neighbour's place, which nobody writes behind the last; case 6 is a trap.
            const CASES: [i32; 8] = [0, 1, 2, 4, 5, 7, -3, 1000];
            let mut x: Vec<i32> = (0..len).map(|i| CASES[i * 5 / 3 % 8]).collect();
            x[len - 1] = 3;
            let before: Vec<i32> = (0..2 * len as i32).map(|i| i * 11 - 60).collect();
            let x_there = kernels.put(&x);
            let mut out = kernels.put(&before);
            launch!(kernels, "switches", shape(grid, block), &mut out, &x_there, &(len as u32));
            let mut expected = before.clone();
            for (i, &v) in x.iter().enumerate() {
                expected[i] = match v {
                    0 => before[i] * 7,
                    1 => before[i] / 3,
                    2 => {
                        expected[i + len] = 4;
                        2
                    }
                    3 => v ^ before[i + 1],
                    4 => v.leading_zeros() as i32,
                    5 => 5,
                    _ => -v,
                };
            }
            assert_eq!(kernels.get(&out), expected, "{len} in {grid} blocks of {block}");
        }
    });
}

#[test]
fn a_trap_in_one_lane_is_a_fault() {
    let turn = turn();
    turn.emulator.set_options(&Options::default()).unwrap();
    for arch in [80, 90] {
        let context = context();
        let stream = context.new_stream().unwrap();
        let module = context.load_module(cudarc::nvrtc::Ptx::from_src(compiled("divergence", arch))).unwrap();
        let function = module.load_function("switches").unwrap();
        let x: Vec<i32> = (0..32).map(|i| if i == 13 { 6 } else { 7 }).collect();
        let (x, mut out) = (stream.clone_htod(&x).unwrap(), stream.alloc_zeros::<i32>(64).unwrap());
        let mut launch = stream.launch_builder(&function);
        launch.arg(&mut out).arg(&x).arg(&32_u32);
        // cudarc records an event right behind the launch, which may tell already.
        let launched = launching::start(&mut launch, shape(1, 32), false);
        assert_eq!(code(launched.and_then(|()| stream.synchronize())), CUresult::CUDA_ERROR_LAUNCH_FAILED);
        let faults = turn.emulator.take_faults().unwrap();
        assert_eq!((faults.len(), faults[0].lane, faults[0].kernel.as_str()), (1, 13, "switches"));
        reset();
    }
}

#[test]
fn functions_are_called() {
    each("calls", |kernels| {
        for threads in [1_usize, 32, 100, 1024] {
            let x: Vec<f32> = (0..threads).map(|i| i as f32 * 0.25).collect();
            let mut out = kernels.put(&x);
            launch!(kernels, "plain_call", shape(1, threads as u32), &mut out, &-3.0_f32);
            assert_eq!(kernels.get(&out), x.iter().map(|x| x * -3.0 + 1.0).collect::<Vec<_>>());
        }
    });
}

#[test]
fn structs_are_passed_and_returned() {
    each("calls", |kernels| {
        for threads in [1_usize, 32, 100, 1024] {
            // A single, four bytes of nothing and a double; read as words.
            let pair = |a: f32, b: f64| [a.to_bits(), 0, b.to_bits() as u32, (b.to_bits() >> 32) as u32];
            let pairs: Vec<u32> = (0..threads).flat_map(|i| pair(i as f32 * 0.5, i as f64 * 0.1)).collect();
            let mut there = kernels.put(&pairs);
            launch!(kernels, "struct_call", shape(1, threads as u32), &mut there);
            for (i, found) in kernels.get(&there).chunks_exact(4).enumerate() {
                let expected = pair((i as f64 * 0.1) as f32, f64::from(i as f32 * 0.5 * 2.0 + 1.0));
                assert_eq!([found[0], found[2], found[3]], [expected[0], expected[2], expected[3]], "thread {i}");
            }
        }
    });
}
