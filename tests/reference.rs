//! The reference device's derivatives: each VJP against central differences of its own forward, `<J v, a> = <v, J^T a>`, at
//! odd sizes. The forward loops are the formulas themselves; PyTorch agrees with them in `tests/nets/golden.rs`.

mod support;

use rewind::device::Activation;
use rewind::device::prelude::*;
use rewind::host::HostBuffer;
use rewind::memory::{Arena, Category};
use rewind::operands::{Affine, BnStats, Measure};
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};
use support::{assert_close, read, uniform, write};

const D: &Reference = &Reference;
type Tensor = rewind::tensor::Tensor<HostBuffer<f64>>;

fn tensor(arena: &mut Arena<'_, Reference>, shape: Shape, values: &[f64]) -> Tensor {
    let mut tensor = arena.tensor(Category::Scratch, shape).expect("room");
    write(D, values, &mut tensor);
    tensor
}

fn arena() -> Arena<'static, Reference> {
    Arena::new(D, 64 << 20).expect("arena")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Checks `<J v, a> = <v, J^T a>`: `forward` at x + d v and x - d v gives J v, `grad` is J^T a.
fn check(what: &str, x: &[f64], v: &[f64], a: &[f64], grad: &[f64], mut forward: impl FnMut(&[f64]) -> Vec<f64>) {
    let delta = 1e-5;
    let moved = |sign: f64| x.iter().zip(v).map(|(x, v)| x + sign * delta * v).collect::<Vec<_>>();
    let (ahead, behind) = (forward(&moved(1.0)), forward(&moved(-1.0)));
    let jv: Vec<f64> = ahead.iter().zip(&behind).map(|(p, m)| (p - m) / (2.0 * delta)).collect();
    let (found, expected) = (dot(v, grad), dot(&jv, a));
    let magnitude: f64 = jv.iter().zip(a).map(|(j, a)| (j * a).abs()).sum();
    // central differences: rounding 1e-16 / delta = 1e-11 of the magnitude, curvature delta^2 = 1e-10 of it, with factors
    // of rstd^2 up to 100
    assert_close(what, &[found], &[expected], |_| 1e-7 * (magnitude + 1.0));
}

const MAPS: [Shape; 4] =
    [Shape::map(1, 5, 6, 1), Shape::map(3, 7, 9, 3), Shape::map(2, 6, 5, 16), Shape::map(2, 8, 7, 5)];

#[test]
fn convolution() {
    let convs = [
        Conv::SAME_3X3,
        Conv::STEM_5X5,
        Conv { kernel: 1, stride: 1, padding: 0 },
        Conv { kernel: 3, stride: 2, padding: 1 },
    ];
    for map in MAPS {
        for conv in convs {
            for c_out in [1, 4] {
                let arena = &mut arena();
                let none = &mut arena.tensor(Category::Scratch, Shape::vector(0)).expect("room").buffer;
                let (w_shape, y_shape) = (Shape::weight(conv.kernel, map.c(), c_out), conv.output(map, c_out));
                let (x, w) = (uniform(1, map.len()), uniform(2, w_shape.len()));
                let a = uniform(3, y_shape.len());
                let mut y = arena.tensor(Category::Scratch, y_shape).expect("room");
                let mut tx = tensor(arena, map, &x);
                let mut tw = tensor(arena, w_shape, &w);
                let ta = tensor(arena, y_shape, &a);
                let mut grad_x = arena.tensor(Category::Scratch, map).expect("room");
                let mut grad_w = tensor(arena, w_shape, &vec![0.0; w_shape.len()]);
                D.conv_grad_x(&ta, &tw, conv, &mut grad_x, none).expect("conv_grad_x");
                D.conv_grad_w(&tx, &ta, conv, &mut grad_w, none).expect("conv_grad_w");
                let what = format!("{conv:?} {map} to {c_out}");
                check(&format!("{what}, x"), &x, &uniform(4, x.len()), &a, &read(D, &grad_x), |moved| {
                    write(D, moved, &mut tx);
                    D.conv(&tx, &tw, conv, &mut y, none).expect("conv");
                    read(D, &y)
                });
                write(D, &x, &mut tx);
                check(&format!("{what}, w"), &w, &uniform(5, w.len()), &a, &read(D, &grad_w), |moved| {
                    write(D, moved, &mut tw);
                    D.conv(&tx, &tw, conv, &mut y, none).expect("conv");
                    read(D, &y)
                });
            }
        }
    }
}

