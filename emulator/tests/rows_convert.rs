//! `cvt` against exact numbers, at every SIMD level and in registers wider than the type.

mod exact;
mod runner;

use exact::{BF16, Direction, Exact, F16, F32, F64, Float, edges};
use runner::{Random, Runner};

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Integer {
    name: &'static str,
    bits: u32,
    signed: bool,
}

const fn integer(name: &'static str, bits: u32, signed: bool) -> Integer {
    Integer { name, bits, signed }
}
const INTEGERS: [Integer; 8] = [
    integer("u8", 8, false),
    integer("s8", 8, true),
    integer("u16", 16, false),
    integer("s16", 16, true),
    integer("u32", 32, false),
    integer("s32", 32, true),
    integer("u64", 64, false),
    integer("s64", 64, true),
];

/// Kinds of registers with their widths.
const REGISTERS: [(&str, u32); 3] = [("%h", 16), ("%r", 32), ("%d", 64)];

impl Integer {
    fn registers(self) -> impl Iterator<Item = (&'static str, u32)> {
        REGISTERS.into_iter().filter(move |&(_, width)| width >= self.bits)
    }

    /// What the lower bits of a register mean.
    fn value(self, register: u64) -> i128 {
        let low = i128::from(register) & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) == 1 { low - (1 << self.bits) } else { low }
    }

    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// A register of that width that holds the value modulo the type, extended by its sign.
    fn register(self, value: i128, width: u32) -> u64 {
        let low = (value & ((1 << self.bits) - 1)) as u64;
        (self.value(low) & ((1i128 << width) - 1)) as u64
    }
}

/// Registers with every limit of every type in their lower bits, with and without bits above, and random ones.
fn registers(width: u32) -> Vec<u64> {
    let mut all = Vec::new();
    for power in [0, 1, 7, 8, 11, 15, 16, 17, 23, 24, 25, 31, 32, 33, 52, 53, 54, 62, 63] {
        let at = 1u64 << power;
        for v in [at - 1, at, at + 1, at | at >> 1, at.wrapping_neg(), !at, (!at).wrapping_add(2)] {
            all.extend([v, v ^ 0xa5a5 << 48, v ^ 0x5a << 24, v ^ 0xc3 << 8]);
        }
    }
    let mut random = Random(4);
    all.extend((0..500).map(|_| random.bits() >> (random.bits() % 64)));
    all.iter().map(|v| v & (u64::MAX >> (64 - width))).collect()
}

#[test]
fn integers_are_chopped_and_extended_or_clamped() {
    for from in INTEGERS {
        for to in INTEGERS {
            for (source, from_width) in from.registers() {
                for (target, to_width) in to.registers() {
                    let inputs = || registers(from_width).into_iter().map(|v| [v]);
                    let text = format!("{}.{} {target}0, {source}1", to.name, from.name);
                    Runner::new(&format!("cvt.{text}")).check(inputs(), |[a]| to.register(from.value(a), to_width));
                    let (least, most) = to.range();
                    Runner::new(&format!("cvt.sat.{text}"))
                        .check(inputs(), |[a]| to.register(from.value(a).clamp(least, most), to_width));
                }
            }
        }
    }
}

const DIRECTIONS: [(&str, Direction); 4] =
    [("rn", Direction::Nearest), ("rz", Direction::Zero), ("rm", Direction::Down), ("rp", Direction::Up)];
const FLOATS: [(&str, Float, &str); 4] =
    [("f16", F16, "%h"), ("bf16", BF16, "%h"), ("f32", F32, "%r"), ("f64", F64, "%d")];

fn of_integer(value: i128) -> Exact {
    Exact { negative: value < 0, magnitude: value.unsigned_abs(), scale: 0, lost: false }
}

fn saturated(format: Float, bits: u64) -> u64 {
    if format.is_nan(bits) || bits & format.sign() != 0 { 0 } else { bits.min(format.one()) }
}

fn relu(format: Float, bits: u64) -> u64 {
    if format.is_nan(bits) {
        format.nan
    } else if bits & format.sign() != 0 {
        0
    } else {
        bits
    }
}

