//! Every residual function on the f64 reference: its VJP and the whole sweeps against central differences, every gradient mode
//! against backprop, its memory against its tensors; and the CPU against the reference.

use crate::support::{EPS_F32, GRADIENTS, SCHEMES, all_sweeps, assert_close, fitting, read, uniform, write};
use rewind::code::CodedPass;
use rewind::cpu::Cpu;
use rewind::device::prelude::*;
use rewind::device::{Activation, SgdStep};
use rewind::error::Result;
use rewind::field::basic::BasicLinks;
use rewind::field::{
    Basic, Chain, Evaluated, Field, FieldScratch, Link, Links, Maps, Normalise, PreActivation, Tensors,
};
use rewind::host::HostBuffer;
use rewind::init::{BlockPlace, Init};
use rewind::memory::{Arena, Category, dry_run, padded_bytes};
use rewind::net::{Body, Net, NetSpec, Stages};
use rewind::recipe::Recipe;
use rewind::reference::Reference;
use rewind::scheme::{Scheme, Stack, StackSpec, StepCache, StepSize};
use rewind::shape::Shape;
use rewind::sweep::{BnStatistics, Gradient, Sweep, SweepSpec, Update, Work};
use rewind::tensor::Tensor;

const D: &Reference = &Reference;
/// Room for any of these nets.
const ARENA: u64 = 4 << 20;
const MAP: Shape = Shape::map(3, 4, 5, 8);

fn stack(sweep: SweepSpec, depth: usize) -> StackSpec {
    StackSpec {
        scheme: sweep.scheme,
        depth,
        step_size: StepSize::OverDepth,
        map: MAP,
        keeps_statistics: sweep.keeps_statistics(),
        keeps_masks: sweep.keeps_masks(),
        tied: false,
        second_moments: false,
        recipe: Recipe::default(),
        post_activation: false,
    }
}

/// A stack with live weights, and what a sweep over it takes.
struct Bed<D: Device, F: Field<D>> {
    sweep: SweepSpec,
    stack: Stack<D, F>,
    work: Work<D, F>,
    lr: Tensor<D::Buffer>,
    loss: Tensor<D::Buffer>,
}

impl<D: Device, F: Field<D>> Bed<D, F> {
    fn new(d: &D, sweep: SweepSpec, depth: usize) -> Self {
        let depth = fitting(sweep.scheme, depth);
        let arena = &mut Arena::new(d, ARENA).expect("arena");
        let spec = stack(sweep, depth);
        let mut stack = Stack::<D, F>::new(arena, spec).expect("stack");
        for (n, (theta, running)) in stack.theta.iter_mut().zip(&mut stack.running).enumerate() {
            F::initialise(d, Init::Paper, 3, BlockPlace { stage: 0, layer: n }, theta, running).expect("weights");
            // the paper's start is f = 0
            for (name, tensor) in theta.named_mut() {
                if name.starts_with("bn") {
                    let shift = if name.ends_with("weight") { 1.0 } else { 0.0 };
                    let values = uniform((n * 100 + name.len()) as u64, tensor.shape().len());
                    write(d, &values.iter().map(|v| shift + 0.3 * v).collect::<Vec<_>>(), tensor);
                }
            }
        }
        let velocities = stack.velocity.iter_mut().flat_map(|velocity| velocity.named_mut());
        velocities.for_each(|(_, velocity)| d.fill(0.0, velocity).expect("fill"));
        let work = Work::new(arena, &sweep, spec, 0).expect("work");
        let mut vector = |values: &[f64]| {
            let mut tensor = arena.tensor(Category::Scratch, Shape::vector(values.len())).expect("room");
            write(d, values, &mut tensor);
            tensor
        };
        let (lr, loss) = (vector(&[0.1]), vector(&[1.0, 3.0]));
        Self { sweep, stack, work, lr, loss }
    }

