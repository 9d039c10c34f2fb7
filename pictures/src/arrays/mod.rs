//! Sets that come as arrays in a few files: MNIST and its kin (IDX), SVHN's cropped digits (MATLAB 5).
//!
//! Every number in a file is checked before it is used, and no more memory is taken than the file has or can hold compressed.

mod idx;
mod mat;

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Broken, Error, Result};
use crate::regular;
use crate::resize::Seen;
use crate::source::{Limits, Scratch, Source};

/// Deflate makes at most 1,032 bytes of one.
const DEFLATE: u64 = 1032;

/// Pictures of one size with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrays {
    /// Rows of each picture, H.
    pub height: u32,
    /// Columns of each picture, W.
    pub width: u32,
    /// Bytes of a pixel, C: 1 for grey, 3 for red, green, blue.
    pub channels: u32,
    /// `[N, H, W, C]`.
    pub pixels: Vec<u8>,
    /// The class of each picture, `[N]`.
    pub labels: Vec<u8>,
}

/// A set as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `mnist` (whichever of its kin) or `svhn`.
    pub name: &'static str,
    /// Classes.
    pub classes: usize,
    /// Pictures to train on.
    pub train: Arrays,
    /// Pictures held out.
    pub test: Arrays,
}

/// Reads the set whose files `dir` holds; none if it holds no file of either.
///
/// - MNIST, Fashion-MNIST and KMNIST: `train-images-idx3-ubyte` and the three others, plain or with `.gz`. 10 classes.
/// - SVHN: `train_32x32.mat` and `test_32x32.mat`. Its digit 0 has label 10 in the files and 0 here.
///
/// # Errors
/// [`Error::Set`] if one of the files is missing or damaged, or pictures and labels do not fit together; [`Error::Io`] if the
/// system fails to read.
pub fn open(dir: &Path) -> Result<Option<Set>> {
    let set = if idx::is_in(dir) {
        let (train, test) = idx::read(dir)?;
        Set { name: "mnist", classes: 10, train, test }
    } else if mat::is_in(dir) {
        let (train, test) = mat::read(dir)?;
        Set { name: "svhn", classes: 10, train, test }
    } else {
        return Ok(None);
    };
    let shape = |a: &Arrays| (a.height, a.width, a.channels);
    if shape(&set.train) != shape(&set.test) {
        let problem = format!(
            "its pictures to train on have {:?} rows, columns and channels, those to test on {:?}: get the set anew",
            shape(&set.train),
            shape(&set.test)
        );
        return Err(Error::set(dir, problem));
    }
    Ok(Some(set))
}

/// The first of these names that is in `dir`.
fn find(dir: &Path, names: &[String]) -> Option<PathBuf> {
    names.iter().map(|name| dir.join(name)).find(|path| path.exists())
}

/// A file, decompressed if it is compressed, and the most bytes that can come out of it.
fn open_bytes(path: &Path) -> Result<(Box<dyn Read>, u64)> {
    let mut file = regular::open(path).map_err(Error::io("read", path))?;
    let len = file.metadata().map_err(Error::io("read", path))?.len();
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(Error::io("read", path))?;
    let is_gzip = magic == [0x1F, 0x8B];
    let whole = std::io::Cursor::new(magic).chain(std::io::BufReader::new(file));
    Ok(if is_gzip {
        (Box::new(MultiGzDecoder::new(whole)), len.saturating_mul(DEFLATE))
    } else {
        (Box::new(whole), len)
    })
}

/// Reads `len` bytes, of which at most `most` can be there: no memory is taken for a promise that cannot be kept.
fn read_exact(path: &Path, from: &mut impl Read, len: u64, most: u64) -> Result<Vec<u8>> {
    let short = || Error::set(path, format!("the file promises {len} bytes of data and has fewer: get the set anew"));
    if len > most {
        return Err(short());
    }
    let mut bytes = Vec::new();
    from.take(len).read_to_end(&mut bytes).map_err(|e| damaged(path, &e))?;
    if (bytes.len() as u64) < len { Err(short()) } else { Ok(bytes) }
}

fn damaged(path: &Path, e: &std::io::Error) -> Error {
    Error::set(path, format!("the file is damaged or cut short ({e}): get the set anew"))
}

/// Refuses a label that is no class.
fn check_labels(path: &Path, labels: &[u8], classes: u8) -> Result<()> {
    match labels.iter().position(|&label| label >= classes) {
        None => Ok(()),
        Some(i) => {
            let problem = format!(
                "picture {i} has label {}, expected 0 to {}: the file is of another set, or damaged",
                labels[i],
                classes - 1
            );
            Err(Error::set(path, problem))
        }
    }
}

impl Source for Arrays {
    fn len(&self) -> usize {
        self.labels.len()
    }

    /// Grey is seen as three equal colours.
    fn picture<'a>(&'a self, index: usize, scratch: &'a mut Scratch) -> std::result::Result<Seen<'a>, Broken> {
        let len = self.width as usize * self.height as usize * self.channels as usize;
        let pixels = &self.pixels[index * len..][..len];
        let (width, height) = (self.width, self.height);
        if self.channels == 3 {
            return Ok(Seen { width, height, pixels });
        }
        scratch.picture.clear();
        scratch.picture.reserve_exact(3 * len);
        scratch.picture.extend(pixels.iter().flat_map(|&v| [v; 3]));
        Ok(Seen { width, height, pixels: &scratch.picture })
    }

    fn bytes_per_thread(&self, image: u32) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let side = self.width.max(self.height);
        3 * pixels + Limits { file_bytes: 0, pixels, prepared_pixels: pixels, side }.view_bytes(image)
    }

    fn held_bytes(&self) -> u64 {
        (self.pixels.len() + self.labels.len()) as u64
    }
}

#[cfg(test)]
mod tests;
