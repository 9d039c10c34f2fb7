//! Clipping, accumulation, averages and mixed images: against PyTorch and torchvision, whose numbers `tests/golden/make_recipe.py` made, and in
//! whole nets.

use std::path::Path;
use std::sync::Arc;

use crate::support::{EPS_F32, assert_close, numbered, read, small, staged, uniform, write};
use rewind::cpu::Cpu;
use rewind::data::augment::Change;
use rewind::data::{Dataset, Mix, Normalise, Part, Place, Split, image_len};
use rewind::device::prelude::*;
use rewind::device::{AdamWStep, DescentStep, MIXED_LABEL, PassPosition, SQUARES, SgdStep};
use rewind::field::{Basic, Bottleneck, Field};
use rewind::init::Init;
use rewind::memory::{Arena, Category, padded_bytes};
use rewind::net::{AVERAGE, Body, Net, NetSpec, Pass, Stages, is_optimisers};
use rewind::recipe::{Clip, Recipe, Share};
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::shape::Shape;
use rewind::sweep::{Gradient, SweepSpec, Update};
use rewind::tensor::Tensor;

const STEPS: usize = 10;
const NAMES: [&str; 2] = ["weight", "bias"];
const KEEP: f64 = 0.9;

fn golden() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipe.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden numbers")).expect("JSON")
}

