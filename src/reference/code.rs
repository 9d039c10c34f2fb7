//! Codes of increments, one f64 a code: see [`crate::code`].

use super::{Buffer, Reference, Tensor};
use crate::check;
use crate::code::{Bits, COMPANDING, Code, Coder, LEVEL_1, LEVELS_2, SIGMA_MIN, THRESHOLD_2, unit};
use crate::device::Coding;
use crate::error::Result;
use crate::host::judge;
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;

/// A channel's quantiser.
pub struct Quantiser {
    bits: Bits,
    unit: f64,
    mean: f64,
    rstd: f64,
}

impl Quantiser {
    fn of(coder: &Coder<Buffer>, code: &Code<Buffer>, channel: usize) -> Self {
        let (mean, rstd) = (code.scale.mean.values()[channel], code.scale.rstd.values()[channel]);
        Self { bits: coder.bits, unit: coder.grid.values()[0], mean, rstd }
    }

    /// The number of the level that w comes nearest to.
    fn index(&self, w: f64) -> f64 {
        let u = (w - self.mean) * self.rstd;
        let sign = if u < 0.0 { 1.0 } else { 0.0 };
        let magnitude = match self.bits {
            Bits::One => 0.0,
            Bits::Two => f64::from(u8::from(u.abs() > f64::from(THRESHOLD_2))),
            Bits::Four | Bits::Eight => {
                let levels = (1 << (self.bits.count() - 1)) as f64;
                let t = 1.0 + f64::from(COMPANDING) * u.abs();
                let octave = t.log2().floor();
                let place = ((octave + t / octave.exp2() - 1.0) * levels / 4.0).floor();
                place.min(levels - 1.0)
            }
        };
        2.0 * magnitude + sign
    }

    /// That level, on the grid.
    fn level(&self, index: f64) -> f64 {
        let (magnitude, negative) = ((index / 2.0).floor(), index % 2.0 == 1.0);
        let level = match self.bits {
            Bits::One => f64::from(LEVEL_1),
            Bits::Two => f64::from(LEVELS_2[magnitude as usize]),
            Bits::Four | Bits::Eight => {
                let per_octave = (1 << (self.bits.count() - 1)) as f64 / 4.0;
                let octave = (magnitude / per_octave).floor();
                let t = octave.exp2() * (1.0 + (magnitude - octave * per_octave + 0.5) / per_octave);
                (t - 1.0) / f64::from(COMPANDING)
            }
        };
        let sigma = if self.rstd > 0.0 { 1.0 / self.rstd } else { 0.0 };
        let q = self.mean + if negative { -level } else { level } * sigma;
        (q / self.unit).round_ties_even() * self.unit
    }
}

/// `grid = unit(max |x|)`, and x on it.
pub fn start(x: &mut [f64], grid: &mut [f64]) {
    let largest = x.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    grid[0] = unit(largest);
    round(grid[0], x);
}

/// x on the grid.
pub fn round(unit: f64, x: &mut [f64]) {
    x.iter_mut().for_each(|x| *x = (*x / unit).round_ties_even() * unit);
}

/// Mean and 1/sigma of `h sum_k bn_k(z_k) + c`.
pub fn scale(h: f64, last: &[&Affine<Buffer>], rest: &[f64], mean: &mut [f64], rstd: &mut [f64]) {
    for (c, rest) in rest.iter().enumerate() {
        let beta: f64 = last.iter().map(|affine| affine.beta.values()[c]).sum();
        let gamma: f64 = last.iter().map(|affine| affine.gamma.values()[c].abs()).sum();
        mean[c] = h * beta;
        let sigma = ((h * gamma).powi(2) + rest).sqrt();
        rstd[c] = if sigma < SIGMA_MIN { 0.0 } else { 1.0 / sigma };
    }
}

/// See [`crate::device::Coding::encode`].
pub fn encode(coder: &mut Coder<Buffer>, carry: &mut Tensor, mut x: Option<&mut Tensor>, code: &mut Code<Buffer>) {
    let (c, pixels) = (carry.shape().c(), carry.shape().pixels());
    let mut rest = vec![0.0; c];
    for (i, carry) in carry.values_mut().iter_mut().enumerate() {
        let quantiser = Quantiser::of(coder, code, i % c);
        let index = quantiser.index(*carry);
        // a carry that is no number stays none, and with it the loss
        let q = quantiser.level(index);
        *carry -= q;
        rest[i % c] += *carry * *carry;
        code.packed.values_mut()[i] = index;
        if let Some(x) = &mut x {
            x.values_mut()[i] += q;
        }
    }
    coder.rest.values_mut().iter_mut().zip(rest).for_each(|(mean, sum)| *mean = sum / pixels as f64);
}

/// See [`crate::device::Coding::decode`].
pub fn decode(coder: &Coder<Buffer>, code: &Code<Buffer>, x: &mut Tensor) {
    let c = x.shape().c();
    for (i, x) in x.values_mut().iter_mut().enumerate() {
        *x -= Quantiser::of(coder, code, i % c).level(code.packed.values()[i]);
    }
}

impl Coding for Reference {
    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        start(x_acc.values_mut(), grid.values_mut());
        Ok(())
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        round(grid.values()[0], x_acc.values_mut());
        Ok(())
    }

    fn code_scale(&self, h: f64, last: &[&Affine<Buffer>], rest: &Tensor, scale: &mut BnStats<Buffer>) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        let BnStats { mean, rstd } = scale;
        self::scale(h, last, rest.values(), mean.values_mut(), rstd.values_mut());
        Ok(())
    }

    fn encode(
        &self,
        coder: &mut Coder<Buffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<Buffer>,
        _: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        encode(coder, carry_acc, x_acc, code);
        Ok(())
    }

    fn decode(&self, coder: &Coder<Buffer>, code: &Code<Buffer>, x_acc: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        decode(coder, code, x_acc);
        Ok(())
    }

    fn code_workspace(&self, _: Shape) -> usize {
        0
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        judge(&errors.values()[at..at + 4], &mut verdict_acc.values_mut()[0]);
        Ok(())
    }
}
