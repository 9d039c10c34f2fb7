//! The memory plan, a dry run of the constructors, against what is taken and against the method's formulas, to the byte.

use crate::support::{GRADIENTS, all_sweeps, fitting, small};
use rewind::code::{Bits, code_len};
use rewind::device::prelude::*;
use rewind::field::Basic;
use rewind::init::Init;
use rewind::mask::relu_mask_shape;
use rewind::memory::{Bytes, Category, padded_bytes};
use rewind::net::{Net, NetSpec, Stem};
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::shape::{Conv, Shape};
use rewind::sweep::{Gradient, SweepSpec, Update};

const D: &Reference = &Reference;

fn plan(spec: &NetSpec) -> Bytes {
    Net::<_, Basic>::plan(D, spec).expect("a plan")
}

fn largest(spec: &NetSpec, extra: u64, limit: u64) -> Option<usize> {
    Net::<_, Basic>::largest_depth(D, spec, extra, limit).expect("plans")
}

fn bytes(shape: Shape) -> u64 {
    padded_bytes::<f64>(shape.len())
}

/// Of a code and its scale.
fn code_bytes(map: Shape, bits: Bits) -> u64 {
    2 * bytes(Shape::vector(map.c())) + bytes(Shape::map(map.n(), 1, 1, code_len::<f64>(map.image_len(), bits)))
}

/// The plan of a net of one stack by the formulas of the method.
fn by_formula(spec: &NetSpec) -> Bytes {
    let NetSpec { depth, batch, classes, sweep, .. } = *spec;
    let (map, n) = (spec.stem_map(), depth as u64);
    let [vector, pair, number] = [map.c(), 2, 1].map(|len| bytes(Shape::vector(len)));
    let stem = bytes(spec.stem_weight()) + 2 * vector;
    let head = bytes(Shape([1, 1, spec.pooled().image_len(), classes])) + bytes(Shape::vector(classes));
    let (pooled, logits) = (bytes(spec.pooled()), bytes(Shape::map(batch, 1, 1, classes)));
    // a block's: two convolutions and two norms; statistics are pairs of vectors; z1 and z2
    let theta = 2 * bytes(Shape::weight(Conv::SAME_3X3.kernel, map.c(), map.c())) + 4 * vector;
    let (statistics, cache) = (4 * vector, 2 * bytes(map));
    let steps = sweep.scheme.steps(depth) as u64;
    let [stages, span] = [sweep.scheme.stages(), sweep.scheme.span()].map(|n| n as u64);
    let mut plan = Bytes::default();
    plan.charge(Category::Parameters, stem + head + n * theta);
    let gradients = if sweep.update == Update::After { n } else { span };
    plan.charge(Category::Gradients, stem + head + gradients * theta);
    // and the learning rate
    plan.charge(Category::Optimiser, stem + head + n * theta + number);
    // the stem's two pairs; running ones of every block, saved ones of every step, a spare set of one step, local errors
    let saved_steps = if sweep.keeps_statistics() { steps } else { 0 };
    let errors = if sweep.gradient.measures_errors() { bytes(Shape::vector(4 * steps as usize)) } else { 0 };
    let sets = n + (saved_steps + 1) * stages;
    plan.charge(Category::Statistics, 4 * vector + sets * statistics + errors);
    // x, g; x~, which is the carry on the way there; the cotangents inside a step of several stages
    let reconstructs = sweep.gradient.reconstructs();
    let inner = if stages > 1 { stages } else { 0 };
    plan.charge(Category::State, (2 + u64::from(reconstructs) + inner) * bytes(map));
    // what the stem and the head keep
    plan.charge(Category::Saved, bytes(map) + pooled + logits);
    // what every evaluation leaves, and where all but the first were made
    let cache = stages * cache + (stages - 1) * bytes(map);
    let caches = sweep.stored_caches(depth) as u64 * cache;
    plan.charge(if reconstructs { Category::Scratch } else { Category::Saved }, caches);
    let states = sweep.stored_states(depth) as u64;
    let segment = if sweep.gradient == Gradient::Checkpoint { sweep.segment_steps(depth) as u64 - 1 } else { 0 };
    plan.charge(Category::Saved, (states + segment) * bytes(map));
    let masks = if sweep.keeps_masks() { saved_steps * stages } else { 0 };
    plan.charge(Category::Saved, masks * bytes(relu_mask_shape::<f64>(map)));
    plan.charge(Category::Saved, sweep.stored_codes(depth) as u64 * code_bytes(map, sweep.bits));
    if sweep.gradient.codes() {
        plan.charge(Category::Scratch, number + vector);
    }
    // the block's maps and sums; a distance at each anchor, at the stem and in the verdict; the loss, and what a step gave
    let anchors = if reconstructs { states } else { 0 };
    plan.charge(Category::Scratch, (Reference::SCRATCH_MAPS as u64 + 1) * bytes(map) + 4 * vector);
    plan.charge(Category::Scratch, (anchors + 3) * pair + bytes(Shape([1, 1, Reference::STEPS_AHEAD, 4])));
    // the gradients by what was pooled and by the logits
    plan.charge(Category::Scratch, pooled + logits);
    let asked = [
        D.conv_workspace(spec.images(), spec.stem.conv(), map.c()),
        D.block_workspace(map),
        D.bn_workspace(map),
        D.squared_distance_workspace(map),
        D.code_workspace(map),
    ];
    plan.charge(Category::Scratch, bytes(Shape::vector(asked.into_iter().max().unwrap_or(0))));
    // a batch, the number of the table and that of the step
    plan.charge(Category::Data, bytes(spec.images()) + bytes(Shape::map(batch, 1, 1, 1)) + 2 * number);
    plan
}