fn numbers(of: &serde_json::Value) -> Vec<f64> {
    of.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn empty<D: Device>(d: &D, shape: Shape) -> Tensor<D::Buffer> {
    let mut arena = Arena::new(d, padded_bytes::<D::Real>(shape.len())).expect("arena");
    arena.tensor(Category::Scratch, shape).expect("tensor")
}

fn tensor<D: Device>(d: &D, values: &[f64]) -> Tensor<D::Buffer> {
    let mut tensor = empty(d, Shape::vector(values.len()));
    write(d, values, &mut tensor);
    tensor
}

/// Weight, bias, and the averages of both after ten batches, so many of which make a step.
fn ten_batches<D: Device>(d: &D, golden: &serde_json::Value, clip: Option<Clip>, batches: usize) -> [Vec<f64>; 4] {
    let (lr, loss) = (tensor(d, &[0.1]), tensor(d, &[1.0, 0.0]));
    let mut squares = empty(d, Shape::vector(SQUARES));
    let mut theta = NAMES.map(|name| tensor(d, &numbers(&golden["start"][name])));
    let mut averages = NAMES.map(|name| tensor(d, &numbers(&golden["start"][name])));
    let mut velocity = theta.each_ref().map(|theta| tensor(d, &vec![0.0; theta.shape().len()]));
    let mut sums = theta.each_ref().map(|theta| empty(d, theta.shape()));
    for i in 0..STEPS {
        let share = Share::of(i, STEPS, batches);
        for (sum, name) in sums.iter_mut().zip(NAMES) {
            let grad = tensor(d, &numbers(&golden["grads"][name][i]));
            match share.begins {
                true => d.copy(&grad, sum).expect("copy"),
                false => {
                    let part = 1.0 / share.ends.unwrap_or(1) as f64;
                    d.axpby(part, &grad, part, sum).expect("axpby");
                }
            }
        }
        if share.ends.is_none() {
            continue;
        }
        match clip {
            Some(Clip::All(most)) => {
                // in two parts, as a net of more than a launch takes them
                d.squares(&mut sums[..1].iter(), false, &mut squares).expect("squares");
                d.squares(&mut sums[1..].iter(), true, &mut squares).expect("squares");
                d.clip(&squares, most, &mut sums.iter_mut()).expect("clip");
            }
            Some(Clip::Blocks(most)) => {
                for sum in &mut sums {
                    d.squares(&mut [&*sum].into_iter(), false, &mut squares).expect("squares");
                    d.clip(&squares, most, &mut [sum].into_iter()).expect("clip");
                }
            }
            None => {}
        }
        let step = SgdStep { weight_decay: 0.0, ..SgdStep::PAPER }.on_device(&lr, &loss);
        for ((theta, velocity), sum) in theta.iter_mut().zip(&mut velocity).zip(&sums) {
            d.sgd(step, sum, velocity, theta).expect("sgd");
        }
        d.average_all(KEEP, &loss, &mut theta.iter().zip(&mut averages)).expect("average_all");
    }
    let [weight, bias] = theta.each_ref().map(|theta| read(d, theta));
    let [of_weight, of_bias] = averages.each_ref().map(|average| read(d, average));
    [weight, bias, of_weight, of_bias]
}

#[test]
fn clipped_accumulated_and_averaged_steps_are_pytorchs() {
    let golden = golden();
    let cases =
        [("clip", Some(Clip::All(2.5)), 1), ("clip alone", Some(Clip::Blocks(2.0)), 1), ("accumulate", None, 2)];
    for (case, clip, batches) in cases {
        let expected = ["weight", "bias", "average of weight", "average of bias"]
            .map(|name| numbers(&golden["after"][case][name]));
        for (found, expected) in ten_batches(&Reference, &golden, clip, batches).iter().zip(&expected) {
            // f64 on both sides, ten steps of a few roundings each
            assert_close(case, found, expected, |_| 1e-13);
        }
        // as in SGD's own test: gradients below 4 and velocities below 20, the factor and the mean round each gradient twice more
        let bound = EPS_F32 * STEPS as f64 * (0.1 * 70.0 * 20.0 + 3.0 * 8.0);
        for (found, expected) in
            ten_batches(&Cpu::new(Some(1)).expect("cpu"), &golden, clip, batches).iter().zip(&expected)
        {
            assert_close(&format!("{case} in f32"), found, expected, |_| bound);
        }
    }
}

/// Four images of the pixels that the script has.
fn four_images() -> Arc<Dataset> {
    let pixels = (0..4 * image_len(9)).map(|i| (i * 31 % 251) as u8).collect();
    let split = Split { side: 9, pixels, labels: vec![1, 4, 0, 4] };
    Arc::new(Dataset {
        name: "four".into(),
        classes: 5,
        normalise: Normalise::IMAGENET,
        train: split.clone(),
        test: split,
        fingerprint: None,
        part_of: None,
    })
}

/// Images, labels, loss and the logits' gradient of a batch that is mixed.
fn mixed<D: Device>(d: &D, golden: &serde_json::Value, mix: Mix) -> [Vec<f64>; 4] {
    let mut data = d.hold(four_images(), 1).expect("hold");
    d.write_mixes(&mut data, 0, |mixes| mixes.copy_from_slice(&[mix])).expect("write_mixes");
    let places = |places: &mut [Place]| (0..).zip(places).for_each(|(i, place)| *place = Place::new(i, Change::NONE));
    d.write_table(&mut data, 0, places).expect("write_table");
    let (step, mut table) = (tensor(d, &[0.0]), tensor(d, &[0.0]));
    d.choose_table(&mut data, 0, &mut table).expect("choose_table");
    let (mut images, mut labels) = (empty(d, Shape::map(4, 9, 9, 3)), empty(d, Shape::map(4, 1, 1, MIXED_LABEL)));
    let position = PassPosition { step: &step, table: &table, batch: 4 };
    d.draw_batch(&data, Part::Train, position, &mut images, &mut labels).expect("draw_batch");
    let logits_shape = Shape::map(4, 1, 1, 5);
    let (mut logits, mut grad) = (empty(d, logits_shape), empty(d, logits_shape));
    write(d, &numbers(&golden["logits"]), &mut logits);
    let mut out = tensor(d, &[0.0; 2]);
    d.softmax_cross_entropy(&logits, &labels, 0.1, &mut grad, &mut out).expect("softmax_cross_entropy");
    [&images, &labels, &out, &grad].map(|tensor| read(d, tensor))
}

fn mixes_as_torchvision<D: Device>(d: &D) {
    let golden = golden();
    let cut = Mix::of_box([3, 9], [2, 7], 9);
    for (case, mix, share) in [("mixup", Mix::of_part(0.3125), 0.3125), ("cutmix", cut, 30.0 / 81.0)] {
        let [images, labels, out, grad] = mixed(d, &golden, mix);
        let expected = &golden["mixes"][case];
        // normalised in f32, of numbers below 3, by three roundings, and mixed by three more
        assert_close(case, &images, &numbers(&expected["images"]), |_| 6.0 * 3.0 * EPS_F32);
        for (i, label) in labels.chunks(MIXED_LABEL).enumerate() {
            let classes = [1.0, 4.0, 0.0, 4.0];
            assert_eq!(label[..2], [classes[i], classes[(i + 3) % 4]], "{case}");
            assert!((label[2] - share).abs() < EPS_F32, "{case}: {}", label[2]);
        }
        // shares that are f32's on both sides, and a loss and gradients of some ten roundings of numbers below 4
        assert_close(case, &out[..1], &[expected["loss"].as_f64().expect("a number")], |_| 40.0 * EPS_F32);
        assert_close(case, &grad, &numbers(&expected["grad"]), |_| 10.0 * EPS_F32);
    }
}

#[test]
fn images_are_mixed_as_by_torchvision() {
    mixes_as_torchvision(&Reference);
    mixes_as_torchvision(&Cpu::new(Some(2)).expect("cpu"));
}

#[test]
fn a_mixture_is_right_where_its_larger_share_is() {
    let (d, logits) = (&Reference, [0.0, 1.0, 5.0, 2.0]);
    for (share, right) in [(0.25, [0.0, 1.0]), (0.75, [1.0, 0.0])] {
        for (labels, right) in [([1.0, 2.0, share], right[0]), ([2.0, 1.0, share], right[1])] {
            let (mut of, mut row) = (empty(d, Shape::map(1, 1, 1, 3)), empty(d, Shape::map(1, 1, 1, 4)));
            write(d, &labels, &mut of);
            write(d, &logits, &mut row);
            let (mut grad, mut out) = (empty(d, row.shape()), tensor(d, &[0.0; 2]));
            d.softmax_cross_entropy(&row, &of, 0.0, &mut grad, &mut out).expect("softmax_cross_entropy");
            assert_eq!(read(d, &out)[1], right, "{labels:?}");
        }
    }
}

/// A small net of stages, with bottlenecks in f64.
fn staged_spec(gradient: Gradient, update: Update, recipe: Recipe) -> NetSpec {
    let stages = Stages::new(&[1, 2], &[8, 12]).expect("stages");
    let body = Body { stages: Some(stages), ..Body::default() };
    let spec = staged(body, SweepSpec::new(Scheme::Euler, gradient), 2, 3);
    NetSpec { sweep: SweepSpec { update, ..spec.sweep }, recipe, ..spec }
}

type Named = Vec<(String, Vec<f64>)>;

fn all<D: Device, F: Field<D>>(d: &D, net: &Net<D, F>) -> Named {
    net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

fn parameters(of: &Named) -> Named {
    of.iter().filter(|(name, _)| !is_optimisers(name) && !name.contains("running")).cloned().collect()
}

/// Loads one of two batches.
fn load<F: Field<Reference>>(net: &mut Net<Reference, F>, seed: u64) {
    let spec = *net.spec();
    let labels: Vec<f64> = (0..spec.batch).map(|i| ((i as u64 * seed) % spec.classes as u64) as f64).collect();
    net.load(&Reference, &uniform(seed, spec.images().len()), &labels).expect("load");
}

/// Parameters before a step at the rate 1 of plain SGD over these batches, and after it: their difference is the gradient.
fn moved<F: Field<Reference>>(spec: NetSpec, seeds: &[u64]) -> Named {
    let d = &Reference;
    // in which all gradients are alive
    let mut net = Net::<_, F>::build(d, spec, Init::Plain, 1).expect("net");
    let before = parameters(&all(d, &net));
    let step = SgdStep { lr: 1.0, momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER };
    for (i, seed) in seeds.iter().enumerate() {
        load(&mut net, *seed);
        net.set_share(if spec.recipe.accumulates { Share::of(i, seeds.len(), seeds.len()) } else { Share::default() });
        net.train_step(d, step).expect("step");
    }
    let after = parameters(&all(d, &net));
    let minus = |(before, after): (&f64, &f64)| before - after;
    let pairs = before.into_iter().zip(after);
    pairs.map(|((name, before), (_, after))| (name, before.iter().zip(&after).map(minus).collect())).collect()
}

fn two_batches_move_by_their_mean<F: Field<Reference>>(of: impl Fn(Update, Recipe) -> NetSpec) {
    let accumulates = Recipe { accumulates: true, ..Recipe::default() };
    for update in [Update::InSweep, Update::After] {
        let [one, other] = [5, 7].map(|seed| moved::<F>(of(update, Recipe::default()), &[seed]));
        let both = moved::<F>(of(update, accumulates), &[5, 7]);
        let same = moved::<F>(of(update, accumulates), &[5, 5, 5]);
        for (((name, both), (_, one)), ((_, other), (_, same))) in both.iter().zip(&one).zip(other.iter().zip(&same)) {
            let mean: Vec<f64> = one.iter().zip(other).map(|(a, b)| (a + b) / 2.0).collect();
            assert!(one != other, "{name} has gradients that differ");
            // f64; gradients are differences of weights below 2
            assert_close(&format!("{name}, {update:?}"), both, &mean, |_| 1e-14);
            assert_close(&format!("{name}, {update:?}, of equal batches"), same, one, |_| 1e-14);
        }
    }
}

#[test]
fn several_batches_make_a_step_of_their_mean() {
    let stack = |gradient| {
        move |update, recipe| {
            let spec = small(SweepSpec::new(Scheme::Euler, gradient), 3, 4, 3);
            NetSpec { sweep: SweepSpec { update, ..spec.sweep }, recipe, ..spec }
        }
    };
    for gradient in [Gradient::Coded, Gradient::Backprop, Gradient::Checkpoint] {
        two_batches_move_by_their_mean::<Basic>(stack(gradient));
    }
    let tied = |update, recipe| {
        let spec = stack(Gradient::Coded)(update, recipe);
        NetSpec { body: Body { tied: true, ..spec.body }, ..spec }
    };
    two_batches_move_by_their_mean::<Basic>(tied);
    two_batches_move_by_their_mean::<Bottleneck>(|update, recipe| staged_spec(Gradient::Coded, update, recipe));
}

fn norm<'a>(of: impl Iterator<Item = &'a (String, Vec<f64>)>) -> f64 {
    of.flat_map(|(_, values)| values).map(|v| v * v).sum::<f64>().sqrt()
}

/// Whose gradients are clipped together: the stem, the head, one way of a first block, a residual block.
fn unit(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let len = parts.iter().position(|part| part.parse::<usize>().is_err() && !["stages", "blocks"].contains(part));
    // `stages.1.first.`, `stages.1.blocks.0.`, `stem.`
    let own = ["first", "shortcut", "stem", "head"];
    let end = parts.iter().position(|part| own.contains(part)).map_or(len.unwrap_or(0), |at| at + 1);
    parts[..end].join(".")
}

/// Of the three batches of a step, while the first of which is seen `spoil` has made something of the net larger: whether that one's loss
/// and drift are numbers, the second one's drift, and the third one's; and whether parameters moved.
fn three_batches(update: Update, adamw: bool, spoil: impl Fn(&mut Net<Reference>, f64)) -> [bool; 5] {
    let d = &Reference;
    let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, Gradient::Corrected) };
    let recipe = Recipe { accumulates: true, ..Recipe::default() };
    let spec = NetSpec { recipe, second_moments: adamw, ..small(sweep, 4, 4, 4) };
    let mut net = Net::new(d, spec, Init::Plain, 1).expect("net");
    let step = if adamw { DescentStep::AdamW(AdamWStep::PYTORCH) } else { SgdStep::PAPER.into() };
    let before = parameters(&all(d, &net));
    let [first, second, third] = [0, 1, 2].map(|i| {
        load(&mut net, 5);
        net.set_share(Share::of(i, 3, 3));
        if i == 0 {
            spoil(&mut net, 1000.0);
        }
        let (result, drift) = net.train_step(d, step).expect("step");
        if i == 0 {
            spoil(&mut net, 0.001);
        }
        [result.loss.is_finite(), drift.stem.is_some_and(f64::is_finite)]
    });
    assert!(second[0] && third[0], "losses of batches with which nothing is wrong");
    let after = parameters(&all(d, &net));
    let moves = before.iter().zip(&after).any(|((_, before), (_, after))| {
        // what was spoilt is mended to some rounding
        before.iter().zip(after).any(|(before, after)| (before - after).abs() > 1e-12)
    });
    [first[0], first[1], second[1], third[1], moves]
}

