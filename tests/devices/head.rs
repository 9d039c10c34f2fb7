//! Pooling, the linear layer and the loss.

use rewind::device::{Device, MIXED_LABEL};
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};

use crate::bed::{Bed, Outputs, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

pub fn head<D: Device>(d: &D, map: Shape, classes: usize) -> Outputs {
    let mut bed = Bed::new(d);
    let (n, features) = (map.n(), map.image_len());
    let logits_shape = Shape::map(n, 1, 1, classes);
    let x = bed.tensor(map, &uniform(1, map.len()));
    let w_shape = Shape([1, 1, features, classes]);
    let w = bed.tensor(w_shape, &uniform(2, w_shape.len()));
    let b = bed.tensor(Shape::vector(classes), &uniform(3, classes));
    let mut y = bed.empty(logits_shape);
    d.linear(&x, &w, &b, &mut y).expect("linear");
    let g = bed.tensor(logits_shape, &uniform(4, logits_shape.len()));
    let mut grad_x = bed.empty(map);
    d.linear_grad_x(&g, &w, &mut grad_x).expect("linear_grad_x");
    let mut grad_w = bed.tensor(w_shape, &uniform(5, w_shape.len()));
    let mut grad_b = bed.tensor(Shape::vector(classes), &uniform(6, classes));
    d.linear_grad_w(&x, &g, &mut grad_w, &mut grad_b).expect("linear_grad_w");
    let logits_values: Vec<f64> = uniform(7, n * classes).iter().map(|v| 8.0 * v).collect();
    let logits = bed.tensor(logits_shape, &logits_values);
    let labels_values: Vec<f64> = (0..n).map(|i| (i * 7 % classes) as f64).collect();
    let labels = bed.tensor(Shape::map(n, 1, 1, 1), &labels_values);
    let (mut grad_logits, mut out) = (bed.empty(logits_shape), bed.empty(Shape::vector(2)));
    let (mut grad_smoothed, mut smoothed) = (bed.empty(logits_shape), bed.empty(Shape::vector(2)));
    d.softmax_cross_entropy(&logits, &labels, 0.0, &mut grad_logits, &mut out).expect("softmax_cross_entropy");
    d.softmax_cross_entropy(&logits, &labels, 0.1, &mut grad_smoothed, &mut smoothed).expect("softmax_cross_entropy");
    // two classes, or one twice, with shares from 0 to 1
    let mixed_values: Vec<f64> =
        (0..n).flat_map(|i| [(i * 7 % classes) as f64, (i * 5 % classes) as f64, (i % 5) as f64 / 4.0]).collect();
    let mixed_labels = bed.tensor(Shape::map(n, 1, 1, MIXED_LABEL), &mixed_values);
    let (mut grad_mixed, mut mixed) = (bed.empty(logits_shape), bed.empty(Shape::vector(2)));
    d.softmax_cross_entropy(&logits, &mixed_labels, 0.1, &mut grad_mixed, &mut mixed).expect("softmax_cross_entropy");
    let mut outputs: Outputs = [
        ("grad_mixed", &grad_mixed),
        ("mixed", &mixed),
        ("y", &y),
        ("grad_x", &grad_x),
        ("grad_w", &grad_w),
        ("grad_b", &grad_b),
        ("grad_logits", &grad_logits),
        ("loss", &out),
        ("grad_smoothed", &grad_smoothed),
        ("smoothed", &smoothed),
    ]
    .into_iter()
    .map(|(name, tensor)| (name, bed.read(tensor)))
    .collect();
    if map.h() >= 4 && map.w() >= 4 {
        let pooled_shape = Shape::map(n, map.h() / 4, map.w() / 4, map.c());
        let mut pooled = bed.empty(pooled_shape);
        d.avg_pool(&x, 4, &mut pooled).expect("avg_pool");
        let g = bed.tensor(pooled_shape, &uniform(8, pooled_shape.len()));
        d.avg_pool_grad(&g, 4, &mut grad_x).expect("avg_pool_grad");
        outputs.push(("pooled", bed.read(&pooled)));
        outputs.push(("pool_grad", bed.read(&grad_x)));
    }
    outputs
}

#[test]
fn head_and_loss() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        // where a row of weights is long the emulator takes seconds, and what there is to see of few classes was seen
        let few: &[usize] = if map.image_len() < 2000 { &[2, 10] } else { &[] };
        for classes in few.iter().copied().chain([33]) {
            compare!(format!("{map} to {classes}"), 1, head(map, classes), |name: &str| vec![match name {
                "y" => bound(map.image_len() + 1, map.image_len() as f64 / 4.0 + 1.0),
                "grad_x" => bound(classes, classes as f64 / 4.0 + 1.0),
                "grad_w" | "grad_b" => bound(map.n() + 1, map.n() as f64 + 1.0),
                // exp of differences up to 16: their rounding is amplified 16-fold
                "grad_logits" | "grad_smoothed" | "grad_mixed" => bound(classes, 16.0 / map.n() as f64),
                "loss" | "smoothed" | "mixed" => bound(classes, 20.0),
                _ => bound(16, 1.0),
            }]);
        }
    }
}

