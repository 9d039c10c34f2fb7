//! What a run means: every setting that decides its result, and how it is run; validated, and saved beside the run.

mod net;
mod recipe;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use self::net::LARGE;
pub use rewind::device::Math;
use rewind::device::{AdamWStep, DescentStep, SgdStep};
use rewind::error::{Error, Result};
use rewind_pictures::regular;

use crate::schedule::{Schedule, thirds};
pub use crate::settings::RunConfig;
use crate::settings::{SETTINGS, Settings};
pub use crate::values::{
    Betas, Block, CacheKind, CropKind, DeviceChoice, Form, JitterBy, NetKind, NormaliseBy, Optimiser, RandAugmentBy,
    listed,
};

/// The name by which the user asks for the built-in data set.
pub const SYNTHETIC: &str = "synthetic";
/// Epochs of the recipe on CIFAR.
pub const CIFAR_EPOCHS: usize = 90;
/// Epochs on the built-in data set, which is easier.
pub const SYNTHETIC_EPOCHS: usize = 5;

/// A bound far above any machine, so that no wait is endless.
const THREADS_MAX: usize = 1024;
/// The same of epochs, whose rows a checkpoint's header has to hold.
const EPOCHS_MAX: usize = 100_000;
/// The same of passes of the reverse step, each of which costs as much as a forward step.
const FIXED_POINT_MAX: usize = 1000;
/// The largest learning rate. A first step of so many times a gradient leaves weights that no later step moves.
pub const LR_MAX: f64 = 1000.0;
/// The largest side of an image: more pixels of a batch than a device counts.
pub(crate) const SIDE_MAX: usize = 8192;
/// A config file of more bytes is another file.
const CONFIG_MAX: u64 = 1 << 20;
/// The largest weight decay.
pub const WEIGHT_DECAY_MAX: f64 = 1000.0;

impl RunConfig {
    /// How weights move.
    pub fn optimiser(&self) -> Optimiser {
        self.optimiser.unwrap_or_default()
    }

    /// AdamW's betas.
    fn betas(&self) -> [f64; 2] {
        self.betas.map_or(AdamWStep::PYTORCH.betas, |betas| betas.0)
    }

    /// A step of the optimiser at a learning rate.
    pub fn step(&self, lr: f64) -> DescentStep {
        let Self { momentum, weight_decay, .. } = *self;
        let decay = self.decay.unwrap_or_default();
        match self.optimiser() {
            Optimiser::Sgd => {
                let nesterov = self.nesterov.unwrap_or_default();
                SgdStep { lr, momentum, nesterov, weight_decay, decay }.into()
            }
            Optimiser::AdamW => {
                let (betas, eps) = (self.betas(), self.eps.unwrap_or(AdamWStep::PYTORCH.eps));
                AdamWStep { lr, betas, eps, weight_decay, decay }.into()
            }
        }
    }

