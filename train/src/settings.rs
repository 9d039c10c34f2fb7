//! The settings that a user may give: each is a flag of `train_cifar` and, under the same name, a key of a config file.
//!
//! Every field is optional here, because a setting that was not given falls back to the next source: flags, then `--config`,
//! then the defaults of [`RunConfig`]. A key is its flag without the dashes (`weight-decay = 5e-4`), but for `--no-augment`,
//! whose key is `augment = false`.

use std::fmt;
use std::str::FromStr;

use rewind::code::{Bits, CodedPass};
use rewind::device::Math;
use rewind::error::Error;
use rewind::init::Init;
use rewind::memory::parse_bytes;
use rewind::net::Stem;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{BnStatistics, Gradient, Masks, SweepSpec, Update};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Block, DeviceChoice, NetKind, RunConfig, listed};
use crate::schedule::Schedule;

/// What was given on the command line, or in a config file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Folder of CIFAR's binary files, or synthetic [default: see above].
    #[arg(long, value_name = "DIR|synthetic", help_heading = "Data")]
    pub data: Option<String>,
    /// Train on the images as they are: no crop, no flip.
    #[arg(long = "no-augment", num_args = 0, default_missing_value = "false", help_heading = "Data")]
    pub augment: Option<bool>,

    /// tiny (the paper's: stem, blocks, head) or staged [default: tiny].
    #[arg(long, value_name = "NET", hide_possible_values = true, help_heading = "Network")]
    pub net: Option<NetKind>,
    /// Residual blocks [default: 8].
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub depth: Option<usize>,
    /// Channels of every block [default: 16].
    #[arg(long, value_name = "C", help_heading = "Network")]
    pub channels: Option<usize>,
    /// Stem: 5x5 (stride 3: 10 x 10 maps) or 3x3 (32 x 32 maps) [default: 5x5].
    #[arg(long, value_name = "STEM", hide_possible_values = true, help_heading = "Network")]
    pub stem: Option<Stem>,
    /// Residual blocks of each stage of a staged net [default: 4,4,4].
    #[arg(long, value_name = "N,N", help_heading = "Network")]
    pub blocks: Option<Sizes>,
    /// Channels of each stage [default: 16,32,64].
    #[arg(long, value_name = "C,C", help_heading = "Network")]
    pub widths: Option<Sizes>,
    /// Residual function: basic or bottleneck [default: basic].
    #[arg(long, value_name = "BLOCK", hide_possible_values = true, help_heading = "Network")]
    pub block: Option<Block>,
    /// One set of weights for all residual blocks of a stage.
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Network")]
    pub tied: Option<bool>,
    /// How blocks step: euler (ResNet), heun (HeunNet) or rk4 [default: euler].
    #[arg(long, value_name = "SCHEME", hide_possible_values = true, help_heading = "Network")]
    pub scheme: Option<Scheme>,
    /// Step size: 1/N, or 1 (a plain ResNet, close to no ODE) [default: 1/N].
    #[arg(long, value_name = "H", hide_possible_values = true, help_heading = "Network")]
    pub step_size: Option<StepSize>,
    /// Initial weights: paper, smooth (equal blocks) or plain [default: paper].
    #[arg(long, value_name = "INIT", hide_possible_values = true, help_heading = "Network")]
    pub init: Option<Init>,
    /// Start from the weights of this checkpoint, untied where it is tied.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub init_from: Option<String>,

    /// auto, coded, corrected, adjoint, checkpoint, backprop [default: auto].
    #[arg(long, value_name = "MODE", hide_possible_values = true, help_heading = "Gradient")]
    pub gradient: Option<Gradient>,
    /// Bits per element of a code: 1, 2, 4 or 8 [default: 4].
    #[arg(long, value_name = "B", hide_possible_values = true, help_heading = "Gradient")]
    pub bits: Option<Bits>,
    /// Forward pass beside codes: plain or altered [default: plain].
    #[arg(long, value_name = "PASS", hide_possible_values = true, help_heading = "Gradient")]
    pub coded_pass: Option<CodedPass>,
    /// Blocks of a stage that auto has room to code [default: all that fit].
    #[arg(long, value_name = "N", help_heading = "Gradient")]
    pub code_room: Option<usize>,
    /// Extra passes of the reverse step [default: 0].
    #[arg(long, value_name = "R", help_heading = "Gradient")]
    pub fixed_point: Option<usize>,
    /// Keep the true state every K blocks, restart there [default: none].
    #[arg(long, value_name = "K", help_heading = "Gradient")]
    pub anchors: Option<usize>,
    /// Blocks between stored states of checkpoint [default: sqrt of depth].
    #[arg(long, value_name = "K", help_heading = "Gradient")]
    pub checkpoint_every: Option<usize>,
    /// Statistics of the reverse step: saved, batch, hybrid [default: saved].
    #[arg(long, value_name = "WHICH", hide_possible_values = true, help_heading = "Gradient")]
    pub bn_stats: Option<BnStatistics>,
    /// Signs at ReLUs: recomputed, or saved [default: recomputed].
    #[arg(long, value_name = "WHICH", hide_possible_values = true, help_heading = "Gradient")]
    pub masks: Option<Masks>,
    /// Apply SGD in-sweep or after it, to the same bits [default: in-sweep].
    #[arg(long, value_name = "WHEN", hide_possible_values = true, help_heading = "Gradient")]
    pub update: Option<Update>,

    /// Passes over the training set [default: 90; synthetic: 5].
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Images per step [default: 256].
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch: Option<usize>,
    /// Learning rate [default: 0.1].
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Training")]
    pub lr: Option<f64>,
    /// Momentum of SGD [default: 0.9].
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Training")]
    pub momentum: Option<f64>,
    /// Weight decay, on all parameters [default: 0.0005].
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// How lr goes down: step, or cosine over all epochs [default: step].
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = "Training")]
    pub lr_schedule: Option<Schedule>,
    /// Epochs after which step lets lr fall to a tenth, or none [default: 30,60].
    #[arg(long, value_name = "E,E", help_heading = "Training")]
    pub lr_drop: Option<LrDrop>,
    /// Seed of weights, order, augmentation and synthetic data [default: 0].
    #[arg(long, value_name = "S", help_heading = "Training")]
    pub seed: Option<u64>,
    /// Stop after this many steps in all [default: no limit].
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub max_steps: Option<u64>,

    /// auto, cpu, cuda or cuda:1 [default: auto].
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    pub device: Option<DeviceChoice>,
    /// A GPU's products: tf32, fp32 or fp16 [default: tf32].
    #[arg(long, value_name = "MATH", hide_possible_values = true, help_heading = "Machine")]
    pub math: Option<Math>,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Refuse a run that plans more, e.g. 512MiB [default: no limit].
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    pub memory_limit: Option<ByteSize>,
}