#[test]
fn a_batch_that_is_worth_nothing_spoils_its_step_and_no_weights() {
    let d = &Reference;
    let hopeless = |net: &mut Net<Reference>, by: f64| {
        let gamma = &mut net.stages[0].stack.theta[2].bn2.gamma;
        let values: Vec<f64> = read(d, gamma).iter().map(|gamma| gamma * by).collect();
        write(d, &values, gamma);
    };
    let of_no_number = |net: &mut Net<Reference>, by: f64| {
        if by > 1.0 {
            let spec = *net.spec();
            net.load(d, &vec![f64::NAN; spec.images().len()], &vec![0.0; spec.batch]).expect("load");
        }
        // the running statistics that such a batch leaves are no numbers, and training's batches do not use them
    };
    for update in [Update::InSweep, Update::After] {
        for adamw in [false, true] {
            assert_eq!(three_batches(update, adamw, |_, _| ()), [true; 5], "{update:?}");
            // the last sweep finds that its step is worth nothing
            assert_eq!(three_batches(update, adamw, hopeless), [true, false, true, false, false], "{update:?}");
            // a batch without a loss says no drift
            assert_eq!(three_batches(update, adamw, of_no_number), [false, false, true, false, false], "{update:?}");
        }
    }
}

#[test]
fn all_gradients_are_not_clipped_together_in_the_sweep() {
    let recipe = Recipe { clip: Some(Clip::All(1.0)), ..Recipe::default() };
    let spec = staged_spec(Gradient::Coded, Update::InSweep, recipe);
    let error = Net::<_, Bottleneck>::build(&Reference, spec, Init::Plain, 1).err().expect("refused").to_string();
    assert!(error.contains("clipped together") && error.contains("in-sweep"), "{error}");
}