    /// Refuses what makes no sense, before anything is read or written.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub fn validate(&self) -> Result<()> {
        self.validate_net()?;
        let must = |holds: bool, sentence: &dyn Fn() -> String| match holds {
            true => Ok(()),
            false => Err(Error::Usage(sentence())),
        };
        must(self.batch > 0, &|| "--batch 0 holds no image: give 1 or more".into())?;
        must(self.epochs != Some(0), &|| "--epochs 0 trains nothing: give 1 or more".into())?;
        must(self.max_steps != Some(0), &|| "--max-steps 0 trains nothing: give 1 or more, or leave it out".into())?;
        must(self.log_steps != Some(0), &|| "--log-steps 0 counts no step: give 1 or more, or leave it out".into())?;
        must(self.keep_every != Some(0), &|| "--keep-every 0 counts no epoch: give 1 or more, or leave it out".into())?;
        must(self.threads != Some(0), &|| "--threads 0 computes nothing: give 1 or more, or leave it out".into())?;
        for (flag, value) in [("--lr", self.lr), ("--momentum", self.momentum), ("--weight-decay", self.weight_decay)] {
            must(value.is_finite() && value >= 0.0, &|| format!("{flag} must be a number of 0 or more, not {value}"))?;
        }
        must((0.0..1.0).contains(&self.label_smoothing), &|| {
            format!("--label-smoothing must be from 0 to below 1, such as 0.1, not {}", self.label_smoothing)
        })?;
        let epochs = self.epochs.unwrap_or(1);
        must(epochs <= EPOCHS_MAX, &|| {
            format!("--epochs {epochs} is more than this program takes: give {EPOCHS_MAX} or less")
        })?;
        self.validate_warmup()?;
        self.validate_changes()?;
        let passes = self.sweep.fixed_point;
        must(passes <= FIXED_POINT_MAX, &|| {
            format!("--fixed-point {passes} is more than this program takes: give {FIXED_POINT_MAX} or less")
        })?;
        let threads = self.threads.unwrap_or(1);
        must(threads <= THREADS_MAX, &|| {
            format!("--threads {threads} is more than this program takes: give {THREADS_MAX} or less")
        })?;
        must(self.momentum < 1.0, &|| {
            format!("--momentum must be below 1 or it never forgets, not {}", self.momentum)
        })?;
        must(self.nesterov != Some(true) || self.momentum > 0.0, &|| {
            "--nesterov looks ahead along the momentum, and --momentum 0 is none: give one above 0, or leave --nesterov out"
                .into()
        })?;
        let betas = self.betas();
        must(betas.iter().all(|beta| (0.0..1.0).contains(beta)), &|| {
            format!("--betas must be two numbers from 0 to below 1, such as 0.9,0.999, not {}", listed(&betas))
        })?;
        let eps = self.eps.unwrap_or(1.0);
        must(eps.is_finite() && eps as f32 > 0.0, &|| {
            format!("--eps must be a number above 0 that single precision holds, such as 1e-8, not {eps}")
        })?;
        self.validate_recipe()?;
        let drops = self.lr_drop.as_deref().unwrap_or_default();
        must(drops.first() != Some(&0), &|| "--lr-drop counts epochs from 1, so 0 is none of them".into())?;
        must(drops.is_sorted_by(|a, b| a < b), &|| {
            format!("--lr-drop must name later and later epochs, such as 30,60, not {}", listed(drops))
        })?;
        for (flag, value) in [("--image", self.image), ("--resize", self.resize)] {
            let side = value.unwrap_or(1);
            must((1..=SIDE_MAX).contains(&side), &|| {
                format!("{flag} {side} is no side of an image: give 1 to {SIDE_MAX} pixels")
            })?;
        }
        if let Some(part) = self.val_split {
            must(part > 0.0 && part < 1.0, &|| {
                format!("--val-split must be a part between 0 and 1, such as 0.1, not {part}")
            })?;
        }
        let largest = i64::MAX as u64;
        for (flag, value) in [
            ("--seed", self.seed),
            ("--max-steps", self.max_steps.unwrap_or(0)),
            ("--log-steps", self.log_steps.unwrap_or(0)),
            ("--memory-limit", self.memory_limit.unwrap_or(0)),
        ] {
            must(value <= largest, &|| format!("{flag} must be at most {largest}, which config.toml can hold"))?;
        }
        must(self.data.as_deref() != Some(""), &|| "--data is empty: name a folder, or synthetic".into())
    }

    /// Refuses a warm-up without an epoch behind it, as far as the epochs are known.
    fn validate_warmup(&self) -> Result<()> {
        let Self { warmup, epochs: Some(epochs), .. } = self else { return Ok(()) };
        if *warmup == 0 || warmup < epochs {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--warmup {warmup} leaves no epoch at the whole rate of --epochs {epochs}: give fewer"
        )))
    }

    /// Refuses rates with which no net can be trained: what `train_cifar` is asked for is held to this, while an experiment may well be about
    /// runs that diverge. SGD with momentum m multiplies a weight that has no gradient by the roots z of
    /// `z^2 - (1 + m - lr wd) z + m = 0`: from `lr wd = 2 (1 + m)` on one of them is -1 or beyond, and every weight grows for ever. With
    /// Nesterov's momentum the equation is `z^2 - (1 + m) (1 - lr wd) z + m (1 - lr wd) = 0`, and the bound `2 (1 + m) / (1 + 2 m)`.
    /// AdamW multiplies it by `1 - lr wd`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub fn validate_rates(&self) -> Result<()> {
        let Self { lr, momentum, weight_decay, .. } = *self;
        for (flag, value, most) in [("--lr", lr, LR_MAX), ("--weight-decay", weight_decay, WEIGHT_DECAY_MAX)] {
            if value > most {
                return Err(Error::Usage(format!("{flag} {value} trains no net: give {most} or less")));
            }
        }
        let (bound, formula) = match (self.optimiser(), self.nesterov) {
            (Optimiser::AdamW, _) => (2.0, "the bound of AdamW"),
            (_, Some(true)) => {
                (2.0 * (1.0 + momentum) / (1.0 + 2.0 * momentum), "2 (1 + --momentum) / (1 + 2 --momentum)")
            }
            _ => (2.0 * (1.0 + momentum), "2 (1 + --momentum)"),
        };
        if lr * weight_decay >= bound {
            return Err(Error::Usage(format!(
                "--lr {lr} and --weight-decay {weight_decay} let every weight grow from step to step: lower one until their product is \
                 below {bound}, which is {formula}"
            )));
        }
        Ok(())
    }

    /// Refuses what the opened data set makes impossible.
    ///
    /// # Errors
    /// [`Error::Usage`] if no batch can be filled from `train_len` training images, or images of `side` rows and columns are too small for
    /// the net.
    pub fn validate_for_data(&self, train_len: usize, side: usize) -> Result<()> {
        self.validate_warmup()?;
        self.validate_side(side)?;
        if self.batch > train_len {
            return Err(Error::Usage(format!(
                "--batch {} is larger than the training set of {train_len} images: give {train_len} or less",
                self.batch
            )));
        }
        // the last batch of an epoch is what is left
        let smallest = if train_len.is_multiple_of(self.batch) { self.batch } else { train_len % self.batch };
        if smallest == 1 && self.last_side(side) == 1 {
            return Err(Error::Usage(format!(
                "the last stage of --blocks {} has maps of one pixel, and --batch {} leaves a batch of one image: batch norm over one value \
                 is 0 whatever the image; give another --batch or fewer stages",
                listed(&self.blocks),
                self.batch
            )));
        }
        Ok(())
    }

    /// Fixes what was left open until the data set is known, so that the saved config replays the run.
    ///
    /// `data` is the folder that was opened, or [`SYNTHETIC`].
    pub fn settle(&mut self, data: &str) {
        self.data = Some(data.into());
        let default_epochs = if data == SYNTHETIC { SYNTHETIC_EPOCHS } else { CIFAR_EPOCHS };
        self.epochs.get_or_insert(default_epochs);
        self.settle_drops();
    }

    /// Fixes the epochs after which the learning rate falls, if none were given, once the length of the run is known.
    pub(crate) fn settle_drops(&mut self) {
        if self.lr_schedule == Schedule::Step {
            let epochs = self.epochs.unwrap_or(0);
            self.lr_drop.get_or_insert_with(|| thirds(epochs));
        }
    }

    /// The config as TOML that [`RunConfig::from_toml`] reads back to the same bits.
    ///
    /// # Panics
    /// If the config was not validated and holds an integer above `i64::MAX`.
    pub fn to_toml(&self) -> String {
        toml::to_string(&Settings::from(self)).expect("a validated config holds only what TOML can")
    }

    /// Reads a config; keys that are missing take their defaults. `origin` names the text in messages.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the origin, the line, and what was expected there.
    pub fn from_toml(text: &str, origin: &Path) -> Result<Self> {
        let settings = settings_from_toml(text, origin)?;
        let config = settings.clone().over(Self::default());
        settings.check_meaning(&config)?;
        Ok(config)
    }

    /// Reads a config file, such as the `config.toml` of a run.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file cannot be read, or as for [`RunConfig::from_toml`].
    pub fn from_toml_file(path: &Path) -> Result<Self> {
        ConfigFile::read(path)?.config()
    }
}