#[test]
fn integers_round_to_floats() {
    for from in INTEGERS {
        for (source, from_width) in from.registers() {
            for (name, format, target) in FLOATS {
                for (word, direction) in DIRECTIONS {
                    let inputs = || registers(from_width).into_iter().map(|v| [v]);
                    let of = |[a]: [u64; 1]| format.rounded(of_integer(from.value(a)), direction);
                    let text = format!("{name}.{} {target}0, {source}1", from.name);
                    Runner::new(&format!("cvt.{word}.{text}")).check(inputs(), of);
                    if format != BF16 {
                        Runner::new(&format!("cvt.{word}.ftz.sat.{text}"))
                            .check(inputs(), |a| saturated(format, of(a)));
                    }
                }
            }
        }
    }
}

/// A finite number rounded to an integral magnitude.
fn integral(x: Exact, direction: Direction) -> u128 {
    if x.scale >= 0 {
        return if x.scale > 100 { 1 << 127 } else { x.magnitude << x.scale };
    }
    let shift = -x.scale as u32;
    let (whole, rest, half) = if shift > 120 {
        (0, u128::from(x.magnitude != 0), 2)
    } else {
        (x.magnitude >> shift, x.magnitude & ((1 << shift) - 1), 1 << (shift - 1))
    };
    whole
        + u128::from(match direction {
            Direction::Zero => false,
            Direction::Down => x.negative && rest != 0,
            Direction::Up => !x.negative && rest != 0,
            Direction::Nearest => rest > half || (rest == half && whole % 2 == 1),
        })
}

/// Floats to try: all of 16 bits; of more the edges, and values around integers and halves.
fn floats(format: Float) -> Vec<[u64; 1]> {
    if format.fraction + format.exponent == 15 {
        return (0..0x1_0000).map(|v| [v]).collect();
    }
    let mut all = edges(format);
    let mut random = Random(5);
    for _ in 0..3000 {
        // Magnitudes from 2^-3 to 2^67, some of them with few bits, so that ties are there.
        let exponent = (format.one() >> format.fraction) - 3 + random.bits() % 70;
        let fraction = random.bits() & ((1 << format.fraction) - 1);
        let kept = random.bits() % u64::from(format.fraction + 1);
        let sign = if random.bits() & 1 == 1 { format.sign() } else { 0 };
        all.push(sign | exponent << format.fraction | (fraction >> kept << kept));
        all.push(random.bits() & (format.sign() | (format.sign() - 1)));
    }
    all.into_iter().map(|v| [v]).collect()
}

#[test]
fn floats_round_to_integers_and_saturate() {
    for (name, format, source) in FLOATS {
        let inputs = floats(format);
        for to in INTEGERS {
            for (target, to_width) in to.registers() {
                for (word, direction) in DIRECTIONS {
                    let of = |a: u64| {
                        let (least, most) = to.range();
                        if format.is_nan(a) {
                            let highest = format == F64 || to.bits == 64;
                            return to.register(if highest { 1 << (to.bits - 1) } else { 0 }, to_width);
                        }
                        let magnitude = if format.is_infinite(a) {
                            1 << 100
                        } else {
                            integral(format.exact(a), direction).min(1 << 100) as i128
                        };
                        let value = if a & format.sign() != 0 { -magnitude } else { magnitude };
                        to.register(value.clamp(least, most), to_width)
                    };
                    let text = format!("{}.{name} {target}0, {source}1", to.name);
                    // Exhaustive where it is wide, a third of it elsewhere.
                    let step = if to_width == to.bits { 1 } else { 3 };
                    let some = || inputs.iter().copied().step_by(step);
                    Runner::new(&format!("cvt.{word}i.{text}")).check(some(), |[a]| of(a));
                    if format == F32 {
                        Runner::new(&format!("cvt.{word}i.ftz.sat.{text}")).check(some(), |[a]| of(F32.flush(a)));
                    }
                }
            }
        }
    }
}