#[test]
fn gradients_are_clipped_together_or_block_by_block() {
    let of = |update, clip| staged_spec(Gradient::Coded, update, Recipe { clip, ..Recipe::default() });
    let free = moved::<Bottleneck>(of(Update::After, None), &[5]);
    let whole = norm(free.iter());
    let clipped = moved::<Bottleneck>(of(Update::After, Some(Clip::All(0.25 * whole))), &[5]);
    for ((name, clipped), (_, free)) in clipped.iter().zip(&free) {
        let quarter: Vec<f64> = free.iter().map(|v| 0.25 * whole / (whole + 1e-6) * v).collect();
        assert_close(name, clipped, &quarter, |_| 1e-14);
    }
    assert_eq!(moved::<Bottleneck>(of(Update::After, Some(Clip::All(2.0 * whole))), &[5]), free);

    let units: std::collections::BTreeSet<_> = free.iter().map(|(name, _)| unit(name)).collect();
    // stem, head, two first blocks of which one has a projection, three residual blocks
    assert_eq!(units.len(), 2 + 3 + 3, "{units:?}");
    let norms: Vec<f64> = units.iter().map(|of| norm(free.iter().filter(|(name, _)| unit(name) == *of))).collect();
    let mut sorted = norms.clone();
    sorted.sort_by(f64::total_cmp);
    let most = sorted[sorted.len() / 2];
    for update in [Update::InSweep, Update::After] {
        let clipped = moved::<Bottleneck>(of(update, Some(Clip::Blocks(most))), &[5]);
        for (of, norm) in units.iter().zip(&norms) {
            let factor = (most / (norm + 1e-6)).min(1.0);
            for ((name, clipped), (_, free)) in clipped.iter().zip(&free).filter(|((name, _), _)| unit(name) == *of) {
                let expected: Vec<f64> = free.iter().map(|v| factor * v).collect();
                assert_close(&format!("{name}, {update:?}"), clipped, &expected, |_| 1e-14);
            }
        }
    }
}

