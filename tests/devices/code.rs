//! Codes of increments: every device against the f64 reference, and against what encoding and decoding promise of each other.

use rewind::code::{Bits, Code, CodedPass, Coder, unit};
use rewind::device::Device;
use rewind::memory::take;
use rewind::operands::{Affine, BnStats};
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, Outputs, around_one, bound, cpus};
use crate::support::{EPS_F32, assert_close, uniform};
use crate::{MAPS, compare};

/// A code and its coder, at this step of the grid.
fn coder<D: Device>(
    bed: &mut Bed<'_, D>,
    map: Shape,
    bits: Bits,
    pass: CodedPass,
) -> (Coder<D::Buffer>, Code<D::Buffer>) {
    let made = take(bed.d, |arena| Ok((Coder::new(arena, map.c(), bits, pass)?, Code::new(arena, map, bits)?)));
    made.expect("a coder and a code").0
}

/// The scale of the tests' codes: a mean and 1/sigma of each channel, one sigma of them 0.
fn scale<D: Device>(bed: &mut Bed<'_, D>, c: usize) -> BnStats<D::Buffer> {
    let mut rstd = around_one(71, c);
    if c > 1 {
        rstd[c / 2] = 0.0;
    }
    bed.stats(c, &uniform(70, c), &rstd)
}

const UNIT: f64 = 1.0 / 65536.0;

/// Values on the grid.
fn on_grid(seed: u64, len: usize) -> Vec<f64> {
    uniform(seed, len).iter().map(|v| (8.0 * v / UNIT).round() * UNIT).collect()
}

/// w of three sigmas, and a few far out.
fn increments(len: usize) -> Vec<f64> {
    let mut w: Vec<f64> = uniform(80, len).iter().map(|v| f64::from(3.0 * *v as f32)).collect();
    w.iter_mut().step_by(97).for_each(|w| *w *= 8.0);
    w
}

/// Encodes w with a state and decodes it again: the carry, the state after, the state before again, and the rest.
fn encoded<D: Device>(d: &D, map: Shape, bits: Bits) -> Outputs {
    let mut bed = Bed::new(d);
    let (mut coder, mut code) = coder(&mut bed, map, bits, CodedPass::Altered);
    d.fill(UNIT, &mut coder.grid).expect("fill");
    code.scale = scale(&mut bed, map.c());
    let mut carry = bed.tensor(map, &increments(map.len()));
    let mut x = bed.tensor(map, &on_grid(81, map.len()));
    let mut workspace = bed.buffer(d.code_workspace(map));
    d.encode(&mut coder, &mut carry, Some(&mut x), &mut code, &mut workspace).expect("encode");
    let mut outputs = vec![("carry", bed.read(&carry)), ("x", bed.read(&x)), ("rest", bed.read(&coder.rest))];
    d.decode(&coder, &code, &mut x, &mut workspace).expect("decode");
    outputs.push(("x again", bed.read(&x)));
    // without a state the codes are the same
    let mut alone = bed.tensor(map, &increments(map.len()));
    d.encode(&mut coder, &mut alone, None, &mut code, &mut workspace).expect("encode");
    outputs.push(("carry alone", bed.read(&alone)));
    outputs
}

/// What must hold on any device, and how far its codes may be from the reference's.
fn check(what: &str, map: Shape, found: &Outputs, expected: &Outputs) {
    let (w, start, c) = (increments(map.len()), on_grid(81, map.len()), map.c());
    let mut rstd = around_one(71, c);
    if c > 1 {
        rstd[c / 2] = 0.0;
    }
    let [carry, x, rest, again, alone] = [0, 1, 2, 3, 4].map(|k| &found[k].1);
    assert!(again == &start, "{what}: decoding does not undo encoding to the bit");
    assert!(alone == carry, "{what}: a state changes the codes");
    let mut other = 0usize;
    for (i, w) in w.iter().enumerate() {
        let q = x[i] - start[i];
        assert_eq!((q / UNIT).fract(), 0.0, "{what}: q of element {i} is off the grid");
        // carry = w - q, rounded once
        assert!((carry[i] - (w - q)).abs() <= EPS_F32 * (w.abs() + q.abs()), "{what}: element {i} loses {w} - {q}");
        let by_reference = expected[1].1[i] - start[i];
        if (q - by_reference).abs() > 1.5 * UNIT {
            other += 1;
        }
        if rstd[i % c] == 0.0 {
            assert!((q - uniform(70, c)[i % c]).abs() <= UNIT, "{what}: a channel without spread has its mean alone");
        }
    }
    // u = (w - mean) / sigma is off by some 4 eps of up to 24; a threshold lies that close to one element in 10^5 at eight bits,
    // whose levels are nearest. None of the smaller maps has one, and the largest may have a few
    assert!(other <= 1 + map.len() / 5_000, "{what}: {other} codes of {} differ from the reference's", map.len());
    // sums of P squares of up to the largest carry; a code that differs moves one of them
    let largest = expected[0].1.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let pixels = map.pixels() as f64;
    for (channel, (rest, by_reference)) in rest.iter().zip(&expected[2].1).enumerate() {
        let squares = largest * largest;
        let tolerance = bound(map.pixels(), squares) + other as f64 * squares / pixels;
        assert!((rest - by_reference).abs() <= tolerance, "{what}: rest of {channel}: {rest} for {by_reference}");
    }
}

