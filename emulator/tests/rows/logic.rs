//! Logic and shifts, bit by bit.

use crate::harness::{Bench, Random, check, inputs};

const REGISTERS: [(u32, char); 3] = [(16, 'h'), (32, 'r'), (64, 'd')];

fn tuples(n: usize, width: u32) -> Vec<Vec<u64>> {
    let mut random = Random(0xc0ff_ee11);
    let all = u64::MAX >> (64 - width);
    let values = [0, 1, 0x80, 0xff00 & all, 1 << (width - 1), all >> 1, all];
    inputs(n, &values, 500, move || random.next() & all)
}

#[test]
fn words() {
    for (width, r) in REGISTERS {
        let all = u64::MAX >> (64 - width);
        check(&format!("and.b{width} %{r}1, %{r}2, %{r}3;"), &tuples(2, width), |t| t[0] & t[1]);
        check(&format!("or.b{width} %{r}1, %{r}2, %{r}3;"), &tuples(2, width), |t| t[0] | t[1]);
        check(&format!("xor.b{width} %{r}1, %{r}2, %{r}3;"), &tuples(2, width), |t| t[0] ^ t[1]);
        check(&format!("not.b{width} %{r}1, %{r}2;"), &tuples(1, width), |t| !t[0] & all);
        check(&format!("cnot.b{width} %{r}1, %{r}2;"), &tuples(1, width), |t| (t[0] == 0).into());
    }
}

#[test]
fn predicates() {
    let (a, b) = (std::array::from_fn(|i| i as u64 & 1), std::array::from_fn(|i| i as u64 >> 1 & 1));
    let mask = 0x0fff_ffff;
    let lane = |i: usize, value: u64| if mask >> i & 1 == 1 { value & 1 } else { 1 };
    for (code, f) in [
        ("and.pred %p1, %p2, %p3;", (|a, b| a & b) as fn(u64, u64) -> u64),
        ("or.pred %p1, %p2, %p3;", |a, b| a | b),
        ("xor.pred %p1, %p2, %p3;", |a, b| a ^ b),
    ] {
        let (out, _) = Bench::new(code).run(1, &[a, b], mask, 0);
        assert_eq!(out[0], std::array::from_fn(|i| lane(i, f(a[i], b[i]))), "`{code}`");
    }
    let (out, _) = Bench::new("not.pred %p1, %p2;").run(1, &[a], mask, 0);
    assert_eq!(out[0], std::array::from_fn(|i| lane(i, !a[i])));
    let (out, _) = Bench::new("mov.pred %p1, %p2;").run(1, &[a], mask, 0);
    assert_eq!(out[0], std::array::from_fn(|i| lane(i, a[i])));
}

#[test]
fn lop3_is_any_function_of_three_bits() {
    let f = |t: &[u64], table: u64| {
        (0..32).fold(0, |d, i| {
            let bit = |n: usize| t[n] >> i & 1;
            d | (table >> (bit(0) << 2 | bit(1) << 1 | bit(2)) & 1) << i
        })
    };
    for table in 0..256 {
        let few: Vec<_> = tuples(3, 32).into_iter().rev().take(64).collect();
        check(&format!("lop3.b32 %r1, %r2, %r3, %r4, {table};"), &few, |t| f(t, table));
    }
    for (join, and) in [("and", true), ("or", false)] {
        for (target, results) in [("%r1|%p1", 2), ("_|%p1", 2)] {
            for (q, negated) in [("%p2", false), ("!%p2", true)] {
                let code = format!("lop3.{join}.b32 {target}, %r2, %r3, %r4, 0x80, {q};");
                let bench = Bench::new(&code);
                for chunk in tuples(3, 32).chunks_exact(32) {
                    let mut rows: Vec<_> = (0..3).map(|s| std::array::from_fn(|i| chunk[i][s])).collect();
                    rows.push(std::array::from_fn(|i| i as u64 & 1));
                    let (out, _) = bench.run(results, &rows, 0x00ff_ffff, 0);
                    for i in 0..24 {
                        let (d, with) = (f(&chunk[i], 0x80), (i & 1 == 1) != negated);
                        assert_eq!(out[0][i], d, "`{code}` of {:x?}", chunk[i]);
                        let p = if and { d != 0 && with } else { d != 0 || with };
                        assert_eq!(out[1][i], u64::from(p), "the predicate of `{code}` of {:x?}", chunk[i]);
                    }
                    assert!((24..32).all(|i| out[0][i] == 0xffff_ffff && out[1][i] == 1), "lanes outside of the mask");
                }
            }
        }
    }
}

