//! The data set in the GPU's memory, and the epochs' tables, which come over a stream of their own while the GPU computes.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtr, DeviceRepr};

use super::buffer::CudaBuffer;
use super::error::{driver, reserve};
use super::launch::{grid, launch};
use super::pinned::Pinned;
use super::{Cuda, Tensor, at};
use crate::check;
use crate::data::{Dataset, Mix, Normalise, Part, Place, Split, TABLES, image_len};
use crate::device::{Elementwise, Feed, PassPosition};
use crate::error::{Error, Result};

/// Bytes of a piece of the data set on its way to the device.
const PIECE: usize = 4 << 20;

/// Batches on their way to the device at a time: so many steps may be asked for ahead of the one that computes.
const ON_THE_WAY: usize = 4;
/// Words of a mix.
const WORDS: usize = 2;
/// Threads of a block of draw_batch.
const THREADS: usize = 256;

/// Pixels and classes of a split, as bytes.
struct Images {
    pixels: CudaSlice<u8>,
    classes: CudaSlice<u8>,
    len: usize,
}

/// Pixels and classes of a batch that is on its way to the device.
struct Staging {
    pixels: Pinned<u8>,
    classes: Pinned<u16>,
}

/// A data set on the device.
pub struct CudaData {
    side: usize,
    normalise: Normalise,
    train: Images,
    test: Images,
    /// Taken when the set is refilled for the first time, and used in turn.
    staging: Vec<Staging>,
    refilled: usize,
    tables: CudaSlice<u64>,
    places: usize,
    /// Where the host writes the next table.
    next: Pinned<Place>,
    /// The mixes of the tables' epochs, and where the host writes the next ones.
    mixes: CudaSlice<u64>,
    batches: usize,
    next_mixes: Pinned<Mix>,
    /// The table's copy is done.
    written: [CudaEvent; TABLES],
    /// The steps that read the table are done.
    released: [CudaEvent; TABLES],
    chosen: Option<usize>,
}

const _: () = assert!(size_of::<Place>() == size_of::<u64>() && size_of::<Mix>() == WORDS * size_of::<u64>());

fn address<T>(memory: &CudaSlice<T>, stream: &CudaStream) -> u64 {
    memory.device_ptr(stream).0
}

impl CudaData {
    pub(super) fn new(d: &Cuda, dataset: &Dataset, batches: usize) -> Result<Self> {
        let context = d.stream.context();
        let places = dataset.train.len();
        let event = || context.new_event(None).map_err(|e| driver("making an event", e));
        let mut piece = Pinned::new(context, PIECE)?;
        let mut split = |split: &Split| {
            let pixels = send(d, &split.pixels, &mut piece)?;
            let classes = send(d, bytemuck::cast_slice(&split.labels), &mut piece)?;
            Ok::<_, Error>(Images { pixels, classes, len: split.len() })
        };
        let (train, test) = (split(&dataset.train)?, split(&dataset.test)?);
        let tables = room::<u64>(&d.stream, TABLES * places)?;
        let data = Self {
            side: dataset.side(),
            normalise: dataset.normalise,
            train,
            test,
            staging: Vec::new(),
            refilled: 0,
            tables,
            places,
            next: Pinned::new(context, places)?,
            mixes: room::<u64>(&d.stream, TABLES * batches * WORDS)?,
            batches,
            next_mixes: Pinned::new(context, batches.max(1))?,
            written: [event()?, event()?],
            released: [event()?, event()?],
            chosen: None,
        };
        // From here on the two streams are ordered by events. The data set and the reservations are for both.
        for stream in [&d.copies, &d.stream] {
            stream.synchronize().map_err(|e| driver("copying the data set to the GPU", e))?;
        }
        Ok(data)
    }