#[test]
fn floats_become_integral_or_saturate_in_their_format() {
    for (name, format, register) in FLOATS {
        let inputs = floats(format);
        for (word, direction) in DIRECTIONS {
            let of = |a: u64| {
                if format.is_nan(a) {
                    // Doubles keep what they hold and become quiet.
                    return if format == F64 { a | 1 << 51 } else { format.nan };
                }
                if format.is_infinite(a) {
                    return a;
                }
                let x = format.exact(a);
                // No fraction from 2^53 on.
                if x.scale >= 0 {
                    return a;
                }
                format.rounded(Exact { magnitude: integral(x, direction), scale: 0, ..x }, direction)
            };
            let text = format!("{name}.{name} {register}0, {register}1");
            Runner::new(&format!("cvt.{word}i.{text}")).check(inputs.iter().copied(), |[a]| of(a));
            if format != BF16 {
                Runner::new(&format!("cvt.{word}i.sat.{text}"))
                    .check(inputs.iter().copied(), |[a]| saturated(format, of(a)));
            }
            if format == F32 {
                Runner::new(&format!("cvt.{word}i.ftz.{text}")).check(inputs.iter().copied(), |[a]| of(F32.flush(a)));
            }
        }
    }
    Runner::new("cvt.f32.f32 %r0, %r1").check(floats(F32), |[a]| a);
    Runner::new("cvt.ftz.f32.f32 %r0, %r1")
        .check(floats(F32), |[a]| if F32.is_nan(a) { F32.nan } else { F32.flush(a) });
    Runner::new("cvt.sat.f32.f32 %r0, %r1").check(floats(F32), |[a]| saturated(F32, a));
    Runner::new("cvt.ftz.sat.f32.f32 %r0, %r1").check(floats(F32), |[a]| saturated(F32, F32.flush(a)));
    Runner::new("cvt.sat.f64.f64 %d0, %d1").check(floats(F64), |[a]| saturated(F64, a));
    Runner::new("cvt.sat.f16.f16 %h0, %h1").check(floats(F16), |[a]| saturated(F16, a));
}

/// Another format's nearest value in a direction.
fn narrowed(from: Float, to: Float, a: u64, direction: Direction) -> u64 {
    if from.is_nan(a) {
        return to.nan;
    }
    let sign = if a & from.sign() != 0 { to.sign() } else { 0 };
    if from.is_infinite(a) { sign | to.infinity() } else { to.rounded(from.exact(a), direction) }
}

/// Values of a wider format around those of a narrower one: on them, halfway, and beside both.
fn around(from: Float, to: Float) -> Vec<[u64; 1]> {
    let mut all: Vec<u64> = floats(from).into_iter().map(|[v]| v).collect();
    let mut random = Random(6);
    let narrow: Vec<u64> = if to.fraction + to.exponent == 15 {
        (0..0x8000).collect()
    } else {
        edges(to).into_iter().chain((0..2000).map(|_| random.bits())).map(|v| v & (to.sign() - 1)).collect()
    };
    for v in narrow.into_iter().filter(|&v| v < to.infinity()) {
        let x = to.exact(v);
        let tie = Exact { magnitude: 2 * x.magnitude + 1, scale: x.scale - 1, ..x };
        for exact in [x, tie] {
            let at = from.rounded(exact, Direction::Nearest);
            all.extend([at, at + 1, at.saturating_sub(1), at | from.sign(), (at + 1) | from.sign()]);
        }
    }
    all.into_iter().map(|v| [v]).collect()
}

#[test]
fn floats_narrow_in_each_direction() {
    for (to_name, to, target) in FLOATS {
        for (from_name, from, source) in FLOATS {
            // A half fits in no bfloat and the other way round; `cvt` goes one way.
            let narrows = from.fraction > to.fraction && !(from == BF16 || (to == BF16 && from == F32));
            if !narrows {
                continue;
            }
            let inputs = if from == F16 { floats(F16) } else { around(from, to) };
            for (word, direction) in DIRECTIONS {
                let text = format!("{to_name}.{from_name} {target}0, {source}1");
                let of = |a: u64| narrowed(from, to, a, direction);
                Runner::new(&format!("cvt.{word}.{text}")).check(inputs.iter().copied(), |[a]| of(a));
                if to == BF16 {
                    continue;
                }
                Runner::new(&format!("cvt.{word}.sat.{text}"))
                    .check(inputs.iter().copied(), |[a]| saturated(to, of(a)));
                let flushed = |a: u64| match (from, to) {
                    (F32, _) => of(F32.flush(a)),
                    (_, F32) => F32.flush(of(a)),
                    _ => of(a),
                };
                Runner::new(&format!("cvt.{word}.ftz.{text}")).check(inputs.iter().copied(), |[a]| flushed(a));
            }
        }
    }
}

