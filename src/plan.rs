//! The memory plan: every byte of a network, from its specification alone, before anything is taken.
//!
//! The constructors in `net`, `sweep` and `operands` take the memory; this page counts it again from the formulas of the
//! method, and a test holds the two together, byte by byte.

use crate::code::{code_bytes, coder_bytes};
use crate::device::Device;
use crate::field::Field;
use crate::memory::{Bytes, Category, padded_bytes};
use crate::net::first::FirstLinks;
use crate::net::{FirstSpec, NetSpec, StageSpec};
use crate::scheme::StackSpec;
use crate::shape::Shape;
use crate::sweep::{Gradient, SweepSpec, Update};

/// Bytes that a network of residual functions F takes on the device, by category.
pub fn network<D: Device, F: Field<D>>(d: &D, spec: &NetSpec) -> Bytes {
    let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
    let stem_map = spec.stem_map();
    let stem = bytes(spec.stem_weight()) + 2 * bytes(Shape::vector(stem_map.c()));
    let head = bytes(Shape([1, 1, spec.pooled().image_len(), spec.classes])) + bytes(Shape::vector(spec.classes));
    let pooled = bytes(spec.pooled());
    let logits = bytes(Shape::map(spec.batch, 1, 1, spec.classes));

    let mut plan = Bytes::default();
    for (s, stage) in spec.stages().iter().enumerate() {
        if let Some(first) = &stage.first {
            first_block::<D, F>(first, &mut plan);
        }
        residual_stack::<D, F>(&stage.stack, &spec.sweep, &mut plan);
        plan.charge(Category::Scratch, bytes(Shape::vector(workspace::<D, F>(d, spec, s))));
        // the drift; the steps of a pass and what they gave
        plan.charge(Category::Scratch, bytes(Shape::vector(2)) + bytes(Shape([1, 1, D::STEPS_AHEAD, 4])));
        plan.charge(Category::Data, bytes(Shape::vector(1)));
    }
    plan.charge(Category::Parameters, stem + head);
    plan.charge(Category::Gradients, stem + head);
    // velocities, and the learning rate
    plan.charge(Category::Optimiser, stem + head + bytes(Shape::vector(1)));
    // the stem's two pairs
    plan.charge(Category::Statistics, 4 * bytes(Shape::vector(stem_map.c())));
    plan.charge(Category::Scratch, pooled + logits + bytes(Shape::vector(2)));
    // the stem's z, what the head keeps, and the ReLU before it
    let features = if spec.body.stages.is_some() { bytes(spec.last_map()) } else { 0 };
    plan.charge(Category::Saved, bytes(stem_map) + pooled + logits + features);
    // a batch, and the table's number
    plan.charge(Category::Data, bytes(spec.images()) + bytes(Shape::map(spec.batch, 1, 1, 1)));
    plan.charge(Category::Data, bytes(Shape::vector(1)));
    plan
}

/// The block that begins a stage.
fn first_block<D: Device, F: Field<D>>(first: &FirstSpec, plan: &mut Bytes) {
    // links that make no chain are refused where the net is built
    let Ok(links) = FirstLinks::new(first, &F::first_links(first.channels, first.stride)) else { return };
    plan.charge(Category::Saved, padded_bytes::<D::Real>(first.input.len()));
    for way in links.bytes::<D>() {
        for category in [Category::Parameters, Category::Gradients, Category::Optimiser] {
            plan.charge(category, way.theta);
        }
        plan.charge(Category::Statistics, way.running + way.stats);
        plan.charge(Category::Saved, way.cache);
        plan.charge(Category::Scratch, way.scratch);
    }
}

