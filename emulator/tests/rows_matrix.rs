//! `mma` against plain matrix products, the fragments placed by the formulas of PTX ISA section 9.7.14.5.

// Rows and columns by number, as in the formulas.
#![allow(clippy::needless_range_loop)]

mod exact;
mod runner;

use exact::{BF16, Direction, F16, F32, Float, double};
use runner::{Random, Runner, Values};

/// A kind of product: its words, depth, inputs' format, bits of an input's register part, halves as accumulators.
struct Kind {
    words: &'static str,
    depth: usize,
    format: Float,
    packed: bool,
    half_sums: bool,
}

/// tf32 as the format of its 19 upper bits.
const TF32: Float = Float { fraction: 10, exponent: 8, nan: 0x3ffff };

const KINDS: [Kind; 8] = [
    Kind { words: "m16n8k4.row.col.f32.tf32.tf32.f32", depth: 4, format: TF32, packed: false, half_sums: false },
    Kind { words: "m16n8k8.row.col.f32.tf32.tf32.f32", depth: 8, format: TF32, packed: false, half_sums: false },
    Kind { words: "m16n8k8.row.col.f32.bf16.bf16.f32", depth: 8, format: BF16, packed: true, half_sums: false },
    Kind { words: "m16n8k16.row.col.f32.bf16.bf16.f32", depth: 16, format: BF16, packed: true, half_sums: false },
    Kind { words: "m16n8k8.row.col.f32.f16.f16.f32", depth: 8, format: F16, packed: true, half_sums: false },
    Kind { words: "m16n8k16.row.col.f32.f16.f16.f32", depth: 16, format: F16, packed: true, half_sums: false },
    Kind { words: "m16n8k8.row.col.f16.f16.f16.f16", depth: 8, format: F16, packed: true, half_sums: true },
    Kind { words: "m16n8k16.row.col.f16.f16.f16.f16", depth: 16, format: F16, packed: true, half_sums: true },
];

/// Bits of the elements of A [16][depth], B [depth][8] and C [16][8], in their formats.
struct Matrices {
    a: Vec<Vec<u64>>,
    b: Vec<Vec<u64>>,
    c: Vec<Vec<u64>>,
}

impl Kind {
    fn sums(&self) -> Float {
        if self.half_sums { F16 } else { F32 }
    }

    fn elements(&self, of_a: bool) -> usize {
        (if of_a { 16 } else { 8 }) * self.depth / 32
    }