/// A config file, kept so that a refusal of what it says can name its line.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
    settings: Settings,
}

impl ConfigFile {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be read, or naming file and line if it is no config.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = |e: io::Error| match e.kind() {
            // what it is, in words
            io::ErrorKind::InvalidInput => Error::Usage(format!("--config {} {e}: name a file", path.display())),
            _ => Error::Usage(format!("cannot read the config file {}: {e}", path.display())),
        };
        let file = regular::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(CONFIG_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > CONFIG_MAX {
            let problem = format!("{} is larger than 1 MiB, which no config is", path.display());
            return Err(Error::Usage(problem));
        }
        let settings = settings_from_toml(&text, path)?;
        Ok(Self { path: path.into(), text, settings })
    }

    /// What it says, over the defaults.
    ///
    /// # Errors
    /// [`Error::Usage`] naming file and line, if a setting in it means nothing in its run.
    pub fn config(&self) -> Result<RunConfig> {
        let config = self.settings.clone().over(RunConfig::default());
        self.settings.check_meaning(&config).map_err(|error| self.at_line(error, &Settings::default()))?;
        Ok(config)
    }

    /// A refusal with the file and the line in front, if it names a setting that the file has and the command line, `given`, has not.
    pub fn at_line(&self, error: Error, given: &Settings) -> Error {
        let Error::Usage(sentence) = &error else { return error };
        let named = |key: &str| {
            let flag = format!("--{key}");
            let ends = |rest: &str| !rest.starts_with(|c: char| c == '-' || c.is_ascii_alphanumeric());
            sentence.match_indices(&flag).map(|(at, _)| at).find(|at| ends(&sentence[at + flag.len()..]))
        };
        let ours = SETTINGS.iter().filter(|setting| (setting.given)(&self.settings) && !(setting.given)(given));
        let first = ours.filter_map(|setting| Some((named(&setting.key())?, setting.key()))).min();
        match first.and_then(|(_, key)| self.line_of(&key)) {
            Some(line) => Error::Usage(format!("{}, line {line}: {sentence}", self.path.display())),
            None => error,
        }
    }