#[test]
fn the_plan_is_what_is_taken() {
    for sweep in all_sweeps() {
        for (depth, channels, n) in [(2, 3, 5), (7, 16, 2)] {
            let stem = if depth == 2 { Stem::Same3x3 } else { Stem::Strided5x5 };
            let spec = NetSpec { stem, sweep, ..small(sweep, depth, channels, n) };
            let net = Net::new(D, spec, Init::Paper, 0).expect("net");
            assert_eq!(net.memory(), &plan(&spec), "{spec:?}");
            assert_eq!(net.memory(), &by_formula(&spec), "{spec:?}");
        }
    }
}

#[test]
fn activations_are_flat_in_depth_where_the_mode_says_so() {
    for sweep in all_sweeps() {
        let memory = |depth| {
            let spec = NetSpec { sweep, ..small(sweep, depth, 2, 2) };
            Net::new(D, spec, Init::Paper, 0).expect("net").memory().clone()
        };
        let (shallow, middle, deep) = (memory(8), memory(64), memory(512));
        let masks = |depth| match sweep.keeps_masks() {
            true => {
                let mask = bytes(relu_mask_shape::<f64>(small(sweep, 8, 2, 2).stem_map()));
                (sweep.scheme.steps(fitting(sweep.scheme, depth)) * sweep.scheme.stages()) as u64 * mask
            }
            false => 0,
        };
        let flat = sweep.gradient.reconstructs() && sweep.anchors.is_none();
        if sweep.gradient.codes() && sweep.anchors.is_none() {
            let code = code_bytes(small(sweep, 8, 2, 2).stem_map(), sweep.bits);
            let coded = |depth| sweep.stored_codes(fitting(sweep.scheme, depth)) as u64;
            for (depth, memory) in [(64, &middle), (512, &deep)] {
                let grown = memory.activations() - shallow.activations();
                let codes = (coded(depth) - coded(8)) * code;
                assert_eq!(grown, codes + masks(depth) - masks(8), "{sweep:?} at {depth}");
            }
        } else if flat {
            let but_for_masks = |depth, memory: &Bytes| memory.activations() - masks(depth);
            let [first, second, third] = [(8, &shallow), (64, &middle), (512, &deep)].map(|(n, m)| but_for_masks(n, m));
            assert!(first == second && second == third, "{sweep:?}");
        } else {
            assert!(shallow.activations() < deep.activations(), "{sweep:?}");
        }
        let gradients_flat = shallow.of(Category::Gradients) == deep.of(Category::Gradients);
        assert_eq!(gradients_flat, sweep.update == Update::InSweep, "{sweep:?}");
    }
}

#[test]
fn the_largest_depth_that_fits_is_the_largest() {
    for gradient in GRADIENTS {
        let spec = small(SweepSpec::new(Scheme::Heun, gradient), 40, 4, 4);
        let bytes = |depth| plan(&NetSpec { depth, ..spec }).total();
        let limit = bytes(23);
        let fits = largest(&spec, 100, limit + 100).expect("some depth fits");
        assert!(
            fits >= 23 && bytes(fits) <= limit && (fits + 1..=40).all(|deeper| bytes(deeper) > limit),
            "{gradient}"
        );
        assert_eq!(largest(&spec, 0, 1000), None);
    }
}

#[test]
fn the_deepest_nets_are_planned_to_the_formulas_byte() {
    for sweep in all_sweeps() {
        let spec = NetSpec { sweep, ..small(sweep, 8192, 16, 256) };
        assert_eq!(plan(&spec), by_formula(&spec), "{spec:?}");
    }
}