#[test]
fn a_net_keeps_averages_and_tests_by_them() {
    let d = &Reference;
    let recipe = Recipe { average: Some(0.75), ..Recipe::default() };
    let mut net =
        Net::<_, Bottleneck>::build(d, staged_spec(Gradient::Corrected, Update::InSweep, recipe), Init::Paper, 1)
            .expect("net");
    let answering = |all: &Named| -> Named { all.iter().filter(|(name, _)| !is_optimisers(name)).cloned().collect() };
    let mut expected = answering(&all(d, &net));
    for seed in [5, 7, 9] {
        load(&mut net, seed);
        net.train_step(d, SgdStep::PAPER).expect("step");
        for ((_, expected), (_, now)) in expected.iter_mut().zip(answering(&all(d, &net))) {
            expected.iter_mut().zip(now).for_each(|(average, now)| *average += 0.25 * (now - *average));
        }
    }
    let after = all(d, &net);
    for (name, expected) in &expected {
        let (_, found) = after.iter().find(|(found, _)| *found == format!("{AVERAGE}{name}")).expect("an average");
        assert_close(name, found, expected, |_| 1e-14);
    }
    // a net whose weights are the averages tests alike, and weights are where they were
    load(&mut net, 11);
    let tested = net.evaluate(d).expect("evaluate");
    assert_eq!(all(d, &net), after);
    let mut other = Net::<_, Bottleneck>::build(
        d,
        staged_spec(Gradient::Corrected, Update::InSweep, Recipe::default()),
        Init::Paper,
        2,
    )
    .expect("net");
    for (name, tensor) in other.checkpointed_mut().into_iter().filter(|(name, _)| !is_optimisers(name)) {
        let (_, values) = after.iter().find(|(found, _)| *found == format!("{AVERAGE}{name}")).expect("an average");
        write(d, values, tensor);
    }
    load(&mut other, 11);
    assert_eq!(other.evaluate(d).expect("evaluate"), tested);
    // a loss that is no number moves nothing
    let (images, labels) = (vec![f64::NAN; net.spec().images().len()], vec![0.0; net.spec().batch]);
    net.load(d, &images, &labels).expect("load");
    net.train_step(d, SgdStep::PAPER).expect("step");
    for ((name, now), (_, before)) in all(d, &net).iter().zip(&after).filter(|((name, _), _)| !name.contains("running"))
    {
        assert_eq!(now, before, "{name}");
    }
}

