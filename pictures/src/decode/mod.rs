//! One picture file as RGB bytes: what Pillow's `exif_transpose(Image.open(path)).convert("RGB")` gives.
//!
//! - The kind is told by the content, never by the name: JPEG, PNG, WebP, BMP or GIF.
//! - Grey becomes three equal channels. Alpha is dropped, not blended, as by Pillow.
//! - CMYK and YCCK are taken for inverted, as Adobe writes them and Pillow reads them, then `R = (255 - C) (255 - K) / 255`.
//! - Of 16 bits the high byte is kept. For colour this is what Pillow does; Pillow's grey of 16 bits is clipped at 255, which
//!   turns nearly all of it white, so grey is read as colour is.
//! - Of an animation the first frame counts. What a GIF's frame leaves uncovered is black.
//! - EXIF orientations 1 to 8 are applied (JPEG, PNG, WebP); one that makes no sense is ignored, as by Pillow.
//! - A JPEG without its end marker is taken for truncated, even where Pillow forgives the marker alone.
//! - A damaged picture is refused, where Pillow reads the rest of a damaged JPEG as noise.

mod jpeg;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};

use crate::error::Broken;
use crate::regular;

/// Pixels of the largest picture that is read: 2^30 / 12, where Pillow begins to warn of a bomb.
pub const MAX_PIXELS: u64 = (1 << 30) / 12;
/// Bytes of the largest picture file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Bytes that decoding takes at most for each pixel, the result included: a progressive JPEG of four inks takes the most.
pub(crate) const BYTES_PER_PIXEL: u64 = 16;
/// Bytes that decoding takes at most for tables, rows and the rounding of sizes up to blocks.
pub(crate) const BASE_BYTES: u64 = 4 << 20;

/// A picture in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]`: red, green, blue.
    pub pixels: Vec<u8>,
}

/// Reads the picture at `path`, of at most `max_pixels` pixels; see [`MAX_PIXELS`].
///
/// # Errors
/// The sentence for the user if the file is no picture, is damaged or truncated, is of a kind that is not read, or is larger
/// than allowed. The size is checked before memory is taken for it.
pub fn decode(path: &Path, max_pixels: u64) -> Result<Picture, Broken> {
    decode_with(path, MAX_FILE_BYTES, max_pixels, &mut Vec::new())
}

/// [`decode`], with a limit on the file's bytes and the memory for them lent.
pub(crate) fn decode_with(path: &Path, max_bytes: u64, max_pixels: u64, file: &mut Vec<u8>) -> Result<Picture, Broken> {
    read_file(path, max_bytes, file)
        .and_then(|()| decode_bytes(file, max_pixels))
        .map_err(|reason| broken(path, reason))
}

/// Reads a picture from the bytes of its file; see [`decode`].
///
/// # Errors
/// The reason in words.
pub fn decode_bytes(bytes: &[u8], max_pixels: u64) -> Result<Picture, String> {
    guarded(|| {
        let (rgb, turn) = if jpeg::is(bytes) {
            jpeg::decode(bytes, max_pixels)?
        } else {
            if is_cut_webp(bytes, bytes.len() as u64) {
                return Err("the picture is truncated: its header says that it is longer".into());
            }
            let mut decoder = other(Box::new(Cursor::new(bytes)), max_pixels)?;
            let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            (rgb(DynamicImage::from_decoder(decoder).map_err(words)?), turn)
        };
        let mut turned = DynamicImage::ImageRgb8(rgb);
        turned.apply_orientation(turn);
        let rgb = turned.into_rgb8();
        Ok(Picture { width: rgb.width(), height: rgb.height(), pixels: rgb.into_raw() })
    })
}

/// Width and height of the picture at `path` as [`decode`] would give them, read from its header alone.
///
/// # Errors
/// As [`decode`], for what a header shows.
pub fn size(path: &Path, max_pixels: u64) -> Result<(u32, u32), Broken> {
    let read = || {
        let mut file = BufReader::new(open(path, MAX_FILE_BYTES)?.0);
        let is_jpeg = jpeg::is(file.fill_buf().map_err(|e| e.to_string())?);
        guarded(|| {
            let (width, height, turn) = if is_jpeg {
                jpeg::size(file, max_pixels)?
            } else {
                let mut decoder = other(Box::new(file), max_pixels)?;
                let (width, height) = decoder.dimensions();
                (width, height, decoder.orientation().unwrap_or(Orientation::NoTransforms))
            };
            Ok(if lies_on_its_side(turn) { (height, width) } else { (width, height) })
        })
    };
    read().map_err(|reason| broken(path, reason))
}

