//! Minimum and maximum of halves (PTX ISA sections 9.7.4.7 and 9.7.4.8).

use std::marker::PhantomData;

use super::super::Selected;
use super::format::{CANONICAL_NAN, Format};
use super::{Binary16, Shape};

struct Extremum<F, const LARGEST: bool, const FTZ: bool, const NAN: bool, const XORSIGN: bool>(PhantomData<F>);

/// Signed integers in the order of the floats: a negative zero lies below the positive one, as the ISA wants it.
#[inline(always)]
fn ordered(bits: u16) -> i16 {
    let bits = bits as i16;
    bits ^ (bits >> 15 & 0x7fff)
}

impl<F: Format, const LARGEST: bool, const FTZ: bool, const NAN: bool, const XORSIGN: bool> Binary16
    for Extremum<F, LARGEST, FTZ, NAN, XORSIGN>
{
    #[inline(always)]
    fn of(a: u16, b: u16) -> u16 {
        let (a, b) = if FTZ { (F::flush(a), F::flush(b)) } else { (a, b) };
        let sign = (a ^ b) & 0x8000;
        let (a, b) = if XORSIGN { (a & 0x7fff, b & 0x7fff) } else { (a, b) };
        let (a_nan, b_nan) = (F::is_nan(a), F::is_nan(b));
        let first = if LARGEST { ordered(a) > ordered(b) } else { ordered(a) < ordered(b) };
        let chosen = if b_nan || (first && !a_nan) { a } else { b };
        let value = if XORSIGN { chosen | sign } else { chosen };
        if (a_nan && b_nan) || (NAN && (a_nan || b_nan)) { CANONICAL_NAN } else { value }
    }
}

pub(super) fn select<F: Format>(largest: bool, ftz: bool, nan: bool, xorsign: bool, shape: Shape) -> Selected {
    fn last<F: Format, const LARGEST: bool, const FTZ: bool, const NAN: bool>(xorsign: bool, shape: Shape) -> Selected {
        if xorsign {
            shape.binary::<Extremum<F, LARGEST, FTZ, NAN, true>>()
        } else {
            shape.binary::<Extremum<F, LARGEST, FTZ, NAN, false>>()
        }
    }
    fn rest<F: Format, const LARGEST: bool>(ftz: bool, nan: bool, xorsign: bool, shape: Shape) -> Selected {
        match (ftz, nan) {
            (false, false) => last::<F, LARGEST, false, false>(xorsign, shape),
            (false, true) => last::<F, LARGEST, false, true>(xorsign, shape),
            (true, false) => last::<F, LARGEST, true, false>(xorsign, shape),
            (true, true) => last::<F, LARGEST, true, true>(xorsign, shape),
        }
    }
    if largest { rest::<F, true>(ftz, nan, xorsign, shape) } else { rest::<F, false>(ftz, nan, xorsign, shape) }
}
