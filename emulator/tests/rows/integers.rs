//! Integer arithmetic, against 128-bit integers.

use crate::harness::{Bench, Random, check, inputs};

const TYPES: [(&str, u32, bool); 6] = [
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];

/// The registers of the test kernel for a width.
fn register(bits: u32) -> char {
    match bits {
        16 => 'h',
        32 => 'r',
        _ => 'd',
    }
}

/// The number that bits mean.
fn number(bits: u64, width: u32, signed: bool) -> i128 {
    let cut = u128::from(bits) & ((1 << width) - 1);
    if signed && cut >> (width - 1) == 1 { cut as i128 - (1 << width) } else { cut as i128 }
}

fn cut(value: i128, width: u32) -> u64 {
    (value as u128 & ((1 << width) - 1)) as u64
}

/// Edge values of a width, and random ones of all sizes.
fn tuples(n: usize, width: u32) -> Vec<Vec<u64>> {
    let top = 1u64 << (width - 1);
    let all = u64::MAX >> (64 - width);
    let mut random = Random(0x1234_5678_9abc_def1 + n as u64);
    let edges = [0, 1, 2, 7, 0xff, top - 1, top, top + 1, all - 1, all, 0x00ff_ffff & all, 0x0100_0001 & all];
    inputs(n, if n == 3 { &edges[..10] } else { &edges }, 2000, move || {
        let size = random.next() % u64::from(width);
        random.next() & all >> size
    })
}

/// Checks `op` for all types against a function of numbers, given the width.
fn all_types(op: &str, n: usize, expected: impl Fn(&[i128], u32, bool) -> i128) {
    for (ty, width, signed) in TYPES {
        one_type(op, ty, width, signed, n, &expected);
    }
}

fn one_type(op: &str, ty: &str, width: u32, signed: bool, n: usize, expected: impl Fn(&[i128], u32, bool) -> i128) {
    let r = register(width);
    let operands: Vec<String> = (0..=n).map(|i| format!("%{r}{i}")).collect();
    let code = format!("{op}.{ty} {};", operands.join(", "));
    check(&code, &tuples(n, width), |t| {
        let numbers: Vec<i128> = t.iter().map(|&v| number(v, width, signed)).collect();
        cut(expected(&numbers, width, signed), width)
    });
}

/// The upper half of a product. 64-bit unsigned ones do not fit `i128`, so their bits are taken as `u128`.
fn high(a: i128, b: i128, width: u32) -> i128 {
    if a >= 0 && b >= 0 { ((a as u128 * b as u128) >> width) as i128 } else { (a * b) >> width }
}

fn low(a: i128, b: i128) -> i128 {
    a.wrapping_mul(b)
}

#[test]
fn sums_products_and_their_halves() {
    all_types("add", 2, |v, _, _| v[0] + v[1]);
    all_types("sub", 2, |v, _, _| v[0] - v[1]);
    all_types("mul.lo", 2, |v, _, _| low(v[0], v[1]));
    all_types("mul.hi", 2, |v, w, _| high(v[0], v[1], w));
    all_types("mad.lo", 3, |v, _, _| low(v[0], v[1]).wrapping_add(v[2]));
    all_types("mad.hi", 3, |v, w, _| high(v[0], v[1], w) + v[2]);
    all_types("sad", 3, |v, _, _| (v[0] - v[1]).abs() + v[2]);
    all_types("min", 2, |v, _, _| v[0].min(v[1]));
    all_types("max", 2, |v, _, _| v[0].max(v[1]));
}

#[test]
fn quotients_and_remainders() {
    let zero = |v: &[i128]| v[1] == 0;
    all_types("div", 2, |v, _, _| if zero(v) { -1 } else { v[0] / v[1] });
    all_types("rem", 2, |v, _, _| if zero(v) { -1 } else { v[0] % v[1] });
}

#[test]
fn signs() {
    for (ty, width, signed) in TYPES.into_iter().filter(|t| t.2) {
        one_type("abs", ty, width, signed, 1, |v, _, _| v[0].abs());
        one_type("neg", ty, width, signed, 1, |v, _, _| -v[0]);
    }
}

