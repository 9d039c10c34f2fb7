//! Masks of ReLUs: what was kept comes back on other values of the same norm.

use rewind::device::Device;
use rewind::mask::relu_mask_shape;
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, Outputs, around_one, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

/// A norm's vectors of every channel: mean, 1/sigma, gamma, beta. One slope of several is negative, and one is 0.
fn norm(c: usize) -> [Vec<f64>; 4] {
    let mut gamma = around_one(90, c);
    if c > 1 {
        gamma[c / 2] = 0.0;
        gamma[0] = -gamma[0];
    }
    [uniform(91, c), around_one(92, c), gamma, uniform(93, c)]
}

/// z whose `bn(z)` is in [-1, 1), and further from 0 than rounding moves it.
fn inputs(map: Shape, seed: u64) -> Vec<f64> {
    let [mean, rstd, gamma, beta] = norm(map.c());
    let value = |v: f64| if v.abs() < 0.01 { v + 0.02 } else { v };
    let of = |(i, v): (usize, f64)| {
        let c = i % map.c();
        let slope = gamma[c] * rstd[c];
        let z = if slope == 0.0 { v } else { mean[c] + (value(v) - beta[c]) / slope };
        f64::from(z as f32)
    };
    uniform(seed, map.len()).into_iter().enumerate().map(of).collect()
}

fn replayed<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let c = map.c();
    let [mean, rstd, gamma, beta] = norm(c);
    let (stats, affine) = (bed.stats(c, &mean, &rstd), bed.affine(c, &gamma, &beta));
    let mut z = bed.tensor(map, &inputs(map, 94));
    let mut mask = bed.empty(relu_mask_shape::<D::Real>(map));
    d.relu_mask(&z, &stats, &affine, &mut mask).expect("relu_mask");
    let mut other = bed.tensor(map, &inputs(map, 95));
    d.relu_replay(&mask, &stats, &affine, &mut other).expect("relu_replay");
    d.relu_replay(&mask, &stats, &affine, &mut z).expect("relu_replay");
    let mut again = bed.empty(relu_mask_shape::<D::Real>(map));
    d.relu_mask(&other, &stats, &affine, &mut again).expect("relu_mask");
    let mut twice = bed.tensor(map, &bed.read(&other));
    d.relu_replay(&again, &stats, &affine, &mut twice).expect("relu_replay");
    let bits = |bed: &Bed<'_, D>, mask| {
        bed.read(mask).iter().map(|word| f64::from(*word as f32).to_bits()).collect::<Vec<_>>()
    };
    assert!(bits(&bed, &again) == bits(&bed, &mask), "{map}: other signs than were kept");
    let outputs = [("at the same z", &z), ("at another z", &other), ("twice", &twice)];
    outputs.into_iter().map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

#[test]
fn kept_signs_come_back() {
    for map in MAPS {
        let expected = inputs(map, 94);
        // a bound that no f32 is below: what has the kept signs stays as it is, to the bit
        compare!(map, 1, replayed(map), |name: &str| match name {
            "at the same z" => vec![f64::MIN_POSITIVE],
            // z - 2 bn(z) / slope, |z| below 1 + 2 / 0.25 and bn's terms below 1.5 * 1.5 * 10
            _ => vec![bound(6, 9.0 + 2.0 * 22.5 / 0.25)],
        });
        assert!(replayed(&Reference, map)[0].1 == expected, "{map}");
        let [moved, other] = [replayed(&Reference, map)[1].1.clone(), inputs(map, 95)];
        assert!(map.len() < 8 || moved != other, "{map}: no sign had to come back");
    }
}