/// A residual stack and its sweep.
pub(crate) fn residual_stack<D: Device, F: Field<D>>(stack: &StackSpec, sweep: &SweepSpec, plan: &mut Bytes) {
    let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
    let (depth, thetas) = (stack.depth as u64, stack.thetas() as u64);
    let steps = sweep.scheme.steps(stack.depth) as u64;
    let (stages, span) = (sweep.scheme.stages() as u64, sweep.scheme.span() as u64);
    let (field, map) = (F::bytes(stack.map), bytes(stack.map));

    // of one theta for all blocks, a step's gradients and their sum
    let gradients = match (stack.tied, sweep.update) {
        (true, _) => span + 1,
        (false, Update::InSweep) => span,
        (false, Update::After) => depth,
    };
    let saved_steps = if sweep.keeps_statistics() { steps } else { 0 };
    // what every evaluation leaves, and where all but the first were made
    let cache = stages * field.cache + (stages - 1) * map;
    let caches = sweep.stored_caches(stack.depth) as u64 * cache;
    let states = sweep.stored_states(stack.depth) as u64;
    let segment = match sweep.gradient {
        Gradient::Checkpoint => sweep.segment_steps(stack.depth) as u64 - 1,
        _ => 0,
    };
    let reconstructs = sweep.gradient.reconstructs();
    let (caches_scratch, caches_saved) = if reconstructs { (caches, 0) } else { (0, caches) };
    let anchors = if reconstructs { states } else { 0 };
    // x, g; x~, which is the carry on the way there; the cotangents inside a step of several stages
    let state_maps = 2 + u64::from(reconstructs) + if stages > 1 { stages } else { 0 };

    plan.charge(Category::Parameters, thetas * field.theta);
    plan.charge(Category::Gradients, gradients * field.theta);
    plan.charge(Category::Optimiser, thetas * field.theta);
    // running ones of every block, saved ones of every step, a spare set of one step
    plan.charge(Category::Statistics, depth * field.running + (saved_steps + 1) * stages * field.stats);
    plan.charge(Category::Statistics, bytes(Shape::vector(sweep.measured_errors(stack.depth))));
    plan.charge(Category::Saved, if stack.keeps_masks { saved_steps * stages * field.masks } else { 0 });
    plan.charge(Category::State, state_maps * map);
    // the distances at the anchors, and the verdict
    plan.charge(Category::Scratch, caches_scratch + field.scratch + (anchors + 1) * bytes(Shape::vector(2)));
    plan.charge(Category::Saved, caches_saved + (states + segment) * map);
    if sweep.gradient.codes() {
        plan.charge(Category::Scratch, coder_bytes::<D::Real>(stack.map.c()));
        plan.charge(
            Category::Saved,
            sweep.stored_codes(stack.depth) as u64 * code_bytes::<D::Real>(stack.map, sweep.bits),
        );
    }
}

/// Elements of workspace that the device asks for in stage `s`: the most that any operation there does. The first stage's serves
/// the stem too.
pub fn workspace<D: Device, F: Field<D>>(d: &D, spec: &NetSpec, s: usize) -> usize {
    let StageSpec { first, stack } = spec.stages()[s];
    let map = stack.map;
    let stem = match s {
        0 => {
            d.conv_workspace(spec.images(), spec.stem_conv(), spec.stem_map().c()).max(d.bn_workspace(spec.stem_map()))
        }
        _ => 0,
    };
    let first = first.and_then(|first| FirstLinks::new(&first, &F::first_links(first.channels, first.stride)).ok());
    let first = first.map_or(0, |links| links.workspace(d));
    let codes = if spec.sweep.gradient.codes() { d.code_workspace(map) } else { 0 };
    [stem, first, F::workspace(d, map), d.bn_workspace(map), d.squared_distance_workspace(map), codes]
        .into_iter()
        .max()
        .unwrap_or(0)
}

/// The largest depth up to `spec`'s, or number of blocks in any stage, whose plan is at most `limit` bytes, with `extra` bytes
/// taken elsewhere; none if not even the shallowest fits.
pub fn largest_depth<D: Device, F: Field<D>>(d: &D, spec: &NetSpec, extra: u64, limit: u64) -> Option<usize> {
    let fits = |depth: usize| network::<D, F>(d, &spec.at_most(depth)).total() + extra <= limit;
    (1..=spec.deepest()).rev().filter(|depth| spec.sweep.scheme.takes(*depth)).find(|depth| fits(*depth))
}
