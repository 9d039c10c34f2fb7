//! SVHN's cropped digits: MATLAB 5 files of two compressed matrices, `X` uint8 `[32, 32, 3, N]` and `y` uint8 `[N, 1]`, the
//! first index fastest. Anything else that MATLAB can write is refused.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::{Arrays, DEFLATE, check_labels, damaged, read_exact};
use crate::error::{Error, Result};
use crate::regular;

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PICTURE: usize = SIDE * SIDE * CHANNELS;
const NAMES: [&str; 2] = ["train_32x32.mat", "test_32x32.mat"];

/// Types of elements, as MATLAB numbers them.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Classes of arrays: a matrix of bytes, or of doubles that are stored as bytes because all are small whole numbers.
const CLASS_DOUBLE: u8 = 6;
const CLASS_UINT8: u8 = 9;

pub(super) fn is_in(dir: &Path) -> bool {
    NAMES.iter().any(|name| dir.join(name).exists())
}

pub(super) fn read(dir: &Path) -> Result<(Arrays, Arrays)> {
    for name in NAMES {
        if !dir.join(name).exists() {
            return Err(Error::set(
                &dir.join(name),
                "this file of SVHN is missing while the other is there: get the set anew",
            ));
        }
    }
    Ok((file(&dir.join(NAMES[0]))?, file(&dir.join(NAMES[1]))?))
}

fn file(path: &Path) -> Result<Arrays> {
    let mut file = std::io::BufReader::new(regular::open(path).map_err(Error::io("read", path))?);
    let len = file.get_ref().metadata().map_err(Error::io("read", path))?.len();
    let header = read_exact(path, &mut file, 128, len)?;
    if header[124..] != [0x00, 0x01, b'I', b'M'] {
        return Err(Error::set(
            path,
            "this is no MATLAB 5 file of the usual order of bytes: get SVHN's cropped digits (format 2)",
        ));
    }
    let (mut pixels, mut labels) = (None, None);
    for _ in 0..2 {
        let tag = read_exact(path, &mut file, 8, len)?;
        let (kind, bytes) = (number(&tag[..4]), number(&tag[4..]));
        if kind != COMPRESSED {
            return Err(Error::set(
                path,
                format!("the file has an element of type {kind}, where SVHN has compressed matrices"),
            ));
        }
        let mut inside = ZlibDecoder::new(file.by_ref().take(u64::from(bytes)));
        let matrix = matrix(path, &mut inside, u64::from(bytes).min(len) * DEFLATE)?;
        // what is left of it, so that the next one begins where it should
        std::io::copy(&mut inside.into_inner(), &mut std::io::sink()).map_err(|e| damaged(path, &e))?;
        match (&matrix.name[..], &matrix.sizes[..]) {
            (b"X", [32, 32, 3, _]) => pixels = Some(pictures(&matrix.data)),
            (b"y", [_, 1]) => labels = Some(matrix.data),
            (name, sizes) => {
                let problem = format!(
                    "the matrix {:?} has the sizes {sizes:?}, where SVHN has X [32, 32, 3, N] and y [N, 1]",
                    String::from_utf8_lossy(name)
                );
                return Err(Error::set(path, problem));
            }
        }
    }
    let (Some(pixels), Some(mut labels)) = (pixels, labels) else {
        return Err(Error::set(path, "the file has the same matrix twice, where SVHN has X and y: get the set anew"));
    };
    if pixels.len() != labels.len() * PICTURE {
        let problem = format!("{} labels for {} pictures: get the set anew", labels.len(), pixels.len() / PICTURE);
        return Err(Error::set(path, problem));
    }
    for label in &mut labels {
        // the digit 0 is called 10; what was 0 is no label
        *label = if *label == 10 {
            0
        } else if *label == 0 {
            u8::MAX
        } else {
            *label
        };
    }
    check_labels(path, &labels, 10)?;
    Ok(Arrays { height: SIDE as u32, width: SIDE as u32, channels: CHANNELS as u32, pixels, labels })
}

struct Matrix {
    name: Vec<u8>,
    sizes: Vec<u32>,
    data: Vec<u8>,
}

/// One matrix of bytes. `most`: bytes that can come out of `from`.
fn matrix(path: &Path, from: &mut impl Read, most: u64) -> Result<Matrix> {
    let refuse = |problem: &str| Err(Error::set(path, format!("{problem}: get SVHN's cropped digits (format 2)")));
    let tag = read_exact(path, from, 8, most)?;
    if number(&tag[..4]) != MATRIX {
        return refuse("a compressed element of the file is no matrix");
    }
    let flags = element(path, from, UINT32, 8, most)?;
    // no complex numbers, no logical ones
    if flags.len() != 8 || ![CLASS_DOUBLE, CLASS_UINT8].contains(&flags[0]) || flags[1] != 0 {
        return refuse("a matrix of the file is not of plain bytes");
    }
    let sizes = element(path, from, INT32, 16, most)?;
    let sizes: Vec<u32> = sizes.chunks_exact(4).map(number).collect();
    let name = element(path, from, INT8, 16, most)?;
    let len = sizes.iter().try_fold(1u32, |product, &size| product.checked_mul(size));
    let Some(len) = len.filter(|&len| len > 0) else {
        return refuse("the sizes of a matrix of the file make no sense");
    };
    let data = element(path, from, UINT8, len, most)?;
    if data.len() != len as usize {
        return refuse("a matrix of the file has fewer bytes than its sizes say");
    }
    Ok(Matrix { name, sizes, data })
}

/// The data of an element of type `kind` and at most `longest` bytes. Of up to 4 bytes it lies in the tag itself; else it is
/// filled up to a multiple of 8 bytes.
fn element(path: &Path, from: &mut impl Read, kind: u32, longest: u32, most: u64) -> Result<Vec<u8>> {
    let tag = read_exact(path, from, 8, most)?;
    let (first, second) = (number(&tag[..4]), number(&tag[4..]));
    let (found, len) = if first >> 16 == 0 { (first, second) } else { (first & 0xFFFF, first >> 16) };
    let is_small = first >> 16 != 0;
    if found != kind || len > longest || (is_small && len > 4) {
        let problem = format!(
            "an element of the file has type {found} and {len} bytes, expected type {kind} and at most {longest}: get SVHN's cropped digits (format 2)"
        );
        return Err(Error::set(path, problem));
    }
    if is_small {
        return Ok(tag[4..4 + len as usize].to_vec());
    }
    let data = read_exact(path, from, u64::from(len), most)?;
    read_exact(path, from, u64::from(len.next_multiple_of(8) - len), most)?;
    Ok(data)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// From columns of one colour after another, `[N, 3, W, H]` with H fastest, to `[N, H, W, 3]`.
fn pictures(data: &[u8]) -> Vec<u8> {
    let mut pixels = vec![0; data.len()];
    for (picture, out) in data.chunks_exact(PICTURE).zip(pixels.chunks_exact_mut(PICTURE)) {
        for (i, &value) in picture.iter().enumerate() {
            let (y, x, c) = (i % SIDE, i / SIDE % SIDE, i / (SIDE * SIDE));
            out[(y * SIDE + x) * CHANNELS + c] = value;
        }
    }
    pixels
}