    /// `<a, x_N>` from the seeded x_0.
    fn forward(&mut self, d: &D) -> f64 {
        write(d, &uniform(1, MAP.len()), &mut self.work.x);
        Sweep { d, spec: &self.sweep, stack: &mut self.stack, work: &mut self.work }.forward().expect("forward");
        read(d, self.work.output()).iter().zip(cotangent()).map(|(x, a)| x * a).sum()
    }

    /// Its gradients: every block's by name, and x_0's.
    fn gradients(&mut self, d: &D) -> Vec<(String, Vec<f64>)> {
        self.forward(d);
        write(d, &cotangent(), &mut self.work.grad);
        let sgd = SgdStep::PAPER.on_device(&self.lr, &self.loss);
        let mut pass = Sweep { d, spec: &self.sweep, stack: &mut self.stack, work: &mut self.work };
        pass.backward(sgd).expect("backward");
        let mut all = vec![("x_0".to_string(), read(d, &self.work.grad))];
        for (n, slot) in self.work.grads.slots.iter().enumerate() {
            all.extend(slot.named().map(|(name, tensor)| (format!("blocks.{n}.{name}"), read(d, tensor))));
        }
        all
    }

    fn weights(&self, d: &D) -> Vec<Vec<f64>> {
        let all = self.stack.theta.iter().chain(&self.stack.velocity);
        all.flat_map(|theta| theta.named()).map(|(_, tensor)| read(d, tensor)).collect()
    }
}

/// dL/dx_N.
fn cotangent() -> Vec<f64> {
    uniform(2, MAP.len())
}

fn after(sweep: SweepSpec) -> SweepSpec {
    SweepSpec { update: Update::After, ..sweep }
}

/// `|a - b| / |b|` over everything.
fn error(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) -> f64 {
    let pairs = || a.iter().zip(b).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    let (distance, norm) =
        pairs().fold((0.0, 0.0), |(distance, norm), (a, b)| (distance + (a - b) * (a - b), norm + b * b));
    f64::sqrt(distance / norm)
}

