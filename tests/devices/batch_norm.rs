//! Batch normalisation and what is fused with it.

use rewind::device::Device;
use rewind::operands::{BnRunning, Measure};
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, Outputs, around_one, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

pub fn norms<D: Device>(d: &D, map: Shape) -> Outputs {
    let mut bed = Bed::new(d);
    let c = map.c();
    // an offset of 3 and a spread of about 0.6: where sum and sum of squares in f32 would lose digits
    let z_values: Vec<f64> = uniform(1, map.len()).iter().map(|v| 3.0 + v).collect();
    let z = bed.tensor(map, &z_values);
    let g = bed.tensor(map, &uniform(2, map.len()));
    let affine = bed.affine(c, &around_one(3, c), &uniform(4, c));
    let mut workspace = bed.buffer(d.bn_workspace(map));
    let mut stats = bed.stats(c, &vec![0.0; c], &vec![0.0; c]);
    let vector = Shape::vector(c);
    let mut running =
        BnRunning { mean: bed.tensor(vector, &uniform(5, c)), var: bed.tensor(vector, &around_one(6, c)) };
    let measure = Measure { stats: &mut stats, running: Some(&mut running) };
    d.bn_stats(&z, measure, &mut workspace).expect("bn_stats");
    let mut eval_stats = bed.stats(c, &vec![0.0; c], &vec![0.0; c]);
    d.bn_running_stats(&running, &mut eval_stats).expect("bn_running_stats");
    // the rest with given statistics, so that the outputs do not inherit the errors above
    let given = bed.stats(c, &around_one(7, c).iter().map(|v| v + 2.0).collect::<Vec<_>>(), &around_one(8, c));
    let mut y = bed.empty(map);
    d.bn_apply(&z, &given, &affine, &mut y).expect("bn_apply");
    let mut relued = bed.empty(map);
    d.norm_relu(&z, &given, &affine, &mut relued).expect("norm_relu");
    let mut stepped = bed.empty(map);
    d.norm_step(&g, -0.125, &z, &given, &affine, &mut stepped).expect("norm_step");
    let mut scratch = bed.scratch(map);
    let mut accumulated = bed.tensor(map, &uniform(2, map.len()));
    d.norm_step_acc(-0.125, &z, &given, &affine, &mut accumulated, &mut scratch).expect("norm_step_acc");
    let mut sums = bed.affine(c, &vec![0.0; c], &vec![0.0; c]);
    d.bn_grad_sums(&g, 0.25, &z, &given, &mut sums, &mut workspace).expect("bn_grad_sums");
    let given_sums = bed.affine(c, &uniform(9, c), &uniform(10, c));
    let mut grad_z = bed.empty(map);
    d.bn_grad_z(&g, 0.25, &z, &given, &affine, &given_sums, &mut grad_z).expect("bn_grad_z");
    let outputs = [
        ("mean", &stats.mean),
        ("rstd", &stats.rstd),
        ("running_mean", &running.mean),
        ("running_var", &running.var),
        ("eval_mean", &eval_stats.mean),
        ("eval_rstd", &eval_stats.rstd),
        ("y", &y),
        ("norm_relu", &relued),
        ("norm_step", &stepped),
        ("norm_step_acc", &accumulated),
        ("sum_gamma", &sums.gamma),
        ("sum_beta", &sums.beta),
        ("grad_z", &grad_z),
    ];
    outputs.into_iter().map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

#[test]
fn batch_norm() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        let m = map.pixels();
        compare!(map, 1, norms(map), |name: &str| vec![match name {
            // z is below 4; a mean of m terms
            "mean" | "running_mean" | "eval_mean" => bound(m, 4.0),
            // d rstd = rstd^3 / 2 d var, rstd about 1.7 (one pixel: 316, exactly) and d var about eps sqrt(m) |z - mean|^2,
            // plus the mean's own error squared
            "rstd" | "eval_rstd" if m == 1 => bound(4, 316.3),
            "rstd" | "eval_rstd" => bound(m, 40.0),
            "running_var" => bound(m, 4.0),
            // |gamma (z - mean) rstd + beta| is below 1.5 * 2.5 * 1.5 + 1
            "y" | "norm_relu" | "norm_step" | "norm_step_acc" => bound(4, 7.0),
            "sum_gamma" | "sum_beta" => bound(m + 4, 0.25 * 3.75 * m as f64),
            // gamma rstd (g / 4 + sums (1 + zhat) / m)
            _ => bound(6, 1.5 * 1.5 * (0.25 + 4.75 / m as f64)),
        }]);
    }
}
