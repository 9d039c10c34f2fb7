//! Every integrator on the f64 reference with a smooth residual function: its order, the order by which a step and its reverse end where
//! they began, and what is left of it after a sweep, in one table; and an integrator of one's own.

use crate::support::{SCHEMES, read, uniform, write};
use rewind::device::prelude::*;
use rewind::device::{Activation, SgdStep};
use rewind::field::{Chain, Field, Link, Links, Tensors};
use rewind::memory::{Arena, Category};
use rewind::recipe::Recipe;
use rewind::reference::Reference;
use rewind::scheme::{Scheme, Stack, StackSpec, Statistics, StepCache, StepSize, StepStats, Tableau};
use rewind::shape::Shape;
use rewind::sweep::{Gradient, Sweep, SweepSpec, Update, Work};
use rewind::tensor::Tensor;

const D: &Reference = &Reference;
const MAP: Shape = Shape::map(2, 4, 5, 4);

/// Two convolutions with a smooth activation between them, and no norm.
enum Smooth {}

impl Links for Smooth {
    fn links(channels: usize) -> Vec<Link> {
        vec![Link::conv(3, channels), Link::Act(Activation::Silu), Link::conv(3, channels)]
    }
}

type F = Chain<Smooth>;

/// A stack whose weights lie on a smooth curve over the time from 0 to 1, which its steps cover whatever their number.
struct Bed {
    sweep: SweepSpec,
    stack: Stack<Reference, F>,
    work: Work<Reference, F>,
    /// The learning rate, and a loss.
    sgd: [Tensor<<Reference as Memory>::Buffer>; 2],
}

/// Puts the weights of each block on the curve, at multiples of h.
fn on_curve(stack: &mut Stack<Reference, F>) {
    let h = stack.h;
    for (n, theta) in stack.theta.iter_mut().enumerate() {
        let angle = 1.5 * n as f64 * h;
        for (t, (_, tensor)) in theta.named_mut().enumerate() {
            let len = tensor.shape().len();
            let (a, b) = (uniform(10 + t as u64, len), uniform(20 + t as u64, len));
            let at = |(a, b): (&f64, f64)| 0.4 * (a * angle.cos() + b * angle.sin());
            write(D, &a.iter().zip(b).map(at).collect::<Vec<_>>(), tensor);
        }
    }
}

fn spec(sweep: SweepSpec, depth: usize) -> StackSpec {
    StackSpec {
        scheme: sweep.scheme,
        depth,
        step_size: StepSize::OverDepth,
        map: MAP,
        keeps_statistics: sweep.keeps_statistics(),
        keeps_masks: false,
        tied: false,
        second_moments: false,
        recipe: Recipe::default(),
        post_activation: false,
    }
}

impl Bed {
    fn new(scheme: Scheme, gradient: Gradient, depth: usize) -> Self {
        let sweep = SweepSpec { update: Update::After, ..SweepSpec::new(scheme, gradient) };
        let arena = &mut Arena::new(D, 16 << 20).expect("arena");
        let spec = spec(sweep, depth);
        let mut stack = Stack::new(arena, spec).expect("stack");
        stack.h = 1.0 / (scheme.steps(depth) * scheme.tableau().stride) as f64;
        on_curve(&mut stack);
        let work = Work::new(arena, &sweep, spec, 0).expect("work");
        let sgd = [1, 2].map(|len| {
            let mut tensor = arena.tensor(Category::Scratch, Shape::vector(len)).expect("room");
            D.fill(0.0, &mut tensor).expect("fill");
            tensor
        });
        Self { sweep, stack, work, sgd }
    }

    /// x_N.
    fn forward(&mut self) -> Vec<f64> {
        let Self { sweep, stack, work, .. } = self;
        write(D, &uniform(1, MAP.len()), &mut work.x);
        Sweep { d: D, spec: sweep, stack, work }.forward().expect("forward");
        read(D, self.work.output())
    }

