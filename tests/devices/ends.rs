//! The lower end of a stack: where a pass that codes begins, and where the way back meets the true state.

use rewind::code::{Bits, CodedPass, Coder, unit};
use rewind::device::Device;
use rewind::memory::take;
use rewind::operands::Reconstruction;
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};

use crate::bed::{Bed, Outputs, around_one, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{CONVS, MAPS, compare};

/// What a way back leaves of its reconstruction of `y = relu(bn(z))`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Nothing,
    State,
    StateOnGrid,
}

const UNIT: f64 = 1.0 / 1024.0;

fn back_through_relu<D: Device>(d: &D, map: Shape, left: Left) -> Outputs {
    let mut bed = Bed::new(d);
    let c = map.c();
    let (z, x) = (bed.tensor(map, &uniform(1, map.len())), bed.tensor(map, &uniform(2, map.len())));
    let (stats, affine) =
        (bed.stats(c, &uniform(3, c), &around_one(4, c)), bed.affine(c, &around_one(5, c), &uniform(6, c)));
    let mut grad = bed.tensor(map, &uniform(7, map.len()));
    let mut sums = bed.affine(c, &vec![0.0; c], &vec![0.0; c]);
    let (mut y, mut distance) = (bed.empty(map), bed.tensor(Shape::vector(2), &[0.0; 2]));
    let (grid, verdict) = (bed.tensor(Shape::vector(1), &[UNIT]), bed.tensor(Shape::vector(2), &[1.5, 3.0]));
    let mut workspace = bed.buffer(d.bn_workspace(map).max(d.squared_distance_workspace(map)));
    let of = (left != Left::Nothing).then(|| Reconstruction {
        x: &x,
        grid: (left == Left::StateOnGrid).then_some(&grid),
        verdict: &verdict,
        distance: &mut distance,
    });
    d.norm_relu_grad_sums(&z, &stats, &affine, of, &mut y, &mut grad, &mut sums, &mut workspace).expect("back");
    let mut outputs = vec![
        ("grad", bed.read(&grad)),
        ("sum_gamma", bed.read(&sums.gamma)),
        ("sum_beta", bed.read(&sums.beta)),
        ("distance", bed.read(&distance)),
    ];
    // the same of a state that is there
    let of = Reconstruction {
        x: &x,
        grid: (left == Left::StateOnGrid).then_some(&grid),
        verdict: &verdict,
        distance: &mut distance,
    };
    d.drift(of, &mut bed.tensor(map, &uniform(8, map.len())), &mut workspace).expect("drift");
    outputs.push(("drift", bed.read(&distance)));
    outputs
}

#[test]
fn the_way_back_meets_the_stems_relu() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        let (m, len) = (map.pixels(), map.len());
        for left in [Left::Nothing, Left::State, Left::StateOnGrid] {
            compare!(format!("{map}, {left:?}"), 1, back_through_relu(map, left), |name: &str| vec![match name {
                // taken or left as it is
                "grad" => f64::MIN_POSITIVE,
                // |zhat| is below 2 * 1.5
                "sum_gamma" | "sum_beta" => bound(m + 4, 3.0 * m as f64),
                // y is below 1.5 * 3 + 1; what a unit is rounded from is nowhere within an eps of half of one
                "distance" => bound(len + 8, 6.5 * 6.5 * len as f64),
                _ => bound(len + 2, 4.0 * len as f64),
            }]);
        }
    }
}

#[test]
fn a_reconstruction_worth_nothing_has_no_distance() {
    fn distance<D: Device>(d: &D) -> Vec<f64> {
        let mut bed = Bed::new(d);
        let map = Shape::map(1, 3, 2, 5);
        let (x, mut y) = (bed.tensor(map, &uniform(1, map.len())), bed.tensor(map, &uniform(2, map.len())));
        let mut distance = bed.empty(Shape::vector(2));
        let verdict = bed.tensor(Shape::vector(2), &[f64::NAN, 3.0]);
        let mut workspace = bed.buffer(d.squared_distance_workspace(map));
        let of = Reconstruction { x: &x, grid: None, verdict: &verdict, distance: &mut distance };
        d.drift(of, &mut y, &mut workspace).expect("drift");
        bed.read(&distance)
    }
    let check = |name: &str, found: Vec<f64>| assert!(found[0].is_nan() && found[1] > 0.0, "{name}: {found:?}");
    check("reference", distance(&Reference));
    cpus().iter().for_each(|cpu| check(&cpu.name(), distance(cpu)));
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    for (cuda, _) in crate::bed::cudas_for(1) {
        let _turn = crate::support::gpu::turn();
        check(&cuda.name(), distance(cuda));
        crate::support::gpu::no_faults();
    }
}