fn vjp_agrees_with_central_differences<F: Field<Reference>>() {
    let arena = &mut Arena::new(D, ARENA).expect("arena");
    let mut theta = F::theta(arena, Category::Parameters, MAP).expect("theta");
    let mut grad_theta = F::theta(arena, Category::Gradients, MAP).expect("gradients");
    let mut running = F::running(arena, MAP).expect("running");
    let mut stats = F::stats(arena, Category::Statistics, MAP, false).expect("statistics");
    let mut cache = F::cache(arena, Category::Scratch, MAP).expect("cache");
    let mut scratch = F::scratch(arena, MAP, 0).expect("scratch");
    let mut map = |values: &[f64]| {
        let mut tensor = arena.tensor(Category::State, MAP).expect("room");
        write(D, values, &mut tensor);
        tensor
    };
    let (x_values, a, h) = (uniform(1, MAP.len()), cotangent(), -0.25);
    let (mut x, mut y, mut grad) = (map(&x_values), map(&x_values), map(&a));
    F::initialise(D, Init::Paper, 1, BlockPlace { stage: 0, layer: 0 }, &mut theta, &mut running).expect("weights");
    for (i, (name, tensor)) in theta.named_mut().enumerate().filter(|(_, (name, _))| name.starts_with("bn")) {
        let values: Vec<f64> = uniform(i as u64, tensor.shape().len()).iter().map(|v| 0.8 + 0.3 * v).collect();
        write(D, &values, tensor);
        assert!(name.ends_with("weight") || name.ends_with("bias"));
    }
    // <a, x + h f(x)>, by both ways of stepping
    let mut value = |x: &mut Tensor<HostBuffer<f64>>, theta: &F::Theta, in_place: bool| {
        F::eval(D, x, theta, &mut stats, Normalise::Batch(None), &mut cache, &mut scratch).expect("eval");
        if in_place {
            D.copy(x, &mut y).expect("copy");
            F::advance_acc(D, h, Evaluated { theta, stats: &stats, cache: &cache }, &mut y, &mut scratch)
                .expect("advance_acc");
        } else {
            F::advance(D, x, h, Evaluated { theta, stats: &stats, cache: &cache }, &mut y).expect("advance");
        }
        read(D, &y).iter().zip(&a).map(|(y, a)| y * a).sum::<f64>()
    };
    let (once, again) = (value(&mut x, &theta, false), value(&mut x, &theta, true));
    assert_close("both ways of stepping", &[again], &[once], |_| 1e-12 * (1.0 + once.abs()));

    let delta = 1e-6;
    let mut differences = Vec::new();
    let v = uniform(50, MAP.len());
    let moved = |from: &[f64], v: &[f64], by: f64| from.iter().zip(v).map(|(x, v)| x + by * v).collect::<Vec<_>>();
    let mut at = |by: f64| {
        write(D, &moved(&x_values, &v, by), &mut x);
        value(&mut x, &theta, false)
    };
    differences.push(("x".to_string(), v.clone(), (at(delta) - at(-delta)) / (2.0 * delta)));
    at(0.0);
    let names: Vec<String> = theta.named().map(|(name, _)| name.into()).collect();
    for (i, name) in names.into_iter().enumerate() {
        let start = read(D, theta.named().nth(i).expect("a tensor").1);
        let v = uniform(60 + i as u64, start.len());
        let mut at = |by: f64| {
            write(D, &moved(&start, &v, by), theta.named_mut().nth(i).expect("a tensor").1);
            value(&mut x, &theta, false)
        };
        let difference = (at(delta) - at(-delta)) / (2.0 * delta);
        at(0.0);
        differences.push((name, v.clone(), difference));
    }

    // the VJP of x + h f, with the cotangent in place
    grad_theta.named_mut().for_each(|(_, grad)| D.fill(0.0, grad).expect("fill"));
    let at = Evaluated { theta: &theta, stats: &stats, cache: &cache };
    F::vjp_outer(D, &grad, h, at, &mut grad_theta, &mut scratch).expect("outer");
    F::vjp_inner(D, &x, at, &mut grad_theta, &mut grad, &mut scratch).expect("inner");
    let grads = std::iter::once(&grad).chain(grad_theta.named().map(|(_, tensor)| tensor));
    for ((name, v, difference), grad) in differences.into_iter().zip(grads) {
        let slope: f64 = read(D, grad).iter().zip(&v).map(|(g, v)| g * v).sum();
        // rounding of a value of some tens, 1e-14, over delta; curvature delta^2; a ReLU that opens within delta
        assert_close(&name, &[slope], &[difference], |_| 1e-7 * (1.0 + slope.abs()));
    }
}

fn backprop_agrees_with_central_differences<F: Field<Reference>>() {
    for scheme in SCHEMES {
        let mut bed = Bed::<_, F>::new(D, after(SweepSpec::new(scheme, Gradient::Backprop)), 3);
        let gradients = bed.gradients(D);
        for n in 0..3 {
            let tensors = bed.stack.theta[n].named().count();
            for i in 0..tensors {
                let (name, tensor) = bed.stack.theta[n].named().nth(i).expect("a tensor");
                let (name, start) = (format!("blocks.{n}.{name}"), read(D, tensor));
                let v = uniform((70 + 10 * n + i) as u64, start.len());
                let delta = 1e-6;
                let mut at = |by: f64| {
                    let values: Vec<f64> = start.iter().zip(&v).map(|(x, v)| x + by * v).collect();
                    write(D, &values, bed.stack.theta[n].named_mut().nth(i).expect("a tensor").1);
                    bed.forward(D)
                };
                let difference = (at(delta) - at(-delta)) / (2.0 * delta);
                at(0.0);
                let grad = &gradients.iter().find(|(other, _)| *other == name).expect("a gradient").1;
                let slope: f64 = grad.iter().zip(&v).map(|(g, v)| g * v).sum();
                assert_close(&format!("{scheme} {name}"), &[slope], &[difference], |_| 1e-7 * (1.0 + slope.abs()));
            }
        }
    }
}

