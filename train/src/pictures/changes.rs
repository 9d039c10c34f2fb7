//! What is done to a training picture behind its crop, if it is asked for.

use rand_chacha::rand_core::Rng;
use rewind::data::Normalise;
use rewind::data::random::{Purpose, stream};
use rewind_pictures::augment::{ColourJitter, Erase, RandAugment};

use crate::config::RunConfig;
use crate::values::{JitterBy, RandAugmentBy};

/// The changes of chance in the order of torchvision's recipes. Each has random numbers of its own, so that one that is added or left
/// out changes nothing of the others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    rand_augment: Option<RandAugment>,
    colour_jitter: Option<ColourJitter>,
    erase: Option<Erase>,
}

impl Changes {
    /// Those of a config, for pictures whose mean `normalise` knows.
    pub fn of(config: &RunConfig, normalise: Normalise) -> Self {
        let RunConfig { rand_augment, colour_jitter, erase, .. } = *config;
        Self {
            rand_augment: rand_augment.map(|RandAugmentBy([ops, magnitude])| RandAugment { ops, magnitude }),
            colour_jitter: colour_jitter.map(|JitterBy([brightness, contrast, saturation, hue])| ColourJitter {
                brightness,
                contrast,
                saturation,
                hue,
            }),
            erase: erase.map(|chance| Erase::to_mean(chance, normalise.mean)),
        }
    }

    /// Changes picture `index` of an epoch, `[side, side, 3]`: the same whatever the batch, the thread or the run's history.
    pub fn apply(&self, seed: u64, epoch: u64, index: u64, side: usize, pixels: &mut [u8], scratch: &mut Vec<u8>) {
        let drawn = |purpose| stream(seed, purpose, epoch, index).next_u64();
        if let Some(rand_augment) = &self.rand_augment {
            rand_augment.apply(drawn(Purpose::RandAugment), side, pixels, scratch);
        }
        if let Some(jitter) = &self.colour_jitter {
            jitter.apply(drawn(Purpose::ColourJitter), side, pixels, scratch);
        }
        if let Some(erase) = &self.erase {
            erase.apply(drawn(Purpose::Erase), side, pixels);
        }
    }
}
