//! Clipping of gradients, and averages of parameters.

use rewind::device::SQUARES;
use rewind::device::prelude::*;
use rewind::reference::Reference;
use rewind::shape::Shape;
use rewind::tensor::Tensor;

use crate::bed::{Bed, Outputs, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

/// Eight tensors, two launches of a GPU; the last ones end in the middle of a warp, and of a quad.
fn tensors<D: Device>(d: &D, map: Shape, seed: u64) -> Vec<Tensor<D::Buffer>> {
    let mut bed = Bed::new(d);
    let shape = |i| if i < 6 { map } else { Shape::vector(map.len().min(37)) };
    (0..8).map(|i| bed.tensor(shape(i), &uniform(seed + i, shape(i).len()))).collect()
}

/// Elements of all of them.
fn elements(map: Shape) -> usize {
    6 * map.len() + 2 * map.len().min(37)
}

fn gradients<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let mut grads = tensors(d, map, 10);
    let (mut squares, mut twice) = (bed.empty(Shape::vector(SQUARES)), bed.empty(Shape::vector(SQUARES)));
    d.squares(&mut grads.iter(), false, &mut squares).expect("squares");
    d.squares(&mut grads.iter(), false, &mut twice).expect("squares");
    d.squares(&mut grads.iter().take(1), true, &mut twice).expect("squares");
    // about half of the norm of numbers spread evenly over -1 to 1, and more than it can be
    let most = 0.5 * (elements(map) as f64 / 3.0).sqrt();
    let mut left = tensors(d, map, 10);
    d.clip(&squares, most, &mut grads.iter_mut()).expect("clip");
    d.clip(&squares, 4.0 * most + 2.0, &mut left.iter_mut()).expect("clip");
    let (theta, mut average) = (tensors(d, map, 20), tensors(d, map, 30));
    let mut loss = bed.tensor(Shape::vector(2), &[1.5, 3.0]);
    // a step whose loss is not finite moves nothing
    for value in [f64::NAN, 1.5, f64::INFINITY, 2.5] {
        d.fill(value, &mut loss).expect("fill");
        d.average_all(0.75, &loss, &mut theta.iter().zip(&mut average)).expect("average_all");
    }
    let sums =
        [("squares", &squares), ("squares and more", &twice)].map(|(name, of)| (name, bed.read(of)[..1].to_vec()));
    let all = grads.iter().map(|t| ("clipped", t)).chain(left.iter().map(|t| ("left", t)));
    let all = all.chain(average.iter().map(|t| ("average", t)));
    all.map(|(name, tensor)| (name, bed.read(tensor))).chain(sums).collect()
}

#[test]
fn clipped_gradients_and_averages() {
    for map in MAPS {
        let terms = elements(map);
        compare!(map, 1, gradients(map), |name: &str| vec![match name {
            // sums of numbers of a third in the mean, of which no order makes less than one rounding
            "squares" | "squares and more" => bound(terms + map.len() + 2, terms as f64 / 2.0 + 1.0),
            // the factor is off by half as much of itself as the sum is
            "clipped" => bound(terms + 6, 1.0),
            "left" => f64::MIN_POSITIVE,
            // twice three roundings of numbers below 2
            _ => bound(6, 2.0),
        }]);
    }
}

#[test]
fn averages_of_what_vanishes_stay_far_from_subnormal_numbers() {
    const TINY: f64 = 1.0 / (1u128 << 100) as f64;
    for cpu in cpus() {
        let mut bed = Bed::new(cpu);
        let (zeros, loss) = (bed.tensor(Shape::vector(9), &[0.0; 9]), bed.tensor(Shape::vector(2), &[1.0, 0.0]));
        let mut average = bed.tensor(Shape::vector(9), &[4.0 * TINY; 9]);
        for _ in 0..20 {
            cpu.average_all(0.9, &loss, &mut [(&zeros, &mut average)].into_iter()).expect("average_all");
            assert!(bed.read(&average).iter().all(|v| *v == 0.0 || v.abs() >= TINY), "{}", cpu.name());
        }
        // 0.9 to the power of 20 is 0.12, a half of TINY
        assert_eq!(bed.read(&average), [0.0; 9]);
    }
}