fn weights_grad<D: Device>(d: &D, x_map: Shape, conv: Conv, c: usize) -> Outputs {
    let mut bed = Bed::new(d);
    let map = conv.output(x_map, c);
    let (x, grad_y) = (bed.tensor(x_map, &uniform(1, x_map.len())), bed.tensor(map, &uniform(2, map.len())));
    let z = bed.tensor(map, &uniform(3, map.len()));
    let (stats, affine) =
        (bed.stats(c, &uniform(4, c), &around_one(5, c)), bed.affine(c, &around_one(6, c), &uniform(7, c)));
    let sums = bed.affine(c, &uniform(8, c), &uniform(9, c));
    let w = Shape::weight(conv.kernel, x_map.c(), c);
    // what was there does not matter
    let (mut grad_z, mut grad_w) = (bed.empty(map), bed.tensor(w, &uniform(10, w.len())));
    let mut workspace = bed.buffer(d.conv_workspace(x_map, conv, c));
    d.norm_conv_grad_w(&x, conv, &grad_y, &z, &stats, &affine, &sums, &mut grad_z, &mut grad_w, &mut workspace)
        .expect("norm_conv_grad_w");
    vec![("grad_z", bed.read(&grad_z)), ("grad_w", bed.read(&grad_w))]
}

#[test]
fn a_convolutions_weights_behind_whom_a_norm_stands() {
    if crate::bed::ran_apart() {
        return;
    }
    let x = [Shape::map(2, 11, 9, 3), Shape::map(3, 7, 8, 16), Shape::map(1, 6, 7, 5)];
    for (map, conv) in x.into_iter().flat_map(|map| CONVS[..4].iter().map(move |conv| (map, *conv))) {
        for c in [1, 16, 33] {
            let m = conv.output(map, c).pixels();
            // gamma rstd (g + sums (1 + zhat) / m), with |zhat| below 3
            let largest = 1.5 * 1.5 * (1.0 + 4.0 / m as f64);
            compare!(format!("{map} by {conv:?} to {c}"), c, weights_grad(map, conv, c), |name: &str| vec![
                match name {
                    "grad_z" => bound(6, largest),
                    _ => bound(m + 6, largest * m as f64),
                }
            ]);
        }
    }
}

fn begun<D: Device>(d: &D, map: Shape, pass: CodedPass) -> Outputs {
    let mut bed = Bed::new(d);
    let made = take(d, |arena| Coder::new(arena, map.c(), Bits::Four, pass));
    let (mut coder, _) = made.expect("a coder");
    let mut x = bed.tensor(map, &uniform(1, map.len()).iter().map(|v| 5.0 * v).collect::<Vec<_>>());
    let (mut carry, mut idle) = (bed.empty(map), bed.empty(map));
    let mut workspace = bed.buffer(d.code_workspace(map));
    d.begin_codes(&mut coder, &mut x, &mut carry, &mut idle, &mut workspace).expect("begin_codes");
    let read = [("x", &x), ("carry", &carry), ("rest", &coder.rest), ("grid", &coder.grid)];
    read.into_iter().map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

#[test]
fn a_pass_begins_with_nothing_carried() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        let largest = uniform(1, map.len()).iter().fold(0.0f64, |a, b| a.max((5.0 * b).abs()));
        for pass in [CodedPass::Plain, CodedPass::Altered] {
            compare!(format!("{map}, {pass:?}"), 1, begun(map, pass), |name: &str| vec![match (name, pass) {
                // rounded once to the device's numbers, and then to the grid, where a tie may go either way
                ("x", CodedPass::Altered) => 1.001 * unit(largest),
                ("x", CodedPass::Plain) => bound(1, 5.0),
                _ => 1e-300,
            }]);
        }
    }
}
