//! Element by element, and the sums over all elements.

use rewind::device::prelude::*;
use rewind::device::{Activation, AdamWStep, Decay, DescentStep, Moved, SgdStep};
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, Outputs, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

fn elementwise<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let x = bed.tensor(map, &uniform(1, map.len()));
    let y_values = uniform(2, map.len());
    // far into both tails
    let wide: Vec<f64> = uniform(5, map.len()).iter().map(|x| 8.0 * x).collect();
    let mut filled = bed.empty(map);
    d.fill(0.25, &mut filled).expect("fill");
    let mut copied = bed.empty(map);
    d.copy(&x, &mut copied).expect("copy");
    let mut added = bed.tensor(map, &y_values);
    d.axpby(0.5, &x, -2.0, &mut added).expect("axpby");
    let mut positive = bed.tensor(map, &y_values);
    d.relu(&mut positive).expect("relu");
    let mut masked = bed.tensor(map, &uniform(3, map.len()));
    d.relu_grad(&positive, &mut masked).expect("relu_grad");
    let (mut velocity, mut theta) = (bed.tensor(map, &uniform(4, map.len())), bed.tensor(map, &y_values));
    let (lr, mut loss) = (bed.tensor(Shape::vector(1), &[0.1]), bed.tensor(Shape::vector(2), &[1.5, 3.0]));
    let mut ahead = [4, 2].map(|seed| bed.tensor(map, &uniform(seed, map.len())));
    // a step whose loss is not finite moves nothing
    for value in [f64::NAN, 1.5, f64::INFINITY] {
        d.fill(value, &mut loss).expect("fill");
        let step = SgdStep::PAPER.on_device(&lr, &loss);
        d.sgd(step, &x, &mut velocity, &mut theta).expect("sgd");
        let [velocity, theta] = &mut ahead;
        let step = SgdStep { nesterov: true, ..SgdStep::PAPER }.on_device(&lr, &loss);
        d.sgd(step, &x, velocity, theta).expect("sgd");
    }
    let acted = [Activation::Relu, Activation::Gelu, Activation::Silu].map(|act| {
        let mut value = bed.tensor(map, &wide);
        d.activate(act, &mut value).expect("activate");
        let mut grad = bed.tensor(map, &y_values);
        d.activate_grad(act, &bed.tensor(map, &wide), &mut grad).expect("activate_grad");
        [value, grad]
    });
    let outputs = [
        ("fill", &filled),
        ("copy", &copied),
        ("axpby", &added),
        ("relu", &positive),
        ("relu_grad", &masked),
        ("velocity", &velocity),
        ("theta", &theta),
        ("velocity, Nesterov's", &ahead[0]),
        ("theta, Nesterov's", &ahead[1]),
        ("relu by name", &acted[0][0]),
        ("relu_grad by name", &acted[0][1]),
        ("gelu", &acted[1][0]),
        ("gelu_grad", &acted[1][1]),
        ("silu", &acted[2][0]),
        ("silu_grad", &acted[2][1]),
    ];
    outputs.into_iter().map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

#[test]
fn element_by_element() {
    for map in MAPS {
        // at most three products of numbers below 2, and the scalars' own rounding
        compare!(map, 1, elementwise(map), |name: &str| match name {
            "fill" | "copy" | "relu" | "relu_grad" | "relu by name" | "relu_grad by name" => vec![f64::MIN_POSITIVE],
            // x of up to 8 times a function that is good to some ulp, whose argument's rounding moves it by less than 1
            "gelu" | "silu" | "gelu_grad" | "silu_grad" => vec![bound(4, 16.0)],
            // two products more
            "theta, Nesterov's" => vec![bound(6, 4.0)],
            _ => vec![bound(4, 4.0)],
        });
    }
}

#[test]
fn relu_keeps_a_nan_and_all_finite_finds_it() {
    for cpu in cpus() {
        let mut bed = Bed::new(cpu);
        for (at, value) in [(0, f64::NAN), (17, f64::NAN), (36, f64::INFINITY), (36, f64::NEG_INFINITY)] {
            let mut values = uniform(1, 37);
            let clean = bed.tensor(Shape::vector(37), &values);
            assert!(cpu.all_finite(&clean).expect("all_finite"));
            values[at] = value;
            let mut tensor = bed.tensor(Shape::vector(37), &values);
            assert!(!cpu.all_finite(&tensor).expect("all_finite"), "{value} at {at} on {}", cpu.name());
            cpu.relu(&mut tensor).expect("relu");
            assert_eq!(bed.read(&tensor)[at].is_nan(), value.is_nan(), "{value} at {at} on {}", cpu.name());
        }
    }
}

