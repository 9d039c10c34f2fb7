//! Batches out of the data set that the device holds, to the bit of `augment`; the steps' results.

use std::sync::Arc;

use rewind::data::augment::{Change, PADDING};
use rewind::data::{Batches, Dataset, Mix, Normalise, Part, Place, image_len};
use rewind::device::{Device, MIXED_LABEL, PassPosition};
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, cpus};
use crate::support::{numbered, numbered_of};

const TRAIN: usize = 170;
const TEST: usize = 13;

/// Every change there is, on images in a mixed order, and some more to fill the table.
fn all_changes(table: usize) -> Vec<Place> {
    let changes = (0..=2 * PADDING)
        .flat_map(|top| (0..=2 * PADDING).flat_map(move |left| [false, true].map(|flip| Change { top, left, flip })));
    let places = changes.chain(std::iter::repeat(Change::NONE)).take(TRAIN);
    (table..).zip(places).map(|(i, change)| Place::new((i * 7 % TRAIN) as u32, change)).collect()
}

fn on<D: Device>(d: &D, set: &Arc<Dataset>) {
    let bed = &mut Bed::new(d);
    let (side, normaliser) = (set.side(), set.normaliser());
    let mut data = d.hold(set.clone(), 0).expect("hold");
    for table in [0, 1] {
        d.write_table(&mut data, table, |places| places.copy_from_slice(&all_changes(table))).expect("write_table");
    }
    let (mut step, mut chosen) = (bed.empty(Shape::vector(1)), bed.empty(Shape::vector(1)));
    let mut expected = vec![0.0f32; image_len(side)];
    for (part, table, batch) in [(Part::Train, 0, 64), (Part::Train, 1, 64), (Part::Train, 0, 7), (Part::Test, 1, 5)] {
        let len = if part == Part::Train { TRAIN } else { TEST };
        let batches = Batches { images: len, batch };
        d.choose_table(&mut data, table, &mut chosen).expect("choose_table");
        // in any order, as a pass may begin at any step
        for at in (0..batches.count()).rev() {
            let n = batches.len(at);
            let mut images = bed.empty(Shape::map(n, side, side, 3));
            let mut labels = bed.empty(Shape::map(n, 1, 1, 1));
            d.fill(at as f64, &mut step).expect("fill");
            let position = PassPosition { step: &step, table: &chosen, batch };
            d.draw_batch(&data, part, position, &mut images, &mut labels).expect("draw_batch");
            let (images, labels) = (bed.read(&images), bed.read(&labels));
            for (i, image) in images.chunks_exact(image_len(side)).enumerate() {
                let place = at * batch + i;
                let (split, index, change) = match part {
                    Part::Train => {
                        let drawn = all_changes(table)[place];
                        (&set.train, drawn.index as usize, drawn.change())
                    }
                    Part::Test => (&set.test, place, Change::NONE),
                };
                normaliser.augment(split.image(index), change, &mut expected);
                let same = image.iter().zip(&expected).all(|(a, b)| a.to_bits() == f64::from(*b).to_bits());
                assert!(same, "{}: {part:?}, place {place}, {change:?}", d.name());
                assert_eq!(labels[i], f64::from(split.labels[index]), "{}: {part:?}, place {place}", d.name());
            }
        }
    }
}