    /// The line on which a key stands.
    fn line_of(&self, key: &str) -> Option<usize> {
        let is_key =
            |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim().trim_matches(['"', '\'']) == key);
        self.text.lines().position(is_key).map(|line| line + 1)
    }
}

fn settings_from_toml(text: &str, origin: &Path) -> Result<Settings> {
    toml::from_str(text).map(Settings::expanded).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        let problem = e.message().trim_end().replace('\n', ", ");
        Error::Usage(format!("{}, line {line}: {problem}", origin.display()))
    })
}

#[cfg(test)]
mod tests {
    use rewind::data::IMAGE;
    use rewind::device::Decay;
    use rewind::init::Init;
    use rewind::net::Stem;
    use rewind::scheme::StepSize;
    use rewind::sweep::{SweepSpec, Update};

    use super::*;
    use crate::values::StageList;

    fn sentence(config: &RunConfig) -> String {
        config.validate().expect_err("the config makes no sense").to_string()
    }

    #[test]
    fn what_an_older_config_does_not_name_is_not_written_either() {
        let text = RunConfig::default().to_toml();
        assert!(!text.contains("nesterov") && !text.contains("optimiser") && !text.contains("\ndecay"), "{text}");
        let adamw =
            RunConfig { optimiser: Some(Optimiser::AdamW), betas: Some(Betas([0.5, 0.9])), ..RunConfig::default() };
        assert_eq!(RunConfig::from_toml(&adamw.to_toml(), Path::new("config.toml")).unwrap(), adamw);
        let config = RunConfig { nesterov: Some(true), decay: Some(Decay::Weights), ..RunConfig::default() };
        assert!(config.to_toml().contains("nesterov = true") && config.to_toml().contains("\ndecay = \"weights\""));
        assert_eq!(RunConfig::from_toml(&config.to_toml(), Path::new("config.toml")).unwrap(), config);
    }

