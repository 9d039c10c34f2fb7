use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::erase::Erased;
use super::rand_augment::{Kind, MAGNITUDES};
use super::*;
use crate::arrays::Arrays;
use crate::loader::{Asked, Loader};
use crate::resize::{Filter, View};
use crate::source::Source;

/// Factors and turns of `tests/augment/make.py`.
const FACTORS: [f64; 8] = [0.0, 0.123, 0.5, 0.9, 1.0, 1.1, 1.777, 3.0];
const TURNS: [f64; 10] = [-0.5, -0.31, -0.1, -0.002, 0.0, 0.004, 0.05, 0.25, 0.499, 0.5];

fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) % (1 << 31);
        (state >> 16) as u8
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// A picture of `tests/augment/make.py`.
fn picture(name: &str) -> (usize, Vec<u8>) {
    match name {
        "noise" => (33, noise(33 * 33 * 3)),
        "smooth" => {
            let at = |i: usize| (i / 120, i / 3 % 40, i % 3);
            let value = |(y, x, c): (usize, usize, usize)| 40 + (3 * x + 2 * y + 37 * c + x * y / 8) % 161;
            (40, (0..40 * 40 * 3).map(|i| value(at(i)) as u8).collect())
        }
        "grey" => (13, noise(13 * 13).into_iter().flat_map(|v| [v; 3]).collect()),
        "plain" => (6, [7, 130, 250].repeat(36)),
        "tiny" => (2, noise(12)),
        "one" => (1, vec![200, 100, 50]),
        other => panic!("no picture {other}"),
    }
}

fn crc(pixels: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(pixels);
    crc.sum()
}

/// The changes that a line of the golden file begins with.
fn asked(what: &str, side: usize) -> Vec<Op> {
    let of = |op: fn(f64) -> Op| FACTORS.into_iter().map(op).collect();
    match what {
        "adjust-brightness" => of(Op::Brightness),
        "adjust-contrast" => of(Op::Contrast),
        "adjust-saturation" => of(Op::Saturation),
        "adjust-hue" => TURNS.into_iter().map(Op::Hue).collect(),
        _ => {
            let (name, sign) = what.split_at(what.len() - 1);
            let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap();
            let one = matches!(kind, Kind::Identity | Kind::AutoContrast | Kind::Equalize);
            let magnitudes = if one { 1 } else { MAGNITUDES };
            (0..magnitudes).map(|magnitude| kind.op(magnitude, sign == "-", side)).collect()
        }
    }
}