impl Settings {
    /// Refuses settings that mean nothing beside the others: those of the other net, epochs of steps where lr goes down on a
    /// cosine, bits where nothing is coded.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first.
    pub fn check_meaning(&self, net: NetKind, schedule: Schedule, gradient: Gradient) -> rewind::Result<()> {
        let Self { depth, channels, stem, blocks, widths, .. } = self;
        for (flag, given) in [("--bits", self.bits.is_some()), ("--coded-pass", self.coded_pass.is_some())] {
            if given && !gradient.codes() {
                return Err(Error::Usage(format!("{flag} goes with --gradient coded or auto, not {gradient}")));
            }
        }
        let of_tiny = [("--depth", depth.is_some()), ("--channels", channels.is_some()), ("--stem", stem.is_some())];
        let of_staged = [("--blocks", blocks.is_some()), ("--widths", widths.is_some())];
        let (foreign, other, instead) = match net {
            NetKind::Tiny => (&of_staged[..], NetKind::Staged, "give --net staged too, or --depth and --channels"),
            NetKind::Staged => (&of_tiny[..], NetKind::Tiny, "give --blocks and --widths"),
        };
        if let Some((flag, _)) = foreign.iter().find(|(_, given)| *given) {
            return Err(Error::Usage(format!("{flag} belongs to --net {other}: {instead}")));
        }
        let drops = self.lr_drop.as_ref().is_some_and(|drop| !drop.0.is_empty());
        if drops && schedule == Schedule::Cosine {
            let sentence =
                "--lr-drop belongs to --lr-schedule step: a cosine goes down in every epoch, so leave one out";
            return Err(Error::Usage(sentence.into()));
        }
        Ok(())
    }

