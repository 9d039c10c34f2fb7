//! Moves, whole and in parts, and what is no row.

use rewind_emulator::row::{Level, select};

use crate::harness::{Bench, Random, Values, check, inputs};
use crate::support::decoded;

#[test]
fn registers_and_constants() {
    let mut random = Random(5);
    let values = inputs(1, &[0, 1, u64::MAX, 0x8000_0000], 64, || random.next());
    for (types, r, width) in [
        (&["b16", "u16", "s16"][..], 'h', 16),
        (&["b32", "u32", "s32"], 'r', 32),
        (&["b64", "u64", "s64"], 'd', 64),
        (&["f32"], 'f', 32),
        (&["f64"], 'g', 64),
    ] {
        for ty in types {
            check(&format!("mov.{ty} %{r}1, %{r}2;"), &values, |t| t[0] & u64::MAX >> (64 - width));
        }
    }
    assert_eq!(Bench::new("mov.b32 %r1, 0xDEADBEEF;").run(1, &[], u32::MAX, 0).0[0], [0xdead_beef; 32]);
    assert_eq!(
        Bench::new("mov.f64 %g1, 0d3FF0000000000001;").run(1, &[], u32::MAX, 0).0[0],
        [0x3ff0_0000_0000_0001; 32]
    );
}

#[test]
fn parts() {
    let mut random = Random(6);
    let mut row = |width: u32| -> Values { std::array::from_fn(|_| random.next() >> (64 - width)) };
    let mask = 0xffff_00ff;
    for (whole, part, n, r, p) in [("b32", 16, 2, 'r', 'h'), ("b64", 32, 2, 'd', 'r'), ("b64", 16, 4, 'd', 'h')] {
        let registers: Vec<String> = (0..n).map(|i| format!("%{p}{i}")).collect();
        let list = registers.join(", ");
        let sources: Vec<Values> = (0..n).map(|_| row(part)).collect();
        let all = u64::MAX >> (64 - n * part);
        let (out, _) = Bench::new(&format!("mov.{whole} %{r}7, {{{list}}};")).run(1, &sources, mask, 0);
        for i in 0..32 {
            let packed = (0..n as usize).fold(0, |d, k| d | sources[k][i] << (part as usize * k));
            assert_eq!(out[0][i], if mask >> i & 1 == 1 { packed } else { all }, "{whole}, lane {i}");
        }
        let source = row(n * part);
        let (out, _) = Bench::new(&format!("mov.{whole} {{{list}}}, %{r}7;")).run(n as usize, &[source], mask, 0);
        for (k, found) in out.iter().enumerate() {
            for i in 0..32 {
                let ones = u64::MAX >> (64 - part);
                let expected = if mask >> i & 1 == 1 { source[i] >> (part as usize * k) & ones } else { ones };
                assert_eq!(found[i], expected, "{whole}, part {k}, lane {i}");
            }
        }
    }
    // A part that nobody wants.
    let source = row(64);
    let (out, _) = Bench::new("mov.b64 {_, %r1}, %d2;").run(2, &[source], u32::MAX, 0);
    assert_eq!(out[1], source.map(|v| v >> 32));
}

#[test]
fn what_touches_more_than_registers_is_no_row() {
    for code in [
        "ld.global.f32 %f1, [%d1];",
        "bar.sync 0;",
        "exit;",
        "cvta.global.u64 %d1, total;",
        "shfl.sync.bfly.b32 %r1, %r2, 1, 31, -1;",
    ] {
        assert!(select(&decoded(code), Level::detect()).is_none(), "{code}");
    }
}
