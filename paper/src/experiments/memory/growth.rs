//! What a block more takes: the difference of two plans, category by category.

use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Basic;
use rewind::memory::{Bytes, Category, padded_bytes};
use rewind::net::{Net, NetSpec};
use rewind::scheme::Scheme;
use rewind::shape::Shape;
use rewind::sweep::{BnStatistics, SweepSpec, Update};

use super::cell::MemorySpec;
use super::rows::Row;
use crate::method::Method;

/// From one depth to twice that depth.
#[derive(Clone, Debug)]
pub struct Growth {
    pub scheme: Scheme,
    pub method: Method,
    pub from: usize,
    pub to: usize,
    before: Bytes,
    after: Bytes,
    /// Of the statistics, those that the forward pass leaves to the sweep.
    pub saved_statistics: f64,
    /// The gradients, were the update to come after the sweep.
    pub gradients_if_after: f64,
    /// Of a state of the stack, and of a vector with an element a channel.
    pub state_bytes: u64,
    pub vector_bytes: u64,
}

impl Growth {
    /// Of every scheme and mode, between the two deepest nets that are planned.
    pub fn all<D: Device>(d: &D, rows: &[Row]) -> Result<Vec<Self>> {
        let to = rows.iter().map(|row| row.spec.depth).max().unwrap_or(0);
        let deepest = rows.iter().filter(|row| row.spec.depth == to);
        deepest.map(|row| Self::of(d, &row.spec, to / 2, to)).collect()
    }

    fn of<D: Device>(d: &D, spec: &MemorySpec, from: usize, to: usize) -> Result<Self> {
        let net = |depth, change: &dyn Fn(SweepSpec) -> SweepSpec| {
            let net = MemorySpec { depth, ..spec.clone() }.net();
            NetSpec { sweep: change(net.sweep), ..net }
        };
        let plan = |depth, change: &dyn Fn(SweepSpec) -> SweepSpec| Net::<D, Basic>::plan(d, &net(depth, change));
        let block = |category, change: &dyn Fn(SweepSpec) -> SweepSpec| -> Result<f64> {
            let bytes = |depth| Ok(plan(depth, change)?.of(category) as f64);
            Ok((bytes(to)? - bytes(from)?) / (to - from) as f64)
        };
        // any mode that reconstructs can do without, and so tells what they take
        let adjoint = |bn_stats| {
            let sweep = SweepSpec { bn_stats, ..Method::Adjoint.sweep(spec.scheme, to) };
            block(Category::Statistics, &move |_| sweep)
        };
        let map = spec.net().stem_map();
        let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
        Ok(Self {
            state_bytes: bytes(map),
            vector_bytes: bytes(Shape::vector(map.c())),
            scheme: spec.scheme,
            method: spec.method,
            from,
            to,
            before: plan(from, &|sweep| sweep)?,
            after: plan(to, &|sweep| sweep)?,
            saved_statistics: adjoint(BnStatistics::Saved)? - adjoint(BnStatistics::Batch)?,
            gradients_if_after: block(Category::Gradients, &|sweep| SweepSpec { update: Update::After, ..sweep })?,
        })
    }

    /// Whether the mode has room for codes.
    pub fn codes(&self) -> bool {
        self.method.sweep(self.scheme, self.to).gradient.codes()
    }

    fn a_block(&self, bytes: impl Fn(&Bytes) -> u64) -> f64 {
        (bytes(&self.after) as f64 - bytes(&self.before) as f64) / (self.to - self.from) as f64
    }

    /// Bytes of a category that a block more takes, in the mean.
    pub fn of_category(&self, category: Category) -> f64 {
        self.a_block(|bytes| bytes.of(category))
    }

    pub fn of_activations(&self) -> f64 {
        self.a_block(Bytes::activations)
    }

    pub fn of_all(&self) -> f64 {
        self.a_block(Bytes::total)
    }
}
