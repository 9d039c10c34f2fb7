//! How a way to the gradient looks in every picture.

use plotters::style::{BLACK, RGBColor};
use rewind_train::chart::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION};

use crate::method::Method;

pub const GREY: RGBColor = RGBColor(120, 120, 120);

/// Its colour: the passes are shades of green and the codes shades of violet, the darker the more of them.
pub const fn colour(method: Method) -> RGBColor {
    match method {
        Method::Backprop => BLACK,
        Method::Checkpoint => GREY,
        Method::Adjoint => VERMILLION,
        Method::AnchorsEach => ORANGE,
        Method::AnchorsSqrt => PURPLE,
        Method::Corrected => BLUE,
        Method::Coded1 => RGBColor(190, 165, 225),
        Method::Coded2 => RGBColor(143, 94, 204),
        Method::Coded4 => RGBColor(96, 45, 156),
        Method::Coded8 => RGBColor(52, 15, 92),
        Method::Auto => SKY,
        Method::FixedPoint1 => RGBColor(120, 205, 170),
        Method::FixedPoint2 => GREEN,
        Method::FixedPoint3 => RGBColor(0, 88, 62),
    }
}

/// Whether its marks are rings, where nothing else makes them so: those that often lie on backprop's do not hide them.
pub const fn is_hollow(method: Method) -> bool {
    !matches!(method, Method::Backprop | Method::Adjoint | Method::FixedPoint1 | Method::FixedPoint3)
}
