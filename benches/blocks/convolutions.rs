//! Convolutions and their gradients: the blocks', and the stem's on the paper's images.

use rewind::device::Device;
use rewind::shape::{Conv, Shape};

use crate::ends::{Ends, IMAGES};
use crate::harness::{Bench, Work, flop, label};

const SAME: Conv = Conv::SAME_3X3;
const STEM: Conv = Conv::STEM_5X5;

pub fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    let one = Work::Convolutions(1);
    bench.on_maps("conv3x3", "", one, |d, b| {
        d.conv(&b.x, &b.theta.conv1, SAME, &mut b.cache.z1, &mut b.scratch.workspace)
    });
    bench.on_maps("conv3x3_grad_x", "", one, |d, b| {
        d.conv_grad_x(&b.x, &b.theta.conv1, SAME, &mut b.cache.z1, &mut b.scratch.workspace)
    });
    bench.on_maps("conv3x3_grad_w", "", one, |d, b| {
        d.conv_grad_w(&b.x, &b.grad, SAME, &mut b.grad_theta.conv1, &mut b.scratch.workspace)
    });
    stem(bench);
}

/// Images need no gradient, so there is no `grad_x` of the stem.
fn stem<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    let Shape([.., channels]) = Ends::<D>::MAP;
    let (shape, work) = (label(IMAGES), flop(STEM.flop(IMAGES, channels)));
    bench.operation("conv5x5_stem", "", &shape, work.clone(), Ends::new, &mut |d, e: &mut Ends<D>| {
        d.conv(&e.images, &e.stem, STEM, &mut e.z, &mut e.workspace)
    });
    bench.operation("conv5x5_stem_grad_w", "", &shape, work, Ends::new, &mut |d, e: &mut Ends<D>| {
        d.conv_grad_w(&e.images, &e.z, STEM, &mut e.grad_stem, &mut e.workspace)
    });
}
