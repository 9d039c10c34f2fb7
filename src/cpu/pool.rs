//! Average pooling.

use rayon::prelude::*;

use super::Cpu;
use super::workspace::Groups;
use crate::shape::Shape;

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
