use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::decode::{MAX_PIXELS, Picture, decode};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// What `size` pixels a side are seen of `picture`.
fn seen_as(picture: &Picture, prepare: Prepare, view: View, size: u32) -> Vec<u8> {
    let mut resizer = Resizer::default();
    let (width, height) = prepare.size(picture.width, picture.height).unwrap();
    let mut prepared = vec![1; (width * height * 3) as usize];
    resizer.resize(picture.clone(), prepare.filter, width, height, &mut prepared);
    let mut out = vec![1; (size * size * 3) as usize];
    resizer.view(Seen { width, height, pixels: &prepared }, view, prepare.filter, size, &mut out);
    out
}

#[test]
fn resizes_and_crops_are_pillows() {
    let large = decode(&golden("large.png"), MAX_PIXELS).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(golden("expected")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<&str> = name.split('-').collect();
        if !["resize", "crop"].contains(&parts[0]) {
            continue;
        }
        let filter = if parts[1] == "bilinear" { Filter::Bilinear } else { Filter::Bicubic };
        let numbers: Vec<u32> = parts[2..].iter().map(|n| n.parse().unwrap()).collect();
        let (resize, view, size) = match numbers[..] {
            [short, size] => (Some(short), View::Centre, size),
            [x, y, w, h, size] => (None, View::Crop(Crop { x, y, w, h, flip: false }), size),
            _ => panic!("{name}"),
        };
        let found = seen_as(&large, Prepare { resize, filter }, view, size);
        let expected = decode(&path, MAX_PIXELS).unwrap();
        assert_eq!((expected.width, expected.height), (size, size));
        let each = || found.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
        let (mean, largest) = (each().map(f64::from).sum::<f64>() / found.len() as f64, each().max().unwrap());
        println!("{name:36} mean {mean:.3} largest {largest}");
        // Rows and columns are filtered in the other order than Pillow's, each rounded to a byte; bicubic weights sum to 1 with
        // up to 1.3 of absolute value: half a level of the first pass, 1.3 times half of the other, and its own half.
        assert!(largest <= 2 && mean < 0.2, "{name}: mean {mean}, largest {largest}");
        count += 1;
    }
    assert_eq!(count, 18);
}

#[test]
fn the_longer_side_is_rounded_down() {
    let size = |resize, w, h| Prepare { resize: Some(resize), ..Prepare::default() }.size(w, h);
    assert_eq!(size(256, 500, 375), Some((341, 256)));
    assert_eq!(size(256, 375, 500), Some((256, 341)));
    assert_eq!(size(256, 333, 333), Some((256, 256)));
    assert_eq!(size(224, 1, 1), Some((224, 224)));
    assert_eq!(size(3, 2, 3), Some((3, 4)));
    assert_eq!(size(1 << 20, 1, u32::MAX), None);
    assert_eq!(Prepare::default().size(5, 7), Some((5, 7)));
}

#[test]
fn a_picture_of_the_right_size_passes_unchanged() {
    let large = decode(&golden("large.png"), MAX_PIXELS).unwrap();
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        let square = seen_as(&large, Prepare { resize: None, filter }, View::Centre, 32);
        let picture = Picture { width: 32, height: 32, pixels: square.clone() };
        for resize in [None, Some(32)] {
            let crop = View::Crop(Crop { x: 0, y: 0, w: 32, h: 32, flip: false });
            for view in [View::Centre, crop] {
                assert!(seen_as(&picture, Prepare { resize, filter }, view, 32) == square);
            }
        }
    }
}

#[test]
fn halves_of_pixels_are_rounded_and_padded_as_by_torchvision() {
    // CenterCrop: round((6 - 3) / 2) = round(1.5) = 2, round((4 - 3) / 2) = round(0.5) = 0
    assert_eq!(span(6, 3), (2, 0, 3));
    assert_eq!(span(4, 3), (0, 0, 3));
    // padding of 3 is 1 before and 2 after
    assert_eq!(span(2, 5), (0, 1, 2));
    let row = Picture { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
    let out = seen_as(&row, Prepare::default(), View::Centre, 3);
    let black = [0; 3];
    let rows: [[u8; 3]; 9] = [black, black, black, [1, 2, 3], [4, 5, 6], black, black, black, black];
    assert_eq!(out, rows.concat());
}

#[test]
fn a_crop_is_mirrored_last() {
    let row = Picture { width: 3, height: 2, pixels: (0..18).collect() };
    let crop = |flip| seen_as(&row, Prepare::default(), View::Crop(Crop { x: 1, y: 0, w: 2, h: 2, flip }), 2);
    assert_eq!(crop(false), [3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17]);
    assert_eq!(crop(true), [6, 7, 8, 3, 4, 5, 15, 16, 17, 12, 13, 14]);
}

#[test]
#[should_panic(expected = "does not lie in a picture of 3 x 2")]
fn a_crop_beside_its_picture_is_a_bug() {
    let picture = Picture { width: 3, height: 2, pixels: vec![0; 18] };
    seen_as(&picture, Prepare::default(), View::Crop(Crop { x: 2, y: 0, w: 2, h: 1, flip: false }), 2);
}

proptest! {
    /// No filter makes anything else of one colour, whatever the sizes.
    #[test]
    fn one_colour_stays_one_colour(
        w in 1u32..70, h in 1u32..70, resize in 1u32..50, size in 1u32..40, colour: [u8; 3], bicubic: bool,
    ) {
        let picture = Picture { width: w, height: h, pixels: colour.repeat((w * h) as usize) };
        let filter = if bicubic { Filter::Bicubic } else { Filter::Bilinear };
        let whole = View::Crop(Crop { x: 0, y: 0, w, h, flip: true });
        for pixel in seen_as(&picture, Prepare { resize: None, filter }, whole, size).as_chunks::<3>().0 {
            prop_assert_eq!(*pixel, colour);
        }
        for pixel in seen_as(&picture, Prepare { resize: Some(resize), filter }, View::Centre, size).as_chunks::<3>().0 {
            prop_assert!(*pixel == colour || *pixel == [0; 3]);
        }
    }
}
