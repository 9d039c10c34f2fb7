//! The memory plan: every byte of a network, from its specification alone, before anything is taken. It is a dry run of the
//! network's constructors.

use super::{Net, NetSpec};
use crate::device::Device;
use crate::error::Result;
use crate::field::Field;
use crate::memory::{Arena, Bytes, dry_run};
use crate::shape::Shape;

impl<D: Device, F: Field<D>> Net<D, F> {
    /// Bytes that such a network takes on the device, by category.
    ///
    /// # Errors
    /// What the residual function's constructors refuse.
    pub fn plan(d: &D, spec: &NetSpec) -> Result<Bytes> {
        dry_run(d, |arena| Self::unwritten(arena, *spec))
    }

    /// Shows `visit` the name and the shape of every tensor that a checkpoint of such a network holds, in the order of
    /// [`Net::each_checkpointed`]. Nothing is taken.
    ///
    /// # Errors
    /// As [`Net::plan`], and the visitor's.
    pub fn each_planned(d: &D, spec: &NetSpec, visit: &mut dyn FnMut(&str, Shape) -> Result<()>) -> Result<()> {
        let net = |arena: &mut Arena<'_, D>| {
            Self::unwritten(arena, *spec)?.each_checkpointed(&mut |name, tensor| visit(name, tensor.shape()))
        };
        dry_run(d, net).map(drop)
    }

    /// The largest depth up to `spec`'s, or number of blocks in any stage, whose plan is at most `limit` bytes, with `extra`
    /// bytes taken elsewhere; none if not even the shallowest fits.
    ///
    /// # Errors
    /// As [`Net::plan`].
    pub fn largest_depth(d: &D, spec: &NetSpec, extra: u64, limit: u64) -> Result<Option<usize>> {
        // those that the scheme takes
        let depths: Vec<usize> = (1..=spec.deepest()).filter(|depth| spec.sweep.scheme.takes(*depth)).collect();
        let fits = |n: usize| Ok(Self::plan(d, &spec.at_most(depths[n]))?.total() + extra <= limit);
        let Some(last) = depths.len().checked_sub(1) else { return Ok(None) };
        Ok(largest_that_fits(0, last, fits)?.map(|n| depths[n]))
    }
}

/// The largest of `least..=most` that fits, by halving: where one fits, so do all that are smaller.
///
/// # Errors
/// Those of `fits`.
pub fn largest_that_fits(
    least: usize,
    most: usize,
    mut fits: impl FnMut(usize) -> Result<bool>,
) -> Result<Option<usize>> {
    // all below `fitting` fit, none from `over` on does
    let (mut fitting, mut over) = (least, most + 1);
    while fitting < over {
        let middle = fitting.midpoint(over);
        if fits(middle)? {
            fitting = middle + 1;
        } else {
            over = middle;
        }
    }
    Ok((fitting > least).then(|| fitting - 1))
}