#[test]
fn the_plan_knows_sums_averages_and_squares() {
    let d = &Reference;
    let with = |update, recipe| {
        Net::<_, Bottleneck>::plan(d, &staged_spec(Gradient::Corrected, update, recipe)).expect("plan")
    };
    let of = |recipe| with(Update::InSweep, recipe);
    let (none, clip) = (of(Recipe::default()), Some(Clip::Blocks(1.0)));
    let all = of(Recipe { clip, accumulates: true, average: Some(0.9) });
    let parameters = none.of(Category::Parameters);
    assert_eq!(all.of(Category::Gradients), none.of(Category::Gradients) + parameters, "a sum for each");
    // squares are summed once in the net and once for each stage
    let more = all.of(Category::Optimiser) - none.of(Category::Optimiser);
    assert_eq!(more, parameters + 3 * padded_bytes::<f64>(SQUARES));
    assert!(all.of(Category::Statistics) > none.of(Category::Statistics), "running statistics have averages too");
    assert_eq!(all.of(Category::Scratch), none.of(Category::Scratch) + padded_bytes::<f64>(2), "a sum of losses");
    let [none, all] =
        [None, Some(Clip::All(1.0))].map(|clip| with(Update::After, Recipe { clip, ..Recipe::default() }));
    assert_eq!(all.of(Category::Gradients), none.of(Category::Gradients));
    assert_eq!(all.of(Category::Optimiser), none.of(Category::Optimiser) + padded_bytes::<f64>(SQUARES));
}

