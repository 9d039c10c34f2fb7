//! The data.

use std::sync::Arc;

use crate::data::{Dataset, Mix, Part, Place};
use crate::error::Result;
use crate::memory::Memory;
use crate::tensor::Tensor;

/// Where in a pass over the data the next batch is. What differs between steps lies on the device, as in [`super::Sgd`].
pub struct PassPosition<'a, B> {
    /// The step's number in the pass from 0, `[1]`: exact in every number type below 2^24.
    pub step: &'a Tensor<B>,
    /// The table that the pass goes by, `[1]`; a pass over the test images has none.
    pub table: &'a Tensor<B>,
    /// Images of every batch but the last.
    pub batch: usize,
}

/// Batches from a data set that lies where the device reads it, and the record of what each step came to.
pub trait Feed: Memory {
    /// A data set, and the epochs' tables, where the device reads them.
    type Data: Send;
    /// Puts a data set where the device reads it, and takes room for [`crate::data::TABLES`] tables, and for as many of the mixes of
    /// `mixes` batches of an epoch: of none, where images are never mixed.
    fn hold(&self, dataset: Arc<Dataset>, mixes: usize) -> Result<Self::Data>;
    /// Puts other images, `[n, side, side, 3]`, and their classes in the place of a split's first `n`, for the steps that are asked for from now on.
    /// Does not wait for operations.
    ///
    /// # Panics
    /// If the split holds fewer.
    fn refill(&self, data: &mut Self::Data, part: Part, pixels: &[u8], labels: &[u16]) -> Result<()>;
    /// Has `write` fill a table, which no pass under way goes by. Does not wait for operations.
    fn write_table(&self, data: &mut Self::Data, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()>;
    /// Has `write` fill the mixes of a table's epoch, one per batch, before that table is written.
    fn write_mixes(&self, data: &mut Self::Data, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()>;
    /// Makes the steps to come go by this table: `chosen = table`, `[1]`.
    fn choose_table(&self, data: &mut Self::Data, table: usize, chosen: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `images[n] = augment(pixels, change)` and `labels[n]` of what stands at place `step batch + n` of the pass; behind the last
    /// place the first comes again. `images: [N, side, side, 3]`, `labels: [N, 1, 1, 1]`, or `[N, 1, 1, 3]` where training images are mixed
    /// with each other: see [`super::Head::softmax_cross_entropy`] and [`crate::data::mix`]. The same bits on all devices of one number
    /// type.
    fn draw_batch(
        &self,
        data: &Self::Data,
        part: Part,
        position: PassPosition<'_, Self::Buffer>,
        images: &mut Tensor<Self::Buffer>,
        labels: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `results[step mod R] = [loss, right answers, distance, norm]`, then `step += 1`: `always`, or only where the loss is
    /// finite, so that after one that is not, every further step repeats that step. `results: [1, 1, R, 4]`, `outcome: [2]` is
    /// [`super::Head::softmax_cross_entropy`]'s, `distance: [2]` [`super::Elementwise::squared_distance`]'s and 0 without one, `step: [1]`.
    fn record_step(
        &self,
        outcome: &Tensor<Self::Buffer>,
        distance: Option<&Tensor<Self::Buffer>>,
        always: bool,
        results: &mut Tensor<Self::Buffer>,
        step_acc: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
}