/// The largest elements of windows, of values that are often equal, and back.
fn max_pooled<D: Device>(d: &D, map: Shape, window: Conv) -> Outputs {
    let mut bed = Bed::new(d);
    // five values
    let x = bed.tensor(map, &uniform(1, map.len()).iter().map(|v| (2.5 * v).trunc()).collect::<Vec<_>>());
    let pooled = window.output(map, map.c());
    let (mut y, mut grad_x) = (bed.empty(pooled), bed.empty(map));
    d.max_pool(&x, window, &mut y).expect("max_pool");
    let g = bed.tensor(pooled, &uniform(2, pooled.len()));
    d.max_pool_grad(&x, &g, window, &mut grad_x).expect("max_pool_grad");
    vec![("largest", bed.read(&y)), ("grad_x", bed.read(&grad_x))]
}

#[test]
fn the_largest_of_each_window() {
    if crate::bed::ran_apart() {
        return;
    }
    // a stem's, one that meets no element twice, one that leaves some out, one of padding on both sides
    for (kernel, stride, padding) in [(3, 2, 1), (2, 2, 0), (2, 3, 1), (5, 1, 2)] {
        let window = Conv { kernel, stride, padding };
        for map in MAPS.into_iter().filter(|map| map.h() + 2 * padding >= kernel && map.w() + 2 * padding >= kernel) {
            compare!(format!("max of {window:?} on {map}"), 1, max_pooled(map, window), |name: &str| vec![
                match name {
                    "largest" => 1e-30,
                    // windows that reach an element
                    _ => bound(kernel * kernel, (kernel * kernel) as f64),
                }
            ]);
        }
    }
}

/// What is no number is the largest, wherever it stands; nothing is taken from outside the map, where zeros would be larger.
fn at_the_edges<D: Device>(d: &D) {
    let mut bed = Bed::new(d);
    let (map, window) = (Shape::map(1, 2, 3, 1), Conv { kernel: 3, stride: 2, padding: 1 });
    let mut y = bed.empty(window.output(map, 1));
    let x = bed.tensor(map, &[-4.0, -3.0, -2.0, -9.0, -8.0, f64::NAN]);
    d.max_pool(&x, window, &mut y).expect("max_pool");
    let found = bed.read(&y);
    assert!(found[0] == -3.0 && found[1].is_nan(), "{}: {found:?}", d.name());
    let x = bed.tensor(map, &[f64::NAN, -3.0, -2.0, -9.0, -8.0, -1.0]);
    d.max_pool(&x, window, &mut y).expect("max_pool");
    let found = bed.read(&y);
    assert!(found[0].is_nan() && found[1] == -1.0, "{}: {found:?}", d.name());
}

