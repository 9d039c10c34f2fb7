//! What a run's settings say of the recipe beside its optimiser: clipping, accumulation, averages, mixed and changed images.

use rewind::data::MixSpec;
use rewind::error::{Error, Result};
use rewind::recipe::{Clip, Recipe};
use rewind::sweep::Update;
use rewind_pictures::augment::rand_augment::{Kind, MAGNITUDES};

use crate::settings::RunConfig;
use crate::values::{JitterBy, RandAugmentBy, listed};

/// The most batches per step of the optimiser.
const ACCUMULATE_MAX: usize = 1 << 20;
/// The largest number of a beta distribution that images are mixed by: all parts are near a half from far below it on.
const BETA_MAX: f64 = 1000.0;
/// The most changes of RandAugment: as many as there are kinds.
const RAND_AUGMENT_MAX: usize = Kind::ALL.len();
/// The largest factor of a colour jitter, less 1.
const JITTER_MAX: f64 = 10.0;

impl RunConfig {
    /// What is done with gradients before the optimiser sees them, and with weights after it.
    pub fn recipe(&self) -> Recipe {
        let clip = self.clip.map(Clip::All).or(self.clip_blocks.map(Clip::Blocks));
        Recipe { clip, accumulates: self.batches_per_update() > 1, average: self.ema }
    }

    /// Batches that make one step of the optimiser.
    pub fn batches_per_update(&self) -> usize {
        self.accumulate.unwrap_or(1)
    }

    /// How training images are mixed with each other.
    pub fn mix(&self) -> MixSpec {
        MixSpec { mixup: self.mixup.unwrap_or(0.0), cutmix: self.cutmix.unwrap_or(0.0) }
    }

    /// Refuses what makes no sense of clipping, accumulation, averages and mixed images.
    pub(super) fn validate_recipe(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        for (flag, norm) in [("--clip", self.clip), ("--clip-blocks", self.clip_blocks)] {
            // rounded to 0, it would leave no gradient
            if let Some(norm) = norm.filter(|norm| !(norm.is_finite() && *norm as f32 > 0.0)) {
                return refuse(format!(
                    "{flag} must be a norm above 0 that single precision holds, such as 1, not {norm}"
                ));
            }
        }
        if self.clip.is_some() && self.clip_blocks.is_some() {
            return refuse(
                "--clip is of all gradients together and --clip-blocks of each block's: leave one out".into(),
            );
        }
        if self.clip.is_some() && self.sweep.update == Update::InSweep {
            return refuse(
                "--clip needs all gradients before the first update, and --update in-sweep keeps none: give --update after, or \
                 --clip-blocks in place of --clip"
                    .into(),
            );
        }
        match self.batches_per_update() {
            0 => return refuse("--accumulate 0 takes no batch: give 1 or more, or leave it out".into()),
            batches if batches > ACCUMULATE_MAX => {
                return refuse(format!(
                    "--accumulate {batches} is more than this program takes: give {ACCUMULATE_MAX} or less"
                ));
            }
            _ => {}
        }
        if let Some(keep) = self.ema.filter(|keep| !(0.0..1.0).contains(keep)) {
            return refuse(format!("--ema must be from 0 to below 1, such as 0.999, not {keep}"));
        }
        for (flag, alpha) in [("--mixup", self.mixup), ("--cutmix", self.cutmix)] {
            if let Some(alpha) = alpha.filter(|alpha| !(*alpha > 0.0 && *alpha <= BETA_MAX)) {
                return refuse(format!(
                    "{flag} must be a number above 0, and {BETA_MAX} at most, such as 0.2, not {alpha}"
                ));
            }
        }
        Ok(())
    }

    /// Whether anything is done to training pictures behind their crop.
    pub(crate) fn changes_pictures(&self) -> bool {
        let Self { rand_augment, colour_jitter, erase, .. } = self;
        self.augment && (rand_augment.is_some() || colour_jitter.is_some() || erase.is_some())
    }

    /// Refuses changes of pictures that are none.
    pub(super) fn validate_changes(&self) -> Result<()> {
        if let Some(RandAugmentBy([ops, magnitude])) = self.rand_augment
            && (ops > RAND_AUGMENT_MAX || magnitude >= MAGNITUDES)
        {
            let most = MAGNITUDES - 1;
            return Err(Error::Usage(format!(
                "--rand-augment takes 0 to {RAND_AUGMENT_MAX} changes of a magnitude of 0 to {most}, such as 2,9, not {ops},{magnitude}"
            )));
        }
        if let Some(JitterBy(strengths)) = self.colour_jitter {
            let most = [JITTER_MAX, JITTER_MAX, JITTER_MAX, 0.5];
            if !strengths.iter().zip(most).all(|(strength, most)| (0.0..=most).contains(strength)) {
                return Err(Error::Usage(format!(
                    "--colour-jitter takes strengths of 0 to {JITTER_MAX}, the last, for the hue, of 0 to 0.5, such as 0.4,0.4,0.4,0.1, not {}",
                    listed(&strengths)
                )));
            }
        }
        match self.erase {
            Some(part) if !(0.0..=1.0).contains(&part) => {
                Err(Error::Usage(format!("--erase must be a part from 0 to 1, such as 0.25, not {part}")))
            }
            _ => Ok(()),
        }
    }
}