    #[test]
    fn toml_reads_back_to_the_same_config() {
        let mut config = RunConfig::default();
        let read = |c: &RunConfig| RunConfig::from_toml(&c.to_toml(), Path::new("config.toml")).unwrap();
        assert_eq!(read(&config), config);
        config.settle("some/folder");
        config.sweep.anchors = Some(4);
        config.sweep.update = Update::After;
        config.lr = 0.1 + 0.2;
        config.weight_decay = 1e-300;
        config.lr_drop = None;
        config.seed = i64::MAX as u64;
        config.memory_limit = Some(512 << 20);
        config.threads = Some(3);
        config.max_steps = Some(7);
        config.augment = false;
        config.stem = Some(Stem::Same3x3);
        config.step_size = StepSize::One;
        config.lr_schedule = Schedule::Cosine;
        config.init = Init::Plain;
        assert_eq!(read(&config), config);
        assert_eq!(read(&config).epochs, Some(90));
        // of a staged net's sizes none is the tiny net's
        let base = RunConfig { net: NetKind::Staged, blocks: vec![1, 2], widths: vec![8, 4], ..RunConfig::default() };
        let staged = RunConfig { block: Block::Bottleneck, tied: true, init_from: Some("a".into()), ..base };
        assert_eq!(read(&staged), staged);
        assert!(!staged.to_toml().contains("depth"));
    }

    #[test]
    fn settle_keeps_what_was_given() {
        let mut config = RunConfig { epochs: Some(2), ..RunConfig::default() };
        config.settle(SYNTHETIC);
        assert_eq!((config.data.as_deref(), config.epochs), (Some(SYNTHETIC), Some(2)));
        (config.epochs, config.lr_drop) = (None, None);
        config.settle(SYNTHETIC);
        assert_eq!((config.epochs, config.lr_drop), (Some(5), Some(vec![2, 4])));
        let mut given = RunConfig { epochs: Some(9), lr_drop: Some(vec![]), ..RunConfig::default() };
        given.settle(SYNTHETIC);
        assert_eq!(given.lr_drop, Some(vec![]));
        let mut cosine = RunConfig { lr_schedule: Schedule::Cosine, ..RunConfig::default() };
        cosine.settle(SYNTHETIC);
        assert_eq!(cosine.lr_drop, None);
    }

    #[test]
    fn a_config_file_may_leave_keys_out_and_write_sizes_with_units() {
        let text = "depth = 32\nweight-decay = 0\nmemory-limit = \"1MiB\"\nlr-drop = []\n";
        let config = RunConfig::from_toml(text, Path::new("x.toml")).unwrap();
        assert_eq!((config.depth, config.weight_decay, config.batch), (32, 0.0, 256));
        assert_eq!(config.memory_limit, Some(1 << 20));
        assert_eq!(config.lr_drop, Some(vec![]));
    }

    #[test]
    fn a_bad_config_file_is_refused_with_file_and_line() {
        for (text, expected) in [
            ("depth = 8\n\ndepht = 9\n", "x.toml, line 3: unknown field `depht`"),
            ("scheme = \"rk5\"\n", "x.toml, line 1: unknown variant `rk5`, expected one of `euler`, `heun`, `rk4`"),
            ("# fine\ndepth = \"eight\"", "x.toml, line 2: invalid type"),
            ("depth = -1", "x.toml, line 1: "),
            ("depth 8", "x.toml, line 1: "),
            ("memory-limit = \"1 parsec\"", "is not a size"),
        ] {
            let error = RunConfig::from_toml(text, Path::new("x.toml")).expect_err(text);
            assert!(matches!(error, Error::Usage(_)));
            let message = error.to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
            assert!(!message.contains('\n'), "one line: {message:?}");
        }
        let message = RunConfig::from_toml_file(Path::new("no/such.toml")).unwrap_err().to_string();
        assert!(message.contains("no/such.toml"), "{message}");
    }