#[test]
fn shifts_clamp() {
    let amounts = [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0x8000_0000, 0xffff_ffff];
    for (width, r) in REGISTERS {
        let all = u64::MAX >> (64 - width);
        let pairs: Vec<Vec<u64>> =
            tuples(1, width).iter().take(60).flat_map(|a| amounts.map(|by| vec![a[0], by])).collect();
        let moved = |v: u64, by: i64, fill: u64| {
            (0..i64::from(width)).fold(0, |d, i| {
                let from = i + by;
                let bit = if from < 0 {
                    0
                } else if from >= width.into() {
                    fill
                } else {
                    v >> from & 1
                };
                d | bit << i
            }) & all
        };
        check(&format!("shl.b{width} %{r}1, %{r}2, %r3;"), &pairs, |t| moved(t[0], -(t[1] as i64), 0));
        for ty in ['b', 'u', 's'] {
            check(&format!("shr.{ty}{width} %{r}1, %{r}2, %r3;"), &pairs, |t| {
                moved(t[0], t[1] as i64, if ty == 's' { t[0] >> (width - 1) } else { 0 })
            });
        }
    }
    let triples: Vec<Vec<u64>> = tuples(2, 32).iter().flat_map(|t| amounts.map(|by| vec![t[0], t[1], by])).collect();
    for wrap in [false, true] {
        let mode = if wrap { "wrap" } else { "clamp" };
        let n = |c: u64| if wrap { c & 31 } else { c.min(32) };
        let both = |t: &[u64]| u128::from(t[1]) << 32 | u128::from(t[0]);
        check(&format!("shf.l.{mode}.b32 %r1, %r2, %r3, %r4;"), &triples, |t| {
            (both(t) << n(t[2]) >> 32) as u64 & 0xffff_ffff
        });
        check(&format!("shf.r.{mode}.b32 %r1, %r2, %r3, %r4;"), &triples, |t| {
            (both(t) >> n(t[2])) as u64 & 0xffff_ffff
        });
    }
}

#[test]
fn bytes_permute() {
    let mut all = tuples(3, 32);
    all.iter_mut().enumerate().for_each(|(i, t)| {
        (t[0], t[1]) = if i % 2 == 0 { (0x8302_8100, 0x0786_0584) } else { (t[0], t[1]) };
    });
    let byte = |t: &[u64], n: u64| (t[1] << 32 | t[0]) >> (8 * n) & 0xff;
    check("prmt.b32 %r1, %r2, %r3, %r4;", &all, |t| {
        (0..4).fold(0, |d, n| {
            let nibble = t[2] >> (4 * n) & 0xf;
            let b = byte(t, nibble & 7);
            d | (if nibble < 8 { b } else { (b >> 7) * 0xff }) << (8 * n)
        })
    });
    // For each mode the source of byte `n` of the result, given the two lowest bits of the selector.
    type Source = fn(u64, u64) -> u64;
    let modes: [(&str, Source); 6] = [
        ("f4e", |c, n| c + n),
        ("b4e", |c, n| (c + 8 - n) % 8),
        ("rc8", |c, _| c),
        ("ecl", |c, n| n.max(c)),
        ("ecr", |c, n| n.min(c)),
        ("rc16", |c, n| 2 * (c & 1) + (n & 1)),
    ];
    for (mode, source) in modes {
        check(&format!("prmt.b32.{mode} %r1, %r2, %r3, %r4;"), &all, |t| {
            (0..4).fold(0, |d, n| d | byte(t, source(t[2] & 3, n)) << (8 * n))
        });
    }
}