fn broken(path: &Path, reason: String) -> Broken {
    Broken { path: path.into(), reason }
}

/// The file and its bytes, if they are not too many.
fn open(path: &Path, max_bytes: u64) -> Result<(File, u64), String> {
    let file = regular::open(path).map_err(|e| e.to_string())?;
    match file.metadata().map_err(|e| e.to_string())?.len() {
        0 => Err("the file is empty".into()),
        bytes if bytes > max_bytes => Err(format!("the file has {bytes} bytes, more than the {max_bytes} allowed")),
        bytes => Ok((file, bytes)),
    }
}

fn read_file(path: &Path, max_bytes: u64, into: &mut Vec<u8>) -> Result<(), String> {
    let (file, bytes) = open(path, max_bytes)?;
    into.clear();
    // exact, so that the buffer is never larger than the largest file
    into.reserve_exact(usize::try_from(bytes).map_err(|_| "the file is larger than memory")?);
    // a file that grows while it is read does not get past its size
    file.take(bytes).read_to_end(into).map(drop).map_err(|e| e.to_string())
}

/// Whatever the decoders panic on is a broken picture too; the panic's own message goes to stderr all the same. Reasons of
/// several lines become one.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("the picture is damaged: its decoder gave up".into()))
        .map_err(|reason| reason.lines().map(str::trim).collect::<Vec<_>>().join(" ").replace(" )", ")"))
}

/// Whether a WebP is shorter than its header says. Its turn comes last, and without it the picture would lie on its side.
fn is_cut_webp(header: &[u8], len: u64) -> bool {
    match header {
        [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P', ..] => {
            len < 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => false,
    }
}

/// One type for files and memory, so that the compiler makes each decoder once.
trait Bytes: BufRead + Seek {}
impl<T: BufRead + Seek> Bytes for T {}

/// The decoder of a picture that is no JPEG, its size checked.
fn other<'a>(bytes: Box<dyn Bytes + 'a>, max_pixels: u64) -> Result<impl ImageDecoder + 'a, String> {
    let mut reader = ImageReader::new(bytes).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format().is_none() {
        return Err("this is no picture: its first bytes are not those of a JPEG, PNG, WebP, BMP or GIF".into());
    }
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(BASE_BYTES));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(words)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, max_pixels)?;
    Ok(decoder)
}

fn check_size(width: u32, height: u32, max_pixels: u64) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(format!("its header says {width} x {height} pixels: there is nothing to see"));
    }
    if pixels > max_pixels {
        return Err(format!("its header says {width} x {height} pixels, more than the {max_pixels} allowed"));
    }
    Ok(())
}

fn words(error: image::ImageError) -> String {
    use image::ImageError::{Decoding, Limits, Unsupported};
    match error {
        Decoding(e) => format!("the picture is damaged or truncated ({e})"),
        Limits(_) => "the picture would take more memory than allowed".into(),
        Unsupported(e) => format!("the picture is of a kind that is not read here ({e}): convert it to JPEG or PNG"),
        image::ImageError::IoError(e) => format!("the picture is truncated ({e})"),
        e => format!("the picture cannot be read ({e})"),
    }
}

fn lies_on_its_side(turn: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(turn, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Three bytes a pixel: grey thrice, no alpha, the high byte of 16 bits.
fn rgb(picture: DynamicImage) -> RgbImage {
    use DynamicImage as D;
    let (width, height) = (picture.width(), picture.height());
    let grey = |v: u8| [v; 3];
    let high = |v: u16| (v >> 8) as u8;
    let pixels: Vec<u8> = match picture {
        D::ImageRgb8(rgb) => return rgb,
        D::ImageLuma8(p) => p.iter().flat_map(|&v| grey(v)).collect(),
        D::ImageLumaA8(p) => p.pixels().flat_map(|p| grey(p.0[0])).collect(),
        D::ImageRgba8(p) => p.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
        D::ImageLuma16(p) => p.iter().flat_map(|&v| grey(high(v))).collect(),
        D::ImageLumaA16(p) => p.pixels().flat_map(|p| grey(high(p.0[0]))).collect(),
        D::ImageRgb16(p) => p.pixels().flat_map(|p| p.0.map(high)).collect(),
        D::ImageRgba16(p) => p.pixels().flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])]).collect(),
        other => return other.into_rgb8(),
    };
    RgbImage::from_raw(width, height, pixels).expect("three bytes were made of each pixel")
}

#[cfg(test)]
mod tests;
