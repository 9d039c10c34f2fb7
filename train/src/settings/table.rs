//! The settings.

use rewind::code::{Bits, CodedPass};
use rewind::cpu::Rounding;
use rewind::device::{AdamWStep, Decay, Math};
use rewind::error::{Error, Result};
use rewind::init::Init;
use rewind::net::Stem;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{BnStatistics, Gradient, Masks, SweepSpec, Update};
use serde::{Deserialize, Serialize};

use super::declare::settings;
use super::held::{Held, described};
use crate::schedule::Schedule;
use crate::values::{
    Betas, Block, ByteSize, CacheKind, CropKind, DeviceChoice, Form, JitterBy, LrDrop, NetKind, NormaliseBy, Optimiser,
    Preset, RandAugmentBy, Sizes, StageList,
};

settings! {
    /// How states and gradients are computed.
    sweep: SweepSpec = SweepSpec::new(Scheme::Euler, Gradient::Auto);

    "Data" {
        /// CIFAR's folder, one of pictures by class, or synthetic.
        data("DIR|synthetic"): String as Option<String> = None => "see above", Free;
        /// Rows and columns of the images that the net sees.
        image("S"): usize as Option<usize> = None => "224; CIFAR: 32", Fixed;
        /// Shorter side of a picture before it is cropped.
        resize("R"): usize as Option<usize> = None => "image, or 8/7 of it from 64 on", Fixed;
        /// How training pictures are cropped: shift or random.
        crop("HOW"): CropKind as Option<CropKind> = None => "shift; random from 64 on", Fixed;
        /// Mean and deviation: imagenet, cifar-10, or auto (measured).
        normalise("BY"): NormaliseBy as Option<NormaliseBy> = None => "imagenet", Fixed;
        /// Part of each class to hold out where there is no folder val.
        val_split("PART"): f64 as Option<f64> = None => "none", Fixed;
        /// Where decoded pictures are kept: ram, disk or none.
        cache("WHERE"): CacheKind as Option<CacheKind> = None => "ram if there is room", Free;
        /// Random crops and flips of the training images.
        #[arg(long = "no-augment", num_args = 0, default_missing_value = "false")]
        #[arg(help = "Train on the images as they are: no crop, no flip")]
        augment: bool as bool = true, Fixed;
        /// RandAugment: N changes of magnitude M to each picture, e.g. 2,9.
        rand_augment("N,M"): RandAugmentBy as Option<RandAugmentBy> = None => "none", Fixed, of Augment;
        /// Random brightness, contrast, saturation, hue, e.g. 0.4,0.4,0.4,0.1.
        colour_jitter("B,C,S,H"): JitterBy as Option<JitterBy> = None => "none", Fixed, of Augment;
        /// Part of the training images that lose a random box, e.g. 0.25.
        #[arg(allow_negative_numbers = true)]
        erase("P"): f64 as Option<f64> = None => "none", Fixed, of Augment;
    }
    "Network" {
        /// tiny (the paper's), staged, or resnet18 to resnet152.
        net("NET"): NetKind as NetKind = NetKind::Tiny, Fixed;
        /// Residual blocks.
        depth("N"): usize as usize = 8, Fixed, of Tiny;
        /// Channels of every block.
        channels("C"): usize as usize = 16, Fixed, of Tiny;
        /// Stem: 5x5 (stride 3), 3x3 (stride 1), 7x7 (ResNet's).
        stem("STEM"): Stem as Option<Stem> = None => "5x5; staged: 3x3, 7x7 from 64 on", Fixed;
        /// Residual blocks of each stage of a staged net.
        blocks("N,N"): Sizes as Vec<usize> = vec![4, 4, 4], Fixed, of Staged;
        /// Channels of each stage.
        widths("C,C"): Sizes as Vec<usize> = vec![16, 32, 64], Fixed, of Staged;
        /// Channels of the stem of a staged net.
        stem_width("C"): usize as Option<usize> = None => "the first stage's", Fixed, of Staged;
        /// Residual function: basic, bottleneck or pre-activation.
        block("BLOCK"): Block as Block = Block::Basic, Fixed;
        /// Behind a block's sum: ode (nothing) or torchvision (a ReLU).
        form("FORM"): Form as Form = Form::Ode, Fixed, of Staged;
        /// One set of weights for all residual blocks of a stage.
        #[arg(num_args = 0, default_missing_value = "true")]
        tied: bool as bool = false, Fixed;
        /// How blocks step: euler (ResNet), heun (HeunNet) or rk4.
        scheme in sweep("SCHEME"): Scheme, Fixed;
        /// Step size: 1/N, or 1 (a plain ResNet, close to no ODE).
        step_size("H"): StepSize as StepSize = StepSize::OverDepth, Fixed;
        /// Initial weights: paper, smooth (equal blocks) or plain.
        init("INIT"): Init as Init = Init::Paper, Fixed;
        /// Start from these weights: a checkpoint, or torchvision's or timm's safetensors.
        init_from("FILE"): String as Option<String> = None, Fixed;
    }
    "Gradient" {
        /// auto, coded, corrected, adjoint, checkpoint, backprop.
        gradient in sweep("MODE"): Gradient, Fixed;
        /// Stages that go back by it, e.g. layer3; the others by backprop.
        #[arg(visible_alias = "sweep")]
        sweep_stages("LAYERS"): StageList as Option<StageList> = None => "all", Fixed, of Staged;
        /// Bits per element of a code: 1, 2, 4 or 8.
        bits in sweep("B"): Bits, Fixed, of Codes;
        /// Forward pass beside codes: plain or altered.
        coded_pass in sweep("PASS"): CodedPass, Fixed, of Codes;
        /// Blocks of a stage that auto has room to code.
        code_room in sweep("N"): usize => "all that fit", Fixed;
        /// Extra passes of the reverse step.
        fixed_point in sweep("R"): usize, Fixed;
        /// Keep the true state every K blocks, restart there.
        anchors in sweep("K"): usize => "none", Fixed;
        /// Blocks between stored states of checkpoint.
        checkpoint_every in sweep("K"): usize => "sqrt of depth", Fixed;
        /// Statistics of the reverse step: saved, batch, hybrid.
        bn_stats in sweep("WHICH"): BnStatistics, Fixed;
        /// Signs at ReLUs: recomputed, or saved.
        masks in sweep("WHICH"): Masks, Fixed, of Reconstruction;
        /// Apply SGD in-sweep or after it, to the same bits.
        update in sweep("WHEN"): Update, Fixed;
    }
    "Training" {
        /// Passes over the training set.
        epochs("N"): usize as Option<usize> = None => "90; synthetic: 5", Free;
        /// Images per step.
        batch("N"): usize as usize = 256, Fixed;
        /// How weights move: sgd or adamw.
        optimiser("WHICH"): Optimiser as Option<Optimiser> = None => "sgd", Fixed;
        /// Learning rate, 1000 at most.
        #[arg(allow_negative_numbers = true)]
        lr("X"): f64 as f64 = 0.1, Fixed;
        /// Momentum of SGD.
        #[arg(allow_negative_numbers = true)]
        momentum("X"): f64 as f64 = 0.9, Fixed, of Sgd;
        /// Nesterov's momentum: each step looks one ahead.
        #[arg(num_args = 0, default_missing_value = "true")]
        nesterov: bool as Option<bool> = None, Fixed, of Sgd;
        /// What stays of AdamW's two means from step to step.
        betas("B,B"): Betas as Option<Betas> = None => "0.9,0.999", Fixed, of AdamW;
        /// Added to the root that a step of AdamW is divided by.
        #[arg(allow_negative_numbers = true)]
        eps("X"): f64 as Option<f64> = None => "1e-8", Fixed, of AdamW;
        /// Weight decay, 1000 at most.
        #[arg(allow_negative_numbers = true)]
        weight_decay("X"): f64 as f64 = 5e-4, Fixed;
        /// What decays: all, or weights (no biases, no batch norms).
        decay("WHICH"): Decay as Option<Decay> = None => "all", Fixed;
        /// Largest norm of all gradients together.
        #[arg(allow_negative_numbers = true)]
        clip("NORM"): f64 as Option<f64> = None => "none", Fixed;
        /// Largest norm of each block's gradients by themselves.
        #[arg(allow_negative_numbers = true)]
        clip_blocks("NORM"): f64 as Option<f64> = None => "none", Fixed;
        /// Batches whose gradients make one step of the optimiser.
        accumulate("K"): usize as Option<usize> = None => "1", Fixed;
        /// Test an average of the weights, of which this part stays per step.
        #[arg(allow_negative_numbers = true)]
        ema("KEEP"): f64 as Option<f64> = None => "none", Fixed;
        /// How lr goes down: step, cosine, cosine-steps or one-cycle.
        lr_schedule("HOW"): Schedule as Schedule = Schedule::Step, Fixed;
        /// Epochs in which lr rises from 0, step by step.
        warmup("E"): usize as usize = 0, Fixed;
        /// Epochs after which lr falls to a tenth, or none.
        lr_drop("E,E"): LrDrop as Option<Vec<usize>> = None => "at 1/3, 2/3", Fixed, of Steps;
        /// Part of the right answer that all classes share, e.g. 0.1.
        #[arg(allow_negative_numbers = true)]
        label_smoothing("E"): f64 as f64 = 0.0, Fixed;
        /// Mix images in pairs, by parts from beta(A, A), e.g. 0.2.
        #[arg(allow_negative_numbers = true)]
        mixup("A"): f64 as Option<f64> = None => "none", Fixed;
        /// Put boxes of other images in, of areas from beta(A, A), e.g. 1.
        #[arg(allow_negative_numbers = true)]
        cutmix("A"): f64 as Option<f64> = None => "none", Fixed;
        /// Seed of weights, order, augmentation and synthetic data.
        seed("S"): u64 as u64 = 0, Fixed;
        /// Stop after this many steps in all.
        max_steps("N"): u64 as Option<u64> = None => "no limit", Free;
    }
    "Machine" {
        /// auto, cpu, cuda or cuda:1.
        device("DEVICE"): DeviceChoice as DeviceChoice = DeviceChoice::Auto, Free;
        /// A GPU's products: fp16, bf16, tf32 or fp32.
        math("MATH"): Math as Math = Math::Fp16, Fixed;
        /// Round the CPU's factors as tf32, fp16 or bf16.
        round_as("FORMAT"): Rounding as Option<Rounding> = None => "no", Fixed;
        /// Threads that compute.
        threads("N"): usize as Option<usize> = None => "one per core", Free;
        /// Refuse a run that plans more, e.g. 512MiB.
        memory_limit("SIZE"): ByteSize as Option<u64> = None => "no limit", Free;
    }
    "Run" {
        /// A row of steps.csv for every K steps.
        log_steps("K"): u64 as Option<u64> = None => "none", Free;
        /// Keep the checkpoint of the best test accuracy as best.safetensors.
        #[arg(num_args = 0, default_missing_value = "true")]
        keep_best: bool as bool = false, Free;
        /// Keep the checkpoint of every Nth epoch, e.g. as epoch-0010.safetensors.
        keep_every("N"): usize as Option<usize> = None => "none", Free;
        /// Leave a file that TensorBoard reads, too.
        #[arg(num_args = 0, default_missing_value = "true")]
        tensorboard: bool as bool = false, Free;
    }
}