#[test]
fn encoding_is_undone_to_the_bit_and_meets_the_reference() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        for bits in Bits::ALL {
            let expected = encoded(&Reference, map, bits);
            check(&format!("{map}, {bits} bits, reference"), map, &expected, &expected);
            for cpu in cpus() {
                check(&format!("{map}, {bits} bits, {}", cpu.name()), map, &encoded(cpu, map, bits), &expected);
            }
            // nothing of it depends on the arithmetic of products
            #[cfg(all(feature = "cuda", target_os = "linux"))]
            for (cuda, _) in &crate::bed::cudas()[..1] {
                let found = crate::support::gpu::in_any_order(|| encoded(cuda, map, bits));
                check(&format!("{map}, {bits} bits, {}", cuda.name()), map, &found, &expected);
            }
        }
    }
}

#[test]
fn every_device_has_the_same_codes_but_at_thresholds() {
    // the values above again, as the oracle's own levels: each q is the nearest level of its law, or lies at a threshold
    for bits in [Bits::One, Bits::Two] {
        let map = Shape::map(2, 5, 4, 3);
        let found = encoded(&Reference, map, bits);
        let (w, start) = (increments(map.len()), on_grid(81, map.len()));
        let (mean, rstd) = (uniform(70, 3), around_one(71, 3));
        for (i, w) in w.iter().enumerate().filter(|(i, _)| i % 3 != 1) {
            let u = (w - mean[i % 3]) * rstd[i % 3];
            let level: f64 = match bits {
                Bits::One => 0.7979,
                _ if u.abs() > 1.1262 => 1.8335,
                _ => 0.4189,
            };
            let q = mean[i % 3] + level.copysign(u) / rstd[i % 3];
            let tolerance = UNIT + 1e-4;
            assert_close("q", &[found[1].1[i] - start[i]], &[q], |_| tolerance);
        }
    }
}

#[test]
fn a_carry_that_is_no_number_stays_none() {
    fn carried<D: Device>(d: &D) -> Vec<f64> {
        let map = Shape::map(1, 3, 2, 2);
        let mut bed = Bed::new(d);
        let (mut coder, mut code) = coder(&mut bed, map, Bits::Two, CodedPass::Plain);
        d.fill(UNIT, &mut coder.grid).expect("fill");
        code.scale = scale(&mut bed, 2);
        let mut w = increments(map.len());
        w[5] = f64::NAN;
        w[7] = f64::INFINITY;
        let mut carry = bed.tensor(map, &w);
        let mut workspace = bed.buffer(d.code_workspace(map));
        d.encode(&mut coder, &mut carry, None, &mut code, &mut workspace).expect("encode");
        bed.read(&carry)
    }
    let check = |name: &str, carry: Vec<f64>| {
        assert!(carry[5].is_nan() && !carry[7].is_finite(), "{name}: {carry:?}");
        assert!(carry.iter().enumerate().all(|(i, v)| v.is_finite() || i == 5 || i == 7), "{name}: {carry:?}");
    };
    check("reference", carried(&Reference));
    cpus().iter().for_each(|cpu| check(&cpu.name(), carried(cpu)));
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    for (cuda, _) in crate::bed::cudas_for(1) {
        let _turn = crate::support::gpu::turn();
        check(&cuda.name(), carried(cuda));
        crate::support::gpu::no_faults();
    }
}

fn started<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let mut x = bed.tensor(map, &uniform(90, map.len()).iter().map(|v| 5.0 * v).collect::<Vec<_>>());
    let (mut grid, mut workspace) = (bed.empty(Shape::vector(1)), bed.buffer(d.code_workspace(map)));
    d.code_start(&mut x, &mut grid, &mut workspace).expect("code_start");
    let first = bed.read(&x);
    d.code_round(&grid, &mut x).expect("code_round");
    assert!(bed.read(&x) == first, "what is on the grid is not rounded again");
    vec![("x", first), ("grid", bed.read(&grid))]
}