/// Everything after ten steps over a held set with all of it on.
fn trained(d: &Cpu, update: Update, gradient: Gradient, step: DescentStep) -> Named {
    let recipe = Recipe { clip: Some(Clip::Blocks(0.5)), accumulates: true, average: Some(0.9) };
    let spec = small(SweepSpec::new(Scheme::Euler, gradient), 3, 4, 3);
    let second_moments = matches!(step, DescentStep::AdamW(_));
    let spec = NetSpec { sweep: SweepSpec { update, ..spec.sweep }, recipe, mixes: true, second_moments, ..spec };
    let mut net = Net::<_, Basic>::build(d, spec, Init::Paper, 1).expect("net");
    net.hold(d, numbered(10, 4)).expect("hold");
    let mixes = [Mix::of_part(0.25), Mix::of_box([0, 20], [5, 32], 32), Mix::default(), Mix::of_part(0.5)];
    net.write_mixes(d, 0, |to| to.copy_from_slice(&mixes)).expect("write_mixes");
    let places = |places: &mut [Place]| (0..).zip(places).for_each(|(i, place)| *place = Place::new(i, Change::NONE));
    net.write_table(d, 0, places).expect("write_table");
    net.set_learning_rate(d, step.lr()).expect("rate");
    net.begin_pass(d, Pass::Train { table: 0 }, 0).expect("begin");
    for (i, n) in [3, 3, 3, 1].into_iter().enumerate() {
        net.set_share(Share::of(i, 4, 3));
        net.ask_train_step(d, n, step).expect("step");
        assert!(net.results(d, i, 1).expect("results").all(|result| result.batch.loss.is_finite()));
    }
    all(d, &net)
}

#[test]
fn in_the_sweep_and_behind_it_and_on_any_threads_the_bits_are_the_same() {
    let [one, two] = [1, 2].map(|threads| Cpu::new(Some(threads)).expect("cpu"));
    for step in [SgdStep::PAPER.into(), AdamWStep::PYTORCH.into()] {
        for gradient in [Gradient::Coded, Gradient::Corrected, Gradient::Backprop] {
            let in_sweep = trained(&one, Update::InSweep, gradient, step);
            assert!(in_sweep == trained(&one, Update::After, gradient, step), "{gradient}");
            assert!(in_sweep == trained(&two, Update::InSweep, gradient, step), "{gradient}, two threads");
        }
    }
}

#[test]
fn a_net_that_mixes_takes_three_numbers_a_label() {
    let d = &Reference;
    let spec = NetSpec { mixes: true, ..small(SweepSpec::new(Scheme::Euler, Gradient::Backprop), 2, 4, 2) };
    let mut net = Net::<_, Basic>::build(d, spec, Init::Paper, 1).expect("net");
    let images = uniform(3, spec.images().len());
    net.load(d, &images, &[1.0, 1.0, 0.5, 2.0, 2.0, 0.0]).expect("load");
    let (mixed, _) = net.train_step(d, crate::support::NO_SGD).expect("step");
    let mut plain = Net::<_, Basic>::build(d, NetSpec { mixes: false, ..spec }, Init::Paper, 1).expect("net");
    plain.load(d, &images, &[1.0, 2.0]).expect("load");
    let (expected, _) = plain.train_step(d, crate::support::NO_SGD).expect("step");
    // a mixture of one class is that class
    assert!((mixed.loss - expected.loss).abs() < 1e-14 && mixed.correct == expected.correct);
}
