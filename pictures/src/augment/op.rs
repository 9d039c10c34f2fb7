//! What may be done to a picture.

use super::{affine, colour, levels};

/// A change of a picture, with how much of it. All but [`Op::Hue`] are what RandAugment chooses from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Nothing.
    Identity,
    /// Each row comes from further right than the one above it, by so many pixels.
    ShearX(f64),
    /// Each column comes from further down than the one before it, by so many pixels.
    ShearY(f64),
    /// Moves right by so many pixels.
    TranslateX(i32),
    /// Moves down by so many pixels.
    TranslateY(i32),
    /// Turns by so many degrees against the clock around the middle, -360 to 360.
    Rotate(f64),
    /// Blends with black: a factor of 0 is black, 1 the picture, 2 twice as bright. So are the other factors.
    Brightness(f64),
    /// Blends with the picture in grey.
    Saturation(f64),
    /// Blends with the picture's mean grey.
    Contrast(f64),
    /// Blends with the picture smoothed.
    Sharpness(f64),
    /// Keeps so many bits of each colour, 1 to 8.
    Posterize(u32),
    /// Turns values from this one on into their negative.
    Solarize(f64),
    /// Stretches each colour to the whole range.
    AutoContrast,
    /// Spreads each colour evenly over the range.
    Equalize,
    /// Turns the hue by such a part of the circle, -0.5 to 0.5.
    Hue(f64),
}

impl Op {
    /// Changes `pixels`, `[side, side, 3]`, in place. `scratch` comes to hold as many bytes, and keeps them.
    ///
    /// # Panics
    /// If `pixels` has another length.
    pub fn apply(self, side: usize, pixels: &mut [u8], scratch: &mut Vec<u8>) {
        assert_eq!(pixels.len(), side * side * 3, "a picture is {side} x {side} x 3");
        let mut moved = |matrix| affine::transform(matrix, side, pixels, scratch);
        match self {
            Self::Identity => {}
            Self::ShearX(slope) => moved(affine::shear_x(slope)),
            Self::ShearY(slope) => moved(affine::shear_y(slope)),
            Self::TranslateX(by) => moved(affine::translate(by, 0)),
            Self::TranslateY(by) => moved(affine::translate(0, by)),
            Self::Rotate(degrees) => moved(affine::rotate(degrees, side)),
            Self::Brightness(factor) => colour::brightness(factor as f32, pixels),
            Self::Saturation(factor) => colour::saturation(factor as f32, pixels),
            Self::Contrast(factor) => colour::contrast(factor as f32, pixels),
            Self::Sharpness(factor) => colour::sharpness(factor as f32, side, pixels, scratch),
            Self::Posterize(bits) => levels::posterize(bits, pixels),
            Self::Solarize(threshold) => levels::solarize(threshold, pixels),
            Self::AutoContrast => levels::auto_contrast(pixels),
            Self::Equalize => levels::equalize(pixels),
            Self::Hue(turn) => colour::hue(turn, pixels),
        }
    }
}