    /// `base`, with what is given here put over it.
    pub fn over(self, base: RunConfig) -> RunConfig {
        let sweep = base.sweep;
        let lr_schedule = self.lr_schedule.unwrap_or(base.lr_schedule);
        let lr_drop = self.lr_drop.map_or(base.lr_drop, |drop| drop.0);
        RunConfig {
            data: self.data.or(base.data),
            augment: self.augment.unwrap_or(base.augment),
            net: self.net.unwrap_or(base.net),
            depth: self.depth.unwrap_or(base.depth),
            channels: self.channels.unwrap_or(base.channels),
            stem: self.stem.unwrap_or(base.stem),
            blocks: self.blocks.map_or(base.blocks, |blocks| blocks.0),
            widths: self.widths.map_or(base.widths, |widths| widths.0),
            block: self.block.unwrap_or(base.block),
            tied: self.tied.unwrap_or(base.tied),
            step_size: self.step_size.unwrap_or(base.step_size),
            sweep: SweepSpec {
                scheme: self.scheme.unwrap_or(sweep.scheme),
                gradient: self.gradient.unwrap_or(sweep.gradient),
                fixed_point: self.fixed_point.unwrap_or(sweep.fixed_point),
                anchors: self.anchors.or(sweep.anchors),
                checkpoint_every: self.checkpoint_every.or(sweep.checkpoint_every),
                bits: self.bits.unwrap_or(sweep.bits),
                coded_pass: self.coded_pass.unwrap_or(sweep.coded_pass),
                code_room: self.code_room.or(sweep.code_room),
                bn_stats: self.bn_stats.unwrap_or(sweep.bn_stats),
                masks: self.masks.unwrap_or(sweep.masks),
                update: self.update.unwrap_or(sweep.update),
            },
            init: self.init.unwrap_or(base.init),
            init_from: self.init_from.or(base.init_from),
            epochs: self.epochs.or(base.epochs),
            batch: self.batch.unwrap_or(base.batch),
            lr: self.lr.unwrap_or(base.lr),
            momentum: self.momentum.unwrap_or(base.momentum),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            lr_schedule,
            // a cosine has no drops
            lr_drop: if lr_schedule == Schedule::Cosine { Vec::new() } else { lr_drop },
            seed: self.seed.unwrap_or(base.seed),
            max_steps: self.max_steps.or(base.max_steps),
            device: self.device.unwrap_or(base.device),
            math: self.math.unwrap_or(base.math),
            threads: self.threads.or(base.threads),
            memory_limit: self.memory_limit.map(|size| size.0).or(base.memory_limit),
        }
    }
}

