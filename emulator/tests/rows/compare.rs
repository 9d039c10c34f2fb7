//! Comparisons and selections, against orderings of numbers.

use std::cmp::Ordering;

use crate::harness::{Bench, Random, check, inputs};

const WORDS: [u64; 10] =
    [0, 1, 2, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0001];
const FLOATS: [u64; 13] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x0080_0000,
    0x8080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fff_ffff,
    0xffc0_0000,
];

fn register(ty: &str) -> char {
    match ty {
        "b16" | "u16" | "s16" => 'h',
        "b32" | "u32" | "s32" => 'r',
        "f32" => 'f',
        "f64" => 'g',
        _ => 'd',
    }
}

fn flush(v: f64) -> f64 {
    if v.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { v }
}

/// How two numbers of a type compare; NaN not at all.
fn order(ty: &str, ftz: bool, a: u64, b: u64) -> Option<Ordering> {
    let float = |v: u64| match ty {
        "f32" if ftz => flush(f32::from_bits(v as u32).into()),
        "f32" => f32::from_bits(v as u32).into(),
        _ => f64::from_bits(v),
    };
    match ty {
        "f32" | "f64" => float(a).partial_cmp(&float(b)),
        "s16" => Some((a as i16).cmp(&(b as i16))),
        "s32" => Some((a as i32).cmp(&(b as i32))),
        "s64" => Some((a as i64).cmp(&(b as i64))),
        "u16" | "b16" => Some((a as u16).cmp(&(b as u16))),
        "u32" | "b32" => Some((a as u32).cmp(&(b as u32))),
        _ => Some(a.cmp(&b)),
    }
}

fn holds(comparison: &str, order: Option<Ordering>) -> bool {
    use Ordering::*;
    let Some(order) = order else { return comparison == "nan" || comparison.len() == 3 && comparison.ends_with('u') };
    match comparison.trim_end_matches('u') {
        "eq" => order == Equal,
        "ne" => order != Equal,
        "lt" | "lo" => order == Less,
        "le" | "ls" => order != Greater,
        "gt" | "hi" => order == Greater,
        "ge" | "hs" => order != Less,
        "nan" => false,
        // `num`; no other name is left.
        _ => true,
    }
}

/// Types with the comparisons they have and whether `.ftz` is asked for.
fn forms() -> Vec<(&'static str, Vec<&'static str>, bool)> {
    let equal = vec!["eq", "ne"];
    let signed = vec!["eq", "ne", "lt", "le", "gt", "ge"];
    let unsigned = [&signed[..], &["lo", "ls", "hi", "hs"]].concat();
    let float = [&signed[..], &["equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]].concat();
    let mut all: Vec<_> = ["b16", "b32", "b64"].map(|ty| (ty, equal.clone(), false)).into();
    all.extend(["s16", "s32", "s64"].map(|ty| (ty, signed.clone(), false)));
    all.extend(["u16", "u32", "u64"].map(|ty| (ty, unsigned.clone(), false)));
    all.extend([("f32", float.clone(), false), ("f32", float.clone(), true), ("f64", float, false)]);
    all
}

fn tuples(ty: &str, n: usize) -> Vec<Vec<u64>> {
    let mut random = Random(0xfeed_0001);
    let values: Vec<u64> = match ty {
        "f32" => FLOATS.to_vec(),
        "f64" => {
            FLOATS.iter().map(|&v| f64::from(f32::from_bits(v as u32)).to_bits()).chain([1, 1 << 63 | 1]).collect()
        }
        _ => WORDS.to_vec(),
    };
    inputs(n, &values, 200, move || random.next())
}

/// `p`'s value in a lane is a bit of this.
const WITH: u32 = 0x5f0f_33a5;

#[test]
fn predicates_and_words() {
    for (ty, comparisons, ftz) in forms() {
        let r = register(ty);
        for comparison in comparisons {
            for (join, negated) in [
                ("", false),
                (".and", false),
                (".and", true),
                (".or", false),
                (".or", true),
                (".xor", false),
                (".xor", true),
            ] {
                let with = match (join, negated) {
                    ("", _) => "",
                    (_, false) => ", %p3",
                    (_, true) => ", !%p3",
                };
                let flag = if ftz { ".ftz" } else { "" };
                for target in ["%p1", "%p1|%p2", "_|%p2", "u32", "s32", "f32"] {
                    let set = !target.contains('p');
                    let results = if target.contains('|') { 2 } else { 1 };
                    let code = match (set, target) {
                        (false, _) => format!("setp.{comparison}{join}{flag}.{ty} {target}, %{r}2, %{r}3{with};"),
                        (true, "f32") => format!("set.{comparison}{join}{flag}.f32.{ty} %f1, %{r}2, %{r}3{with};"),
                        (true, to) => format!("set.{comparison}{join}{flag}.{to}.{ty} %r1, %{r}2, %{r}3{with};"),
                    };
                    let bench = Bench::new(&code);
                    for chunk in tuples(ty, 2).chunks_exact(32) {
                        let mut rows = vec![std::array::from_fn(|i| chunk[i][0]), std::array::from_fn(|i| chunk[i][1])];
                        if !join.is_empty() {
                            rows.push(std::array::from_fn(|i| u64::from(WITH >> i & 1)));
                        }
                        let mask = 0xfff0_ffff;
                        let (out, _) = bench.run(results, &rows, mask, 0);
                        for i in 0..32 {
                            let t = holds(comparison, order(ty, ftz, chunk[i][0], chunk[i][1]));
                            let q = (WITH >> i & 1 == 1) != negated;
                            let joined = |t: bool| match join {
                                ".and" => t && q,
                                ".or" => t || q,
                                ".xor" => t != q,
                                _ => t,
                            };
                            let truth = match target {
                                "f32" => 0x3f80_0000,
                                _ if set => 0xffff_ffff,
                                _ => 1,
                            };
                            let kept = if set { 0xffff_ffff } else { 1 };
                            let expected = if mask >> i & 1 == 0 { kept } else { u64::from(joined(t)) * truth };
                            assert_eq!(out[0][i], expected, "`{code}` of {:x?}, lane {i}", chunk[i]);
                            if results == 2 {
                                let expected = if mask >> i & 1 == 0 { 1 } else { u64::from(joined(!t)) };
                                assert_eq!(out[1][i], expected, "the second of `{code}` of {:x?}, lane {i}", chunk[i]);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn selections() {
    for ty in ["b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"] {
        let r = register(ty);
        let width: u32 = ty[1..].parse().unwrap();
        let cut = |v: u64| v & u64::MAX >> (64 - width);
        for (not, wanted) in [("", 1), ("!", 0)] {
            check(&format!("selp.{ty} %{r}1, %{r}2, %{r}3, {not}%p1;"), &tuples("b64", 3), |t| {
                cut(if t[2] & 1 == wanted { t[0] } else { t[1] })
            });
        }
        check(&format!("slct.{ty}.s32 %{r}1, %{r}2, %{r}3, %r4;"), &tuples("b64", 3), |t| {
            cut(if t[2] as i32 >= 0 { t[0] } else { t[1] })
        });
        for (flag, ftz) in [("", false), (".ftz", true)] {
            check(&format!("slct{flag}.{ty}.f32 %{r}1, %{r}2, %{r}3, %f4;"), &tuples("f32", 3), |t| {
                let c = f64::from(f32::from_bits(t[2] as u32));
                cut(if (if ftz { flush(c) } else { c }) >= 0.0 { t[0] } else { t[1] })
            });
        }
    }
}
