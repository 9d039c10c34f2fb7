//! Random numbers keyed by what they are for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream decides. The number is part of the key: changing one changes every run.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Crop and flip of one image in one epoch.
    Augment = 1,
    /// The order of the training images in one epoch.
    Shuffle = 2,
    /// One image of the synthetic data set.
    Synthetic = 3,
    /// The part that is seen of one picture in one epoch.
    Crop = 4,
    /// The changes of chance of one picture in one epoch.
    RandAugment = 5,
    /// The colours of one picture in one epoch.
    ColourJitter = 6,
    /// The box that is erased of one picture in one epoch.
    Erase = 7,
    /// How the images of one batch are mixed.
    Mix = 8,
}

/// The stream for `purpose` at `(a, b)`: the whole key of the cipher is those four numbers, so no two streams are related
/// and none depends on how many numbers another one gave.
pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn each_part_of_the_key_matters() {
        let first = |seed, purpose, a, b| stream(seed, purpose, a, b).next_u64();
        let base = first(1, Purpose::Augment, 2, 3);
        assert_eq!(base, first(1, Purpose::Augment, 2, 3));
        for other in [
            first(2, Purpose::Augment, 2, 3),
            first(1, Purpose::Shuffle, 2, 3),
            first(1, Purpose::Augment, 3, 3),
            first(1, Purpose::Augment, 2, 4),
            first(1, Purpose::Augment, 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }
}