/// Mixed batches, of which the last is smaller, and one of a set that is refilled.
fn mixed<D: Device>(d: &D, set: &Arc<Dataset>) {
    let bed = &mut Bed::new(d);
    let (side, normaliser, batch) = (set.side(), set.normaliser(), 64);
    let batches = Batches { images: TRAIN, batch };
    let mut data = d.hold(set.clone(), batches.count()).expect("hold");
    let mixes = |table: usize| {
        let all = [Mix::of_part(0.3), Mix::of_box([1, side - 1], [0, 4], side), Mix::default()];
        [all[table], all[1 - table], all[2]]
    };
    for table in [0, 1] {
        d.write_mixes(&mut data, table, |to| to.copy_from_slice(&mixes(table))).expect("write_mixes");
        d.write_table(&mut data, table, |places| places.copy_from_slice(&all_changes(table))).expect("write_table");
    }
    let (mut step, mut chosen) = (bed.empty(Shape::vector(1)), bed.empty(Shape::vector(1)));
    let (mut expected, mut seen) = (vec![0.0f32; image_len(side)], 0);
    for (part, table, at) in
        [0, 1, 2].iter().flat_map(|at| [(Part::Train, 0, *at), (Part::Train, 1, *at)]).chain([(Part::Test, 0, 0)])
    {
        let n = if part == Part::Train { batches.len(at) } else { TEST };
        d.choose_table(&mut data, table, &mut chosen).expect("choose_table");
        let (mut images, mut labels) =
            (bed.empty(Shape::map(n, side, side, 3)), bed.empty(Shape::map(n, 1, 1, MIXED_LABEL)));
        d.fill(at as f64, &mut step).expect("fill");
        let position = PassPosition { step: &step, table: &chosen, batch };
        d.draw_batch(&data, part, position, &mut images, &mut labels).expect("draw_batch");
        let (images, labels) = (bed.read(&images), bed.read(&labels));
        let pairs = images.chunks_exact(image_len(side)).zip(labels.chunks_exact(MIXED_LABEL)).enumerate();
        for (i, (image, label)) in pairs {
            let of = |i: usize| match part {
                Part::Train => {
                    let drawn = all_changes(table)[at * batch + i];
                    (&set.train, drawn.index as usize, drawn.change())
                }
                Part::Test => (&set.test, i, Change::NONE),
            };
            let ((split, own, change), (_, other, of_other)) = (of(i), of((i + n - 1) % n));
            let mix = if part == Part::Train { mixes(table)[at] } else { Mix::default() };
            normaliser.augment(split.image(own), change, &mut expected);
            // a test's images have no other
            let other = if part == Part::Train { other } else { own };
            normaliser.mix(mix, split.image(other), of_other, &mut expected);
            let same = image.iter().zip(&expected).all(|(a, b)| a.to_bits() == f64::from(*b).to_bits());
            assert!(same, "{}: {part:?}, table {table}, step {at}, image {i}", d.name());
            let classes = [own, other].map(|index| f64::from(split.labels[index]));
            assert_eq!(label, [classes[0], classes[1], f64::from(mix.share)], "{}: {part:?}", d.name());
            seen += usize::from(mix != Mix::default());
        }
    }
    assert_eq!(seen, 4 * batch);
}

#[test]
fn batches_are_mixed_to_the_bit() {
    for set in [numbered(TRAIN, TEST), numbered_of(9, 1000, Normalise::IMAGENET, TRAIN, TEST)] {
        mixed(&Reference, &set);
        cpus().iter().for_each(|cpu| mixed(cpu, &set));
        #[cfg(all(feature = "cuda", target_os = "linux"))]
        {
            mixed(&crate::bed::cudas()[0].0, &set);
            crate::support::gpu::no_faults();
        }
    }
}

#[test]
fn batches_are_augmented_to_the_bit() {
    // of CIFAR's size and numbers; an odd one, of more classes than a byte has
    for set in [numbered(TRAIN, TEST), numbered_of(9, 1000, Normalise::IMAGENET, TRAIN, TEST)] {
        on(&Reference, &set);
        cpus().iter().for_each(|cpu| on(cpu, &set));
        #[cfg(all(feature = "cuda", target_os = "linux"))]
        {
            on(&crate::bed::cudas()[0].0, &set);
            crate::support::gpu::no_faults();
        }
    }
}

