//! The timed device's operands as the CPU's: views of the same memory, made for one operation.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rewind::code::{Code, Coder};
use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::host::{HostBuffer, HostRegion};
use rewind::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Measure, Scratch,
};
use rewind::tensor::Tensor;

use crate::timed::Timed;

/// A part of a region, which the CPU's buffers are carved from anew for every operation.
pub struct Part {
    pub region: Arc<HostRegion<f32>>,
    pub offset: usize,
    pub len: usize,
}

/// What has a view as the CPU's.
pub trait Lend {
    /// The CPU's counterpart.
    type View;

    /// The counterpart over the same memory.
    ///
    /// # Safety
    /// While the view lives it is used as `self` may be: only read where `self` is shared, and nobody else uses the memory
    /// where it is written.
    unsafe fn view(&self, cpu: &Cpu) -> Self::View;
}

/// A view of what is borrowed to be read.
pub struct Lent<'a, V>(V, PhantomData<&'a ()>);

/// A view of what is borrowed to be written.
pub struct LentMut<'a, V>(V, PhantomData<&'a mut ()>);

/// A view to read.
pub fn lend<'a, T: Lend>(cpu: &Cpu, from: &'a T) -> Lent<'a, T::View> {
    // SAFETY: the view gives out shared references alone, for as long as `from` is borrowed.
    Lent(unsafe { from.view(cpu) }, PhantomData)
}

/// A view to write.
pub fn lend_mut<'a, T: Lend>(cpu: &Cpu, from: &'a mut T) -> LentMut<'a, T::View> {
    // SAFETY: `from` is borrowed exclusively for as long as the view lives.
    LentMut(unsafe { from.view(cpu) }, PhantomData)
}

impl<V> Deref for Lent<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

impl<V> Deref for LentMut<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

impl<V> DerefMut for LentMut<'_, V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.0
    }
}

/// Both halves of a measurement: statistics, and running statistics where given.
pub type LentMeasure<'a> = (LentMut<'a, BnStats<Cpu>>, Option<LentMut<'a, BnRunning<Cpu>>>);

/// A measurement's operands, to write.
pub fn lend_measure<'a>(cpu: &Cpu, measure: Measure<'a, Timed>) -> LentMeasure<'a> {
    (lend_mut(cpu, measure.stats), measure.running.map(|running| lend_mut(cpu, running)))
}

/// The same as the CPU takes it.
pub fn measure<'a>((stats, running): &'a mut LentMeasure<'_>) -> Measure<'a, Cpu> {
    Measure { stats, running: running.as_deref_mut() }
}

impl Lend for Part {
    type View = HostBuffer<f32>;

    unsafe fn view(&self, cpu: &Cpu) -> HostBuffer<f32> {
        // SAFETY: `Timed::carve` had the range from a caller who keeps it within the region and apart from all others; that the
        // views of one range do not get into each other's way is this caller's promise.
        unsafe { cpu.carve(&self.region, self.offset, self.len) }
    }
}

impl Lend for Tensor<Timed> {
    type View = Tensor<Cpu>;

    unsafe fn view(&self, cpu: &Cpu) -> Tensor<Cpu> {
        // SAFETY: the caller's promise, as in all of the following.
        Tensor::new(self.shape(), unsafe { self.buffer.view(cpu) })
    }
}

/// A structure's view: that of each of its fields.
macro_rules! lend_fields {
    ($($name:ident { $($field:ident),+ })+) => {$(
        impl Lend for $name<Timed> {
            type View = $name<Cpu>;

            unsafe fn view(&self, cpu: &Cpu) -> $name<Cpu> {
                // SAFETY: the caller's promise.
                unsafe { $name { $($field: self.$field.view(cpu)),+ } }
            }
        }
    )+};
}

lend_fields! {
    Affine { gamma, beta }
    BnStats { mean, rstd }
    BnRunning { mean, var }
    BasicTheta { conv1, bn1, conv2, bn2 }
    BasicRunning { bn1, bn2 }
    BasicCache { z1, z2 }
    Code { scale, packed }
}

impl Lend for BasicStats<Timed> {
    type View = BasicStats<Cpu>;

    unsafe fn view(&self, cpu: &Cpu) -> BasicStats<Cpu> {
        let Self { bn1, bn2, mask } = self;
        // SAFETY: the caller's promise.
        let mask = mask.as_ref().map(|mask| unsafe { mask.view(cpu) });
        // SAFETY: the caller's promise.
        unsafe { BasicStats { bn1: bn1.view(cpu), bn2: bn2.view(cpu), mask } }
    }
}

impl Lend for Coder<Timed> {
    type View = Coder<Cpu>;

    unsafe fn view(&self, cpu: &Cpu) -> Coder<Cpu> {
        let Self { bits, pass, grid, rest } = self;
        // SAFETY: the caller's promise.
        unsafe { Coder { bits: *bits, pass: *pass, grid: grid.view(cpu), rest: rest.view(cpu) } }
    }
}

impl Lend for Scratch<Timed> {
    type View = Scratch<Cpu>;

    unsafe fn view(&self, cpu: &Cpu) -> Scratch<Cpu> {
        let maps = self.maps.iter().take(Cpu::SCRATCH_MAPS);
        // SAFETY: the caller's promise.
        unsafe {
            Scratch {
                maps: maps.map(|map| map.view(cpu)).collect(),
                grad_u: self.grad_u.view(cpu),
                sums1: self.sums1.view(cpu),
                sums2: self.sums2.view(cpu),
                workspace: self.workspace.view(cpu),
            }
        }
    }
}
