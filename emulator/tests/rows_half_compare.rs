//! `set` and `setp` of halves and bfloats, on all pairs of edge values.

mod exact;
mod runner;

use exact::{BF16, F16, Float, double, edges};
use runner::{Runner, Values};

const COMPARISONS: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

fn compare(name: &str, a: f64, b: f64) -> bool {
    let unordered = a.is_nan() || b.is_nan();
    match name {
        "num" => !unordered,
        "nan" => unordered,
        "ne" => !unordered && a != b,
        "neu" => unordered || a != b,
        _ if unordered => name.len() == 3,
        _ => match &name[..2] {
            "eq" => a == b,
            "lt" => a < b,
            "le" => a <= b,
            "gt" => a > b,
            _ => a >= b,
        },
    }
}

fn join(name: &str, t: bool, c: bool) -> bool {
    match name {
        ".and" => t && c,
        ".or" => t || c,
        ".xor" => t != c,
        _ => t,
    }
}

/// Pairs of edges in rows of 32.
fn rows(format: Float) -> Vec<[Values; 2]> {
    let edges = edges(format);
    let all: Vec<[u64; 2]> = edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b])).collect();
    let row = |chunk: &[[u64; 2]], i: usize| std::array::from_fn(|lane| chunk[lane % chunk.len()][i]);
    all.chunks(32).map(|chunk| [row(chunk, 0), row(chunk, 1)]).collect()
}

#[test]
fn comparisons_of_halves_set_predicates_and_values() {
    let third: Values = std::array::from_fn(|lane| (0x9e37_79b9u64 >> lane) & 1);
    for (format, name, ftz) in [(F16, "f16", false), (F16, "f16", true), (BF16, "bf16", false)] {
        let rows = rows(format);
        let flush = if ftz { ".ftz" } else { "" };
        let value = |v: u64| double(format, if ftz { format.flush(v) } else { v });
        for comparison in COMPARISONS {
            for bool_op in ["", ".and", ".or", ".xor"] {
                let words = format!("{comparison}{bool_op}{flush}");
                let (q, sources) = if bool_op.is_empty() { ("", 2) } else { (", %p2", 3) };
                let single = Runner::new(&format!("setp.{words}.{name} %p0, %h1, %h2{q}"));
                let pair = Runner::new(&format!("setp.{words}.{name} %p0|%p1, %h1, %h2{q}"));
                let packed = Runner::new(&format!("setp.{words}.{name}x2 %p0|%p1, %r1, %r2{q}"));
                let to_float = Runner::new(&format!("set.{words}.{name}.{name} %h0, %h1, %h2{q}"));
                let to_short = Runner::new(&format!("set.{words}.s16.{name} %h0, %h1, %h2{q}"));
                let to_long = Runner::new(&format!("set.{words}.u32.{name} %r0, %h1, %h2{q}"));
                let packed_float = Runner::new(&format!("set.{words}.{name}x2.{name}x2 %r0, %r1, %r2{q}"));
                let packed_mask = Runner::new(&format!("set.{words}.s32.{name}x2 %r0, %r1, %r2{q}"));
                for [a, b] in &rows {
                    let inputs = [*a, *b, third];
                    let t: [bool; 32] = std::array::from_fn(|i| compare(comparison, value(a[i]), value(b[i])));
                    let p = std::array::from_fn(|i| u64::from(join(bool_op, t[i], third[i] == 1)));
                    let not: Values = std::array::from_fn(|i| u64::from(join(bool_op, !t[i], third[i] == 1)));
                    assert_eq!(single.run(1, &inputs[..sources], u32::MAX)[0], p, "setp.{words}.{name}");
                    assert_eq!(pair.run(2, &inputs[..sources], u32::MAX), [p, not], "setp.{words}.{name} p|q");
                    let run = |runner: &Runner, inputs: &[Values; 3]| runner.run(1, &inputs[..sources], u32::MAX)[0];
                    assert_eq!(run(&to_float, &inputs), p.map(|v| v * format.one()), "set.{words}.{name}.{name}");
                    assert_eq!(run(&to_short, &inputs), p.map(|v| v * 0xffff), "set.{words}.s16.{name}");
                    assert_eq!(run(&to_long, &inputs), p.map(|v| v * 0xffff_ffff), "set.{words}.u32.{name}");
                    // The upper half compares the same operands the other way round.
                    let t: [bool; 32] = std::array::from_fn(|i| compare(comparison, value(b[i]), value(a[i])));
                    let q: Values = std::array::from_fn(|i| u64::from(join(bool_op, t[i], third[i] == 1)));
                    let both = |x: &Values, y: &Values| std::array::from_fn(|i| x[i] | y[i] << 16);
                    let inputs = [both(a, b), both(b, a), third];
                    assert_eq!(packed.run(2, &inputs[..sources], u32::MAX), [p, q], "setp.{words}.{name}x2");
                    let flags: Values = std::array::from_fn(|i| p[i] | q[i] << 16);
                    assert_eq!(run(&packed_float, &inputs), flags.map(|v| v * format.one()), "set.{words}.{name}x2");
                    assert_eq!(run(&packed_mask, &inputs), flags.map(|v| v * 0xffff), "set.{words}.s32.{name}x2");
                }
            }
        }
    }
}
