//! Operands that do not fit together are refused by name, on every device, before anything is written.

use rewind::data::Part;
use rewind::device::{Device, PassPosition, ResidualBlock, SgdStep};
use rewind::error::{Error, Result};
use rewind::operands::Measure;
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};

use crate::bed::{Bed, cpus};
use crate::support::numbered;

fn refused(op: &str, result: Result<()>) {
    match result {
        Err(Error::Shape { op: found, .. }) => assert_eq!(found, op),
        Err(other) => panic!("{op}: {other}"),
        Ok(()) => panic!("{op} took operands that do not fit"),
    }
}

fn misfits<D: Device>(d: &D) {
    let bed = &mut Bed::new(d);
    let map = Shape::map(2, 5, 6, 3);
    let (mut a, mut b) = (bed.empty(map), bed.empty(map));
    let mut wide = bed.empty(map.with_channels(4));
    let weight = bed.empty(Shape::weight(3, 3, 4));
    let mut grad_w = bed.empty(Shape::weight(3, 4, 3));
    let (stats, affine) = (&bed.stats(4, &[0.0; 4], &[1.0; 4]), &bed.affine(3, &[1.0; 3], &[0.0; 3]));
    let mut pair = bed.empty(Shape::vector(2));
    let workspace = &mut bed.buffer(d.conv_workspace(map, Conv::SAME_3X3, 4));

    refused("upload", d.upload(&[D::Real::default(); 7], &mut a));
    refused("download", d.download(&a, &mut [D::Real::default(); 7]));
    refused("copy", d.copy(&wide, &mut a));
    refused("axpby", d.axpby(1.0, &wide, 1.0, &mut a));
    refused("relu_grad", d.relu_grad(&wide, &mut a));
    refused("squared_distance", d.squared_distance(&a, &wide, &mut pair, 0, workspace));
    refused("conv", d.conv(&a, &weight, Conv::SAME_3X3, &mut b, workspace));
    refused("conv", d.conv(&wide, &weight, Conv::SAME_3X3, &mut a, workspace));
    refused("conv_grad_x", d.conv_grad_x(&a, &weight, Conv::SAME_3X3, &mut b, workspace));
    refused("conv_grad_w", d.conv_grad_w(&a, &wide, Conv::SAME_3X3, &mut grad_w, workspace));
    let mut narrow = bed.stats(2, &[0.0; 2], &[1.0; 2]);
    refused("bn_stats", d.bn_stats(&a, Measure { stats: &mut narrow, running: None }, workspace));
    refused("bn_apply", d.bn_apply(&a, stats, affine, &mut b));
    refused("bn_grad_z", d.bn_grad_z(&a, 1.0, &b, stats, affine, affine, &mut wide));
    let window = Conv { kernel: 3, stride: 2, padding: 1 };
    refused("max_pool", d.max_pool(&a, window, &mut b));
    refused("max_pool", d.max_pool(&a, Conv { padding: 2, ..window }, &mut b));
    refused("max_pool_grad", d.max_pool_grad(&a, &b, window, &mut wide));
    refused("avg_pool", d.avg_pool(&a, 4, &mut b));
    refused("avg_pool_grad", d.avg_pool_grad(&a, 4, &mut b));
    let (matrix, bias) = (bed.empty(Shape([1, 1, 90, 10])), bed.empty(Shape::vector(9)));
    let mut logits = bed.empty(Shape::map(2, 1, 1, 10));
    refused("linear", d.linear(&a, &matrix, &bias, &mut logits));
    refused("linear_grad_x", d.linear_grad_x(&logits, &matrix, &mut wide));
    let labels = bed.empty(Shape::map(3, 1, 1, 1));
    let mut grad = bed.empty(logits.shape());
    refused("softmax_cross_entropy", d.softmax_cross_entropy(&logits, &labels, 0.0, &mut grad, &mut pair));
    let step = SgdStep { momentum: 0.9, weight_decay: 0.0, ..SgdStep::PAPER }.on_device(&bias, &bias);
    let (mut images, mut pair_of_labels) = (bed.empty(Shape::map(2, 32, 32, 1)), bed.empty(Shape::map(2, 1, 1, 1)));
    let data = d.hold(numbered(4, 2), 0).expect("hold");
    let at = |batch| PassPosition { step: &bias, table: &bias, batch };
    refused("draw_batch", d.draw_batch(&data, Part::Test, at(2), &mut images, &mut pair_of_labels));
    let (mut images, mut two) = (bed.empty(Shape::map(2, 32, 32, 3)), bed.empty(Shape::map(2, 1, 1, 2)));
    refused("draw_batch", d.draw_batch(&data, Part::Test, at(2), &mut images, &mut two));
    refused("softmax_cross_entropy", d.softmax_cross_entropy(&logits, &two, 0.0, &mut grad, &mut pair));
    refused("squares", d.squares(&mut [&a].into_iter(), false, &mut pair));
    refused("clip", d.clip(&pair, 1.0, &mut [&mut b].into_iter()));
    refused("average_all", d.average_all(0.5, &pair, &mut [(&a, &mut wide)].into_iter()));
    let mut rows = bed.empty(Shape([1, 1, 3, 2]));
    refused("record_step", d.record_step(&pair, None, false, &mut rows, &mut pair_of_labels));
    refused("sgd", d.sgd(step, &a, &mut wide, &mut b));
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    misfits(&Reference);
    cpus().iter().for_each(misfits);
}

#[test]
fn statistics_of_another_width_are_refused_by_a_fused_convolution() {
    for cpu in cpus() {
        let bed = &mut Bed::new(cpu);
        let map = Shape::map(2, 5, 6, 3);
        let (z1, mut z2, w) = (bed.empty(map), bed.empty(map), bed.empty(Shape::weight(3, 3, 3)));
        let (stats, affine) = (&bed.stats(3, &[0.0; 3], &[1.0; 3]), &bed.affine(3, &[1.0; 3], &[0.0; 3]));
        let (mut narrow, mut scratch) = (bed.stats(2, &[0.0; 2], &[1.0; 2]), bed.scratch(map));
        let measure = Some(Measure { stats: &mut narrow, running: None });
        let op = cpu.norm_relu_conv_stats(&z1, stats, affine, &w, &mut z2, measure, &mut scratch);
        refused("norm_relu_conv_stats", op);
    }
}
