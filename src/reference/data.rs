//! A step's batch out of the data set that the host holds: the f32 that every device trains on, widened.

use super::Buffer;
use crate::data::augment::augment;
use crate::data::{Held, IMAGE_LEN, Part};
use crate::device::PassPosition;

pub fn draw_batch(data: &Held, part: Part, position: PassPosition<'_, Buffer>, images: &mut [f64], labels: &mut [f64]) {
    let PassPosition { step, table, batch } = position;
    let [step, table] = [step, table].map(|t| t.values()[0] as usize);
    let mut drawn = [0.0f32; IMAGE_LEN];
    for (n, (image, label)) in images.chunks_exact_mut(IMAGE_LEN).zip(labels).enumerate() {
        let (pixels, change, class) = data.at(part, table, step * batch + n);
        augment(pixels, change, &mut drawn);
        image.iter_mut().zip(drawn).for_each(|(wide, value)| *wide = value.into());
        *label = class.into();
    }
}