    #[test]
    fn weights_decay_up_to_the_bound_and_grow_from_there() {
        // the bound in the settings, and what SGD does there to a weight without a gradient
        let grows = |lr: f64, weight_decay: f64, momentum: f64, nesterov: bool| {
            let (mut weight, mut velocity) = (1.0_f64, 0.0);
            for _ in 0..2000 {
                let grad = weight_decay * weight;
                velocity = momentum * velocity + grad;
                weight -= lr * if nesterov { grad + momentum * velocity } else { velocity };
            }
            weight.is_nan() || weight.abs() > 1.0
        };
        for (momentum, nesterov, bound) in
            [(0.0, false, 2.0), (0.5, false, 3.0), (0.9, false, 3.8), (0.5, true, 1.5), (0.9, true, 3.8 / 2.8)]
        {
            for part in [0.5, 0.98, 1.02, 2.0] {
                let (lr, weight_decay) = (4.0, part * bound / 4.0);
                let config = RunConfig { lr, weight_decay, momentum, nesterov: Some(nesterov), ..RunConfig::default() };
                let found = (config.validate_rates().is_err(), grows(lr, weight_decay, momentum, nesterov));
                assert_eq!(found, (part > 1.0, part > 1.0), "{momentum} {nesterov} {part}");
            }
        }
    }