    /// Sends a batch to where the first images of a split lie, behind the steps that were asked for before.
    pub(super) fn refill(&mut self, d: &Cuda, part: Part, pixels: &[u8], classes: &[u16]) -> Result<()> {
        let split = if part == Part::Train { &self.train } else { &self.test };
        assert!(classes.len() <= split.len && pixels.len() == classes.len() * image_len(self.side));
        let (to_pixels, to_classes) = (address(&split.pixels, &d.stream), address(&split.classes, &d.stream));
        let most = self.train.len.max(self.test.len);
        let turn = self.refilled % ON_THE_WAY;
        self.refilled += 1;
        if self.staging.len() <= turn {
            let context = d.stream.context();
            let pixels = Pinned::new(context, most * image_len(self.side))?;
            self.staging.push(Staging { pixels, classes: Pinned::new(context, most)? });
        }
        let staging = &mut self.staging[turn];
        staging.pixels.values_mut()?[..pixels.len()].copy_from_slice(pixels);
        staging.classes.values_mut()?[..classes.len()].copy_from_slice(classes);
        // SAFETY: the split has room for so many images and classes, as was asked above. The copies come behind all steps that read the former ones.
        unsafe {
            staging.pixels.copy_to(pixels.len(), to_pixels, &d.stream)?;
            staging.classes.copy_to(classes.len(), to_classes, &d.stream)
        }
    }

    /// Has `write` fill a table, and sends it once no step reads the former one.
    pub(super) fn write_table(&mut self, d: &Cuda, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        write(self.next.values_mut()?);
        let Self { next, tables, places, .. } = self;
        // SAFETY: the tables' memory has room for so many places of each table, see `new`.
        unsafe { send_once_read(d, next, tables, *places, table, &self.released, &self.written) }
    }

    /// Has `write` fill the mixes of a table's epoch, and sends them as a table is sent.
    pub(super) fn write_mixes(&mut self, d: &Cuda, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()> {
        write(&mut self.next_mixes.values_mut()?[..self.batches]);
        let Self { next_mixes, mixes, batches, .. } = self;
        // SAFETY: the mixes' memory has room for those of so many batches of each table, see `new`.
        unsafe { send_once_read(d, next_mixes, mixes, *batches, table, &self.released, &self.written) }
    }

    /// Makes the steps to come wait for the table, and lets the one before go.
    pub(super) fn choose(&mut self, d: &Cuda, table: usize) -> Result<()> {
        let failed = |e| driver("choosing an epoch's table", e);
        if let Some(former) = self.chosen.replace(table) {
            self.released[former].record(&d.stream).map_err(failed)?;
        }
        d.stream.wait(&self.written[table]).map_err(failed)
    }
}

fn room<T: cudarc::driver::DeviceRepr>(stream: &Arc<CudaStream>, len: usize) -> Result<CudaSlice<T>> {
    // SAFETY: plain numbers, written before any kernel reads them.
    unsafe { stream.alloc::<T>(len.max(1)) }.map_err(|e| reserve(len * size_of::<T>() / size_of::<f32>(), e))
}

/// Sends what the host wrote for a table's epoch to its place in `to`, once no step reads what is there.
///
/// # Safety
/// `to` has room for `len` of them for each table.
unsafe fn send_once_read<T: Copy + Default>(
    d: &Cuda,
    written: &mut Pinned<T>,
    to: &CudaSlice<u64>,
    len: usize,
    table: usize,
    read: &[CudaEvent; TABLES],
    sent: &[CudaEvent; TABLES],
) -> Result<()> {
    let failed = |e| driver("sending an epoch's table to the GPU", e);
    d.copies.wait(&read[table]).map_err(failed)?;
    let to = address(to, &d.stream) + (table * len * size_of::<T>()) as u64;
    // SAFETY: the caller's promise.
    unsafe { written.copy_to(len, to, &d.copies) }?;
    sent[table].record(&d.copies).map_err(failed)
}

/// Takes room for the bytes and copies them piece by piece.
fn send(d: &Cuda, bytes: &[u8], piece: &mut Pinned<u8>) -> Result<CudaSlice<u8>> {
    let memory = room::<u8>(&d.stream, bytes.len())?;
    let start = address(&memory, &d.stream);
    // the room is there once the stream that took it says so
    d.copies.join(&d.stream).map_err(|e| driver("copying the data set to the GPU", e))?;
    for (number, part) in bytes.chunks(PIECE).enumerate() {
        piece.values_mut()?[..part.len()].copy_from_slice(part);
        // SAFETY: the memory holds all bytes, and the part begins at this one.
        unsafe { piece.copy_to(part.len(), start + (number * PIECE) as u64, &d.copies) }?;
    }
    Ok(memory)
}

/// kernels/draw_batch.cu declares the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct ByColour {
    mean: [f32; 3],
    std: [f32; 3],
}