#[test]
fn train_mode_batch_norm_through_its_statistics() {
    for map in MAPS {
        let arena = &mut arena();
        let c = map.c();
        let none = &mut arena.tensor(Category::Scratch, Shape::vector(0)).expect("room").buffer;
        let (z, a) = (uniform(1, map.len()), uniform(2, map.len()));
        let affine = Affine {
            gamma: tensor(arena, Shape::vector(c), &uniform(3, c)),
            beta: tensor(arena, Shape::vector(c), &uniform(4, c)),
        };
        let mut stats = BnStats::new(arena, Category::Scratch, c).expect("room");
        let mut sums = Affine::new(arena, Category::Scratch, c).expect("room");
        let (mut tz, ta) = (tensor(arena, map, &z), tensor(arena, map, &a));
        let mut y = arena.tensor(Category::Scratch, map).expect("room");
        let mut grad = arena.tensor(Category::Scratch, map).expect("room");
        let scale = -0.25;
        D.bn_stats(&tz, Measure { stats: &mut stats, running: None }, none).expect("bn_stats");
        D.bn_grad_sums(&ta, scale, &tz, &stats, &mut sums, none).expect("bn_grad_sums");
        D.bn_grad_z(&ta, scale, &tz, &stats, &affine, &sums, &mut grad).expect("bn_grad_z");
        let scaled: Vec<f64> = a.iter().map(|a| a * scale).collect();
        check(&format!("z of {map}"), &z, &uniform(5, z.len()), &scaled, &read(D, &grad), |moved| {
            write(D, moved, &mut tz);
            let mut moved_stats = BnStats::new(arena, Category::Scratch, c).expect("room");
            D.bn_stats(&tz, Measure { stats: &mut moved_stats, running: None }, none).expect("bn_stats");
            D.bn_apply(&tz, &moved_stats, &affine, &mut y).expect("bn_apply");
            read(D, &y)
        });
        write(D, &z, &mut tz);
        let mut affine = affine;
        let gamma = read(D, &affine.gamma);
        check(&format!("gamma of {map}"), &gamma, &uniform(6, c), &scaled, &read(D, &sums.gamma), |moved| {
            write(D, moved, &mut affine.gamma);
            D.bn_apply(&tz, &stats, &affine, &mut y).expect("bn_apply");
            read(D, &y)
        });
        let beta = read(D, &affine.beta);
        check(&format!("beta of {map}"), &beta, &uniform(7, c), &scaled, &read(D, &sums.beta), |moved| {
            write(D, moved, &mut affine.beta);
            D.bn_apply(&tz, &stats, &affine, &mut y).expect("bn_apply");
            read(D, &y)
        });
    }
}

#[test]
fn relu_pooling_and_linear() {
    for map in MAPS {
        let arena = &mut arena();
        let (x, classes) = (uniform(1, map.len()), 3);
        let mut tx = tensor(arena, map, &x);
        let mut y = arena.tensor(Category::Scratch, map).expect("room");
        let a = uniform(2, map.len());
        let mut grad = tensor(arena, map, &a);
        D.copy(&tx, &mut y).expect("copy");
        D.relu(&mut y).expect("relu");
        D.relu_grad(&y, &mut grad).expect("relu_grad");
        for act in [Activation::Gelu, Activation::Silu] {
            let mut grad = tensor(arena, map, &a);
            D.activate_grad(act, &tx, &mut grad).expect("activate_grad");
            check(&format!("{act:?} {map}"), &x, &uniform(3, x.len()), &a, &read(D, &grad), |moved| {
                write(D, moved, &mut y);
                D.activate(act, &mut y).expect("activate");
                read(D, &y)
            });
        }
        check(&format!("relu {map}"), &x, &uniform(3, x.len()), &a, &read(D, &grad), |moved| {
            write(D, moved, &mut y);
            D.relu(&mut y).expect("relu");
            read(D, &y)
        });

        let pooled = Shape::map(map.n(), map.h() / 4, map.w() / 4, map.c());
        let a = uniform(4, pooled.len());
        let ta = tensor(arena, pooled, &a);
        let mut y = arena.tensor(Category::Scratch, pooled).expect("room");
        D.avg_pool_grad(&ta, 4, &mut grad).expect("avg_pool_grad");
        check(&format!("avg_pool {map}"), &x, &uniform(5, x.len()), &a, &read(D, &grad), |moved| {
            write(D, moved, &mut tx);
            D.avg_pool(&tx, 4, &mut y).expect("avg_pool");
            read(D, &y)
        });
        write(D, &x, &mut tx);

        let (w_shape, y_shape) = (Shape([1, 1, map.image_len(), classes]), Shape::map(map.n(), 1, 1, classes));
        let (w, b, a) = (uniform(6, w_shape.len()), uniform(7, classes), uniform(8, y_shape.len()));
        let (mut tw, mut tb) = (tensor(arena, w_shape, &w), tensor(arena, Shape::vector(classes), &b));
        let ta = tensor(arena, y_shape, &a);
        let mut grad_w = tensor(arena, w_shape, &vec![0.0; w.len()]);
        let mut grad_b = tensor(arena, Shape::vector(classes), &vec![0.0; classes]);
        let mut y = arena.tensor(Category::Scratch, y_shape).expect("room");
        D.linear_grad_x(&ta, &tw, &mut grad).expect("linear_grad_x");
        D.linear_grad_w(&tx, &ta, &mut grad_w, &mut grad_b).expect("linear_grad_w");
        check(&format!("linear {map}, x"), &x, &uniform(9, x.len()), &a, &read(D, &grad), |moved| {
            write(D, moved, &mut tx);
            D.linear(&tx, &tw, &tb, &mut y).expect("linear");
            read(D, &y)
        });
        write(D, &x, &mut tx);
        check(&format!("linear {map}, w"), &w, &uniform(10, w.len()), &a, &read(D, &grad_w), |moved| {
            write(D, moved, &mut tw);
            D.linear(&tx, &tw, &tb, &mut y).expect("linear");
            read(D, &y)
        });
        write(D, &w, &mut tw);
        check(&format!("linear {map}, b"), &b, &uniform(11, classes), &a, &read(D, &grad_b), |moved| {
            write(D, moved, &mut tb);
            D.linear(&tx, &tw, &tb, &mut y).expect("linear");
            read(D, &y)
        });
    }
}