#[test]
fn a_pass_starts_on_a_grid_that_follows_its_largest_state() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        let largest = uniform(90, map.len()).iter().fold(0.0f64, |a, b| a.max((5.0 * b).abs()));
        // ties go to even on all devices, and both roundings are exact
        compare!(format!("code_start {map}"), 1, started(map), |name: &str| match name {
            "grid" => vec![1e-300],
            _ => vec![1e-300 + 1.001 * unit(largest)],
        });
        let [x, grid] = &started(&Reference, map)[..] else { panic!("two outputs") };
        assert_eq!(grid.1[0], unit(largest));
        assert!(x.1.iter().all(|x| (x / grid.1[0]).fract() == 0.0));
    }
}

#[test]
fn the_unit_is_a_power_of_two_below_its_largest_state() {
    for (largest, expected) in [(1.0, -18), (1.01, -17), (2.0, -17), (7.9, -15), (8.0, -15), (8.1, -14), (0.3, -19)] {
        assert_eq!(unit(largest), f64::from(expected).exp2(), "{largest}");
        assert!(largest < unit(largest) * f64::from(1 << 24) / 64.0 * 1.0001, "{largest} is exact with room to grow");
    }
    for none in [0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(unit(none), (-18f64).exp2());
    }
}

fn scaled<D: Device>(d: &D, c: usize, second: bool) -> Outputs {
    let mut bed = Bed::new(d);
    let zeros = |seed| {
        let mut values = uniform(seed, c);
        values[0] = 0.0;
        values
    };
    let affine =
        |bed: &mut Bed<'_, D>, seed| -> Affine<D::Buffer> { bed.affine(c, &zeros(seed), &uniform(seed + 1, c)) };
    let (one, two) = (affine(&mut bed, 40), affine(&mut bed, 42));
    let rest: Vec<f64> = zeros(44).iter().map(|v| v.abs()).collect();
    let rest = bed.tensor(Shape::vector(c), &rest);
    let mut scale = bed.stats(c, &vec![7.0; c], &vec![7.0; c]);
    let last: &[&Affine<D::Buffer>] = if second { &[&one, &two] } else { &[&one] };
    d.code_scale(-0.125, last, &rest, &mut scale).expect("code_scale");
    vec![("mean", bed.read(&scale.mean)), ("rstd", bed.read(&scale.rstd))]
}

#[test]
fn the_scale_is_known_before_coding() {
    for c in [1, 3, 33] {
        for second in [false, true] {
            // a few roundings of numbers of order 1, and of 1/sigma up to 1/(h gamma)
            let expected = scaled(&Reference, c, second);
            assert_eq!(expected[1].1[0], 0.0, "a channel that never moves has no sigma");
            compare!(format!("code_scale {c}"), 1, scaled(c, second), |name: &str| {
                let of = expected.iter().find(|(other, _)| *other == name).expect("an output");
                of.1.iter().map(|v| bound(1, v.abs())).collect::<Vec<_>>()
            });
        }
    }
}

fn judged<D: Device>(d: &D, sums: [f64; 4]) -> bool {
    let mut bed = Bed::new(d);
    let mut all = vec![f64::NAN; 3];
    all.extend(sums);
    let errors = bed.tensor(Shape::vector(7), &all);
    let mut verdict = bed.tensor(Shape::vector(2), &[1.5, 3.0]);
    d.judge(&errors, 3, &mut verdict).expect("judge");
    let verdict = bed.read(&verdict);
    assert_eq!(verdict[1], 3.0);
    assert!(verdict[0].is_nan() || verdict[0] == 1.5);
    verdict[0].is_nan()
}

#[test]
fn a_reconstruction_that_is_worth_nothing_is_judged_so() {
    for (sums, hopeless) in [
        ([1.0, 9.0, 0.5, 10.0], false),
        ([1.0, 9.0, 2.0, 7.0], true),
        ([0.5, 9.0, 1.0, 7.0], true),
        ([0.0, 9.0, 1e-9, 7.0], false),
        ([0.0, 0.0, 0.0, 0.0], false),
        ([f64::INFINITY, 9.0, 0.5, 10.0], true),
        ([1.0, 9.0, f64::NAN, 10.0], true),
        ([1.0, f64::NAN, 0.5, 10.0], true),
    ] {
        assert_eq!(judged(&Reference, sums), hopeless, "{sums:?}");
        assert!(cpus().iter().all(|cpu| judged(cpu, sums) == hopeless), "{sums:?}");
        #[cfg(all(feature = "cuda", target_os = "linux"))]
        for (cuda, _) in crate::bed::cudas_for(1) {
            let _turn = crate::support::gpu::turn();
            assert_eq!(judged(cuda, sums), hopeless, "{sums:?}");
            crate::support::gpu::no_faults();
        }
    }
}
