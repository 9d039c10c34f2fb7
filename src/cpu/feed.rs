//! A step's batch out of the data set that the host holds, an image a task.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::data::{Dataset, Held, Mix, Part, Place, image_len};
use crate::device::{Elementwise, Feed, PassPosition};
use crate::error::Result;
use crate::host::{put_label, record_step};

/// `images[n] = augment(pixels, change)`, mixed where images are, and the classes: `each` numbers an image.
pub fn draw_batch(
    cpu: &Cpu,
    data: &Held,
    part: Part,
    position: PassPosition<'_, Buffer>,
    images: &mut [f32],
    labels: &mut [f32],
    each: usize,
) {
    let PassPosition { step, table, batch } = position;
    let [step, table] = [step, table].map(|t| t.values()[0] as usize);
    cpu.install(|| {
        let images = images.par_chunks_exact_mut(image_len(data.side()));
        let n = labels.len() / each;
        images.zip(labels.par_chunks_exact_mut(each)).enumerate().for_each(|(i, (image, label))| {
            put_label(data.draw(part, table, (step, batch), (i, n), image), label);
        });
    });
}

impl Feed for Cpu {
    type Data = Held;

    fn hold(&self, dataset: Arc<Dataset>, mixes: usize) -> Result<Held> {
        Ok(Held::new(dataset, mixes))
    }

    fn refill(&self, data: &mut Held, part: Part, pixels: &[u8], labels: &[u16]) -> Result<()> {
        data.refill(part, pixels, labels);
        Ok(())
    }

    fn write_table(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        write(data.table_mut(table));
        Ok(())
    }

    fn write_mixes(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()> {
        write(data.mixes_mut(table));
        Ok(())
    }

    fn choose_table(&self, _: &mut Held, table: usize, chosen: &mut Tensor) -> Result<()> {
        self.fill(table as f64, chosen)
    }

    fn draw_batch(
        &self,
        data: &Held,
        part: Part,
        position: PassPosition<'_, Buffer>,
        images: &mut Tensor,
        labels: &mut Tensor,
    ) -> Result<()> {
        check::batch("draw_batch", data.side(), images.shape(), labels.shape())?;
        let each = labels.shape().c();
        draw_batch(self, data, part, position, images.values_mut(), labels.values_mut(), each);
        Ok(())
    }

    fn record_step(
        &self,
        outcome: &Tensor,
        distance: Option<&Tensor>,
        always: bool,
        results: &mut Tensor,
        step_acc: &mut Tensor,
    ) -> Result<()> {
        let shapes = (results.shape(), outcome.shape(), distance.map(Tensor::shape), step_acc.shape());
        check::results("record_step", shapes.0, shapes.1, shapes.2, shapes.3)?;
        let distance = distance.map(Tensor::values);
        record_step(outcome.values(), distance, always, results.values_mut(), step_acc.values_mut());
        Ok(())
    }
}
