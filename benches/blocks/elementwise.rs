//! Element by element: the maps' primitives.

use rewind::device::Device;

use crate::harness::{Bench, Work};

pub fn all<D: Device>(bench: &mut Bench<'_, D>) {
    bench.on_maps("fill", "", Work::Maps(1), |d, b| d.fill(1.0, &mut b.x_rec));
    bench.on_maps("copy", "", Work::Maps(2), |d, b| d.copy(&b.x, &mut b.x_rec));
    // keeps y where it is: y = (x + y) / 2 tends to x
    bench.on_maps("axpby", "", Work::Maps(3), |d, b| d.axpby(0.5, &b.x, 0.5, &mut b.x_rec));
    bench.on_maps("relu", "", Work::Maps(2), |d, b| d.relu(&mut b.x_rec));
    bench.on_maps("relu_grad", "", Work::Maps(3), |d, b| d.relu_grad(&b.x, &mut b.grad));
    // `lr` has one element and `loss` the two that this needs
    bench.on_maps("squared_distance", "", Work::Maps(2), |d, b| {
        d.squared_distance(&b.x, &b.x_rec, &mut b.loss, 0, &mut b.scratch.workspace)
    });
    bench.on_maps("all_finite", "", Work::Maps(1), |d, b| d.all_finite(&b.x).map(|finite| assert!(finite)));
}
