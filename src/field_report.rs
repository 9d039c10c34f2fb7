//! What there is to say of a residual function before it is trained: whether its derivatives are right, how fast the reverse step's
//! error falls, and how far a sweep drifts.

use std::fmt;

use crate::device::{Device, Elementwise, SgdStep};
use crate::error::Result;
use crate::field::{Evaluated, Field, Normalise, Tensors};
use crate::init::{BlockPlace, Init};
use crate::memory::{Category, Memory, take};
use crate::recipe::Recipe;
use crate::reference::Reference;
use crate::scheme::{Scheme, Stack, StackSpec, StepSize};
use crate::shape::Shape;
use crate::sweep::{Gradient, Sweep, SweepSpec, Work};
use crate::tensor::Tensor;

type Map = Tensor<<Reference as Memory>::Buffer>;

const D: &Reference = &Reference;
/// The step of central differences: rounding over it is 1e-10, its square 1e-12.
const DELTA: f64 = 1e-6;
/// Step sizes whose reverse steps are measured.
const STEPS: [f64; 4] = [1.0 / 8.0, 1.0 / 16.0, 1.0 / 32.0, 1.0 / 64.0];
/// Depths whose sweeps are.
const DEPTHS: [usize; 3] = [8, 16, 32];
/// What derivatives may be off by: rounding over the step, and a ReLU that opens within it.
const AGREES: f64 = 1e-5;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReport {
    /// `|<a, J v> - <J^T a, v>| / (|a| |J v|)` of the input and of every weight, J v by central differences.
    pub derivatives: Vec<(String, f64)>,
    /// `|x - reverse(forward(x))| / |x|` at each step size h.
    pub reverse: Vec<(f64, f64)>,
    /// The drift of a sweep at each depth, h = 1/N, by `adjoint` and by `corrected`.
    pub drift: Vec<(usize, [f64; 2])>,
}

impl FieldReport {
    /// Whether the VJP is the transpose of the derivative.
    pub fn derivatives_agree(&self) -> bool {
        self.derivatives.iter().all(|(_, error)| *error < AGREES)
    }

    /// The power of h by which the reverse step's error falls, from the two smallest steps: 2 where f is smooth.
    pub fn order(&self) -> f64 {
        match &self.reverse[..] {
            [.., (h, large), (smaller, small)] => (large / small).ln() / (h / smaller).ln(),
            _ => f64::NAN,
        }
    }
}

impl fmt::Display for FieldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "derivatives against central differences, relative error:")?;
        for (name, error) in &self.derivatives {
            writeln!(f, "  {name:<16}{error:>9.1e}  {}", if *error < AGREES { "agrees" } else { "DOES NOT AGREE" })?;
        }
        writeln!(f, "a step and its reverse, |x - reverse(forward(x))| / |x|:")?;
        for (h, error) in &self.reverse {
            writeln!(f, "  h = 1/{:<11}{error:>9.1e}", 1.0 / h)?;
        }
        writeln!(f, "  falls as h^{:.1}", self.order())?;
        writeln!(f, "drift of a sweep, h = 1/N:     adjoint corrected")?;
        for (depth, [adjoint, corrected]) in &self.drift {
            writeln!(f, "  {depth:>4} blocks           {adjoint:>14.1e}{corrected:>10.1e}")?;
        }
        Ok(())
    }
}

/// Numbers in [-1, 1) that a seed decides, without a generator: the fractions of multiples of the golden ratio.
fn spread(seed: usize, len: usize) -> Vec<f64> {
    let phi = 0.618_033_988_749_894_9;
    (0..len).map(|i| 2.0 * ((i * 7 + seed * 1009 + 1) as f64 * phi).fract() - 1.0).collect()
}

fn read(tensor: &Map) -> Result<Vec<f64>> {
    let mut values = vec![0.0; tensor.shape().len()];
    D.download(tensor, &mut values)?;
    Ok(values)
}

fn write(values: &[f64], tensor: &mut Map) -> Result<()> {
    D.upload(values, tensor)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `|a - b| / |b|`.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    (dot(&difference, &difference) / dot(b, b)).sqrt()
}

/// One residual function with weights, and what evaluating it takes.
struct Bench<F: Field<Reference>> {
    x: Map,
    y: Map,
    theta: F::Theta,
    grad: F::Theta,
    stats: F::Stats,
    cache: F::Cache,
    scratch: F::Scratch,
}

impl<F: Field<Reference>> Bench<F> {
    fn new(map: Shape) -> Result<Self> {
        let ((mut bench, mut running), _) = take(D, |arena| {
            let bench = Self {
                x: arena.tensor(Category::State, map)?,
                y: arena.tensor(Category::State, map)?,
                theta: F::theta(arena, Category::Parameters, map)?,
                grad: F::theta(arena, Category::Gradients, map)?,
                stats: F::stats(arena, Category::Statistics, map, false)?,
                cache: F::cache(arena, Category::Scratch, map)?,
                scratch: F::scratch(arena, map, 0)?,
            };
            Ok((bench, F::running(arena, map)?))
        })?;
        F::initialise(D, Init::Plain, 0, BlockPlace { stage: 0, layer: 0 }, &mut bench.theta, &mut running)?;
        write(&spread(1, map.len()), &mut bench.x)?;
        Ok(bench)
    }

    /// `x + h f(x)`, with f's statistics measured or given.
    fn step(&mut self, h: f64, given: bool) -> Result<Vec<f64>> {
        let Self { x, y, theta, stats, cache, scratch, .. } = self;
        let normalise = if given { Normalise::Given } else { Normalise::Batch(None) };
        F::eval(D, x, theta, stats, normalise, cache, scratch)?;
        F::advance(D, x, h, Evaluated { theta, stats, cache }, y)?;
        read(y)
    }

