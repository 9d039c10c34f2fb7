use std::sync::Arc;

use rewind::data::augment::shift;
use rewind::data::{Dataset, EpochSpec, Normalise, Part, Place, Split, image_len};

use super::streamed;
use crate::config::{JitterBy, RandAugmentBy, RunConfig};

const SIDE: usize = 11;
const SPEC: EpochSpec = EpochSpec { seed: 3, augment: true };

fn set() -> Arc<Dataset> {
    let split = |n: usize| Split {
        side: SIDE,
        pixels: (0..n * image_len(SIDE)).map(|i| (i * 31 % 251 + i / 700) as u8).collect(),
        labels: (0..n).map(|i| (i % 3) as u16).collect(),
    };
    let (train, test, normalise) = (split(23), split(9), Normalise::IMAGENET);
    Arc::new(Dataset { name: "a".into(), classes: 3, normalise, train, test, fingerprint: None, part_of: None })
}

fn plain() -> RunConfig {
    RunConfig { batch: 5, threads: Some(2), ..RunConfig::default() }
}

fn changed() -> RunConfig {
    let (rand_augment, colour_jitter) = (Some(RandAugmentBy([2, 9])), Some(JitterBy([0.4, 0.4, 0.4, 0.1])));
    RunConfig { rand_augment, colour_jitter, erase: Some(0.5), ..plain() }
}

/// What an epoch shows from image number `first` on.
fn shown(config: &RunConfig, spec: EpochSpec, epoch: usize, first: usize) -> (Vec<u8>, Vec<u16>) {
    let (dataset, mut stream) = streamed(&set(), config).expect("a stream");
    let n = dataset.images(Part::Train);
    stream.begin_epoch(spec, epoch, first).expect("an epoch");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for from in (first..n).step_by(config.batch) {
        let (some, classes) = stream.next(config.batch.min(n - from)).expect("a batch");
        pixels.extend_from_slice(some);
        labels.extend_from_slice(classes);
    }
    (pixels, labels)
}

#[test]
fn a_set_in_memory_is_brought_as_it_would_be_shown_whole() {
    let whole = set();
    for augment in [true, false] {
        let spec = EpochSpec { augment, ..SPEC };
        let mut places = vec![Place::default(); whole.train.len()];
        spec.draw(4, &mut places);
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for place in places {
            let mut out = vec![0; image_len(SIDE)];
            shift(whole.train.image(place.index as usize), SIDE, place.change(), &mut out);
            pixels.extend(out);
            labels.push(whole.train.labels[place.index as usize]);
        }
        assert!(shown(&plain(), spec, 4, 0) == (pixels, labels));
    }
    let (dataset, mut stream) = streamed(&whole, &plain()).expect("a stream");
    assert_eq!((dataset.images(Part::Train), dataset.images(Part::Test), dataset.side()), (23, 9, SIDE));
    assert!(dataset.bytes() > whole.bytes() && dataset.train.len() == 5);
    stream.begin_test().expect("a test");
    assert_eq!(stream.next(5).expect("five"), (&whole.test.pixels[..5 * image_len(SIDE)], &whole.test.labels[..5]));
}

#[test]
fn changes_depend_on_seed_epoch_and_picture_alone() {
    let all = shown(&changed(), SPEC, 2, 0);
    assert!(all.0 != shown(&plain(), SPEC, 2, 0).0 && all.1 == shown(&plain(), SPEC, 2, 0).1);
    for (batch, threads) in [(1, 1), (7, 3), (23, 5)] {
        let config = RunConfig { batch, threads: Some(threads), ..changed() };
        assert!(shown(&config, SPEC, 2, 0) == all, "{batch}, {threads}");
    }
    // as a resume goes on
    let (pixels, labels) = shown(&changed(), SPEC, 2, 10);
    assert!(pixels == all.0[10 * image_len(SIDE)..] && labels == all.1[10..]);
    assert!(shown(&changed(), SPEC, 3, 0) != all && shown(&changed(), EpochSpec { seed: 4, ..SPEC }, 2, 0) != all);
    // without augmentation there are none
    let still = EpochSpec { augment: false, ..SPEC };
    assert!(shown(&changed(), still, 2, 0) == shown(&plain(), still, 2, 0));
}

#[test]
fn a_change_that_is_left_out_changes_nothing_of_the_others() {
    // a box covers what was there, and nothing else: half of the pictures are as without one
    let pictures = |config: &RunConfig| -> Vec<Vec<u8>> {
        shown(config, SPEC, 1, 0).0.chunks(image_len(SIDE)).map(<[u8]>::to_vec).collect()
    };
    let (with, without) = (pictures(&changed()), pictures(&RunConfig { erase: None, ..changed() }));
    let same = with.iter().zip(&without).filter(|(a, b)| a == b).count();
    assert!((5..=18).contains(&same), "{same} of 23");
    // the mean of ImageNet in bytes
    for (a, b) in with.iter().flatten().zip(without.iter().flatten()) {
        assert!(a == b || [124, 116, 104].contains(a));
    }
}
