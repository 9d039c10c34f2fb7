//! What a run means: every setting that decides its result, and how it is run; validated, and saved beside the run.

mod net;

use std::path::Path;

pub use rewind::device::Math;
use rewind::error::{Error, Result};

pub use crate::settings::RunConfig;
use crate::settings::Settings;
pub use crate::values::{Block, DeviceChoice, NetKind, listed};

/// The name by which the user asks for the built-in data set.
pub const SYNTHETIC: &str = "synthetic";
/// Epochs of the recipe on CIFAR.
pub const CIFAR_EPOCHS: usize = 90;
/// Epochs on the built-in data set, which is easier.
pub const SYNTHETIC_EPOCHS: usize = 5;

/// A bound far above any machine, so that no wait is endless.
const THREADS_MAX: usize = 1024;

impl RunConfig {
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
        must(self.threads != Some(0), &|| "--threads 0 computes nothing: give 1 or more, or leave it out".into())?;
        for (flag, value) in [("--lr", self.lr), ("--momentum", self.momentum), ("--weight-decay", self.weight_decay)] {
            must(value.is_finite() && value >= 0.0, &|| format!("{flag} must be a number of 0 or more, not {value}"))?;
        }
        let threads = self.threads.unwrap_or(1);
        must(threads <= THREADS_MAX, &|| {
            format!("--threads {threads} is more than this program takes: give {THREADS_MAX} or less")
        })?;
        must(self.momentum < 1.0, &|| {
            format!("--momentum must be below 1 or it never forgets, not {}", self.momentum)
        })?;
        must(self.lr_drop.first() != Some(&0), &|| "--lr-drop counts epochs from 1, so 0 is none of them".into())?;
        must(self.lr_drop.is_sorted_by(|a, b| a < b), &|| {
            format!("--lr-drop must name later and later epochs, such as 30,60, not {:?}", self.lr_drop)
        })?;
        let largest = i64::MAX as u64;
        for (flag, value) in [
            ("--seed", self.seed),
            ("--max-steps", self.max_steps.unwrap_or(0)),
            ("--memory-limit", self.memory_limit.unwrap_or(0)),
        ] {
            must(value <= largest, &|| format!("{flag} must be at most {largest}, which config.toml can hold"))?;
        }
        must(self.data.as_deref() != Some(""), &|| "--data is empty: name a folder, or synthetic".into())
    }

    /// Refuses what the opened data set makes impossible.
    ///
    /// # Errors
    /// [`Error::Usage`] if no batch can be filled from `train_len` training images.
    pub fn validate_for_data(&self, train_len: usize) -> Result<()> {
        if self.batch > train_len {
            return Err(Error::Usage(format!(
                "--batch {} is larger than the training set of {train_len} images: give {train_len} or less",
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
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::Usage(format!("cannot read the config file {}: {e}", path.display())))?;
        Self::from_toml(&text, path)
    }
}

fn settings_from_toml(text: &str, origin: &Path) -> Result<Settings> {
    toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        let problem = e.message().trim_end().replace('\n', ", ");
        Error::Usage(format!("{}, line {line}: {problem}", origin.display()))
    })
}

#[cfg(test)]
mod tests {
    use rewind::init::Init;
    use rewind::net::Stem;
    use rewind::scheme::StepSize;
    use rewind::sweep::Update;

    use super::*;
    use crate::schedule::Schedule;

    fn sentence(config: &RunConfig) -> String {
        config.validate().expect_err("the config makes no sense").to_string()
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
        config.lr_drop.clear();
        config.seed = i64::MAX as u64;
        config.memory_limit = Some(512 << 20);
        config.threads = Some(3);
        config.max_steps = Some(7);
        config.augment = false;
        config.stem = Stem::Same3x3;
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
        config.epochs = None;
        config.settle(SYNTHETIC);
        assert_eq!(config.epochs, Some(5));
    }

    #[test]
    fn a_config_file_may_leave_keys_out_and_write_sizes_with_units() {
        let text = "depth = 32\nweight-decay = 0\nmemory-limit = \"1MiB\"\nlr-drop = []\n";
        let config = RunConfig::from_toml(text, Path::new("x.toml")).unwrap();
        assert_eq!((config.depth, config.weight_decay, config.batch), (32, 0.0, 256));
        assert_eq!(config.memory_limit, Some(1 << 20));
        assert!(config.lr_drop.is_empty());
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
    fn senseless_settings_are_refused_by_flag() {
        let base = RunConfig::default;
        assert!(base().validate().is_ok());
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
            (RunConfig { momentum: f64::INFINITY, ..base() }, "--momentum must"),
            (RunConfig { momentum: 1.0, ..base() }, "--momentum must"),
            (RunConfig { weight_decay: -1e-9, ..base() }, "--weight-decay must"),
            (RunConfig { lr_drop: vec![60, 30], ..base() }, "--lr-drop must"),
            (RunConfig { lr_drop: vec![30, 30], ..base() }, "--lr-drop must"),
            (RunConfig { lr_drop: vec![0, 30], ..base() }, "--lr-drop counts"),
            (RunConfig { seed: u64::MAX, ..base() }, "--seed must"),
            (RunConfig { data: Some(String::new()), ..base() }, "--data is empty"),
        ] {
            let message = sentence(&config);
            assert!(message.starts_with(flag), "{message:?} should start with {flag:?}");
        }
        assert!(base().validate_for_data(256).is_ok());
        let message = base().validate_for_data(255).unwrap_err().to_string();
        assert!(message.contains("--batch 256") && message.contains("255 images"), "{message}");
    }
}
