//! Changes in which each value of a colour becomes another, wherever it stands.

/// What each value becomes, by colour.
type Table = [[u8; 256]; 3];

fn look_up(table: &Table, pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        *pixel = std::array::from_fn(|c| table[c][usize::from(pixel[c])]);
    }
}

/// The same table for each colour.
fn look_up_alike(becomes: impl Fn(u8) -> u8, pixels: &mut [u8]) {
    let table: [u8; 256] = std::array::from_fn(|v| becomes(v as u8));
    look_up(&[table; 3], pixels);
}

/// How many pixels have each value, by colour.
fn histogram(pixels: &[u8]) -> [[u64; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in pixels.as_chunks::<3>().0 {
        for c in 0..3 {
            counts[c][usize::from(pixel[c])] += 1;
        }
    }
    counts
}

/// Keeps the first `bits` of each value, 1 to 8.
pub(super) fn posterize(bits: u32, pixels: &mut [u8]) {
    let lost = 8u32.saturating_sub(bits);
    look_up_alike(|v| (u32::from(v) >> lost << lost) as u8, pixels);
}

/// `255 - v` from `threshold` on.
pub(super) fn solarize(threshold: f64, pixels: &mut [u8]) {
    look_up_alike(|v| if f64::from(v) < threshold { v } else { 255 - v }, pixels);
}

/// Stretches each colour's values to 0 to 255.
pub(super) fn auto_contrast(pixels: &mut [u8]) {
    let table = histogram(pixels).map(|counts| {
        let low = counts.iter().position(|n| *n > 0).unwrap_or(0);
        let high = counts.iter().rposition(|n| *n > 0).unwrap_or(0);
        if high <= low {
            return std::array::from_fn(|v| v as u8);
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        // a cast cuts off behind the point and stays within a byte
        std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
    });
    look_up(&table, pixels);
}

/// Spreads each colour's values so that all are about equally frequent.
pub(super) fn equalize(pixels: &mut [u8]) {
    let table = histogram(pixels).map(|counts| {
        let all: u64 = counts.iter().sum();
        let last = counts.iter().rev().find(|n| **n > 0).copied().unwrap_or(0);
        // 0 for one value alone, too
        let step = (all - last) / 255;
        if step == 0 {
            return std::array::from_fn(|v| v as u8);
        }
        let mut before = step / 2;
        counts.map(|n| {
            let becomes = before / step;
            before += n;
            becomes.min(255) as u8
        })
    });
    look_up(&table, pixels);
}
