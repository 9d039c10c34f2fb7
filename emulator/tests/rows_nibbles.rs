//! `mma` of integers of 4 bits against plain products, fragments placed by the formulas of PTX ISA section 9.7.14.5; and
//! `movmatrix` against a plain transposition.

// Rows and columns by number, as in the formulas.
#![allow(clippy::needless_range_loop)]

mod runner;

use runner::{Random, Runner, Values};

/// M and K of a shape, and how many registers of A and of B a lane has.
const SHAPES: [(&str, usize, usize, usize, usize); 3] =
    [("m8n8k32", 8, 32, 1, 1), ("m16n8k32", 16, 32, 2, 1), ("m16n8k64", 16, 64, 4, 2)];

/// Row and column of A of element `i` of a lane: upper rows, lower rows, then the same for the columns from 32.
fn place_a(m: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    let (lower, right) = if m == 8 { (0, 0) } else { (i / 8 % 2, i / 16) };
    (group + 8 * lower, thread * 8 + i % 8 + 32 * right)
}

fn place_b(lane: usize, i: usize) -> (usize, usize) {
    (lane % 4 * 8 + i % 8 + 32 * (i / 8), lane / 4)
}

fn place_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2)
}

fn nibble(value: i64) -> u64 {
    value as u64 & 15
}

#[test]
fn products_of_nibbles_are_the_plain_sums() {
    let mut random = Random(41);
    for (shape, m, k, a_registers, b_registers) in SHAPES {
        let c_registers = m * 8 / 32;
        for (a_type, b_type) in [("s4", "s4"), ("s4", "u4"), ("u4", "s4"), ("u4", "u4")] {
            for saturates in [false, true] {
                let list = |first: usize, count: usize| {
                    let all: Vec<String> = (first..first + count).map(|r| format!("%r{r}")).collect();
                    format!("{{{}}}", all.join(","))
                };
                let words = if saturates { ".satfinite" } else { "" };
                let text = format!(
                    "mma.sync.aligned.{shape}.row.col{words}.s32.{a_type}.{b_type}.s32 {}, {}, {}, {}",
                    list(0, c_registers),
                    list(4, a_registers),
                    list(8, b_registers),
                    list(10, c_registers)
                );
                let runner = Runner::new(&text);
                for round in 0..4 {
                    let range = |ty: &str| if ty == "s4" { -8..8 } else { 0..16 };
                    let mut draw = |ty: &str| range(ty).start + (random.bits() % 16) as i64;
                    let a: Vec<Vec<i64>> = (0..m).map(|_| (0..k).map(|_| draw(a_type)).collect()).collect();
                    let b: Vec<Vec<i64>> = (0..k).map(|_| (0..8).map(|_| draw(b_type)).collect()).collect();
                    // In some rounds near the ends of 32 bits.
                    let start = [0, 1000, i64::from(i32::MAX), i64::from(i32::MIN)][round];
                    let c: Vec<Vec<i64>> =
                        (0..m).map(|i| (0..8).map(|j| start - start.signum() * (i * j) as i64).collect()).collect();
                    let mut sources: Vec<Values> = Vec::new();
                    for register in 0..a_registers {
                        sources.push(std::array::from_fn(|lane| {
                            let of = |e: usize| {
                                let (row, column) = place_a(m, lane, 8 * register + e);
                                nibble(a[row][column]) << (4 * e)
                            };
                            (0..8).map(of).sum()
                        }));
                    }
                    for register in 0..b_registers {
                        sources.push(std::array::from_fn(|lane| {
                            let of = |e: usize| {
                                let (row, column) = place_b(lane, 8 * register + e);
                                nibble(b[row][column]) << (4 * e)
                            };
                            (0..8).map(of).sum()
                        }));
                    }
                    for register in 0..c_registers {
                        sources.push(std::array::from_fn(|lane| {
                            let (row, column) = place_c(lane, register);
                            u64::from(c[row][column] as i32 as u32)
                        }));
                    }
                    let found = runner.run(c_registers, &sources, u32::MAX);
                    for lane in 0..32 {
                        for register in 0..c_registers {
                            let (row, column) = place_c(lane, register);
                            let sum: i64 = c[row][column] + (0..k).map(|l| a[row][l] * b[l][column]).sum::<i64>();
                            let limits = (i64::from(i32::MIN), i64::from(i32::MAX));
                            let sum = if saturates { sum.clamp(limits.0, limits.1) } else { sum };
                            assert_eq!(found[register][lane] as u32, sum as u32, "{text}: ({row}, {column})");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_in_registers_is_transposed() {
    let mut random = Random(7);
    let matrix: [[u64; 8]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| random.bits() & 0xffff));
    // A lane holds two neighbours in a row, four lanes a row.
    let fragment = |at: &dyn Fn(usize, usize) -> u64| -> Values {
        std::array::from_fn(|lane| at(lane / 4, 2 * (lane % 4)) | at(lane / 4, 2 * (lane % 4) + 1) << 16)
    };
    let runner = Runner::new("movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r1");
    let found = runner.run(1, &[fragment(&|i, j| matrix[i][j])], u32::MAX);
    assert_eq!(found[0], fragment(&|i, j| matrix[j][i]));
}
