//! Pooling.

use rayon::prelude::*;

use super::Cpu;
use super::workspace::Groups;
use crate::shape::{Conv, Shape};

/// Mean over each window.
pub fn avg_pool(cpu: &Cpu, x: &[f32], shape: Shape, size: usize, y: &mut [f32]) {
    let out = shape.pooled(size);
    let share = 1.0 / (size * size) as f32;
    each_image(cpu, shape, out, y, x, |y, x| {
        for (i, y) in y.chunks_exact_mut(shape.c()).enumerate() {
            y.fill(0.0);
            for_window(shape, out, size, i, |at| {
                for (y, x) in y.iter_mut().zip(&x[at..]) {
                    *y += x;
                }
            });
            for y in y {
                *y *= share;
            }
        }
    });
}

/// Its transpose; zero where no window reached.
pub fn avg_pool_grad(cpu: &Cpu, grad_y: &[f32], size: usize, grad_x: &mut [f32], shape: Shape) {
    let out = shape.pooled(size);
    let share = 1.0 / (size * size) as f32;
    each_image(cpu, out, shape, grad_x, grad_y, |grad_x, grad_y| {
        grad_x.fill(0.0);
        for (i, grad_y) in grad_y.chunks_exact(shape.c()).enumerate() {
            for_window(shape, out, size, i, |at| {
                for (grad_x, grad_y) in grad_x[at..].iter_mut().zip(grad_y) {
                    *grad_x = grad_y * share;
                }
            });
        }
    });
}

/// Calls `visit` with the offset of every input pixel of window `i`.
fn for_window(x: Shape, out: Shape, size: usize, i: usize, mut visit: impl FnMut(usize)) {
    let (oy, ox) = (i / out.w(), i % out.w());
    for y in oy * size..(oy + 1) * size {
        for x_column in ox * size..(ox + 1) * size {
            visit((y * x.w() + x_column) * x.c());
        }
    }
}

/// The largest of each window.
pub fn max_pool(cpu: &Cpu, x: &[f32], shape: Shape, window: Conv, y: &mut [f32]) {
    let out = window.output(shape, shape.c());
    each_image(cpu, shape, out, y, x, |y, x| {
        for (i, y) in y.chunks_exact_mut(shape.c()).enumerate() {
            let mut first = true;
            for_max_window(shape, out, window, i, |at| {
                let x = &x[at..][..y.len()];
                if std::mem::take(&mut first) {
                    return y.copy_from_slice(x);
                }
                for (y, x) in y.iter_mut().zip(x) {
                    *y = if *x > *y || x.is_nan() { *x } else { *y };
                }
            });
        }
    });
}

/// Its transpose.
pub fn max_pool_grad(cpu: &Cpu, x: &[f32], shape: Shape, window: Conv, grad_y: &[f32], grad_x: &mut [f32]) {
    let (out, len) = (window.output(shape, shape.c()), shape.image_len());
    let grad_y_len = out.image_len();
    if len == 0 {
        return;
    }
    let size = Groups::new(shape.n()).size;
    cpu.install(|| {
        let images =
            (grad_x.par_chunks_mut(size * len), x.par_chunks(size * len), grad_y.par_chunks(size * grad_y_len));
        images.into_par_iter().for_each(|(grad_x, x, grad_y)| {
            // the largest of each channel so far, and where it is
            let mut largest = vec![(0.0f32, 0usize); shape.c()];
            let images = grad_x.chunks_exact_mut(len).zip(x.chunks_exact(len)).zip(grad_y.chunks_exact(grad_y_len));
            for ((grad_x, x), grad_y) in images {
                grad_x.fill(0.0);
                for (i, grad_y) in grad_y.chunks_exact(shape.c()).enumerate() {
                    let mut first = true;
                    for_max_window(shape, out, window, i, |at| {
                        let whatever = std::mem::take(&mut first);
                        for (c, ((value, place), x)) in largest.iter_mut().zip(&x[at..]).enumerate() {
                            if whatever || *x > *value || x.is_nan() {
                                (*value, *place) = (*x, at + c);
                            }
                        }
                    });
                    largest.iter().zip(grad_y).for_each(|((_, place), grad_y)| grad_x[*place] += grad_y);
                }
            }
        });
    });
}

/// Calls `visit` with the offset of every input pixel of window `i` that lies in the map.
fn for_max_window(x: Shape, out: Shape, window: Conv, i: usize, mut visit: impl FnMut(usize)) {
    let range = |at: usize, extent: usize| {
        let start = at * window.stride;
        start.saturating_sub(window.padding)..(start + window.kernel).saturating_sub(window.padding).min(extent)
    };
    for y in range(i / out.w(), x.h()) {
        for x_column in range(i % out.w(), x.w()) {
            visit((y * x.w() + x_column) * x.c());
        }
    }
}

/// Calls `f` with every image of `to` and of `from`.
fn each_image(
    cpu: &Cpu,
    from_shape: Shape,
    to_shape: Shape,
    to: &mut [f32],
    from: &[f32],
    f: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    let (from_len, to_len) = (from_shape.image_len(), to_shape.image_len());
    if from_len == 0 || to_len == 0 {
        // A window larger than the map: nothing is pooled, and nothing flows back.
        return to.fill(0.0);
    }
    let size = Groups::new(to_shape.n()).size;
    cpu.install(|| {
        (to.par_chunks_mut(size * to_len), from.par_chunks(size * from_len)).into_par_iter().for_each(|(to, from)| {
            for (to, from) in to.chunks_exact_mut(to_len).zip(from.chunks_exact(from_len)) {
                f(to, from);
            }
        });
    });
}