/// Three steps of AdamW on eight tensors, of which some decay; the second one's loss is not finite.
fn adamw<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let mut tensors = |seed: u64| -> Vec<_> {
        (0..8)
            .map(|i| {
                // the last ones end in the middle of a warp, and of a quad
                let shape = if i < 6 { map } else { Shape::vector(map.len().min(37)) };
                bed.tensor(shape, &uniform(seed + i, shape.len()))
            })
            .collect()
    };
    let (grads, mut velocity, mut theta) = (tensors(10), tensors(20), tensors(30));
    let mut second: Vec<_> = tensors(40);
    for second in &mut second {
        d.relu(second).expect("relu");
    }
    let bed = &mut Bed::new(d);
    let (lr, mut loss) = (bed.tensor(Shape::vector(1), &[0.1]), bed.tensor(Shape::vector(2), &[1.5, 3.0]));
    let mut count = bed.tensor(Shape::vector(3), &[7.0, 0.0, 0.0]);
    let step = AdamWStep { betas: [0.9, 0.999], eps: 1e-2, weight_decay: 0.5, decay: Decay::Weights, lr: 0.0 };
    for value in [1.5, f64::NAN, 1.5] {
        d.fill(value, &mut loss).expect("fill");
        d.count_step(step.betas, &loss, &mut count).expect("count_step");
        let step = DescentStep::AdamW(step).on_device(&lr, Some(&count), &loss).expect("a count");
        let moments = velocity.iter_mut().zip(&mut second);
        let both = grads.iter().zip(moments).zip(&mut theta).enumerate();
        let mut moved = both.map(|(i, ((grad, (velocity, second)), theta))| Moved {
            is_weight: i % 2 == 0,
            grad,
            velocity,
            second: Some(second),
            theta,
        });
        d.descend_all(step, &mut moved).expect("descend_all");
    }
    let all = velocity.iter().map(|t| ("mean", t)).chain(second.iter().map(|t| ("square", t)));
    let all = all.chain(theta.iter().map(|t| ("theta", t))).chain([("count", &count)]);
    all.map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

#[test]
fn adamw_on_many_tensors() {
    for map in MAPS {
        // A mean of numbers below 1 takes three roundings a step, and is divided by a root of 0.03 at least, as 0.001 of a square below
        // that is, and 1e-2; the corrections divide by 0.57 and by 0.09. The step is a tenth of that.
        compare!(map, 1, adamw(map), |name: &str| match name {
            "theta" => vec![bound(24, 0.1 * 2.0 * 2.0 * 100.0)],
            "count" => vec![bound(4, 9.0)],
            _ => vec![bound(6, 2.0)],
        });
    }
}

pub fn distances<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let (x, y) = (bed.tensor(map, &uniform(1, map.len())), bed.tensor(map, &uniform(2, map.len())));
    let mut out = bed.empty(Shape::vector(2));
    let mut workspace = bed.buffer(d.squared_distance_workspace(map));
    d.squared_distance(&x, &y, &mut out, 0, &mut workspace).expect("squared_distance");
    vec![("distances", bed.read(&out))]
}

#[test]
fn squared_distance() {
    for map in MAPS {
        let magnitude = distances(&Reference, map).remove(0).1;
        compare!(map, 1, distances(map), |_| magnitude.iter().map(|m| bound(map.len() + 2, *m)).collect::<Vec<_>>());
    }
}

/// A weight without a gradient shrinks by a twentieth a step, and on the CPU never to where products with it are subnormal.
#[test]
fn weights_that_only_decay_stay_far_from_subnormal_numbers() {
    const TINY: f64 = 1.0 / (1u128 << 100) as f64;
    for cpu in crate::bed::cpus() {
        let bed = &mut Bed::new(cpu);
        let map = Shape::map(1, 3, 5, 7);
        let none = bed.tensor(map, &vec![0.0; map.len()]);
        let (mut velocity, mut theta) = (bed.tensor(map, &vec![0.0; map.len()]), bed.empty(map));
        cpu.fill(8.0 * TINY, &mut theta).expect("fill");
        let (lr, loss) = (bed.tensor(Shape::vector(1), &[0.1]), bed.tensor(Shape::vector(2), &[1.0, 0.0]));
        let step = || SgdStep { momentum: 0.0, weight_decay: 0.5, ..SgdStep::PAPER }.on_device(&lr, &loss);
        for _ in 0..100 {
            cpu.sgd(step(), &none, &mut velocity, &mut theta).expect("sgd");
            let all = bed.read(&theta).into_iter().chain(bed.read(&velocity));
            assert!(all.into_iter().all(|v| v == 0.0 || v.abs() >= TINY), "{}", cpu.name());
        }
        // 0.95 to the power of 100 is 0.006: without the bound it would be far below it
        assert!(bed.read(&theta).iter().all(|v| *v < 3.0 * TINY), "{}", cpu.name());
    }
}
