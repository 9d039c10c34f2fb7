//! Batches out of the data set that the device holds, to the bit of `augment`; the steps' results.

use rewind::data::augment::{Change, PADDING, augment};
use rewind::data::{Batches, IMAGE_LEN, Part, Place};
use rewind::device::{Device, PassPosition};
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::bed::{Bed, cpus};
use crate::support::numbered;

const TRAIN: usize = 170;
const TEST: usize = 13;

/// Every change there is, on images in a mixed order, and some more to fill the table.
fn all_changes(table: usize) -> Vec<Place> {
    let changes = (0..=2 * PADDING)
        .flat_map(|top| (0..=2 * PADDING).flat_map(move |left| [false, true].map(|flip| Change { top, left, flip })));
    let places = changes.chain(std::iter::repeat(Change::NONE)).take(TRAIN);
    (table..).zip(places).map(|(i, change)| Place::new((i * 7 % TRAIN) as u32, change)).collect()
}

fn on<D: Device>(d: &D) {
    let bed = &mut Bed::new(d);
    let set = numbered(TRAIN, TEST);
    let mut data = d.hold(set.clone()).expect("hold");
    for table in [0, 1] {
        d.write_table(&mut data, table, |places| places.copy_from_slice(&all_changes(table))).expect("write_table");
    }
    let (mut step, mut chosen) = (bed.empty(Shape::vector(1)), bed.empty(Shape::vector(1)));
    let mut expected = vec![0.0f32; IMAGE_LEN];
    for (part, table, batch) in [(Part::Train, 0, 64), (Part::Train, 1, 64), (Part::Train, 0, 7), (Part::Test, 1, 5)] {
        let len = if part == Part::Train { TRAIN } else { TEST };
        let batches = Batches { images: len, batch };
        d.choose_table(&mut data, table, &mut chosen).expect("choose_table");
        // in any order, as a pass may begin at any step
        for at in (0..batches.count()).rev() {
            let n = batches.len(at);
            let mut images = bed.empty(Shape::map(n, 32, 32, 3));
            let mut labels = bed.empty(Shape::map(n, 1, 1, 1));
            d.fill(at as f64, &mut step).expect("fill");
            let position = PassPosition { step: &step, table: &chosen, batch };
            d.draw_batch(&data, part, position, &mut images, &mut labels).expect("draw_batch");
            let (images, labels) = (bed.read(&images), bed.read(&labels));
            for (i, image) in images.chunks_exact(IMAGE_LEN).enumerate() {
                let place = at * batch + i;
                let (split, index, change) = match part {
                    Part::Train => {
                        let drawn = all_changes(table)[place];
                        (&set.train, drawn.index as usize, drawn.change())
                    }
                    Part::Test => (&set.test, place, Change::NONE),
                };
                augment(split.image(index), change, &mut expected);
                let same = image.iter().zip(&expected).all(|(a, b)| a.to_bits() == f64::from(*b).to_bits());
                assert!(same, "{}: {part:?}, place {place}, {change:?}", d.name());
                assert_eq!(labels[i], f64::from(split.labels[index]), "{}: {part:?}, place {place}", d.name());
            }
        }
    }
}

#[test]
fn batches_are_augmented_to_the_bit() {
    on(&Reference);
    cpus().iter().for_each(on);
    #[cfg(all(feature = "cuda", target_os = "linux"))]
    {
        on(&crate::bed::cudas()[0].0);
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