    /// f at x.
    fn value(&mut self) -> Result<Vec<f64>> {
        let next = self.step(1.0, false)?;
        let x = read(&self.x)?;
        Ok(next.iter().zip(&x).map(|(next, x)| next - x).collect())
    }

    /// f's derivative along `v`, of the tensor that `at` picks.
    fn push(&mut self, v: &[f64], at: impl Fn(&mut Self) -> &mut Map) -> Result<Vec<f64>> {
        let start = read(at(self))?;
        let mut moved = |by: f64| {
            write(&start.iter().zip(v).map(|(x, v)| x + by * v).collect::<Vec<f64>>(), at(self))?;
            self.value()
        };
        let (up, down) = (moved(DELTA)?, moved(-DELTA)?);
        write(&start, at(self))?;
        Ok(up.iter().zip(&down).map(|(up, down)| (up - down) / (2.0 * DELTA)).collect())
    }
}

/// Tries a residual function in f64 on states of this shape, with its plain start: see [`FieldReport`].
///
/// # Errors
/// Whatever its constructors refuse, and [`crate::Error::OutOfMemory`].
pub fn check<F: Field<Reference>>(map: Shape) -> Result<FieldReport> {
    Ok(FieldReport { derivatives: derivatives::<F>(map)?, reverse: reverse::<F>(map)?, drift: drifts::<F>(map)? })
}

fn derivatives<F: Field<Reference>>(map: Shape) -> Result<Vec<(String, f64)>> {
    let mut bench = Bench::<F>::new(map)?;
    let a = spread(2, map.len());
    bench.step(1.0, false)?;
    // J^T a, of x and of all weights
    let Bench { x, y, theta, grad, stats, cache, scratch } = &mut bench;
    grad.named_mut().try_for_each(|(_, grad)| D.fill(0.0, grad))?;
    write(&a, y)?;
    let at = Evaluated { theta, stats, cache };
    F::vjp_outer(D, y, 1.0, at, grad, scratch)?;
    D.fill(0.0, y)?;
    F::vjp_inner(D, x, at, grad, y, scratch)?;
    let mut pulled = vec![("x".to_string(), read(y)?)];
    for (name, tensor) in grad.named() {
        pulled.push((name.into(), read(tensor)?));
    }
    let mut errors = Vec::new();
    for (i, (name, pulled)) in pulled.into_iter().enumerate() {
        let v = spread(3 + i, pulled.len());
        let pushed = bench.push(&v, |bench| match i.checked_sub(1) {
            None => &mut bench.x,
            Some(i) => bench.theta.named_mut().nth(i).expect("as many weights as gradients").1,
        })?;
        let size = (dot(&a, &a) * dot(&pushed, &pushed)).sqrt();
        errors.push((name, (dot(&a, &pushed) - dot(&pulled, &v)).abs() / size.max(f64::MIN_POSITIVE)));
    }
    Ok(errors)
}

fn reverse<F: Field<Reference>>(map: Shape) -> Result<Vec<(f64, f64)>> {
    let mut bench = Bench::<F>::new(map)?;
    let start = read(&bench.x)?;
    STEPS
        .into_iter()
        .map(|h| {
            write(&start, &mut bench.x)?;
            let next = bench.step(h, false)?;
            write(&next, &mut bench.x)?;
            let back = bench.step(-h, true)?;
            Ok((h, distance(&back, &start)))
        })
        .collect()
}

fn drifts<F: Field<Reference>>(map: Shape) -> Result<Vec<(usize, [f64; 2])>> {
    let of =
        |depth| Ok((depth, [drift::<F>(map, depth, Gradient::Adjoint)?, drift::<F>(map, depth, Gradient::Corrected)?]));
    DEPTHS.into_iter().map(of).collect()
}

fn drift<F: Field<Reference>>(map: Shape, depth: usize, gradient: Gradient) -> Result<f64> {
    let sweep = SweepSpec::new(Scheme::Euler, gradient);
    let spec = StackSpec {
        scheme: sweep.scheme,
        depth,
        step_size: StepSize::OverDepth,
        map,
        keeps_statistics: sweep.keeps_statistics(),
        keeps_masks: sweep.keeps_masks(),
        tied: false,
        second_moments: false,
        recipe: Recipe::default(),
        post_activation: false,
    };
    let ((mut stack, mut work, mut lr, mut loss), _) = take(D, |arena| {
        let stack = Stack::<Reference, F>::new(arena, spec)?;
        let work = Work::<Reference, F>::new(arena, &sweep, spec, 0)?;
        let lr = arena.tensor(Category::Scratch, Shape::vector(1))?;
        Ok((stack, work, lr, arena.tensor(Category::Scratch, Shape::vector(2))?))
    })?;
    for (layer, (theta, running)) in stack.theta.iter_mut().zip(&mut stack.running).enumerate() {
        F::initialise(D, Init::Plain, 0, BlockPlace { stage: 0, layer }, theta, running)?;
    }
    stack.velocity.iter_mut().flat_map(|v| v.named_mut()).try_for_each(|(_, v)| D.fill(0.0, v))?;
    D.fill(0.0, &mut lr)?;
    D.fill(1.0, &mut loss)?;
    let start = spread(1, map.len());
    write(&start, &mut work.x)?;
    let mut pass = Sweep { d: D, spec: &sweep, stack: &mut stack, work: &mut work };
    pass.forward()?;
    write(&spread(2, map.len()), &mut pass.work.grad)?;
    let sgd = SgdStep { momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER }.on_device(&lr, &loss);
    pass.backward(sgd)?;
    Ok(distance(&read(&work.x)?, &start))
}