#[test]
fn limited_results() {
    let clamp = |v: i128| v.clamp(i32::MIN.into(), i32::MAX.into());
    let s32 = |op: &str, n, f: &dyn Fn(&[i128]) -> i128| one_type(op, "s32", 32, true, n, |v, _, _| f(v));
    s32("add.sat", 2, &|v| clamp(v[0] + v[1]));
    s32("sub.sat", 2, &|v| clamp(v[0] - v[1]));
    s32("mad.hi.sat", 3, &|v| clamp(((v[0] * v[1]) >> 32) + v[2]));
    s32("min.relu", 2, &|v| v[0].min(v[1]).max(0));
    s32("max.relu", 2, &|v| v[0].max(v[1]).max(0));
    let low24 = |v: i128| number(v as u64, 24, true);
    s32("mad24.hi.sat", 3, &|v| clamp(((low24(v[0]) * low24(v[1])) >> 16) + v[2]));
}

#[test]
fn products_of_24_bits() {
    for (ty, width, signed) in [("u32", 32, false), ("s32", 32, true)] {
        let low24 = |v: i128, signed| number(v as u64, 24, signed);
        one_type("mul24.lo", ty, width, signed, 2, |v, _, s| low24(v[0], s) * low24(v[1], s));
        one_type("mul24.hi", ty, width, signed, 2, |v, _, s| (low24(v[0], s) * low24(v[1], s)) >> 16);
        one_type("mad24.lo", ty, width, signed, 3, |v, _, s| low24(v[0], s) * low24(v[1], s) + v[2]);
        one_type("mad24.hi", ty, width, signed, 3, |v, _, s| ((low24(v[0], s) * low24(v[1], s)) >> 16) + v[2]);
    }
}

#[test]
fn wide_products() {
    for (ty, width, signed) in TYPES.into_iter().take(4) {
        let (r, w) = (register(width), register(2 * width));
        check(&format!("mul.wide.{ty} %{w}1, %{r}2, %{r}3;"), &tuples(2, width), |t| {
            cut(number(t[0], width, signed) * number(t[1], width, signed), 2 * width)
        });
        let mut all = tuples(3, width);
        for (i, t) in all.iter_mut().enumerate() {
            t[2] = if i % 2 == 0 { t[2] } else { u64::MAX >> (64 - 2 * width) & !t[2] };
        }
        check(&format!("mad.wide.{ty} %{w}1, %{r}2, %{r}3, %{w}2;"), &all, |t| {
            let product = number(t[0], width, signed) * number(t[1], width, signed);
            cut(product + number(t[2], 2 * width, signed), 2 * width)
        });
    }
}

