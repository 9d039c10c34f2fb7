//! 8-bit floats and differences of bytes, at every SIMD level.

mod runner;

use half::f16;
use runner::{Random, Runner};

/// The value of an 8-bit float by its fields; `None` if it is a NaN.
fn value(e4m3: bool, bits: u8) -> Option<f64> {
    let (fraction, bias) = if e4m3 { (3, 7) } else { (2, 15) };
    let (exponent, rest) = (i32::from(bits & 0x7f) >> fraction, f64::from(bits & ((1 << fraction) - 1)));
    let steps = f64::from(1 << fraction);
    let size = match bits & 0x7f {
        0x7f if e4m3 => return None,
        0x7c if !e4m3 => f64::INFINITY,
        0x7d.. if !e4m3 => return None,
        _ if exponent == 0 => rest / steps * 2f64.powi(1 - bias),
        _ => (1.0 + rest / steps) * 2f64.powi(exponent - bias),
    };
    Some(if bits >> 7 == 1 { -size } else { size })
}

/// The nearest finite value, by looking at all of them; of two the one with an even last bit.
fn nearest(e4m3: bool, x: f32, relu: bool) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    if relu && x.is_sign_negative() {
        return 0;
    }
    let finite = (0..0x7f).filter(|&bits| value(e4m3, bits).is_some_and(f64::is_finite));
    // Beyond the largest all are as far, so the search stops there by itself.
    let size = f64::from(x.abs()).min(1e6);
    let distance = |bits: u8| (value(e4m3, bits).unwrap() - size).abs();
    let best = finite.min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))).unwrap();
    best | u8::from(x.is_sign_negative()) << 7
}

/// All values, all points halfway between two, their neighbours, and what overflows.
fn singles(e4m3: bool) -> Vec<f32> {
    let mut all: Vec<f32> = (0..0x7f).filter_map(|bits| value(e4m3, bits)).map(|v| v as f32).collect();
    let halfway: Vec<f32> = all.windows(2).map(|w| (w[0] + w[1]) / 2.0).filter(|v| v.is_finite()).collect();
    all.extend(halfway);
    let near = |v: &f32| [v.next_down(), *v, v.next_up()];
    let mut all: Vec<f32> = all.iter().flat_map(near).flat_map(|v| [v, -v]).collect();
    all.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, f32::MIN_POSITIVE, 1e-45, 460.0, 464.0, 465.0, 6e4]);
    all
}

#[test]
fn singles_round_to_pairs_of_8_bit_floats() {
    for (name, e4m3) in [("e4m3x2", true), ("e5m2x2", false)] {
        for (flag, relu) in [("", false), (".relu", true)] {
            let all = singles(e4m3);
            let pairs = all.iter().zip(all.iter().rev()).map(|(a, b)| [a.to_bits().into(), b.to_bits().into()]);
            let runner = Runner::new(&format!("cvt.rn.satfinite{flag}.{name}.f32 %h0, %r0, %r1"));
            runner.check(pairs, |[a, b]| {
                let [high, low] = [a, b].map(|bits| nearest(e4m3, f32::from_bits(bits as u32), relu));
                u64::from(high) << 8 | u64::from(low)
            });
        }
    }
}

#[test]
fn halves_become_8_bit_floats_and_8_bit_floats_become_halves() {
    for (name, e4m3) in [("e4m3x2", true), ("e5m2x2", false)] {
        let mut random = Random(1);
        let words: Vec<[u64; 1]> = (0..20_000).map(|_| [random.bits() & 0xffff_ffff]).collect();
        Runner::new(&format!("cvt.rn.satfinite.{name}.f16x2 %h0, %r0")).check(words, |[a]| {
            let [low, high] = [a, a >> 16].map(|bits| nearest(e4m3, f16::from_bits(bits as u16).to_f32(), false));
            u64::from(high) << 8 | u64::from(low)
        });
        for (flag, relu) in [("", false), (".relu", true)] {
            let all = (0..0x1_0000).map(|v| [v]);
            Runner::new(&format!("cvt.rn{flag}.f16x2.{name} %r0, %h0")).check(all, |[a]| {
                let [low, high] = [a as u8, (a >> 8) as u8].map(|bits| match value(e4m3, bits) {
                    None => 0x7fff,
                    Some(v) if relu && v.is_sign_negative() => 0,
                    Some(v) => f16::from_f64(v).to_bits(),
                });
                u64::from(high) << 16 | u64::from(low)
            });
        }
    }
}

#[test]
fn differences_of_bytes_stay_apart_or_are_summed() {
    let signed = |word: u64, n: usize, signed: bool| {
        let byte = word.to_le_bytes()[n];
        if signed { i64::from(byte as i8) } else { i64::from(byte) }
    };
    for (types, a_signed, b_signed) in
        [("u32.u32.u32", false, false), ("s32.s32.s32", true, true), ("u32.s32.u32", true, false)]
    {
        for added in [false, true] {
            let mut random = Random(2);
            let words: Vec<[u64; 3]> = (0..5000).map(|_| [(); 3].map(|_| random.bits() & 0xffff_ffff)).collect();
            let flag = if added { ".add" } else { "" };
            Runner::new(&format!("vabsdiff4.{types}{flag} %r0, %r1, %r2, %r3")).check(words, |[a, b, c]| {
                let sizes = [0, 1, 2, 3].map(|n| (signed(a, n, a_signed) - signed(b, n, b_signed)).unsigned_abs());
                if added {
                    (c + sizes.iter().sum::<u64>()) & 0xffff_ffff
                } else {
                    sizes.iter().rev().fold(0, |word, size| word << 8 | size & 0xff)
                }
            });
        }
    }
}