impl From<&RunConfig> for Settings {
    fn from(config: &RunConfig) -> Self {
        let RunConfig { sweep, net, .. } = config;
        let (tiny, staged) = (*net == NetKind::Tiny, *net == NetKind::Staged);
        let sizes = |sizes: &[usize]| staged.then(|| Sizes(sizes.into()));
        Self {
            data: config.data.clone(),
            augment: Some(config.augment),
            net: Some(*net),
            depth: tiny.then_some(config.depth),
            channels: tiny.then_some(config.channels),
            stem: tiny.then_some(config.stem),
            blocks: sizes(&config.blocks),
            widths: sizes(&config.widths),
            block: Some(config.block),
            tied: Some(config.tied),
            scheme: Some(sweep.scheme),
            step_size: Some(config.step_size),
            init: Some(config.init),
            init_from: config.init_from.clone(),
            gradient: Some(sweep.gradient),
            bits: sweep.gradient.codes().then_some(sweep.bits),
            coded_pass: sweep.gradient.codes().then_some(sweep.coded_pass),
            code_room: sweep.code_room,
            fixed_point: Some(sweep.fixed_point),
            anchors: sweep.anchors,
            checkpoint_every: sweep.checkpoint_every,
            bn_stats: Some(sweep.bn_stats),
            masks: sweep.gradient.reconstructs().then_some(sweep.masks),
            update: Some(sweep.update),
            epochs: config.epochs,
            batch: Some(config.batch),
            lr: Some(config.lr),
            momentum: Some(config.momentum),
            weight_decay: Some(config.weight_decay),
            lr_schedule: Some(config.lr_schedule),
            lr_drop: (config.lr_schedule == Schedule::Step).then(|| LrDrop(config.lr_drop.clone())),
            seed: Some(config.seed),
            max_steps: config.max_steps,
            device: Some(config.device),
            math: Some(config.math),
            threads: config.threads,
            memory_limit: config.memory_limit.map(ByteSize),
        }
    }
}

/// Epochs after which the learning rate falls to a tenth: `30,60` or `none`; in a config file `[30, 60]` or `[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LrDrop(pub Vec<usize>);

impl FromStr for LrDrop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let epochs: Result<_, _> = text.split(',').map(|epoch| epoch.trim().parse()).collect();
        epochs.map(Self).map_err(|_| "write epochs with commas, such as 30,60, or none".into())
    }
}

impl fmt::Display for LrDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.pad("none");
        }
        f.pad(&listed(&self.0))
    }
}

/// Sizes with commas: `4,4,4`; in a config file `[4, 4, 4]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sizes(pub Vec<usize>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes: Result<_, _> = text.split(',').map(|size| size.trim().parse()).collect();
        sizes.map(Self).map_err(|_| "write whole numbers with commas, such as 4,4,4".into())
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&listed(&self.0))
    }
}

/// A number of bytes: `512MiB`, `2GiB` or `1000000`; in a config file a string or an integer, written as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_bytes(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size such as \"512MiB\"")
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size is not negative"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A refusal of the engine's, in the flags' words: to be asked where the engine is called, since a refusal of this program's may hold
/// what its user typed.
pub fn flagged(error: Error) -> Error {
    match error {
        Error::Usage(sentence) => Error::Usage(with_flags(&sentence)),
        other => other,
    }
}

/// A sentence of the library's with the settings in it by the names of their flags: "`fixed_point`" is "--fixed-point".
pub fn with_flags(sentence: &str) -> String {
    let mut parts = sentence.split('`');
    let mut text = parts.next().unwrap_or_default().to_string();
    while let Some(inside) = parts.next() {
        let setting = inside.starts_with(|c: char| c.is_ascii_lowercase())
            && inside.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        match (setting, parts.next()) {
            (true, Some(after)) => text += &format!("--{}{after}", inside.replace('_', "-")),
            (false, Some(after)) => text += &format!("`{inside}`{after}"),
            (_, None) => text += &format!("`{inside}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_get_their_flags_names_and_nothing_else_changes() {
        assert_eq!(
            with_flags("`fixed_point` 3 goes with `gradient` auto"),
            "--fixed-point 3 goes with --gradient auto"
        );
        for text in ["no setting at all", "a `File.txt` and `a b`", "an odd ` one", ""] {
            assert_eq!(with_flags(text), text);
        }
    }
}