    /// Row and column of element `i` of a lane's fragment of A: figures of sections 9.7.14.5.6 to 9.7.14.5.8.
    fn place_a(&self, lane: usize, i: usize) -> (usize, usize) {
        let (group, thread) = (lane / 4, lane % 4);
        if self.packed {
            // a0, a1, a4, a5 lie in the upper rows, a4 to a7 in the columns from 8.
            (group + if i & 2 != 0 { 8 } else { 0 }, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
        } else {
            // a0 and a2 in the upper rows, a2 and a3 in the columns from 4.
            (group + if i & 1 != 0 { 8 } else { 0 }, thread + if i >= 2 { 4 } else { 0 })
        }
    }

    fn place_b(&self, lane: usize, i: usize) -> (usize, usize) {
        let (group, thread) = (lane / 4, lane % 4);
        if self.packed { (thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, group) } else { (thread + 4 * i, group) }
    }

    fn place_c(lane: usize, i: usize) -> (usize, usize) {
        (lane / 4 + if i >= 2 { 8 } else { 0 }, lane % 4 * 2 + (i & 1))
    }

    /// Registers of A, B and C, one after the other.
    fn registers(&self, m: &Matrices, garbage: u64) -> Vec<Values> {
        let input = |elements: usize, element: &dyn Fn(usize, usize) -> u64| -> Vec<Values> {
            let row = |r: usize| {
                std::array::from_fn(|lane| {
                    if self.packed {
                        element(lane, 2 * r) | element(lane, 2 * r + 1) << 16
                    } else {
                        element(lane, r) << 13 | garbage & 0x1fff
                    }
                })
            };
            (0..elements / if self.packed { 2 } else { 1 }).map(row).collect()
        };
        let at = |m: &Vec<Vec<u64>>, (i, j): (usize, usize)| m[i][j];
        let mut all = input(self.elements(true), &|lane, i| at(&m.a, self.place_a(lane, i)));
        all.extend(input(self.elements(false), &|lane, i| at(&m.b, self.place_b(lane, i))));
        let c = |lane, i| at(&m.c, Self::place_c(lane, i));
        if self.half_sums {
            all.extend((0..2).map(|r| std::array::from_fn(|lane| c(lane, 2 * r) | c(lane, 2 * r + 1) << 16)));
        } else {
            all.extend((0..4).map(|r| std::array::from_fn(|lane| c(lane, r))));
        }
        all
    }

    fn runner(&self) -> Runner {
        let names = |from: usize, n: usize| {
            let all: Vec<String> = (from..from + n).map(|i| format!("%r{i}")).collect();
            format!("{{{}}}", all.join(", "))
        };
        let per_register = if self.packed { 2 } else { 1 };
        let (sums, a, b) = (self.results(), self.elements(true) / per_register, self.elements(false) / per_register);
        Runner::new(&format!(
            "mma.sync.aligned.{} {}, {}, {}, {}",
            self.words,
            names(0, sums),
            names(4, a),
            names(8, b),
            names(12, sums)
        ))
    }

    fn results(&self) -> usize {
        if self.half_sums { 2 } else { 4 }
    }

    /// D [16][8], as bits.
    fn product(&self, runner: &Runner, m: &Matrices, garbage: u64) -> Vec<Vec<u64>> {
        let registers = runner.run(self.results(), &self.registers(m, garbage), u32::MAX);
        let mut d = vec![vec![0; 8]; 16];
        for lane in 0..32 {
            for i in 0..4 {
                let (row, column) = Self::place_c(lane, i);
                d[row][column] =
                    if self.half_sums { registers[i / 2][lane] >> (16 * (i % 2)) & 0xffff } else { registers[i][lane] };
            }
        }
        d
    }

    fn random(&self, mut input: impl FnMut() -> u64, mut sum: impl FnMut() -> u64) -> Matrices {
        let mut of = |rows: usize, columns: usize| -> Vec<Vec<u64>> {
            (0..rows).map(|_| (0..columns).map(|_| input()).collect()).collect()
        };
        let (a, b) = (of(16, self.depth), of(self.depth, 8));
        Matrices { a, b, c: (0..16).map(|_| (0..8).map(|_| sum()).collect()).collect() }
    }
}

/// The bits of a double in a format that holds it, or the nearest.
fn bits(format: Float, x: f64) -> u64 {
    let exact = exact::F64.exact(x.to_bits());
    format.rounded(exact, Direction::Nearest)
}

#[test]
fn products_of_small_integers_are_exact() {
    for kind in &KINDS {
        let runner = kind.runner();
        let mut random = Random(88);
        for _ in 0..50 {
            // Up to 8 in magnitude: at most 16 * 64 + 8, which a half still holds exactly.
            let mut small = |format| bits(format, (random.bits() % 17) as f64 - 8.0);
            let inputs: Vec<u64> = (0..24 * kind.depth).map(|_| small(kind.format)).collect();
            let sums: Vec<u64> = (0..128).map(|_| small(kind.sums())).collect();
            let (mut inputs, mut sums) = (inputs.into_iter(), sums.into_iter());
            let m = kind.random(|| inputs.next().unwrap(), || sums.next().unwrap());
            // The last 13 bits of a tf32 register say nothing.
            let d = kind.product(&runner, &m, random.bits());
            for i in 0..16 {
                for j in 0..8 {
                    let terms =
                        (0..kind.depth).map(|k| double(kind.format, m.a[i][k]) * double(kind.format, m.b[k][j]));
                    let exact = terms.sum::<f64>() + double(kind.sums(), m.c[i][j]);
                    assert_eq!(double(kind.sums(), d[i][j]), exact, "{} at {i}, {j}", kind.words);
                }
            }
        }
    }
}

#[test]
fn products_of_any_numbers_are_sums_in_the_documented_order() {
    for kind in &KINDS {
        let runner = kind.runner();
        let mut random = Random(89);
        for _ in 0..50 {
            // Exponents within 2^-12 to 2^12 for A and B, so that nothing leaves the range of any format.
            let mut near_one = |format: Float, spread: u64| {
                let exponent = (format.one() >> format.fraction) - spread + random.bits() % (2 * spread);
                let fraction = random.bits() & ((1 << format.fraction) - 1);
                exponent << format.fraction | fraction | if random.bits() & 1 == 1 { format.sign() } else { 0 }
            };
            let spread = if kind.half_sums { 4 } else { 12 };
            let inputs: Vec<u64> = (0..24 * kind.depth).map(|_| near_one(kind.format, spread)).collect();
            let sums: Vec<u64> = (0..128).map(|_| near_one(kind.sums(), spread)).collect();
            let (mut inputs, mut sums) = (inputs.into_iter(), sums.into_iter());
            let m = kind.random(|| inputs.next().unwrap(), || sums.next().unwrap());
            let d = kind.product(&runner, &m, random.bits());
            for i in 0..16 {
                for j in 0..8 {
                    let term = |k: usize| double(kind.format, m.a[i][k]) * double(kind.format, m.b[k][j]);
                    // Fused steps from c by ascending k: the product is exact as a double; the double sum of it and a
                    // single may round, so the step is checked by the standard library's fused operation.
                    let mut sum = double(kind.sums(), m.c[i][j]) as f32;
                    for k in 0..kind.depth {
                        sum =
                            (double(kind.format, m.a[i][k]) as f32).mul_add(double(kind.format, m.b[k][j]) as f32, sum);
                    }
                    assert_eq!(d[i][j], bits(kind.sums(), f64::from(sum)), "{} at {i}, {j}", kind.words);
                    // And against the true sum: each of the `depth` steps rounds a partial sum no larger than the sum
                    // of magnitudes, by half an ulp of single precision; a half result by half of its own ulp more.
                    let c = double(kind.sums(), m.c[i][j]);
                    let exact = (0..kind.depth).map(term).sum::<f64>() + c;
                    let magnitudes = (0..kind.depth).map(|k| term(k).abs()).sum::<f64>() + c.abs();
                    let step = magnitudes * kind.depth as f64 * 2f64.powi(-24) * (1.0 + 2f64.powi(-20));
                    let last = if kind.half_sums { (exact.abs() + step) * 2f64.powi(-11) } else { 0.0 };
                    let found = double(kind.sums(), d[i][j]);
                    assert!((found - exact).abs() <= step + last, "{} at {i}, {j}: {found} for {exact}", kind.words);
                }
            }
        }
    }
}

#[test]
fn infinities_and_nans_stay_in_their_row_and_column() {
    for kind in &KINDS {
        let runner = kind.runner();
        let one = kind.format.one();
        let mut m = kind.random(|| one, || 0);
        m.a[3][1] = kind.format.infinity();
        m.b[2][5] = kind.format.nan;
        m.c[15][7] = kind.sums().infinity() | kind.sums().sign();
        let d = kind.product(&runner, &m, 0);
        for i in 0..16 {
            for j in 0..8 {
                let expected = match (i, j) {
                    (_, 5) => kind.sums().nan,
                    (3, _) => kind.sums().infinity(),
                    (15, 7) => kind.sums().infinity() | kind.sums().sign(),
                    _ => bits(kind.sums(), kind.depth as f64),
                };
                assert_eq!(d[i][j], expected, "{} at {i}, {j}", kind.words);
            }
        }
    }
}

#[test]
fn lanes_outside_the_mask_keep_their_fragment() {
    let kind = &KINDS[1];
    let m = kind.random(|| kind.format.one(), || 0);
    let d = kind.runner().run(4, &kind.registers(&m, 0), 0x0000_ffff);
    for row in d {
        for (lane, v) in row.into_iter().enumerate() {
            assert_eq!(v, if lane < 16 { u64::from(8f32.to_bits()) } else { 0xffff_ffff }, "lane {lane}");
        }
    }
}