fn every_mode_comes_to_backprop<F: Field<Reference>>() {
    let depth = 16;
    for scheme in SCHEMES {
        let of = |sweep| Bed::<_, F>::new(D, after(sweep), depth).gradients(D);
        let exact = of(SweepSpec::new(scheme, Gradient::Backprop));
        for gradient in GRADIENTS {
            for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                let sweep = SweepSpec { bn_stats, ..SweepSpec::new(scheme, gradient) };
                let what = format!("{scheme} {gradient} {bn_stats:?}");
                if !gradient.reconstructs() {
                    assert!(of(sweep) == exact, "{what}");
                    continue;
                }
                if gradient.codes() {
                    // near the plain pass's gradient, and to the bit that of the pass that ran
                    let near = error(&of(sweep), &exact);
                    assert!(near > 1e-9 && near < 0.5, "{what}: {near}");
                    let coded = SweepSpec { gradient: Gradient::Coded, coded_pass: CodedPass::Altered, ..sweep };
                    assert!(of(coded) == of(SweepSpec { anchors: Some(1), ..coded }), "{what}");
                    continue;
                }
                let errors = [0, 1, 40].map(|fixed_point| error(&of(SweepSpec { fixed_point, ..sweep }), &exact));
                println!("{what}: no pass {:.2e}, one {:.2e}, forty {:.2e}", errors[0], errors[1], errors[2]);
                // an error of order h, h^2 or h^3 in the plain mode
                assert!(errors[0] > 1e-9 && errors[0] < 0.9, "{what}: {errors:?}");
                assert!(errors[1] < errors[0], "{what}: {errors:?}");
                // h Lip(f) is below a half: 2^-40 = 1e-12, then rounding
                assert!(errors[2] < 1e-11, "{what}: {errors:?}");
            }
        }
        let adjoint = |anchors| error(&of(SweepSpec { anchors, ..SweepSpec::new(scheme, Gradient::Adjoint) }), &exact);
        assert!(adjoint(Some(1)) < adjoint(None), "{scheme}");
    }
}

fn updates_in_the_sweep_give_the_bits_of_updates_after_it<F: Field<Reference>>() {
    for sweep in all_sweeps().into_iter().filter(|sweep| sweep.update == Update::InSweep) {
        let mut within = Bed::<_, F>::new(D, sweep, 5);
        within.gradients(D);
        let mut behind = Bed::<_, F>::new(D, after(sweep), 5);
        behind.gradients(D);
        let Bed { stack, work, lr, loss, .. } = &mut behind;
        for layer in 0..stack.depth() {
            let sgd = SgdStep::PAPER.on_device(lr, loss);
            work.grads.apply(D, stack, layer, sgd).expect("sgd");
        }
        let start = Bed::<_, F>::new(D, sweep, 5).weights(D);
        assert!(within.weights(D) == behind.weights(D) && within.weights(D) != start, "{sweep:?}");
    }
}

