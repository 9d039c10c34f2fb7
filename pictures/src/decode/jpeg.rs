//! JPEG through `zune-jpeg` itself rather than through `image`, which reads a damaged picture as a grey one and says nothing.

use std::io::Cursor;

use image::RgbImage;
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZByteReaderTrait;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::check_size;

/// Whether a file begins as a JPEG does.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF])
}

/// Width, height and the turn that makes them those of the picture seen.
pub(super) fn size(file: impl ZByteReaderTrait, max_pixels: u64) -> Result<(u32, u32, Orientation), String> {
    let (decoder, width, height) = header(file, max_pixels)?;
    Ok((width, height, turn(&decoder)))
}

/// The picture before its turn, and the turn.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<(RgbImage, Orientation), String> {
    if !has_end(bytes) {
        return Err("the picture is truncated: its end marker is missing".into());
    }
    let (mut decoder, width, height) = header(Cursor::new(bytes), max_pixels)?;
    // Headers are read as generously as by libjpeg; of the picture itself every bit must be there.
    decoder.set_options(options().set_strict_mode(true));
    let mut rgb = RgbImage::new(width, height);
    decoder.decode_into(&mut rgb).map_err(words)?;
    Ok((rgb, turn(&decoder)))
}

fn options() -> DecoderOptions {
    // a JPEG's sides have 16 bits, and its pixels are counted below
    let any = usize::from(u16::MAX);
    DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(false)
        .set_max_width(any)
        .set_max_height(any)
}

fn header<R: ZByteReaderTrait>(file: R, max_pixels: u64) -> Result<(JpegDecoder<R>, u32, u32), String> {
    let mut decoder = JpegDecoder::new_with_options(file, options());
    decoder.decode_headers().map_err(words)?;
    let (width, height) = decoder.info().map_or((0, 0), |info| (info.width.into(), info.height.into()));
    check_size(width, height, max_pixels)?;
    // two or more than four components: the decoder hands them out as they are, and Pillow refuses them
    if let Some(ColorSpace::MultiBand(channels)) = decoder.input_colorspace() {
        return Err(format!("the picture has {channels} channels, where grey has 1, colour 3 and print 4"));
    }
    Ok((decoder, width, height))
}

fn turn<R: ZByteReaderTrait>(decoder: &JpegDecoder<R>) -> Orientation {
    decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)).unwrap_or(Orientation::NoTransforms)
}

fn words(error: DecodeErrors) -> String {
    match error {
        DecodeErrors::Unsupported(e) => {
            format!("the JPEG is of a kind that is not read here ({e:?}): convert it to an ordinary JPEG or PNG")
        }
        e => format!("the picture is damaged or truncated ({})", format!("{e:?}").trim_matches('"')),
    }
}

/// Whether the walk along the markers meets the one that ends the picture. That of a preview in the header is not met: the
/// header's parts are stepped over by their lengths.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xFF)) {
        at += found + 1;
        match bytes.get(at) {
            Some(0xD9) => return true,
            // a byte 0xFF of the picture, a fill byte, a restart, or a marker without a length
            Some(0x00 | 0xFF | 0x01 | 0xD0..=0xD8) => {}
            Some(_) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
            }
            None => return false,
        }
    }
    false
}