impl Settings {
    /// The same with a net that goes by a name in its parts, and with what torchvision's form asks for. What is given of them beside the name
    /// stays.
    pub fn expanded(mut self) -> Self {
        if self.form == Some(Form::Torchvision) {
            self.step_size.get_or_insert(StepSize::One);
            self.init.get_or_insert(Init::Plain);
            self.gradient.get_or_insert(Gradient::Coded);
        }
        let Some(Preset { blocks, widths, block, stem_width }) = self.net.and_then(NetKind::preset) else {
            return self;
        };
        Self {
            net: Some(NetKind::Staged),
            blocks: self.blocks.or(Some(Sizes(blocks.into()))),
            widths: self.widths.or(Some(Sizes(widths.into()))),
            block: self.block.or(Some(block)),
            stem_width: self.stem_width.or(Some(stem_width)),
            ..self
        }
    }

    /// `base`, with what is given here put over it.
    pub fn over(self, base: RunConfig) -> RunConfig {
        let (mut config, begun) = (base, self.clone());
        let before = config.optimiser();
        self.put(&mut config);
        if (before, config.optimiser()) == (Optimiser::Sgd, Optimiser::AdamW) {
            // SGD's numbers are far from those that suit AdamW
            config.lr = begun.lr.unwrap_or(AdamWStep::PYTORCH.lr);
            config.weight_decay = begun.weight_decay.unwrap_or(AdamWStep::PYTORCH.weight_decay);
        }
        if config.clip.is_some() && begun.update.is_none() {
            // what all gradients are clipped by is known behind the sweep
            config.sweep.update = Update::After;
        }
        if config.lr_schedule != Schedule::Step {
            // no other has drops
            config.lr_drop = None;
        }
        config
    }

