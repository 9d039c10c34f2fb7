//! The memory plan: every byte of a network, from its specification alone, before anything is taken.
//!
//! The constructors in `net`, `sweep` and `operands` take the memory; this page counts it again from the formulas of the
//! method, and a test holds the two together, byte by byte.

use crate::device::Device;
use crate::field::{Basic, Field};
use crate::memory::{Bytes, Category, padded_bytes};
use crate::net::NetSpec;
use crate::scheme::Scheme;
use crate::shape::Shape;
use crate::sweep::{Gradient, Update};

/// Bytes that a network takes on the device, by category.
pub fn network<D: Device>(d: &D, spec: &NetSpec) -> Bytes {
    let bytes = |shape: Shape| padded_bytes::<D::Real>(shape.len());
    let (depth, sweep) = (spec.depth as u64, &spec.sweep);
    let steps = sweep.scheme.steps(spec.depth) as u64;
    let stages = sweep.scheme.stages() as u64;
    let map = bytes(spec.map());
    let vector = bytes(Shape::vector(spec.channels));
    let pair = bytes(Shape::vector(2));

    let field = <Basic as Field<D>>::bytes(spec.map());
    let stem = bytes(spec.stem_weight()) + 2 * vector;
    let head = bytes(Shape([1, 1, spec.pooled().image_len(), spec.classes])) + bytes(Shape::vector(spec.classes));
    let gradient_blocks = match sweep.update {
        Update::InSweep => stages,
        Update::After => depth,
    };
    let saved_steps = if sweep.keeps_statistics() { steps } else { 0 };
    // what every evaluation leaves, and Heun's y
    let cache = match sweep.scheme {
        Scheme::Euler => field.cache,
        Scheme::Heun => 2 * field.cache + map,
    };
    let caches = sweep.stored_caches(spec.depth) as u64 * cache;
    let states = sweep.stored_states(spec.depth) as u64;
    let segment = match sweep.gradient {
        Gradient::Checkpoint => sweep.segment_steps(spec.depth) as u64 - 1,
        _ => 0,
    };
    let reconstructs = sweep.gradient.reconstructs();
    let (caches_scratch, caches_saved) = if reconstructs { (caches, 0) } else { (0, caches) };
    let anchors = if reconstructs { states } else { 0 };
    // x, g; x~; light's guess; Heun's two cotangents
    let state_maps = 2
        + u64::from(reconstructs)
        + u64::from(sweep.gradient == Gradient::Light)
        + if sweep.scheme == Scheme::Heun { 2 } else { 0 };
    let pooled = bytes(spec.pooled());
    let logits = bytes(Shape::map(spec.batch, 1, 1, spec.classes));

    let mut plan = Bytes::default();
    plan.charge(Category::Parameters, depth * field.theta + stem + head);
    plan.charge(Category::Gradients, gradient_blocks * field.theta + stem + head);
    // velocities, and the learning rate
    plan.charge(Category::Optimiser, depth * field.theta + stem + head + bytes(Shape::vector(1)));
    // running ones of every block, saved ones of every step, a spare set of one step, and the stem's two pairs
    plan.charge(Category::Statistics, depth * field.running + 4 * vector);
    plan.charge(Category::Statistics, (saved_steps * stages + stages) * field.stats);
    plan.charge(Category::State, state_maps * map);
    plan.charge(Category::Scratch, caches_scratch + field.scratch);
    plan.charge(Category::Scratch, bytes(Shape::vector(workspace(d, spec))));
    plan.charge(Category::Scratch, pooled + logits + (2 + anchors) * pair);
    plan.charge(Category::Scratch, bytes(Shape([1, 1, D::STEPS_AHEAD, 4])));
    // the stem's z, what the mode stores, and what the head keeps
    plan.charge(Category::Saved, caches_saved + (1 + states + segment) * map + pooled + logits);
    // a batch, the step's number and the table's
    plan.charge(Category::Data, bytes(spec.images()) + bytes(Shape::map(spec.batch, 1, 1, 1)));
    plan.charge(Category::Data, 2 * bytes(Shape::vector(1)));
    plan
}

/// Elements of workspace that the device asks for: the most that any operation of the network does.
pub fn workspace<D: Device>(d: &D, spec: &NetSpec) -> usize {
    let map = spec.map();
    [
        d.conv_workspace(spec.images(), spec.stem.conv(), spec.channels),
        Basic::workspace(d, map),
        d.bn_workspace(map),
        d.squared_distance_workspace(map),
    ]
    .into_iter()
    .max()
    .unwrap_or(0)
}

/// The largest depth up to `spec.depth` whose plan is at most `limit` bytes, with `extra` bytes taken elsewhere; none if not
/// even the shallowest fits.
pub fn largest_depth<D: Device>(d: &D, spec: &NetSpec, extra: u64, limit: u64) -> Option<usize> {
    let fits = |depth: usize| network(d, &NetSpec { depth, ..*spec }).total() + extra <= limit;
    (spec.sweep.scheme.stages()..=spec.depth).rev().find(|depth| fits(*depth))
}
