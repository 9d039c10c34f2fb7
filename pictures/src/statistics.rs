//! Mean and deviation of a set by colour.

use crate::error::{Error, Result};
use crate::loader::Loader;
use crate::resize::View;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean by colour, on the scale 0 to 1.
    pub mean: [f64; 3],
    /// Standard deviation by colour: `sqrt(mean(x^2) - mean(x)^2)`. It is 0 where all pixels are alike.
    pub std: [f64; 3],
    /// Pictures that were measured.
    pub pictures: usize,
    /// Pictures that are broken.
    pub broken: usize,
}

/// Measures the middle squares of the pictures `order` in one pass: what is seen of them when the net is evaluated.
///
/// The sums are of whole numbers, without rounding, so that the result is the same bits for any order and any number of threads.
///
/// # Errors
/// As [`Loader::start`]; [`Error::Usage`] if no picture can be read.
pub fn measure(loader: &Loader, order: Vec<usize>) -> Result<Statistics> {
    let mut loading = loader.start(order, |_| View::Centre)?;
    // 2^64 sums of squares are reached after 2.8e14 pixels
    let (mut sum, mut squares) = ([0u64; 3], [0u64; 3]);
    let (mut pixels, mut pictures, mut broken) = (0u64, 0, 0);
    while let Some(loaded) = loading.next() {
        let Ok(view) = loaded.view else {
            broken += 1;
            continue;
        };
        let (view, _) = view.as_chunks::<3>();
        for pixel in view {
            for c in 0..3 {
                let v = u64::from(pixel[c]);
                sum[c] += v;
                squares[c] += v * v;
            }
        }
        pixels += view.len() as u64;
        pictures += 1;
    }
    if pictures == 0 {
        return Err(Error::Usage(format!(
            "mean and deviation cannot be measured: none of {broken} pictures can be read"
        )));
    }
    let mean = sum.map(|sum| sum as f64 / pixels as f64 / 255.0);
    let std = std::array::from_fn(|c| {
        // n sum(x^2) - sum(x)^2 is exact, and never below 0
        let (n, s) = (u128::from(pixels), u128::from(sum[c]));
        ((n * u128::from(squares[c]) - s * s) as f64).sqrt() / pixels as f64 / 255.0
    });
    Ok(Statistics { mean, std, pictures, broken })
}