#[test]
fn carries() {
    for (ty, width, signed) in TYPES.into_iter().skip(2) {
        let r = register(width);
        let all = u128::MAX >> (128 - width);
        for (op, product, subtracts) in
            [("add", None, false), ("sub", None, true), ("mad.lo", Some(false), false), ("mad.hi", Some(true), false)]
        {
            for (reads, writes) in [(true, false), (true, true), (false, true)] {
                let name = if reads {
                    op.replacen("add", "addc", 1).replacen("sub", "subc", 1).replacen("mad", "madc", 1)
                } else {
                    op.into()
                };
                let n = if product.is_some() { 3 } else { 2 };
                let operands: Vec<String> = (0..=n).map(|i| format!("%{r}{i}")).collect();
                let code = format!("{name}{}.{ty} {};", if writes { ".cc" } else { "" }, operands.join(", "));
                let bench = Bench::new(&code);
                for (chunk, carry) in
                    tuples(n, width).chunks_exact(32).zip([0xa5a5_5a5a, 0, u32::MAX].into_iter().cycle())
                {
                    let rows: Vec<_> = (0..n).map(|s| std::array::from_fn(|i| chunk[i][s])).collect();
                    let mask = 0xffff_0ff1;
                    let (out, flags) = bench.run(1, &rows, mask, carry);
                    for i in 0..32 {
                        let flag = u128::from(carry >> i & 1);
                        let t = &chunk[i];
                        let (a, b) = match product {
                            None => (u128::from(t[0]), u128::from(t[1])),
                            Some(upper) => {
                                let (x, y) = (number(t[0], width, signed), number(t[1], width, signed));
                                let part = if upper { high(x, y, width) } else { low(x, y) };
                                (part as u128 & all, u128::from(t[2]))
                            }
                        };
                        let with = if reads { flag } else { 0 };
                        let (value, out_flag) = if subtracts {
                            (a.wrapping_sub(b + with) & all, u128::from(a < b + with))
                        } else {
                            ((a + b + with) & all, (a + b + with) >> width)
                        };
                        let on = mask >> i & 1 == 1;
                        let expected = if on { value } else { all };
                        assert_eq!(u128::from(out[0][i]), expected, "`{code}` of {t:x?}, carry {flag}");
                        let expected = if writes && on { out_flag } else { flag };
                        assert_eq!(
                            u128::from(flags >> i & 1),
                            expected,
                            "the carry of `{code}` of {t:x?}, carry {flag}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn counts_and_fields() {
    for (width, unsigned) in [(32, "u32"), (64, "u64")] {
        let r = register(width);
        let bits = |v: u64| (0..width).map(move |i| v >> i & 1 == 1);
        check(&format!("popc.b{width} %r1, %{r}2;"), &tuples(1, width), |t| bits(t[0]).filter(|&b| b).count() as u64);
        check(&format!("clz.b{width} %r1, %{r}2;"), &tuples(1, width), |t| bits(t[0]).rev_count());
        check(&format!("brev.b{width} %{r}1, %{r}2;"), &tuples(1, width), |t| {
            bits(t[0]).fold(0, |sum, b| sum << 1 | u64::from(b))
        });
        for (ty, signed) in [(unsigned.to_string(), false), (unsigned.replace('u', "s"), true)] {
            for shift in [false, true] {
                let code = format!("bfind{}.{ty} %r1, %{r}2;", if shift { ".shiftamt" } else { "" });
                check(&code, &tuples(1, width), |t| {
                    let a = if signed && t[0] >> (width - 1) == 1 { !t[0] } else { t[0] };
                    let found = (0..width).rev().find(|i| a >> i & 1 == 1);
                    found.map_or(0xffff_ffff, |i| u64::from(if shift { width - 1 - i } else { i }))
                });
            }
            check(&format!("bfe.{ty} %{r}1, %{r}2, %r3, %r4;"), &fields(width), |t| {
                let (a, at, len) = (t[0], t[1] & 0xff, t[2] & 0xff);
                let msb = u64::from(width) - 1;
                let sign = if !signed || len == 0 { 0 } else { a >> (at + len - 1).min(msb) & 1 };
                (0..=msb).fold(0, |d, i| d | (if i < len && at + i <= msb { a >> (at + i) & 1 } else { sign }) << i)
            });
        }
        let four: Vec<_> = fields(width).iter().map(|t| vec![t[0], !t[0] ^ t[0] << 7, t[1], t[2]]).collect();
        check(&format!("bfi.b{width} %{r}1, %{r}2, %{r}3, %r4, %r5;"), &four, |t| {
            let (at, len, msb) = (t[2] & 0xff, t[3] & 0xff, u64::from(width) - 1);
            let mut f = if width == 64 { t[1] } else { t[1] & 0xffff_ffff };
            for i in 0..len {
                if at + i <= msb {
                    f = f & !(1 << (at + i)) | (t[0] >> i & 1) << (at + i);
                }
            }
            f
        });
    }
}

/// Values with positions and lengths.
fn fields(width: u32) -> Vec<Vec<u64>> {
    let places = [0, 1, 5, 16, 31, 32, 33, 47, 63, 64, 65, 128, 255, 256, 260, 0xffff_ffff];
    let mut all = Vec::new();
    for a in tuples(1, width).iter().take(40) {
        all.extend(places.iter().flat_map(|&at| places.iter().map(move |&len| vec![a[0], at, len])));
    }
    all
}

trait Zeros {
    fn rev_count(self) -> u64;
}
impl<I: DoubleEndedIterator<Item = bool>> Zeros for I {
    /// How many are false at the end.
    fn rev_count(self) -> u64 {
        self.rev().take_while(|b| !b).count() as u64
    }
}

#[test]
fn masks_and_nth_bits() {
    let places: Vec<u64> = (0..70).chain([255, 256, 0x8000_0000, 0xffff_ffff]).collect();
    let pairs = inputs(2, &places, 0, || 0);
    for clamp in [true, false] {
        check(&format!("bmsk.{}.b32 %r1, %r2, %r3;", if clamp { "clamp" } else { "wrap" }), &pairs, |t| {
            let (at, len) = if clamp { (t[0], t[1]) } else { (t[0] & 31, t[1] & 31) };
            (0..32).filter(|&i| at <= i && i < at + len).fold(0, |d, i| d | 1 << i)
        });
    }
    let mut random = Random(77);
    let mut all = Vec::new();
    for mask in [0, 1, 0x8000_0000, 0xaaaa_aaaa, 0xffff_ffff, random.next() & 0xffff_ffff] {
        for base in 0..33 {
            let offsets = (-34i32..=34).chain([i32::MIN, i32::MAX]);
            all.extend(offsets.map(|offset| vec![mask, base, u64::from(offset as u32)]));
        }
    }
    check("fns.b32 %r1, %r2, %r3, %r4;", &all, |t| {
        let (mask, base, offset) = (t[0], t[1] as i64, i64::from(t[2] as u32 as i32));
        if base > 31 {
            return 0xffff_ffff;
        }
        if offset == 0 {
            return if mask >> base & 1 == 1 { base as u64 } else { 0xffff_ffff };
        }
        let (mut at, mut left) = (base, offset.abs());
        while (0..32).contains(&at) {
            left -= (mask >> at & 1) as i64;
            if left == 0 {
                return at as u64;
            }
            at += offset.signum();
        }
        0xffff_ffff
    });
}

#[test]
fn dot_products_and_pairs() {
    let part = |v: u64, n: u32, width: u32, ty: &str| number(v >> (n * width), width, ty == "s32");
    for a in ["u32", "s32"] {
        for b in ["u32", "s32"] {
            check(&format!("dp4a.{a}.{b} %r1, %r2, %r3, %r4;"), &tuples(3, 32), |t| {
                let sum: i128 = (0..4).map(|n| part(t[0], n, 8, a) * part(t[1], n, 8, b)).sum();
                cut(sum + i128::from(t[2]), 32)
            });
            for (half, from) in [("lo", 0), ("hi", 2)] {
                check(&format!("dp2a.{half}.{a}.{b} %r1, %r2, %r3, %r4;"), &tuples(3, 32), |t| {
                    let sum: i128 = (0..2).map(|n| part(t[0], n, 16, a) * part(t[1], from + n, 8, b)).sum();
                    cut(sum + i128::from(t[2]), 32)
                });
            }
        }
    }
    for (ty, signed) in [("u16x2", false), ("s16x2", true)] {
        let both = |t: &[u64], f: &dyn Fn(i128, i128) -> i128| {
            (0..2).fold(0, |d, n| {
                let half = |v: u64| number(v >> (16 * n), 16, signed);
                d | cut(f(half(t[0]), half(t[1])), 16) << (16 * n)
            })
        };
        check(&format!("add.{ty} %r1, %r2, %r3;"), &tuples(2, 32), |t| both(t, &|a, b| a + b));
        check(&format!("min.{ty} %r1, %r2, %r3;"), &tuples(2, 32), |t| both(t, &|a, b| a.min(b)));
        check(&format!("max.{ty} %r1, %r2, %r3;"), &tuples(2, 32), |t| both(t, &|a, b| a.max(b)));
    }
}