#[test]
fn singles_narrow_alone_and_in_pairs() {
    for (name, to) in [("f16", F16), ("bf16", BF16)] {
        let inputs = around(F32, to);
        for (word, direction) in &DIRECTIONS[..2] {
            let of = |a: u64| narrowed(F32, to, a, *direction);
            let single = |words: &str| Runner::new(&format!("cvt.{words}.{name}.f32 %h0, %r1"));
            single(word).check(inputs.iter().copied(), |[a]| of(a));
            single(&format!("{word}.relu")).check(inputs.iter().copied(), |[a]| relu(to, of(a)));
            // The first source goes to the upper half.
            let pairs = || inputs.iter().zip(inputs.iter().rev()).map(|(a, b)| [a[0], b[0]]);
            let pair = |words: &str| Runner::new(&format!("cvt.{words}.{name}x2.f32 %r0, %r1, %r2"));
            pair(word).check(pairs(), |[a, b]| of(a) << 16 | of(b));
            pair(&format!("{word}.relu")).check(pairs(), |[a, b]| relu(to, of(a)) << 16 | relu(to, of(b)));
        }
    }
}

#[test]
fn floats_widen_exactly() {
    // The single that a half or bfloat is; a bfloat keeps its NaN, a half's becomes canonical.
    let wide = |from, to, [a]: [u64; 1]| narrowed(from, to, a, Direction::Zero);
    Runner::new("cvt.f32.f16 %r0, %h1").check(floats(F16), |a| wide(F16, F32, a));
    Runner::new("cvt.ftz.f32.f16 %r0, %h1").check(floats(F16), |a| wide(F16, F32, a));
    Runner::new("cvt.sat.f32.f16 %r0, %h1").check(floats(F16), |a| saturated(F32, wide(F16, F32, a)));
    Runner::new("cvt.f64.f16 %d0, %h1").check(floats(F16), |a| wide(F16, F64, a));
    Runner::new("cvt.f32.bf16 %r0, %h1").check(floats(BF16), |[a]| a << 16);
    Runner::new("cvt.sat.f32.bf16 %r0, %h1").check(floats(BF16), |[a]| saturated(F32, a << 16));
    Runner::new("cvt.f64.bf16 %d0, %h1").check(floats(BF16), |a| wide(BF16, F64, a));
    let kept =
        |a: u64| if F32.is_nan(a) { a >> 31 << 63 | 0x7ff8 << 48 | (a & 0x7f_ffff) << 29 } else { wide(F32, F64, [a]) };
    Runner::new("cvt.f64.f32 %d0, %r1").check(floats(F32), |[a]| kept(a));
    Runner::new("cvt.ftz.f64.f32 %d0, %r1").check(floats(F32), |[a]| kept(F32.flush(a)));
    Runner::new("cvt.sat.f64.f32 %d0, %r1").check(floats(F32), |a| saturated(F64, wide(F32, F64, a)));
}

#[test]
fn singles_round_to_tf32() {
    const TF32: Float = Float { fraction: 10, exponent: 8, nan: 0x3_ffff };
    let full = |bits: u64| if bits == TF32.nan { 0x7fff_ffff } else { bits << 13 };
    let inputs = around(F32, TF32);
    for (word, direction) in &DIRECTIONS[..2] {
        let of = |a: u64| narrowed(F32, TF32, a, *direction);
        Runner::new(&format!("cvt.{word}.tf32.f32 %r0, %r1")).check(inputs.iter().copied(), |[a]| full(of(a)));
        Runner::new(&format!("cvt.{word}.relu.tf32.f32 %r0, %r1"))
            .check(inputs.iter().copied(), |[a]| full(relu(TF32, of(a))));
    }
    // Ties away from zero: what is halfway or above goes up in magnitude, below down.
    Runner::new("cvt.rna.tf32.f32 %r0, %r1").check(inputs.iter().copied(), |[a]| {
        if F32.is_nan(a) {
            return F32.nan;
        }
        let down = narrowed(F32, TF32, a, Direction::Zero);
        let away = a & 0x1fff >= 0x1000;
        full(down + u64::from(away))
    });
}
