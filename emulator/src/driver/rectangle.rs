//! Copies of rectangles (`cuMemcpy2D`): a row at a time, from pitched memory to pitched memory.

use super::code::{Code, Result};
use super::copy::{now, queue};
use super::state::{Driver, Handle, driver};
use super::work::Work;

/// `CUDA_MEMCPY2D`
#[repr(C)]
#[derive(Clone, Copy)]
struct Rectangle {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

/// One side of it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    /// Where the rectangle starts, in bytes and rows.
    x: usize,
    y: usize,
    /// `CUmemorytype`
    kind: u32,
    host: usize,
    device: u64,
    array: usize,
    /// Bytes from row to row.
    pitch: usize,
}

const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;
const UNIFIED: u32 = 4;

impl Side {
    /// Where a row of the rectangle starts.
    fn row(&self, row: usize) -> Result<u64> {
        let base = if self.kind == HOST { self.host as u64 } else { self.device };
        let rows = self.y.checked_add(row).and_then(|rows| rows.checked_mul(self.pitch));
        let offset = rows.and_then(|bytes| bytes.checked_add(self.x)).ok_or(Code::INVALID_VALUE)?;
        base.checked_add(offset as u64).ok_or(Code::INVALID_VALUE)
    }

    fn check(&self, width: usize, height: usize) -> Result<()> {
        match self.kind {
            HOST | DEVICE | UNIFIED => {}
            ARRAY => return Err(Code::NOT_SUPPORTED),
            _ => return Err(Code::INVALID_VALUE),
        }
        // Rows must not run into each other.
        let end = self.x.checked_add(width).ok_or(Code::INVALID_VALUE)?;
        if (height > 1 || self.y > 0) && self.pitch < end { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
}

impl Rectangle {
    fn work(&self, driver: &Driver) -> Result<Work> {
        let (width, height) = (self.width, self.height);
        self.from.check(width, height)?;
        self.to.check(width, height)?;
        let row = |row: usize| {
            let (from, to, bytes) = (self.from.row(row)?, self.to.row(row)?, width);
            let host = |address: u64| Host(address as usize);
            Ok(match (self.from.kind, self.to.kind) {
                (HOST, HOST) => Work::OnHost { to: host(to), from: host(from), bytes },
                (HOST, DEVICE) => Work::ToDevice { to, from: host(from), bytes },
                (DEVICE, HOST) => Work::ToHost { to: host(to), from, bytes },
                (DEVICE, DEVICE) => Work::Within { to, from, bytes },
                _ => driver.sorted(to, from, bytes),
            })
        };
        if width == 0 {
            return Ok(Work::Rows(Vec::new()));
        }
        (0..height).map(row).collect::<Result<_>>().map(Work::Rows)
    }
}

fn rows(rectangle: &In<Rectangle>) -> Result<Work> {
    let rectangle = rectangle.get()?;
    driver(|d| rectangle.work(d))
}

exports! {
    fn cuMemcpy2D_v2(rectangle: In<Rectangle>) {
        now("cuMemcpy2D", rows(&rectangle)?)
    }
    fn cuMemcpy2DUnaligned_v2(rectangle: In<Rectangle>) {
        now("cuMemcpy2DUnaligned", rows(&rectangle)?)
    }
    fn cuMemcpy2DAsync_v2(rectangle: In<Rectangle>, stream: Handle) {
        queue(stream, "cuMemcpy2DAsync", rows(&rectangle)?)
    }
}
