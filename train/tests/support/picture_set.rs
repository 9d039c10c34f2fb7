//! Sets of pictures, made by a test.

use std::fs;
use std::path::Path;

use crate::cli::Place;

/// Pixels `[height, width, 3]` that are this picture's own.
pub fn pixels(width: usize, height: usize, number: usize) -> Vec<u8> {
    (0..width * height * 3).map(|i| (i * (7 + number) + 31 * number * number + i / 50) as u8).collect()
}

/// A BMP of 24 bits: rows from below, padded to four bytes, blue first.
pub fn write_bmp(path: &Path, width: usize, height: usize, pixels: &[u8]) {
    let row = (3 * width).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    let mut put = |values: &[u32]| values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    put(&[(54 + row * height) as u32, 0, 54, 40, width as u32, height as u32, 1 | 24 << 16, 0, 0, 0, 0, 0, 0]);
    for y in (0..height).rev() {
        let start = bytes.len();
        pixels[y * width * 3..][..width * 3].chunks_exact(3).for_each(|p| bytes.extend([p[2], p[1], p[0]]));
        bytes.resize(start + row, 0);
    }
    fs::write(path, bytes).expect("a picture");
}

/// The classes of a set.
pub const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

/// A set of `per_class` pictures to train on and four to test on of each class; `size` of picture number n.
pub fn write_set(place: &Place, per_class: usize, size: impl Fn(usize) -> (usize, usize)) {
    let mut number = 0;
    for (part, n) in [("train", per_class), ("val", 4)] {
        for class in CLASSES {
            let folder = place.path(&format!("set/{part}/{class}"));
            fs::create_dir_all(&folder).expect("a folder");
            for i in 0..n {
                let (width, height) = size(number);
                write_bmp(&folder.join(format!("{i:02}.bmp")), width, height, &pixels(width, height, number));
                number += 1;
            }
        }
    }
}