#[test]
fn every_change_is_torchvisions_byte_for_byte() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/augment/expected.txt");
    let text = fs::read_to_string(golden).unwrap();
    let (mut results, mut wrong, mut scratch) = (0, Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "colours" {
            let mut colours: Vec<u8> =
                (0..1u32 << 24).flat_map(|n| [(n >> 16) as u8, (n >> 8) as u8, n as u8]).collect();
            Op::Hue(words[1].parse().unwrap()).apply(4096, &mut colours, &mut scratch);
            assert_eq!(format!("{:08x}", crc(&colours)), words[2], "{line}");
            results += 1;
            continue;
        }
        let (side, pixels) = picture(words[1]);
        let ops = asked(words[0], side);
        assert_eq!(ops.len(), words.len() - 2, "{line}");
        for (op, expected) in ops.into_iter().zip(&words[2..]) {
            let mut found = pixels.clone();
            op.apply(side, &mut found, &mut scratch);
            results += 1;
            if format!("{:04x}", crc(&found) & 0xFFFF) != *expected {
                wrong.push(format!("{op:?} of {} ({})", words[1], words[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {results} differ: {wrong:#?}", wrong.len());
    // of 6 pictures: 9 signed kinds and 2 others at 31 magnitudes, 3 kinds alone, 34 factors; two of all colours
    assert_eq!(results, 6 * (20 * 31 + 3 + 34) + 2);
}

#[test]
fn kinds_and_signs_are_drawn_equally_often() {
    const DRAWS: u64 = 14_000;
    let (mut counts, mut negative) = ([[0u32; 2]; 14], 0);
    let kinds: Vec<[Op; 2]> = Kind::ALL.map(|kind| [kind.op(9, false, 32), kind.op(9, true, 32)]).to_vec();
    for seed in 0..DRAWS {
        let ops: Vec<Op> = RandAugment { ops: 2, magnitude: 9 }.draw(seed, 32).collect();
        assert_eq!(ops.len(), 2);
        for op in ops {
            let kind = kinds.iter().position(|both| both.contains(&op)).unwrap();
            let sign = usize::from(op != kinds[kind][0]);
            counts[kind][sign] += 1;
            negative += sign as u32;
        }
    }
    println!("{counts:?}, {negative} negative");
    // 2,000 expected of each kind, deviation 43; 9,000 negative of 18,000 signed ones, deviation 80 with that of their number
    assert!(counts.iter().all(|[plus, minus]| (1800..2200).contains(&(plus + minus))), "{counts:?}");
    assert!((8680..9320).contains(&negative), "{negative}");
    for (kind, [plus, minus]) in Kind::ALL.into_iter().zip(counts) {
        // 1,000 expected of each, deviation 31
        let even = (860..1140).contains(&plus) && (860..1140).contains(&minus);
        assert!(if kind.is_signed() { even } else { minus == 0 }, "{kind:?}: {plus}, {minus}");
    }
}

#[test]
fn factors_are_even_over_their_range_and_their_order_is_any() {
    const DRAWS: u64 = 12_000;
    let jitter = ColourJitter { brightness: 0.4, contrast: 1.5, saturation: 0.2, hue: 0.1 };
    // least, largest, sum
    let mut seen = [(f64::INFINITY, f64::NEG_INFINITY, 0.0); 4];
    let mut orders = std::collections::BTreeMap::new();
    for seed in 0..DRAWS {
        let numbered = jitter.draw(seed).map(|op| match op {
            Op::Brightness(v) => (0, v),
            Op::Contrast(v) => (1, v),
            Op::Saturation(v) => (2, v),
            Op::Hue(v) => (3, v),
            other => panic!("{other:?}"),
        });
        for (number, v) in numbered {
            let (least, most, sum) = seen[number];
            seen[number] = (v.min(least), v.max(most), sum + v);
        }
        *orders.entry(numbered.map(|(number, _)| number)).or_insert(0) += 1;
    }
    let ranges = [(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)];
    for ((least, most, sum), (low, high)) in seen.into_iter().zip(ranges) {
        let (range, mean) = (high - low, sum / DRAWS as f64);
        println!("{least:.4} to {most:.4}, mean {mean:.4}");
        assert!(least >= low && least < low + 0.005 * range && most <= high && most > high - 0.005 * range);
        // an even spread deviates by range / sqrt(12), its mean by a hundredth of that and less
        assert!((mean - (low + high) / 2.0).abs() < 4.0 * range / 12f64.sqrt() / (DRAWS as f64).sqrt(), "{mean}");
    }
    // 500 expected of each of 24 orders, deviation 22
    assert!(orders.len() == 24 && orders.values().all(|n| (400..600).contains(n)), "{orders:?}");
    let none = ColourJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };
    assert_eq!(none.draw(3), [Op::Identity; 4]);
}

#[test]
fn boxes_come_as_often_and_as_large_as_torchvisions() {
    const DRAWS: u64 = 20_000;
    let side = 100;
    let erase = Erase { chance: 0.25, colour: [0; 3] };
    let (mut boxes, mut area, mut log_ratio, mut middle) = (0.0, 0.0, 0.0, 0.0);
    for seed in 0..DRAWS {
        let Some(Erased { x, y, w, h }) = erase.draw(seed, side) else { continue };
        assert!(x + w <= side && y + h <= side && w < side && h < side);
        boxes += 1.0;
        area += (w * h) as f64 / 1e4;
        log_ratio += (h as f64 / w as f64).ln();
        middle += x as f64 + w as f64 / 2.0;
    }
    let (often, area, log_ratio, middle) = (boxes / DRAWS as f64, area / boxes, log_ratio / boxes, middle / boxes);
    println!("{often:.4} of the pictures, area {area:.4}, log ratio {log_ratio:.4}, middle {middle:.2}");
    // Areas are even over 0.02 to 0.33 but for the few boxes that do not fit (the largest at a ratio beyond 3.03), ratios in their
    // logarithm over ln 0.3 to ln 3.3, whose middle is -0.004. Standard errors of 5,000 boxes: 0.0013, 0.0098, 0.3; often 0.003.
    assert!((often - 0.25).abs() < 0.0125, "{often}");
    assert!((area - 0.175).abs() < 0.006, "{area}");
    assert!((log_ratio + 0.005).abs() < 0.04, "{log_ratio}");
    assert!((middle - 50.0).abs() < 1.2, "{middle}");
    assert_eq!(Erase { chance: 0.0, ..erase }.draw(1, side), None);
    assert!((0..100).all(|seed| Erase { chance: 1.0, ..erase }.draw(seed, side).is_some()));
}

#[test]
fn a_box_is_filled_and_the_rest_stays() {
    let side = 20;
    let erase = Erase::to_mean(1.0, [0.485, 0.456, 0.406]);
    assert_eq!(erase.colour, [124, 116, 104]);
    let mut pixels = vec![1; side * side * 3];
    erase.apply(5, side, &mut pixels);
    let Erased { x, y, w, h } = erase.draw(5, side).unwrap();
    for (i, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
        let inside = (y..y + h).contains(&(i / side)) && (x..x + w).contains(&(i % side));
        assert_eq!(*pixel, if inside { erase.colour } else { [1; 3] });
    }
}

#[test]
fn a_seed_draws_the_same_for_ever() {
    let drawn: Vec<Op> = RandAugment { ops: 3, magnitude: 9 }.draw(1, 32).collect();
    assert_eq!(format!("{drawn:.4?}"), DRAWN);
    let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
    assert_eq!(format!("{:.4?}", jitter.draw(1)), JITTERED);
    assert_eq!(format!("{:?}", Erase { chance: 1.0, colour: [0; 3] }.draw(1, 32)), ERASED);
}

const DRAWN: &str = "[Saturation(1.2700), ShearX(0.0900), Rotate(9.0000)]";
const JITTERED: &str = "[Saturation(1.0772), Contrast(0.6643), Brightness(0.9220), Hue(-0.0561)]";
const ERASED: &str = "Some(Erased { x: 7, y: 5, w: 20, h: 7 })";

#[test]
fn a_loaders_threads_change_pictures_to_the_same_bytes() {
    let (side, n) = (9u32, 23);
    let pixels = noise((side * side) as usize * 3 * n);
    let arrays = Arrays { height: side, width: side, channels: 3, pixels, labels: vec![0; n] };
    let source: Arc<dyn Source> = Arc::new(arrays);
    let loaded = |threads, ahead| {
        let loader = Loader::new(source.clone(), side, Filter::Bilinear, threads, ahead).unwrap();
        let change = move |Asked { index, .. }: Asked, view: &mut [u8], scratch: &mut Vec<u8>| {
            RandAugment { ops: 3, magnitude: 20 }.apply(index as u64, side as usize, view, scratch);
        };
        let order: Vec<usize> = (0..n).rev().collect();
        let mut loading = loader.start_changed(order, |_| View::Centre, change).unwrap();
        let mut bytes = Vec::new();
        while let Some(loaded) = loading.next() {
            bytes.extend_from_slice(loaded.view.unwrap());
        }
        bytes
    };
    let one = loaded(1, 1);
    assert_eq!(one.len(), source.len() * (side * side * 3) as usize);
    assert!(loaded(2, 3) == one && loaded(5, 40) == one);
}

#[test]
fn time_of_a_picture() {
    let (side, mut scratch) = (224, Vec::new());
    let pixels = noise(side * side * 3);
    let timed = |op: Op, scratch: &mut Vec<u8>| {
        let (mut pixels, mut best) = (pixels.clone(), f64::INFINITY);
        for _ in 0..5 {
            let start = std::time::Instant::now();
            op.apply(side, std::hint::black_box(&mut pixels), scratch);
            best = best.min(start.elapsed().as_secs_f64());
        }
        best * 1e3
    };
    let mut sum = 0.0;
    for kind in Kind::ALL {
        let ms = timed(kind.op(9, false, side), &mut scratch);
        println!("{kind:?}: {ms:.3} ms for {side} x {side} on one thread");
        sum += ms;
    }
    println!("hue: {:.3} ms; a change of RandAugment: {:.3} ms", timed(Op::Hue(0.1), &mut scratch), sum / 14.0);
}

proptest! {
    /// Whatever was in the scratch before, and whatever the size.
    #[test]
    fn the_same_seed_gives_the_same_bytes(seed: u64, side in 1usize..20, ops in 0usize..15, magnitude in 0usize..31) {
        let pixels = noise(side * side * 3);
        let augment = |mut scratch: Vec<u8>| {
            let mut pixels = pixels.clone();
            RandAugment { ops, magnitude }.apply(seed, side, &mut pixels, &mut scratch);
            ColourJitter { brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.5 }
                .apply(seed, side, &mut pixels, &mut scratch);
            Erase { chance: 0.5, colour: [1, 2, 3] }.apply(seed, side, &mut pixels);
            assert!(scratch.capacity() <= scratch.len().max(5000));
            pixels
        };
        prop_assert_eq!(augment(Vec::new()), augment(vec![9; 5000]));
    }
}
