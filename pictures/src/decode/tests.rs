use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Every golden picture by name, sorted.
fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(golden(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".py") && name != "expected" && name != "flat")
        .collect();
    names.sort();
    names
}

/// Mean and largest difference of two pictures of one size.
fn difference(a: &Picture, b: &Picture) -> (f64, u8) {
    assert_eq!((a.width, a.height, a.pixels.len()), (b.width, b.height, b.pixels.len()));
    let each = || a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    (each().map(f64::from).sum::<f64>() / a.pixels.len() as f64, each().max().unwrap())
}

#[test]
fn every_kind_of_picture_is_what_pillow_reads() {
    let names = names();
    println!("{:28} {:>7} {:>7}", "picture", "mean", "largest");
    for name in names.iter().filter(|name| *name != "large.png") {
        let expected = golden("expected").join(name.replace('.', "-") + ".png");
        let found = decode(&golden(name), MAX_PIXELS).unwrap();
        let (mean, largest) = difference(&found, &decode(&expected, MAX_PIXELS).unwrap());
        println!("{name:28} {mean:7.3} {largest:7}");
        // A format without rounding of its own has one right answer. Two inverse cosine transforms and two conversions from
        // YCbCr round differently by a level each; colours at half the size are also spread by differently rounded weights,
        // and the conversion makes up to 1.8 times as much of it, next to this scene's sharp edges.
        let halved = !["cmyk", "ycck", "rgb444", "kept-rgb", "grey", "one"].iter().any(|whole| name.starts_with(whole));
        let (mean_allowed, allowed) = match name.ends_with(".jpg") {
            false => (0.0, 0),
            true if halved => (0.5, 8),
            true => (0.05, 2),
        };
        assert!(mean <= mean_allowed && largest <= allowed, "{name}: mean {mean}, largest {largest}");
    }
    assert_eq!(names.len(), 40);
}

#[test]
fn the_expected_pictures_are_read_right() {
    // what the comparison above rests on: one picture that is known without any file
    let one = decode(&golden("expected/one-png.png"), MAX_PIXELS).unwrap();
    assert_eq!(one, Picture { width: 1, height: 1, pixels: vec![200, 100, 50] });
    let scene = decode(&golden("expected/rgb-png.png"), MAX_PIXELS).unwrap();
    // by the formula of make.py at (0, 0): outside of the disc and of the dark border
    let known = [127.0, 127.0 + 100.0 * 1f64.sin(), 227.0].map(|v| v as u8);
    assert_eq!((scene.width, scene.height, &scene.pixels[..3]), (37, 26, &known[..]));
}

