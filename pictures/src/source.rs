//! Where pictures come from: files, a cache of them, or arrays in memory. [`crate::loader`] takes any of them.

use std::sync::Arc;

use crate::decode::{self, BASE_BYTES, BYTES_PER_PIXEL, MAX_FILE_BYTES, MAX_PIXELS};
use crate::error::Broken;
use crate::resize::{Prepare, Resizer, Seen};
use crate::scan::Item;

/// Pictures by number, prepared and not yet cropped. Each is the same whenever it is asked for.
pub trait Source: Send + Sync {
    /// Pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Picture `index`, in the source's memory or in `scratch`.
    ///
    /// # Errors
    /// If the picture cannot be read.
    fn picture<'a>(&'a self, index: usize, scratch: &'a mut Scratch) -> Result<Seen<'a>, Broken>;

    /// Bytes that a thread takes at most to get one picture and to see a view of `image` pixels a side in it.
    fn bytes_per_thread(&self, image: u32) -> u64;

    /// Bytes that the source itself holds of the pictures.
    fn held_bytes(&self) -> u64;
}

/// One thread's memory, kept from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The bytes of a file, or of a place in a cache.
    pub(crate) file: Vec<u8>,
    /// A prepared picture.
    pub(crate) picture: Vec<u8>,
    pub(crate) resizer: Resizer,
}

/// The largest picture of a set. [`crate::survey`] measures it, and memory is planned by it; a picture beyond it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Pixels of a picture as decoded.
    pub pixels: u64,
    /// Pixels of a picture as prepared.
    pub prepared_pixels: u64,
    /// Longest side of a picture, decoded or prepared.
    pub side: u32,
}

impl Default for Limits {
    /// The most that is read at all.
    fn default() -> Self {
        Self {
            file_bytes: MAX_FILE_BYTES,
            pixels: MAX_PIXELS,
            prepared_pixels: MAX_PIXELS,
            // of a JPEG or a GIF
            side: u32::from(u16::MAX),
        }
    }
}

impl Limits {
    /// Those of an empty set.
    pub(crate) const NONE: Self = Self { file_bytes: 0, pixels: 0, prepared_pixels: 0, side: 0 };

    /// The size that a picture will have prepared, or why it is not read.
    pub(crate) fn prepared(&self, prepare: Prepare, width: u32, height: u32) -> Result<(u32, u32), String> {
        let pixels = |w: u32, h: u32| u64::from(w) * u64::from(h);
        let fits = |w: u32, h: u32, most: u64| pixels(w, h) <= most && w.max(h) <= self.side;
        if !fits(width, height, self.pixels) {
            return Err(format!("{width} x {height} pixels are more than the {} planned for", self.most(self.pixels)));
        }
        match prepare.size(width, height) {
            Some((w, h)) if fits(w, h, self.prepared_pixels) => Ok((w, h)),
            Some((w, h)) => Err(format!(
                "{width} x {height} pixels are resized to {w} x {h}, more than the {} planned for",
                self.most(self.prepared_pixels)
            )),
            None => Err(format!("{width} x {height} pixels are too long and thin to be resized")),
        }
    }

    fn most(&self, pixels: u64) -> String {
        format!("{pixels} pixels and {} a side", self.side)
    }

    /// Bytes that a view of `image` pixels a side takes: the part of the picture; rows between the two passes, as wide as before
    /// and as many as after, twice because a buffer grows by doubling; 128 bytes of weights for each pixel along a side.
    pub(crate) fn view_bytes(&self, image: u32) -> u64 {
        let (longest, image) = (u64::from(self.side), u64::from(image));
        3 * self.prepared_pixels + 2 * 3 * longest.min(self.prepared_pixels) * image + 128 * (longest + image)
    }
}

/// Picture files, decoded each time.
#[derive(Clone, Debug)]
pub struct Files {
    items: Arc<[Item]>,
    prepare: Prepare,
    limits: Limits,
}

impl Files {
    /// These files. A picture beyond `limits` is broken.
    pub fn new(items: impl Into<Arc<[Item]>>, prepare: Prepare, limits: Limits) -> Self {
        Self { items: items.into(), prepare, limits }
    }

    /// The files.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The limits, for a key: a picture beyond them is broken, with other limits it is not.
    pub(crate) fn limits_as_bytes(&self) -> [u8; 28] {
        let Limits { file_bytes, pixels, prepared_pixels, side } = self.limits;
        let mut bytes = [0; 28];
        for (part, value) in bytes.chunks_mut(8).zip([file_bytes, pixels, prepared_pixels, u64::from(side)]) {
            part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
        }
        bytes
    }

    /// What is done to each picture.
    pub fn prepare(&self) -> Prepare {
        self.prepare
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture<'a>(&'a self, index: usize, scratch: &'a mut Scratch) -> Result<Seen<'a>, Broken> {
        let path = &self.items[index].path;
        let broken = |reason| Broken { path: path.clone(), reason };
        let picture = decode::decode_with(path, self.limits.file_bytes, self.limits.pixels, &mut scratch.file)?;
        let (width, height) = self.limits.prepared(self.prepare, picture.width, picture.height).map_err(broken)?;
        // as many bytes as this picture needs, and no more kept than the largest needs
        let len = width as usize * height as usize * 3;
        scratch.picture.clear();
        scratch.picture.reserve_exact(len);
        scratch.picture.resize(len, 0);
        scratch.resizer.resize(picture, self.prepare.filter, width, height, &mut scratch.picture);
        Ok(Seen { width, height, pixels: &scratch.picture })
    }

    fn bytes_per_thread(&self, image: u32) -> u64 {
        let Limits { file_bytes, pixels, prepared_pixels, side } = self.limits;
        // a resize keeps the shape, so its rows between the passes are no longer than the larger picture
        let resize = 2 * 3 * pixels.max(prepared_pixels) + 256 * u64::from(side);
        let decode = BASE_BYTES + file_bytes + BYTES_PER_PIXEL * pixels;
        decode + 3 * prepared_pixels + resize + self.limits.view_bytes(image)
    }

    fn held_bytes(&self) -> u64 {
        0
    }
}