impl From<Normalise> for ByColour {
    fn from(Normalise { mean, std }: Normalise) -> Self {
        Self { mean, std }
    }
}

// SAFETY: six numbers without a gap, as the kernel declares them.
unsafe impl DeviceRepr for ByColour {}

pub fn draw_batch(
    d: &Cuda,
    data: &CudaData,
    part: Part,
    position: PassPosition<'_, CudaBuffer>,
    images: &mut Tensor,
    labels: &mut Tensor,
) -> Result<()> {
    let (split, tables) = match part {
        Part::Train => (&data.train, address(&data.tables, &d.stream)),
        Part::Test => (&data.test, 0),
    };
    let (pixels, classes) = (address(&split.pixels, &d.stream), address(&split.classes, &d.stream));
    let n = images.shape().n();
    let mixes = if part == Part::Train && data.batches > 0 { address(&data.mixes, &d.stream) } else { 0 };
    let each = labels.shape().c() as u32;
    let config = grid([image_len(data.side).div_ceil(THREADS), n.min(u16::MAX.into())], THREADS);
    let PassPosition { step, table, batch } = position;
    launch!(
        d,
        "draw_batch",
        &d.kernels.draw_batch,
        config,
        at(images),
        at(labels),
        pixels,
        classes,
        tables,
        at(step),
        at(table),
        mixes,
        ByColour::from(data.normalise),
        batch as u32,
        n as u32,
        split.len as u32,
        data.side as u32,
        data.batches as u32,
        each
    )
}

pub fn record_step(
    d: &Cuda,
    outcome: &Tensor,
    distance: Option<&Tensor>,
    always: bool,
    results: &mut Tensor,
    step: &mut Tensor,
) -> Result<()> {
    let (rows, distance) = (results.shape().w() as u32, distance.map_or(0, at));
    let kernel = &d.kernels.record_step;
    let config = grid([1, 1], 32);
    launch!(d, "record_step", kernel, config, at(results), at(step), at(outcome), distance, rows, u32::from(always))
}

impl Feed for Cuda {
    type Data = CudaData;

    fn hold(&self, dataset: Arc<Dataset>, mixes: usize) -> Result<CudaData> {
        CudaData::new(self, &dataset, mixes)
    }

    fn refill(&self, data: &mut CudaData, part: Part, pixels: &[u8], labels: &[u16]) -> Result<()> {
        data.refill(self, part, pixels, labels)
    }

    fn write_table(&self, data: &mut CudaData, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        data.write_table(self, table, write)
    }

    fn write_mixes(&self, data: &mut CudaData, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()> {
        data.write_mixes(self, table, write)
    }

    fn choose_table(&self, data: &mut CudaData, table: usize, chosen: &mut Tensor) -> Result<()> {
        data.choose(self, table)?;
        self.fill(table as f64, chosen)
    }

    fn draw_batch(
        &self,
        data: &CudaData,
        part: Part,
        position: PassPosition<'_, CudaBuffer>,
        images: &mut Tensor,
        labels: &mut Tensor,
    ) -> Result<()> {
        check::batch("draw_batch", data.side, images.shape(), labels.shape())?;
        draw_batch(self, data, part, position, images, labels)
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
        record_step(self, outcome, distance, always, results, step_acc)
    }
}