#[test]
fn windows_end_at_the_edge_and_what_is_no_number_shows() {
    at_the_edges(&Reference);
    cpus().iter().for_each(at_the_edges);
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    {
        at_the_edges(&crate::bed::cudas()[0].0);
        crate::support::gpu::no_faults();
    }
}

/// All of the head at once: from a map, by windows of `size`, to the loss, and back.
fn whole_head<D: Device>(d: &D, map: Shape, size: usize, classes: usize, smoothing: f64) -> Outputs {
    let mut bed = Bed::new(d);
    let (pooled_map, logits_map) = (map.pooled(size), Shape::map(map.n(), 1, 1, classes));
    let features = pooled_map.image_len();
    let w_shape = Shape([1, 1, features, classes]);
    let x = bed.tensor(map, &uniform(1, map.len()));
    // logits below 2
    let weights = uniform(2, w_shape.len()).iter().map(|v| f64::from((v / features as f64) as f32)).collect::<Vec<_>>();
    let (w, b) = (bed.tensor(w_shape, &weights), bed.tensor(Shape::vector(classes), &uniform(3, classes)));
    let labels: Vec<f64> = (0..map.n()).map(|i| (i * 7 % classes) as f64).collect();
    let labels = bed.tensor(Shape::map(map.n(), 1, 1, 1), &labels);
    let [mut pooled, mut grad_pooled] = [(); 2].map(|()| bed.empty(pooled_map));
    let [mut logits, mut grad_logits] = [(); 2].map(|()| bed.empty(logits_map));
    let (mut out, mut workspace) = (bed.empty(Shape::vector(2)), bed.buffer(d.head_workspace(map.n())));
    d.head_loss(
        &x,
        size,
        &w,
        &b,
        &labels,
        smoothing,
        &mut pooled,
        &mut logits,
        &mut grad_logits,
        &mut out,
        &mut workspace,
    )
    .expect("head_loss");
    let (mut grad_w, mut grad_b) = (bed.empty(w_shape), bed.empty(Shape::vector(classes)));
    let mut grad_x = bed.empty(map);
    d.head_grads(&pooled, &grad_logits, size, &w, &mut grad_w, &mut grad_b, &mut grad_pooled, &mut grad_x)
        .expect("head_grads");
    let out = bed.read(&out);
    let mut outputs = vec![("loss", vec![out[0]]), ("right", vec![out[1]])];
    let read = [
        ("pooled", &pooled),
        ("logits", &logits),
        ("grad_logits", &grad_logits),
        ("grad_w", &grad_w),
        ("grad_b", &grad_b),
        ("grad_pooled", &grad_pooled),
        ("grad_x", &grad_x),
    ];
    outputs.extend(read.into_iter().map(|(name, tensor)| (name, bed.read(tensor))));
    outputs
}

#[test]
fn the_whole_head_at_once() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        for (size, classes, smoothing) in [(1, 5, 0.0), (2, 40, 0.1), (3, 33, 0.0)] {
            let (n, features) = (map.n(), map.pooled(size).image_len());
            // some have more weights than go in one launch, which is 2^15; many more take long
            if map.h() < size || map.w() < size || features * classes > 60_000 {
                continue;
            }
            // a sum of windows, then of features, then of classes: below 2 in all, whose error the softmax hands on to its gradient, of
            // at most 1 / n, and to the loss
            let terms = size * size + features + classes;
            let what = format!("{map} by {size} to {classes}");
            compare!(what, 1, whole_head(map, size, classes, smoothing), |name: &str| vec![match name {
                "right" => 0.5,
                "pooled" => bound(size * size, 1.0),
                "logits" => bound(size * size + features, 2.0),
                "grad_logits" => bound(terms, 8.0 / n as f64),
                "loss" | "grad_w" | "grad_b" => bound(terms + n, 8.0),
                // of weights below 1 / features
                _ => bound(terms, 16.0 / (n * features) as f64),
            }]);
        }
    }
}