    /// All gradients; `work.x` is then the reconstruction, in modes that make one.
    fn backward(&mut self) -> Vec<f64> {
        self.forward();
        let Self { sweep, stack, work, sgd: [lr, loss] } = self;
        write(D, &uniform(2, MAP.len()), &mut work.grad);
        let sgd = SgdStep { momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER }.on_device(lr, loss);
        Sweep { d: D, spec: sweep, stack, work }.backward(sgd).expect("backward");
        let slots = self.work.grads.slots.iter().flat_map(|slot| slot.named());
        [&self.work.grad].into_iter().chain(slots.map(|(_, grad)| grad)).flat_map(|grad| read(D, grad)).collect()
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
}

/// `|x - reverse(forward(x))| / |x|` of one step.
fn there_and_back(scheme: Scheme, h: f64) -> f64 {
    let arena = &mut Arena::new(D, 4 << 20).expect("arena");
    let mut stack =
        Stack::<_, F>::new(arena, spec(SweepSpec::new(scheme, Gradient::Adjoint), scheme.span())).expect("stack");
    stack.h = h;
    on_curve(&mut stack);
    let mut spare = StepStats::new(arena, scheme, MAP, false).expect("statistics");
    let mut cache = StepCache::<_, F>::new(arena, Category::Scratch, scheme, MAP).expect("cache");
    let mut scratch = F::scratch(arena, MAP, 0).expect("scratch");
    let mut map = || arena.tensor(Category::State, MAP).expect("room");
    let (mut x, mut next, mut back) = (map(), map(), map());
    write(D, &uniform(1, MAP.len()), &mut x);
    let mut step = stack.step(D, 0, Statistics::Measure, &mut spare).expect("step");
    step.evaluate(D, &x, &mut cache, &mut scratch).expect("evaluate");
    step.advance(D, &x, 1.0, &cache, &mut next, &mut scratch).expect("advance");
    let mut step = step.reversed();
    step.evaluate(D, &next, &mut cache, &mut scratch).expect("evaluate");
    step.advance(D, &next, 1.0, &cache, &mut back, &mut scratch).expect("advance");
    distance(&read(D, &back), &read(D, &x))
}

/// The midpoint method: a stage that only the next one uses, and steps that share no residual function. The reverse takes its stages'
/// residual functions at times that are not theirs, the middle first, so that it is off by as much as Euler's.
static MIDPOINT: Tableau =
    Tableau { name: "midpoint", net: "midpoint net", a: &[&[], &[0.5]], b: &[0.0, 1.0], theta: &[0, 1], stride: 2 };

/// Kutta's method of third order, a stage of which takes from two.
static KUTTA: Tableau = Tableau {
    name: "kutta",
    net: "Kutta's net",
    a: &[&[], &[0.5], &[-1.0, 2.0]],
    b: &[1.0 / 6.0, 2.0 / 3.0, 1.0 / 6.0],
    theta: &[0, 1, 2],
    stride: 2,
};

/// Errors at two sizes of which the second is half of the first, and the power of the size that lies between them.
fn slope([whole, half]: [f64; 2]) -> f64 {
    (whole / half).log2()
}

/// Measured slopes approach the order from either side.
const SLACK: f64 = 0.25;

#[test]
fn every_integrator_has_its_order_and_its_reverse_one_more_where_that_is_even() {
    let exact = Bed::new(Scheme::Rk4, Gradient::Backprop, 513).forward();
    println!("         solution   step and reverse   drift  gradient   corrected: drift  gradient");
    // the order p; what a step and its reverse leave; the sweep adds up one power less, and `corrected` leaves one more
    for (scheme, order, local) in [
        (Scheme::Euler, 1.0, 2.0),
        (Scheme::Heun, 2.0, 4.0),
        (Scheme::Rk4, 4.0, 6.0),
        (Scheme::Own(&MIDPOINT), 2.0, 2.0),
        (Scheme::Own(&KUTTA), 3.0, 4.0),
    ] {
        let depths = if scheme.span() == 3 { [33, 65] } else { [32, 64] };
        let solution =
            slope(depths.map(|depth| distance(&Bed::new(scheme, Gradient::Backprop, depth).forward(), &exact)));
        let reverse = slope([1.0 / 8.0, 1.0 / 16.0].map(|h| there_and_back(scheme, h)));
        let swept = [Gradient::Adjoint, Gradient::Corrected].map(|gradient| {
            let errors = depths.map(|depth| {
                let expected = Bed::new(scheme, Gradient::Backprop, depth).backward();
                let mut bed = Bed::new(scheme, gradient, depth);
                let found = bed.backward();
                [distance(&read(D, &bed.work.x), &uniform(1, MAP.len())), distance(&found, &expected)]
            });
            [0, 1].map(|i| slope(errors.map(|error| error[i])))
        });
        let [[drift, gradient], [corrected_drift, corrected]] = swept;
        println!(
            "{scheme:<9}{solution:>8.2}{reverse:>19.2}{drift:>8.2}{gradient:>10.2}{corrected_drift:>18.2}{corrected:>10.2}"
        );
        let near = |found: f64, expected: f64| (found - expected).abs() < SLACK;
        assert!(near(solution, order) && near(reverse, local), "{scheme}: {solution:.2}, {reverse:.2}");
        assert!(near(drift, local - 1.0) && gradient > local - 1.0 - SLACK, "{scheme}: {drift:.2}, {gradient:.2}");
        assert!(corrected_drift > local - SLACK && corrected > local - SLACK, "{scheme}: {swept:?}");
    }
}

#[test]
fn an_integrator_of_ones_own_goes_by_every_mode() {
    for (scheme, depth) in [(Scheme::Own(&MIDPOINT), 8), (Scheme::Own(&KUTTA), 9)] {
        let exact = Bed::new(scheme, Gradient::Backprop, depth).backward();
        assert!(Bed::new(scheme, Gradient::Checkpoint, depth).backward() == exact);
        for gradient in [Gradient::Adjoint, Gradient::Corrected, Gradient::Coded, Gradient::Auto] {
            let error = distance(&Bed::new(scheme, gradient, depth).backward(), &exact);
            println!("{scheme} {gradient}: {error:.2e}");
            assert!(error > 0.0 && error < 0.2, "{scheme} {gradient}: {error:.2e}");
        }
    }
}

#[test]
fn depths_that_steps_do_not_take_are_refused() {
    let arena = &mut Arena::new(D, 1 << 20).expect("arena");
    for (scheme, depth) in [(Scheme::Heun, 1), (Scheme::Rk4, 4), (Scheme::Own(&MIDPOINT), 3)] {
        let refused = Stack::<_, F>::new(arena, spec(SweepSpec::new(scheme, Gradient::Adjoint), depth));
        let error = refused.err().expect("a refusal").to_string();
        assert!(error.contains(scheme.tableau().name) && error.contains(&format!("not {depth}")), "{error}");
    }
    // all schemes with names are in the table above
    assert_eq!(SCHEMES.len(), 3);
}