#[test]
fn the_header_says_the_size_of_the_picture_as_seen() {
    for name in names() {
        let picture = decode(&golden(&name), MAX_PIXELS).unwrap();
        assert_eq!(size(&golden(&name), MAX_PIXELS), Ok((picture.width, picture.height)), "{name}");
    }
    assert_eq!(size(&golden("exif1.jpg"), MAX_PIXELS), Ok((21, 14)));
    assert_eq!(size(&golden("exif6.jpg"), MAX_PIXELS), Ok((14, 21)));
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let of = |name: &str| fs::read(golden(name)).unwrap();
    let with = |name: &str, at: usize, patch: &[u8]| {
        let mut bytes = of(name);
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    let frame = of("rgb444.jpg").windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    let checksum = |header: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(header);
        crc.sum().to_be_bytes()
    };
    let mut png = with("rgb.png", 16, &[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    let sum = checksum(&png[12..29]);
    png[29..33].copy_from_slice(&sum);
    let bombs = [
        ("65535 x 65535", with("rgb444.jpg", frame + 5, &[0xFF; 4])),
        ("50000 x 50000", png),
        ("65535 x 65535", with("still.gif", 6, &[0xFF; 4])),
        ("60000 x 60000", with("rgb.bmp", 18, &[0x60, 0xEA, 0, 0, 0x60, 0xEA, 0, 0])),
        // the canvas of an animation: a width and a height of three bytes each, less one
        ("16777216 x 128", with("animated.webp", 24, &[0xFF, 0xFF, 0xFF, 0x7F, 0, 0])),
    ];
    for (says, bytes) in bombs {
        let reason = decode_bytes(&bytes, MAX_PIXELS).unwrap_err();
        assert_eq!(reason, format!("its header says {says} pixels, more than the 89478485 allowed"));
    }
    let reason = decode_bytes(&of("rgb.png"), 37 * 26 - 1).unwrap_err();
    assert_eq!(reason, "its header says 37 x 26 pixels, more than the 961 allowed");
    assert!(decode_bytes(&of("rgb.png"), 37 * 26).is_ok());
}

#[test]
fn what_is_no_picture_is_named_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    for (bytes, reason) in [
        (&b""[..], "the file is empty"),
        (b"hello, this is text", "this is no picture: its first bytes are not those of a JPEG, PNG, WebP, BMP or GIF"),
        (b"\xFF\xD8\xFF", "the picture is truncated: its end marker is missing"),
        (b"\xFF\xD8\xFF\xD9", "the picture is damaged or truncated"),
        (b"II*\0\x08\0\0\0", "the picture is of a kind that is not read here"),
    ] {
        fs::write(&path, bytes).unwrap();
        let broken = decode(&path, MAX_PIXELS).unwrap_err();
        assert!(broken.reason.starts_with(reason), "{broken}");
        assert_eq!(broken.path, path);
    }
    assert_eq!(decode(folder.path(), MAX_PIXELS).unwrap_err().reason, "is a folder");
    assert_eq!(size(folder.path(), MAX_PIXELS).unwrap_err().reason, "is a folder");
    let none = decode(&folder.path().join("none.png"), MAX_PIXELS).unwrap_err();
    assert!(none.to_string().ends_with("none.png: No such file or directory (os error 2)"), "{none}");
}

#[test]
fn a_decoder_that_panics_is_a_broken_picture() {
    let reason = guarded::<()>(|| panic!("index out of bounds")).unwrap_err();
    assert_eq!(reason, "the picture is damaged: its decoder gave up");
    let reason = guarded::<()>(|| Err("two lines\nof reason".into())).unwrap_err();
    assert_eq!(reason, "two lines of reason");
}

#[test]
fn the_kind_is_told_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a-png.jpg");
    fs::copy(golden("rgb.png"), &path).unwrap();
    assert_eq!(decode(&path, MAX_PIXELS).unwrap(), decode(&golden("rgb.png"), MAX_PIXELS).unwrap());
}

#[test]
fn a_truncated_file_is_refused_or_had_nothing_left_to_say() {
    for name in names() {
        let bytes = fs::read(golden(&name)).unwrap();
        let whole = decode_bytes(&bytes, MAX_PIXELS).unwrap();
        let step = 1 + bytes.len() / 300;
        for len in (0..bytes.len()).step_by(step) {
            match decode_bytes(&bytes[..len], MAX_PIXELS) {
                Err(_) => {}
                // cut within a trailer or a second frame
                Ok(picture) => assert!(picture == whole, "{name} cut to {len} of {} bytes", bytes.len()),
            }
        }
        let half = decode_bytes(&bytes[..bytes.len() / 2], MAX_PIXELS);
        assert!(half.is_err() || name.starts_with("animated"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever is in a file, the answer is a picture of the size that the header says, or a sentence.
    #[test]
    fn a_damaged_file_never_panics(
        which in 0usize..40,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(golden(&names()[which])).unwrap();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let header = size(file.path(), 1 << 20);
        match decode_bytes(&bytes, 1 << 20) {
            Ok(p) => {
                prop_assert_eq!(p.pixels.len(), p.width as usize * p.height as usize * 3);
                prop_assert_eq!(header, Ok((p.width, p.height)));
            }
            Err(reason) => prop_assert!(!reason.is_empty() && !reason.contains('\n'), "{}", reason),
        }
    }
}