    #[test]
    fn a_bad_value_of_a_file_is_named_with_its_line_unless_a_flag_gave_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, "depth = 8\n\n\"batch\" = 0\nlr = 2000\n").unwrap();
        let file = ConfigFile::read(&path).unwrap();
        let at_line =
            |given: &Settings| file.at_line(file.config().unwrap().validate().unwrap_err(), given).to_string();
        assert!(at_line(&Settings::default()).ends_with("x.toml, line 3: --batch 0 holds no image: give 1 or more"));
        assert!(at_line(&Settings { batch: Some(0), ..Settings::default() }).starts_with("--batch 0 holds"));
        // a flag that only begins like one of the file's
        let other = Error::Usage("--batches is no flag".into());
        assert_eq!(file.at_line(other, &Settings::default()).to_string(), "--batches is no flag");
        std::fs::write(&path, "depth = 8\nbits = 2\ngradient = \"adjoint\"\n").unwrap();
        let text = ConfigFile::read(&path).unwrap().config().unwrap_err().to_string();
        assert!(text.contains("x.toml, line 2: --bits goes with"), "{text}");
        std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
        assert!(ConfigFile::read(&path).unwrap_err().to_string().contains("larger than 1 MiB"));
    }

    #[test]
    fn senseless_settings_are_refused_by_flag() {
        let base = RunConfig::default;
        let adamw = || RunConfig { optimiser: Some(Optimiser::AdamW), ..base() };
        assert!(base().validate().is_ok() && adamw().validate().is_ok());
        let rates = |config: &RunConfig| config.validate_rates().expect_err("no net can be trained").to_string();
        for (config, flag) in [
            (RunConfig { lr: 1001.0, ..base() }, "--lr 1001 trains no net: give 1000 or less"),
            (
                RunConfig { weight_decay: 1e30, ..base() },
                "--weight-decay 1000000000000000000000000000000 trains no net",
            ),
            (
                RunConfig { lr: 10.0, weight_decay: 0.38, ..base() },
                "--lr 10 and --weight-decay 0.38 let every weight grow",
            ),
        ] {
            assert!(config.validate().is_ok() && rates(&config).starts_with(flag), "{flag}: {}", rates(&config));
        }
        assert!(base().validate_rates().is_ok());
        for (config, flag) in [
            (RunConfig { depth: 0, ..base() }, "--depth 0"),
            (RunConfig { channels: 0, ..base() }, "--channels 0"),
            (RunConfig { batch: 0, ..base() }, "--batch 0"),
            (RunConfig { epochs: Some(0), ..base() }, "--epochs 0"),
            (RunConfig { max_steps: Some(0), ..base() }, "--max-steps 0"),
            (RunConfig { threads: Some(0), ..base() }, "--threads 0"),
            (RunConfig { depth: 1_000_001, ..base() }, "--depth 1000001 is more"),
            (RunConfig { channels: 65_537, ..base() }, "--channels 65537 is more"),
            (RunConfig { threads: Some(1025), ..base() }, "--threads 1025 is more"),
            (RunConfig { lr: f64::NAN, ..base() }, "--lr must"),
            (RunConfig { lr: -0.1, ..base() }, "--lr must"),
            (RunConfig { epochs: Some(100_001), ..base() }, "--epochs 100001 is more"),
            (
                RunConfig { sweep: SweepSpec { fixed_point: 1001, ..base().sweep }, ..base() },
                "--fixed-point 1001 is more",
            ),
            (RunConfig { momentum: f64::INFINITY, ..base() }, "--momentum must"),
            (RunConfig { momentum: 1.0, ..base() }, "--momentum must"),
            (RunConfig { eps: Some(f64::NAN), ..adamw() }, "--eps must"),
            (RunConfig { betas: Some(Betas([0.9, f64::NAN])), ..adamw() }, "--betas must"),
            (RunConfig { momentum: 0.0, nesterov: Some(true), ..base() }, "--nesterov looks ahead"),
            (RunConfig { weight_decay: -1e-9, ..base() }, "--weight-decay must"),
            (RunConfig { lr_drop: Some(vec![60, 30]), ..base() }, "--lr-drop must"),
            (RunConfig { lr_drop: Some(vec![30, 30]), ..base() }, "--lr-drop must"),
            (RunConfig { lr_drop: Some(vec![0, 30]), ..base() }, "--lr-drop counts"),
            (RunConfig { seed: u64::MAX, ..base() }, "--seed must"),
            (RunConfig { data: Some(String::new()), ..base() }, "--data is empty"),
            (
                RunConfig { net: NetKind::Resnet34, ..base() },
                "the net resnet34 is a name for others: give --net staged",
            ),
            (RunConfig { net: NetKind::Staged, stem_width: Some(0), ..base() }, "--stem-width 0 is no width"),
            (
                RunConfig { net: NetKind::Staged, sweep_stages: Some(StageList(vec![3, 4])), ..base() },
                "--sweep-stages names stage 4 of a net that has 3: give 1 to 3",
            ),
            (RunConfig { resize: Some(8193), ..base() }, "--resize 8193 is no side"),
            (RunConfig { val_split: Some(1.0), ..base() }, "--val-split must"),
            (RunConfig { warmup: 5, epochs: Some(5), ..base() }, "--warmup 5 leaves no epoch"),
            (RunConfig { label_smoothing: 1.0, ..base() }, "--label-smoothing must"),
            (RunConfig { label_smoothing: f64::NAN, ..base() }, "--label-smoothing must"),
            (
                RunConfig { rand_augment: Some(RandAugmentBy([15, 9])), ..base() },
                "--rand-augment takes 0 to 14 changes",
            ),
            (RunConfig { rand_augment: Some(RandAugmentBy([2, 31])), ..base() }, "--rand-augment takes"),
            (RunConfig { colour_jitter: Some(JitterBy([0.4, -0.1, 0.0, 0.0])), ..base() }, "--colour-jitter takes"),
            (RunConfig { colour_jitter: Some(JitterBy([0.0, 0.0, f64::NAN, 0.0])), ..base() }, "--colour-jitter takes"),
            (RunConfig { colour_jitter: Some(JitterBy([0.0, 0.0, 0.0, 0.6])), ..base() }, "--colour-jitter takes"),
            (RunConfig { erase: Some(1.5), ..base() }, "--erase must"),
            (RunConfig { erase: Some(f64::NAN), ..base() }, "--erase must"),
        ] {
            let message = sentence(&config);
            assert!(message.starts_with(flag), "{message:?} should start with {flag:?}");
        }
        assert!(base().validate_for_data(256, IMAGE).is_ok());
        let message = base().validate_for_data(255, IMAGE).unwrap_err().to_string();
        assert!(message.contains("--batch 256") && message.contains("255 images"), "{message}");
        // 32, 16, 8, 4, 2 and 1 pixels
        let stages = |stages: usize, batch| {
            let (blocks, widths) = (vec![1; stages], vec![4; stages]);
            RunConfig { net: NetKind::Staged, blocks, widths, batch, ..base() }.validate_for_data(10, IMAGE)
        };
        let message = stages(6, 3).unwrap_err().to_string();
        assert!(message.contains("--blocks 1,1,1,1,1,1") && message.contains("one value"), "{message}");
        assert!(stages(6, 1).is_err() && stages(8, 9).is_err());
        assert!(stages(6, 4).is_ok() && stages(6, 10).is_ok() && stages(5, 3).is_ok());
        assert!(RunConfig { batch: 1, ..base() }.validate_for_data(10, IMAGE).is_ok());
    }
}
