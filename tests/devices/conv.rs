//! Convolution and its gradients.

use rewind::device::Device;
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};

use crate::bed::{Bed, Outputs, absolute, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{CONVS, MAPS, compare};

pub fn convolutions<D: Device>(d: &D, x_shape: Shape, conv: Conv, c_out: usize, magnitude: bool) -> Outputs {
    let mut bed = Bed::new(d);
    let sign = |values: Vec<f64>| if magnitude { absolute(&values) } else { values };
    let (w_shape, y_shape) = (Shape::weight(conv.kernel, x_shape.c(), c_out), conv.output(x_shape, c_out));
    let x = bed.tensor(x_shape, &sign(uniform(1, x_shape.len())));
    let w = bed.tensor(w_shape, &sign(uniform(2, w_shape.len())));
    let g = bed.tensor(y_shape, &sign(uniform(3, y_shape.len())));
    let (mut y, mut grad_x) = (bed.empty(y_shape), bed.empty(x_shape));
    let mut grad_w = bed.tensor(w_shape, &sign(uniform(4, w_shape.len())));
    // exactly what the sibling asks for
    let mut workspace = bed.buffer(d.conv_workspace(x_shape, conv, c_out));
    d.conv(&x, &w, conv, &mut y, &mut workspace).expect("conv");
    d.conv_grad_x(&g, &w, conv, &mut grad_x, &mut workspace).expect("conv_grad_x");
    d.conv_grad_w(&x, &g, conv, &mut grad_w, &mut workspace).expect("conv_grad_w");
    vec![("y", bed.read(&y)), ("grad_x", bed.read(&grad_x)), ("grad_w", bed.read(&grad_w))]
}

/// The channels that a convolution of a map is tried with: all for the net's own two convolutions, as many as the map's and one other in turn
/// for the rest, whose products are made of the same loops.
fn channels_out(map: (usize, Shape), conv: (usize, Conv)) -> Vec<usize> {
    const OTHERS: [usize; 4] = [1, 3, 16, 33];
    // three channels to sixty-four are a stem's
    let stem = (map.1.c() == 3).then_some(64);
    let others = if conv.0 < 2 { &OTHERS[..] } else { &OTHERS[(map.0 + conv.0) % 4..][..1] };
    others.iter().copied().chain([map.1.c()]).chain(stem).collect()
}

/// On the emulator all of them take a minute: three tests, a third of them each.
fn convolution_and_its_gradients(part: usize) {
    if crate::bed::ran_apart() {
        return;
    }
    for (m, map) in MAPS.into_iter().enumerate() {
        for (n, conv) in CONVS.into_iter().enumerate().skip(part).step_by(3) {
            if map.h() + 2 * conv.padding < conv.kernel || map.w() + 2 * conv.padding < conv.kernel {
                continue;
            }
            for c_out in channels_out((m, map), (n, conv)) {
                if map.len() * c_out * conv.kernel > 2_000_000 && c_out != map.c() {
                    continue;
                }
                let magnitudes = convolutions(&Reference, map, conv, c_out, true);
                let pixels = conv.output(map, c_out).pixels();
                let taps = conv.kernel * conv.kernel;
                let tolerance = |name: &str| {
                    let terms = match name {
                        "y" => taps * map.c(),
                        "grad_x" => taps * c_out,
                        _ => pixels + 1,
                    };
                    let (_, sums) = magnitudes.iter().find(|(other, _)| *other == name).expect("same outputs");
                    sums.iter().map(|m| bound(terms, *m)).collect::<Vec<_>>()
                };
                let own = if conv == Conv::SAME_3X3 && c_out.is_multiple_of(64) { map.c() } else { 1 };
                compare!(format!("{conv:?} {map} to {c_out}"), own, convolutions(map, conv, c_out, false), tolerance);
            }
        }
    }
}

#[test]
fn convolution_and_its_gradients_1() {
    convolution_and_its_gradients(0);
}

#[test]
fn convolution_and_its_gradients_2() {
    convolution_and_its_gradients(1);
}

#[test]
fn convolution_and_its_gradients_3() {
    convolution_and_its_gradients(2);
}