fn memory_is_what_the_tensors_add_up_to<F: Field<Reference>>() {
    fn taken<T>(make: impl FnOnce(&mut Arena<'_, Reference>) -> Result<T>) -> u64 {
        dry_run(D, make).expect("a plan").total()
    }
    let bytes = |shapes: &mut dyn Iterator<Item = Shape>| -> u64 { shapes.map(|s| padded_bytes::<f64>(s.len())).sum() };
    let arena = &mut Arena::new(D, ARENA).expect("arena");
    let theta = F::theta(arena, Category::Parameters, MAP).expect("theta");
    let running = F::running(arena, MAP).expect("running");
    let mut cache = F::cache(arena, Category::Scratch, MAP).expect("cache");
    let [mut plain, mut masked] =
        [false, true].map(|masks| F::stats(arena, Category::Statistics, MAP, masks).expect("statistics"));
    let of_theta = bytes(&mut theta.named().map(|(_, tensor)| tensor.shape()));
    assert_eq!(taken(|a| F::theta(a, Category::Parameters, MAP)), of_theta);
    let of_running = bytes(&mut running.named().map(|(_, tensor)| tensor.shape()));
    assert_eq!(taken(|a| F::running(a, MAP)), of_running);
    let of_cache = bytes(&mut cache.maps_mut().map(|map| map.shape()));
    assert_eq!(taken(|a| F::cache(a, Category::Scratch, MAP)), of_cache);
    // a mean and a 1/sigma where there is a running mean and variance
    assert_eq!(taken(|a| F::stats(a, Category::Statistics, MAP, false)), of_running);
    assert_eq!(plain.maps_mut().count(), 0);
    let of_masks = bytes(&mut masked.maps_mut().map(|mask| mask.shape()));
    assert_eq!(taken(|a| F::stats(a, Category::Statistics, MAP, true)), of_running + of_masks);
    let [less, more] = [1000, 2000].map(|workspace| taken(|a| F::scratch(a, MAP, workspace)));
    assert_eq!(more - less, 8000);
    let heun = taken(|a| StepCache::<Reference, F>::new(a, Category::Scratch, Scheme::Heun, MAP));
    assert_eq!(heun, 2 * of_cache + padded_bytes::<f64>(MAP.len()));
    for sweep in all_sweeps() {
        let activations = |depth: usize| {
            let stack = stack(sweep, fitting(sweep.scheme, depth));
            let work = dry_run(D, |a| Work::<Reference, F>::new(a, &sweep, stack, 5));
            work.expect("a plan").activations()
        };
        let coded = sweep.stored_codes(64) > sweep.stored_codes(8);
        let flat = sweep.gradient.reconstructs() && sweep.anchors.is_none() && !coded;
        assert_eq!(activations(8) == activations(64), flat, "{sweep:?}");
    }
    let mut scratch = F::scratch(arena, MAP, 5).expect("scratch");
    assert_eq!((scratch.idle().map.shape(), scratch.idle().sums.gamma.shape()), (MAP, Shape::vector(MAP.c())));
}

fn the_cpu_agrees_with_the_reference<F: Field<Reference> + Field<Cpu>>() {
    let cpu = Cpu::new(Some(2)).expect("cpu");
    for scheme in SCHEMES {
        for gradient in GRADIENTS {
            let sweep = after(SweepSpec::new(scheme, gradient));
            let expected = Bed::<Reference, F>::new(D, sweep, 4).gradients(D);
            let found = Bed::<Cpu, F>::new(&cpu, sweep, 4).gradients(&cpu);
            let error = error(&found, &expected);
            println!("{scheme} {gradient}: {error:.2e}");
            // some hundred roundings one after the other; a ReLU's input may round to the other side of 0
            // at a threshold one element may be coded the other way: up to two of the increment's sigmas, of states of about one
            let flip = if gradient.codes() { 2.0 / (MAP.len() as f64).sqrt() } else { 0.0 };
            assert!(error < 300.0 * EPS_F32 + flip, "{scheme} {gradient}: {error:.2e}");
        }
    }
}

macro_rules! on_field {
    ($name:ident, $field:ty: $($test:ident)+) => {
        mod $name { #[allow(unused_imports)] use super::*; $(#[test] fn $test() { super::$test::<$field>(); })+ }
    };
    ($name:ident, $field:ty) => {
        on_field!($name, $field: vjp_agrees_with_central_differences backprop_agrees_with_central_differences
            every_mode_comes_to_backprop updates_in_the_sweep_give_the_bits_of_updates_after_it
            memory_is_what_the_tensors_add_up_to the_cpu_agrees_with_the_reference);
    };
}

on_field!(basic, rewind::field::Basic);
on_field!(bottleneck, rewind::field::Bottleneck);
on_field!(linear, rewind::field::Linear);

/// Smooth activations, one of them behind the last convolution, and factors of both signs.
enum Smooth {}

impl Links for Smooth {
    fn links(channels: usize) -> Vec<Link> {
        let (gelu, silu) = (Link::Act(Activation::Gelu), Link::Act(Activation::Silu));
        vec![Link::conv(3, 4), Link::Norm, gelu, Link::Scale(0.5), Link::linear(channels), silu, Link::Scale(-0.5)]
    }
}

/// A ReLU without a norm in front of it, and one at the end.
enum Rectified {}

impl Links for Rectified {
    fn links(channels: usize) -> Vec<Link> {
        vec![Link::conv(3, 4), Link::RELU, Link::Scale(-0.5), Link::conv(3, channels), Link::Norm, Link::RELU]
    }
}

on_field!(basic_links, Chain<BasicLinks>: vjp_agrees_with_central_differences memory_is_what_the_tensors_add_up_to);
on_field!(pre_activation, PreActivation);
on_field!(smooth, Chain<Smooth>);
on_field!(rectified, Chain<Rectified>);

#[test]
fn basic_has_the_bits_of_the_chain_of_its_links() {
    for sweep in all_sweeps() {
        let basic = Bed::<_, Basic>::new(D, after(sweep), 4).gradients(D);
        let chain = Bed::<_, Chain<BasicLinks>>::new(D, after(sweep), 4).gradients(D);
        assert!(basic == chain, "{sweep:?}");
    }
}

#[test]
fn a_chain_that_is_no_residual_function_is_refused_in_a_sentence() {
    /// Leads to other channels.
    enum Narrowing {}
    impl Links for Narrowing {
        fn links(_: usize) -> Vec<Link> {
            vec![Link::conv(3, 4)]
        }
    }
    let arena = &mut Arena::new(D, ARENA).expect("arena");
    let refused = <Chain<Narrowing> as Field<Reference>>::theta(arena, Category::Parameters, MAP);
    let error = refused.err().expect("a refusal").to_string();
    assert!(error.contains("keeps the shape"), "{error}");
}

#[test]
fn a_net_of_links_of_ones_own_is_planned_to_the_byte_and_trains() {
    let stages = Some(Stages::new(&[2, 3], &[4, 8]).expect("stages"));
    for body in [Body::default(), Body { stages, ..Body::default() }] {
        let spec = NetSpec { body, ..crate::support::small(SweepSpec::new(Scheme::Euler, Gradient::Coded), 3, 8, 4) };
        let mut net = Net::<_, PreActivation>::build(D, spec, Init::Plain, 1).expect("net");
        assert_eq!(net.memory(), &Net::<_, PreActivation>::plan(D, &spec).expect("plan"), "{spec:?}");
        let labels: Vec<f64> = (0..4).map(|i| f64::from(i % 3)).collect();
        net.load(D, &uniform(7, spec.images().len()), &labels).expect("load");
        let sgd = SgdStep { lr: 0.05, ..SgdStep::PAPER };
        let losses = [(); 6].map(|()| net.train_step(D, sgd).expect("step").0.loss);
        assert!(losses[5] < losses[0], "{losses:?}");
    }
}

#[test]
fn a_report_says_whether_derivatives_agree_and_how_fast_the_reverse_steps_error_falls() {
    let report = rewind::check::<Basic>(MAP).expect("a report");
    assert!(report.derivatives_agree(), "{report}");
    assert_eq!(report.derivatives.len(), 7, "x and six weights");
    // f(x + h f) - f(x) is of order h, times h; a ReLU that switches on the way is the rest
    assert!((report.order() - 2.0).abs() < 0.2, "{report}");
    let [.., (_, [adjoint, corrected])] = report.drift[..] else { panic!("{report}") };
    assert!(corrected < adjoint && adjoint < report.drift[0].1[0], "{report}");

    let mut wrong = report.clone();
    wrong.derivatives[3].1 = 0.5;
    assert!(!wrong.derivatives_agree() && wrong.to_string().contains("DOES NOT AGREE"), "{wrong}");
    assert!(!report.to_string().contains("DOES NOT AGREE"), "{report}");
}