/// Steps of a set that holds a batch and is refilled before each of them: more than are on their way at a time, all asked for before one
/// is looked at.
fn refilled<D: Device>(d: &D) {
    const STEPS: usize = 7;
    let (bed, batch) = (&mut Bed::new(d), 5);
    let all = numbered_of(9, 300, Normalise::CIFAR_100, STEPS * batch, STEPS * batch);
    let window = numbered_of(9, 300, Normalise::CIFAR_100, batch, batch);
    let mut data = d.hold(window, 0).expect("hold");
    let unchanged =
        |places: &mut [Place]| (0..).zip(places).for_each(|(i, place)| *place = Place::new(i, Change::NONE));
    d.write_table(&mut data, 0, unchanged).expect("write_table");
    let (mut step, mut chosen) = (bed.empty(Shape::vector(1)), bed.empty(Shape::vector(1)));
    d.choose_table(&mut data, 0, &mut chosen).expect("choose_table");
    for (part, split) in [(Part::Train, &all.train), (Part::Test, &all.test)] {
        let mut drawn = Vec::new();
        for at in 0..STEPS {
            // the last is smaller
            let n = if at + 1 == STEPS { 3 } else { batch };
            let pixels = &split.pixels[at * batch * image_len(9)..][..n * image_len(9)];
            d.refill(&mut data, part, pixels, &split.labels[at * batch..][..n]).expect("refill");
            let (mut images, mut labels) = (bed.empty(Shape::map(n, 9, 9, 3)), bed.empty(Shape::map(n, 1, 1, 1)));
            d.fill(at as f64, &mut step).expect("fill");
            let position = PassPosition { step: &step, table: &chosen, batch };
            d.draw_batch(&data, part, position, &mut images, &mut labels).expect("draw_batch");
            drawn.push((images, labels));
        }
        let (normaliser, mut expected) = (all.normaliser(), vec![0.0f32; image_len(9)]);
        for (at, (images, labels)) in drawn.iter().enumerate() {
            let (images, labels) = (bed.read(images), bed.read(labels));
            for (i, image) in images.chunks_exact(image_len(9)).enumerate() {
                let index = at * batch + i;
                normaliser.normalise(split.image(index), &mut expected);
                let same = image.iter().zip(&expected).all(|(a, b)| a.to_bits() == f64::from(*b).to_bits());
                assert!(same && labels[i] == f64::from(split.labels[index]), "{}: {part:?}, image {index}", d.name());
            }
        }
    }
}

#[test]
fn a_set_that_holds_a_batch_is_refilled_before_each_step() {
    refilled(&Reference);
    cpus().iter().for_each(refilled);
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    {
        refilled(&crate::bed::cudas()[0].0);
        crate::support::gpu::no_faults();
    }
}

fn recorded<D: Device>(d: &D) {
    let bed = &mut Bed::new(d);
    let mut results = bed.tensor(Shape([1, 1, 3, 4]), &[9.0; 12]);
    let mut step = bed.tensor(Shape::vector(1), &[4.0]);
    let distance = bed.tensor(Shape::vector(2), &[0.5, 2.0]);
    let mut record = |loss: f64, distance, always| {
        let outcome = bed.tensor(Shape::vector(2), &[loss, 3.0]);
        d.record_step(&outcome, distance, always, &mut results, &mut step).expect("record_step");
        (bed.read(&results), bed.read(&step)[0])
    };
    let nine = [9.0; 4];
    assert_eq!(record(1.5, Some(&distance), false), ([nine, [1.5, 3.0, 0.5, 2.0], nine].concat(), 5.0), "{}", d.name());
    for loss in [f64::INFINITY, f64::NEG_INFINITY] {
        // the step's number stays, so the next one writes the same row
        let rows = [nine, [1.5, 3.0, 0.5, 2.0], [loss, 3.0, 0.0, 0.0]].concat();
        assert_eq!(record(loss, None, false), (rows, 5.0), "{}", d.name());
    }
    let (rows, at) = record(f64::NAN, None, false);
    assert!(rows[8].is_nan() && at == 5.0, "{}", d.name());
    let (rows, at) = record(f64::INFINITY, None, true);
    assert!(rows[8] == f64::INFINITY && at == 6.0, "{}", d.name());
    let rows = [[2.5, 3.0, 0.0, 0.0], [1.5, 3.0, 0.5, 2.0], [f64::INFINITY, 3.0, 0.0, 0.0]].concat();
    assert_eq!(record(2.5, None, true), (rows, 7.0), "{}", d.name());
}

#[test]
fn results_go_round_and_a_step_that_failed_stays() {
    recorded(&Reference);
    recorded(&cpus()[0]);
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    {
        recorded(&crate::bed::cudas()[0].0);
        crate::support::gpu::no_faults();
    }
}
