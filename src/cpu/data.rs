//! A step's batch out of the data set that the host holds, an image a task.

use rayon::prelude::*;

use super::{Buffer, Cpu};
use crate::data::augment::augment;
use crate::data::{Held, IMAGE_LEN, Part};
use crate::device::PassPosition;

/// `images[n] = augment(pixels, change)`, and the classes.
pub fn draw_batch(
    cpu: &Cpu,
    data: &Held,
    part: Part,
    position: PassPosition<'_, Buffer>,
    images: &mut [f32],
    labels: &mut [f32],
) {
    let PassPosition { step, table, batch } = position;
    let [step, table] = [step, table].map(|t| t.values()[0] as usize);
    cpu.install(|| {
        let images = images.par_chunks_exact_mut(IMAGE_LEN);
        images.zip(labels).enumerate().for_each(|(n, (image, label))| {
            let (pixels, change, class) = data.at(part, table, step * batch + n);
            augment(pixels, change, image);
            *label = f32::from(class);
        });
    });
}
