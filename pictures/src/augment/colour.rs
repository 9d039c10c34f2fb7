//! Blends of a picture with a poorer one, as Pillow's `ImageEnhance` makes them, and turns of the hue.

/// `from + factor (to - from)`, cut off to a byte: between the two for a factor of 0 to 1, beyond `to` above it.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Pillow's grey of a colour, in 16 bits behind the point.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Blends with black.
pub(super) fn brightness(factor: f32, pixels: &mut [u8]) {
    pixels.iter_mut().for_each(|v| *v = blend(0, *v, factor));
}

/// Blends with the picture's mean grey.
pub(super) fn contrast(factor: f32, pixels: &mut [u8]) {
    let (all, _) = pixels.as_chunks::<3>();
    let sum: u64 = all.iter().map(|pixel| u64::from(grey(*pixel))).sum();
    let mean = (sum as f64 / all.len().max(1) as f64 + 0.5) as u8;
    pixels.iter_mut().for_each(|v| *v = blend(mean, *v, factor));
}

/// Blends with the picture in grey.
pub(super) fn saturation(factor: f32, pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let grey = grey(*pixel);
        *pixel = pixel.map(|v| blend(grey, v, factor));
    }
}

/// Blends with the picture smoothed, which is left in `smooth`.
pub(super) fn sharpness(factor: f32, side: usize, pixels: &mut [u8], smooth: &mut Vec<u8>) {
    smooth.clear();
    smooth.extend_from_slice(pixels);
    let row = side * 3;
    // the rim stays as it is
    for y in 1..side.saturating_sub(1) {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &pixels[y * row..][..row]);
        let out = &mut smooth[y * row..][..row];
        // a value's neighbours of its colour lie three before and three behind it
        for x in 3..row - 3 {
            let sum = |of: &[u8], middle: f32| {
                f32::from(of[x - 3]) * RIM + f32::from(of[x]) * middle + f32::from(of[x + 3]) * RIM
            };
            // single precision in Pillow's order
            out[x] = (0.5 + sum(below, RIM) + sum(here, MIDDLE) + sum(above, RIM)) as u8;
        }
    }
    pixels.iter_mut().zip(smooth).for_each(|(v, smooth)| *v = blend(*smooth, *v, factor));
}

/// Weights of Pillow's `SMOOTH`.
const RIM: f32 = 1.0 / 13.0;
const MIDDLE: f32 = 5.0 / 13.0;

/// Turns the hue by `turn`, a part of the circle from -0.5 to 0.5. Hue, saturation and value are a byte each on the way, so that a turn
/// by 0 changes a picture a little.
pub(super) fn hue(turn: f64, pixels: &mut [u8]) {
    // cut off behind the point, then around the byte's end
    let turn = (turn * 255.0) as i32 as u8;
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = from_hsv([h.wrapping_add(turn), s, v]);
    }
}

/// Pillow's hue, saturation and value, with its precision at each place.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|v| f32::from(most - v) / range);
    let hue = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    // the part behind the point of what lies between 5/6 and 11/6, as `%` gives it too, and slowly
    let turned = f64::from(hue) / 6.0 + 1.0;
    let behind = if turned >= 1.0 { turned - 1.0 } else { turned };
    let hue = behind as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// The colour of such a hue, saturation and value.
fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixth = f64::from(h) * 6.0 / 255.0;
    let number = sixth as i32;
    let part = (sixth - f64::from(number)) as f32;
    let (saturation, value) = ((f64::from(s) / 255.0) as f32, f64::from(v));
    // `round` is a call where the processor is any of its kind
    let byte = |less: f64| {
        let exact = value * (1.0 - less);
        let whole = exact as i32;
        (whole + i32::from(exact - f64::from(whole) >= 0.5)) as u8
    };
    let p = byte(f64::from(saturation));
    let q = byte(f64::from(saturation * part));
    let t = byte(f64::from(saturation) * (1.0 - f64::from(part)));
    match number % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