#[test]
fn softmax_cross_entropy() {
    for (n, classes, smoothing) in [(1, 2, 0.0), (5, 10, 0.0), (3, 33, 0.0), (5, 10, 0.1), (3, 7, 0.9)] {
        let arena = &mut arena();
        let shape = Shape::map(n, 1, 1, classes);
        let logits: Vec<f64> = uniform(1, shape.len()).iter().map(|v| 5.0 * v).collect();
        let labels: Vec<f64> = (0..n).map(|i| (3 * i % classes) as f64).collect();
        let mut t = tensor(arena, shape, &logits);
        let labels = tensor(arena, Shape::map(n, 1, 1, 1), &labels);
        let (mut grad, mut out) =
            (tensor(arena, shape, &logits), arena.tensor(Category::Scratch, Shape::vector(2)).expect("room"));
        D.softmax_cross_entropy(&t, &labels, smoothing, &mut grad, &mut out).expect("loss");
        let found = read(D, &grad);
        check(&format!("{n} of {classes}"), &logits, &uniform(2, shape.len()), &[1.0], &found, |moved| {
            write(D, moved, &mut t);
            D.softmax_cross_entropy(&t, &labels, smoothing, &mut grad, &mut out).expect("loss");
            vec![read(D, &out)[0]]
        });
    }
}

/// What PyTorch 2.15 gives: `cross_entropy(logits, labels, label_smoothing=0.1)` and its gradient.
#[test]
fn smoothed_labels_are_those_of_pytorch() {
    let arena = &mut arena();
    let shape = Shape::map(2, 1, 1, 4);
    let t = tensor(arena, shape, &[1.0, 2.0, 3.0, -1.0, 0.5, -0.25, 4.0, 0.0]);
    let labels = tensor(arena, Shape::map(2, 1, 1, 1), &[1.0, 2.0]);
    let (mut grad, mut out) = (
        arena.tensor(Category::Scratch, shape).expect("room"),
        arena.tensor(Category::Scratch, Shape::vector(2)).expect("room"),
    );
    D.softmax_cross_entropy(&t, &labels, 0.1, &mut grad, &mut out).expect("loss");
    let golden = [
        0.03197340864870214,
        -0.34160874142059966,
        0.31611651141592767,
        -0.006481178644030273,
        0.0017068261461111005,
        -0.005789170507970585,
        0.007965468727036018,
        -0.003883124365176545,
    ];
    assert_close("loss", &[read(D, &out)[0]], &[0.9246760905608284], |_| 1e-14);
    assert_close("gradient", &read(D, &grad), &golden, |_| 1e-14);
}

#[test]
fn ties_go_to_the_lowest_index_and_a_nan_is_never_right() {
    let arena = &mut arena();
    let shape = Shape::map(4, 1, 1, 3);
    let logits = [2.0, 2.0, 1.0, 2.0, 2.0, 1.0, f64::NAN, 0.0, 0.0, 0.0, f64::INFINITY, 0.0];
    let t = tensor(arena, shape, &logits);
    let labels = tensor(arena, Shape::map(4, 1, 1, 1), &[0.0, 1.0, 0.0, 1.0]);
    let (mut grad, mut out) =
        (tensor(arena, shape, &logits), arena.tensor(Category::Scratch, Shape::vector(2)).expect("room"));
    D.softmax_cross_entropy(&t, &labels, 0.0, &mut grad, &mut out).expect("loss");
    assert_eq!(read(D, &out)[1], 1.0);
}