    /// Refuses settings that mean nothing in the run that they belong to, which has `config`: those of the other net, epochs of steps
    /// where lr goes down on a cosine, bits where nothing is coded.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first.
    pub fn check_meaning(&self, config: &RunConfig) -> Result<()> {
        for setting in SETTINGS.iter().filter(|setting| (setting.given)(self)) {
            // `--lr-drop none` says what the others do
            if setting.name == "lr_drop" && self.lr_drop.as_ref().is_some_and(|drops| drops.0.is_empty()) {
                continue;
            }
            let foreign = setting.owner.iter().filter(|owner| !owner.has(config));
            if let Some(sentence) = foreign.filter_map(|owner| owner.refusal(&setting.key(), config)).next() {
                return Err(Error::Usage(sentence));
            }
        }
        Ok(())
    }
}

/// A setting, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name of its field.
    pub name: &'static str,
    /// Whether a resume may change it.
    pub resume: Resume,
    /// Where alone it means something; empty where that is everywhere.
    pub owner: &'static [Owner],
    /// Whether it was given.
    pub given: fn(&Settings) -> bool,
}

impl Setting {
    /// Its key in a config file, and, but for switches, its flag without the dashes.
    pub fn key(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// Whether a resume may change a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// No: the checkpoint was computed with it.
    Fixed,
    /// Yes: it says where and for how long a run goes on.
    Free,
}

/// What a setting belongs to, where it does not mean something in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The tiny net.
    Tiny,
    /// Staged nets.
    Staged,
    /// Gradient modes that have codes.
    Codes,
    /// Gradient modes that rebuild states.
    Reconstruction,
    /// Stochastic gradient descent.
    Sgd,
    /// AdamW.
    AdamW,
    /// A learning rate that falls in steps.
    Steps,
    /// Training images that are changed at random.
    Augment,
}

