//! Pixels that move: Pillow's affine transform to the nearest pixel, black where nothing of the picture lies.

/// Where the pixel `(x, y)` of the result comes from: `(a x + b y + c, d x + e y + f)` is `[a, b, c, d, e, f]`.
pub(super) type Matrix = [f64; 6];

/// One in the fixed point that coordinates are counted in.
const ONE: f64 = 65536.0;

/// Columns are pushed along by `slope` a row. torchvision asks for the angle, so that the slope goes through it and back.
pub(super) fn shear_x(slope: f64) -> Matrix {
    [1.0, libm::tan(angle(slope)), 0.0, 0.0, 1.0, 0.0]
}

/// Rows are pushed along by `slope` a column.
pub(super) fn shear_y(slope: f64) -> Matrix {
    let angle = angle(slope);
    [1.0, 0.0, 0.0, libm::sin(angle) / libm::cos(angle), 1.0, 0.0]
}

/// The angle of a slope, by way of degrees as torchvision takes it.
fn angle(slope: f64) -> f64 {
    (libm::atan(slope) * (180.0 / std::f64::consts::PI)).to_radians()
}

/// The picture moves right by `x` and down by `y`.
pub(super) fn translate(x: i32, y: i32) -> Matrix {
    [1.0, 0.0, -f64::from(x), 0.0, 1.0, -f64::from(y)]
}

/// The picture turns by `degrees` against the clock around its middle.
pub(super) fn rotate(degrees: f64, side: usize) -> Matrix {
    // in 0 to 360, as Python's remainder
    let degrees = if degrees < 0.0 { degrees + 360.0 } else { degrees };
    let angle = -degrees.to_radians();
    // Pillow keeps 15 decimals
    let rounded = |v: f64| (v * 1e15).round_ties_even() / 1e15;
    let (cos, sin) = (rounded(libm::cos(angle)), rounded(libm::sin(angle)));
    let minus_sin = rounded(-libm::sin(angle));
    let middle = side as f64 / 2.0;
    let c = cos * -middle + sin * -middle + middle;
    let f = minus_sin * -middle + cos * -middle + middle;
    [cos, sin, c, minus_sin, cos, f]
}

/// `pixels` moved by the matrix. Their bytes before it are left in `before`.
///
/// Coordinates are 16 bits of pixels and 16 of parts, as in Pillow: that is enough up to 32,768 pixels a side.
pub(super) fn transform([a, b, c, d, e, f]: Matrix, side: usize, pixels: &mut [u8], before: &mut Vec<u8>) {
    before.clear();
    before.extend_from_slice(pixels);
    let fixed = |v: f64| (v * ONE + 0.5).floor() as i64;
    // from the middle of a pixel
    let (mut row_x, mut row_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    let [a, b, d, e] = [a, b, d, e].map(fixed);
    let (before, _) = before.as_chunks::<3>();
    let inside = |at: i64| usize::try_from(at >> 16).ok().filter(|at| *at < side);
    for row in pixels.chunks_exact_mut(side * 3) {
        let (mut x, mut y) = (row_x, row_y);
        for pixel in row.as_chunks_mut::<3>().0 {
            *pixel = inside(x).zip(inside(y)).map_or([0; 3], |(x, y)| before[y * side + x]);
            x += a;
            y += d;
        }
        row_x += b;
        row_y += e;
    }
}
