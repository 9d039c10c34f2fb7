//! How one operation is measured, on any device.

use std::fmt;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rewind::Result;
use rewind::device::Device;
use rewind::shape::{Conv, Shape};

use crate::bed::Bed;
use crate::fractions::Session;

/// The paper's block, and two of 64 channels.
pub const MAPS: [Shape; 3] = [Shape::map(256, 10, 10, 16), Shape::map(128, 10, 10, 64), Shape::map(32, 32, 32, 64)];

/// What an operation on a block's operands costs at least.
#[derive(Clone, Copy)]
pub enum Work {
    /// So many 3x3 convolutions' multiply-adds.
    Convolutions(u64),
    /// Reading and writing so many maps.
    Maps(u64),
    /// Reading and writing so many vectors of channels.
    Vectors(u64),
    /// Reading and writing so many sets of a block's two weights.
    Weights(u64),
}

impl Work {
    fn throughput(self, map: Shape) -> Throughput {
        match self {
            Self::Convolutions(n) => flop(n * Conv::SAME_3X3.flop(map, map.c())),
            Self::Maps(n) => bytes(n, map),
            Self::Vectors(n) => bytes(n, Shape::vector(map.c())),
            Self::Weights(n) => bytes(2 * n, Shape::weight(Conv::SAME_3X3.kernel, map.c(), map.c())),
        }
    }
}

/// So many floating-point operations: criterion's `elem/s` reads FLOP/s.
pub fn flop(n: u64) -> Throughput {
    Throughput::Elements(n)
}

/// Reading and writing so many tensors of a shape.
pub fn bytes(n: u64, shape: Shape) -> Throughput {
    Throughput::Bytes(n * (size_of::<f32>() * shape.len()) as u64)
}

/// A shape as it stands in an ID: `256x10x10x16`.
pub fn label(shape: Shape) -> String {
    shape.0.map(|extent| extent.to_string()).join("x")
}

/// One device under measurement.
pub struct Bench<'a, D: Device> {
    pub criterion: &'a mut Criterion,
    /// Its part of the ID.
    pub device: &'static str,
    pub d: &'a D,
    pub session: &'a mut Session,
}

impl<D: Device> Bench<'_, D> {
    /// Measures an operation on a block's operands at every map. `variant` is empty for the device's own.
    pub fn on_maps(
        &mut self,
        name: &str,
        variant: &str,
        work: Work,
        mut run: impl FnMut(&D, &mut Bed<D>) -> Result<()> + Send,
    ) {
        for map in MAPS {
            let throughput = work.throughput(map);
            self.operation(name, variant, label(map), throughput, |d| Bed::new(d, map), &mut run);
        }
    }

    /// Measures an operation on what `prepare` makes, if its ID is asked for.
    pub fn operation<S: Send>(
        &mut self,
        name: &str,
        variant: &str,
        shape: impl fmt::Display,
        throughput: Throughput,
        prepare: impl Fn(&D) -> S,
        run: &mut (impl FnMut(&D, &mut S) -> Result<()> + Send),
    ) {
        self.timed(name, variant, shape, throughput, prepare, &mut |d, operands, repeats| {
            let start = Instant::now();
            for _ in 0..repeats {
                run(d, operands)?;
                d.synchronize()?;
            }
            Ok(start.elapsed())
        });
    }

    /// As [`Bench::operation`], where `run` repeats the operation and takes the time itself.
    pub fn timed<S: Send>(
        &mut self,
        name: &str,
        variant: &str,
        shape: impl fmt::Display,
        throughput: Throughput,
        prepare: impl Fn(&D) -> S,
        run: &mut (impl FnMut(&D, &mut S, u64) -> Result<Duration> + Send),
    ) {
        let Self { criterion, device, d, session } = self;
        let id = BenchmarkId::new(format!("{device}{variant}"), &shape);
        let mut operands = None;
        let mut group = criterion.benchmark_group(name);
        group.throughput(throughput.clone());
        group.bench_function(id, |b| {
            let operands = operands.get_or_insert_with(|| prepare(d));
            // the way into the pool is not part of the operation: a step walks it once
            d.install(|| b.iter_custom(|repeats| run(d, operands, repeats).expect("the operands fit")));
        });
        group.finish();
        if operands.is_some() {
            session.ran(format!("{name}/{device}{variant}/{shape}"), throughput, device);
        }
    }
}