impl Owner {
    /// Whether the run of `config` is one of those.
    pub fn has(self, config: &RunConfig) -> bool {
        match self {
            Self::Tiny => config.net == NetKind::Tiny,
            Self::Staged => config.net != NetKind::Tiny,
            Self::Codes => config.sweep.gradient.codes(),
            Self::Reconstruction => config.sweep.gradient.reconstructs(),
            Self::Sgd => config.optimiser() == Optimiser::Sgd,
            Self::AdamW => config.optimiser() == Optimiser::AdamW,
            Self::Steps => config.lr_schedule == Schedule::Step,
            Self::Augment => config.augment,
        }
    }

    /// What to say where `--key` is given in another run.
    fn refusal(self, key: &str, config: &RunConfig) -> Option<String> {
        Some(match self {
            Self::Tiny => format!("--{key} belongs to --net tiny: give --blocks and --widths"),
            Self::Staged => {
                format!("--{key} belongs to --net staged: give --net staged too, or --depth and --channels")
            }
            Self::Codes => format!("--{key} goes with --gradient coded or auto, not {}", config.sweep.gradient),
            // the engine knows which of its values mean something
            Self::Reconstruction => return None,
            Self::Sgd => format!("--{key} belongs to --optimiser sgd, and adamw has --betas: leave one out"),
            Self::AdamW => format!("--{key} belongs to --optimiser adamw: give that too, or leave --{key} out"),
            Self::Augment => {
                format!("--{key} changes training images, and --no-augment leaves them as they are: leave one out")
            }
            Self::Steps => {
                let other = config.lr_schedule;
                format!("--{key} belongs to --lr-schedule step: {other} goes down all the time, so leave one out")
            }
        })
    }
}
