//! What the user typed: the command line of `train_cifar`, and how it becomes a [`RunConfig`].

use std::path::PathBuf;

use rewind::error::{Error, Result};

use crate::config::{ConfigFile, RunConfig};
use crate::preset::KnownRecipe;
use crate::settings::{Resume, SETTINGS, Settings, as_typed};

/// Trains a deep residual network on CIFAR without storing its activations.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(name = "train_cifar", version, long_version = LONG_VERSION, about = ABOUT, after_help = EXAMPLES)]
pub struct Cli {
    /// Settings that can also come from a config file.
    #[command(flatten)]
    pub settings: Settings,

    /// Fetch cifar-10 or cifar-100 first [cifar-10 if not named].
    #[cfg(feature = "download")]
    #[arg(long, value_name = "SET", num_args = 0..=1, default_missing_value = "cifar-10", hide_possible_values = true)]
    #[arg(conflicts_with_all = ["data", "resume"], help_heading = "Data")]
    pub download: Option<DownloadSet>,
    /// Address to fetch from in place of the data set's home page.
    #[cfg(feature = "download")]
    #[arg(long, value_name = "URL", hide = true, requires = "download", help_heading = "Data")]
    pub download_from: Option<String>,

    /// Begin from a known recipe: cifar-fast or imagenet-a2; flags go first.
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    #[arg(conflicts_with_all = ["config", "resume"], help_heading = "Run")]
    pub preset: Option<KnownRecipe>,
    /// Settings from a TOML file, such as a run's config.toml; flags go first.
    #[arg(long, value_name = "FILE", conflicts_with = "resume", help_heading = "Run")]
    pub config: Option<PathBuf>,
    /// Folder for the results [default: runs/ and a name made of the settings].
    #[arg(long, value_name = "DIR", conflicts_with = "resume", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub resume: Option<PathBuf>,
    /// Print the memory plan, byte by byte, and stop.
    #[arg(long, conflicts_with = "eval_only", help_heading = "Run")]
    pub plan: bool,
    /// With --plan: train 5 steps, and print how long an epoch and the run would take.
    #[arg(long, requires = "plan", help_heading = "Run")]
    pub time: bool,
    /// Test the checkpoint of --resume DIR, or one that is named itself, and stop.
    #[arg(long, requires = "resume", help_heading = "Run")]
    pub eval_only: bool,
    /// With --eval-only: leave confusion matrix, classes and worst images in DIR.
    #[arg(long, requires = "eval_only", help_heading = "Run")]
    pub report: bool,
    /// Print what was found of this machine's processor, driver and GPUs, and stop.
    #[arg(long, exclusive = true, help_heading = "Run")]
    pub doctor: bool,
    /// Launch the GPU's kernels one by one in place of replaying recorded steps: for profilers.
    #[arg(long, hide = true, help_heading = "Run")]
    pub eager: bool,
    /// Print only the final table.
    #[arg(long, short, help_heading = "Run")]
    pub quiet: bool,
}

/// What `--version` tells; `-V` tells the number alone.
#[cfg(feature = "cuda")]
const LONG_VERSION: &str = rewind::cuda::VERSION;
#[cfg(not(feature = "cuda"))]
const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (no GPU kernels: built without the feature cuda)");

const ABOUT: &str = "\
Trains a deep residual network on CIFAR without storing its activations.

Without arguments it trains the default net on the CIFAR-10 found in datasets/, or else on a
built-in synthetic set. Results go to a folder of their own under runs/.";

const EXAMPLES: &str = "\
Examples:
  train_cifar                                       the default net, with flat memory
  train_cifar --depth 512 --plan                    what 512 blocks would take
  train_cifar --gradient backprop --epochs 3        the same net with stored activations
  train_cifar --resume runs/cifar-10-depth8-euler-auto-seed0

Exit codes: 0 done, 1 the run failed, 2 the request makes no sense, 130 stopped by Ctrl-C, 143 by
SIGTERM.";

/// A data set that `--download` knows.
#[cfg(feature = "download")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DownloadSet {
    /// CIFAR-10.
    #[value(name = "cifar-10")]
    Cifar10,
    /// CIFAR-100.
    #[value(name = "cifar-100")]
    Cifar100,
}

/// The run that was asked for: flags over `--config` over the defaults, validated.
///
/// With `checkpoint`, the config found in the checkpoint of `--resume`, that config takes the place of file and defaults;
/// flags may repeat it, and may change the settings that are [`Resume::Free`]. A checkpoint's `max-steps` is spent, so it is not kept.
///
/// # Errors
/// [`Error::Usage`] naming a flag that makes no sense or contradicts the checkpoint, or the config file's bad line.
pub fn resolve(cli: &Cli, checkpoint: Option<&RunConfig>) -> Result<RunConfig> {
    let settings = cli.settings.clone().expanded();
    let file = match (checkpoint, &cli.config) {
        (None, Some(file)) => Some(ConfigFile::read(file)?),
        _ => None,
    };
    let base = match (checkpoint, &file) {
        (Some(held), _) => {
            refuse_contradictions(&settings, held)?;
            refuse_another_cosine(&settings, held)?;
            RunConfig { max_steps: None, ..held.clone() }
        }
        (None, Some(file)) => file.config()?,
        (None, None) => {
            let preset = cli.preset.map(KnownRecipe::settings).unwrap_or_default();
            preset.over(RunConfig::default())
        }
    };
    let config = settings.clone().over(base);
    settings.check_meaning(&config)?;
    match (config.validate().and_then(|()| config.validate_rates()), &file) {
        (Err(error), Some(file)) => Err(file.at_line(error, &settings)),
        (valid, _) => valid.map(|()| config),
    }
}

/// What is wrong with a command line, as one sentence: clap's paragraphs without the usage that follows them.
pub fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told = text.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let parts: Vec<String> = told.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let told = parts.join("; ");
    format!("{}; see --help", told.strip_prefix("error: ").unwrap_or(&told))
}

fn refuse_contradictions(given: &Settings, held: &RunConfig) -> Result<()> {
    // what no flag gave holds all the same
    let (stem, decay, optimiser) = (held.stem(), held.decay.unwrap_or_default(), held.optimiser());
    let held = RunConfig { stem: Some(stem), decay: Some(decay), optimiser: Some(optimiser), ..held.clone() };
    let (values, held) = (table(given)?, table(&Settings::from(&held))?);
    for setting in SETTINGS.iter().filter(|setting| setting.resume == Resume::Fixed && (setting.given)(given)) {
        let key = setting.key();
        if held.get(&key) == values.get(&key) {
            continue;
        }
        let (flag, trained) = (as_flag(&key, values.get(&key))?, as_flag(&key, held.get(&key))?);
        return Err(Error::Usage(format!(
            "{flag} contradicts the checkpoint, which was trained {trained}: leave it out, or start a new run with --out"
        )));
    }
    Ok(())
}

/// A cosine goes down over all epochs of a run: of more epochs it is another one, whose learning rate is not where this one has come to.
fn refuse_another_cosine(given: &Settings, held: &RunConfig) -> Result<()> {
    let (Some(epochs), Some(begun)) = (given.epochs, held.epochs) else { return Ok(()) };
    let schedule = held.lr_schedule;
    if !schedule.spans_the_run() || epochs == begun || given.lr_schedule.is_some() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--epochs {epochs} makes another {schedule} of this run's, which goes down over {begun} epochs: its learning rate would jump; give \
         --lr-schedule {schedule} too if that is meant"
    )))
}

fn table(settings: &Settings) -> Result<toml::Table> {
    toml::Table::try_from(settings).map_err(|e| Error::Usage(format!("a flag's value cannot be kept: {e}")))
}

/// `--depth 8` from a key and its value; `with --anchors 2` and `without --anchors` read well after "trained". A switch says the
/// opposite of its default.
fn as_flag(key: &str, value: Option<&toml::Value>) -> Result<String> {
    let defaults = table(&Settings::from(&RunConfig::default()))?;
    Ok(match (defaults.get(key), value) {
        (Some(toml::Value::Boolean(default)), value) => {
            let flag = if *default { format!("--no-{key}") } else { format!("--{key}") };
            let on = value.is_some_and(|value| value.as_bool() == Some(!default));
            if on { flag } else { format!("without {flag}") }
        }
        (_, None) => format!("without --{key}"),
        // one that is not kept where it is off
        (_, Some(toml::Value::Boolean(true))) => format!("--{key}"),
        (_, Some(value)) => format!("--{key} {}", as_typed(value)),
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use rewind::device::Decay;

    use super::*;
    use crate::config::Block;
    use crate::config::{DeviceChoice, Math, NetKind};
    use crate::schedule::Schedule;
    use rewind::init::Init;
    use rewind::net::Stem;
    use rewind::scheme::{Scheme, StepSize};
    use rewind::sweep::{BnStatistics, Gradient, Update};

    fn parse(line: &str) -> std::result::Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("train_cifar").chain(line.split_whitespace()))
    }

    fn resolved(line: &str, checkpoint: Option<&RunConfig>) -> Result<RunConfig> {
        resolve(&parse(line).unwrap(), checkpoint)
    }

    #[test]
    fn a_preset_goes_behind_flags_and_makes_a_config_that_stands() {
        for (name, epochs) in [("cifar-fast", Some(PRESET_EPOCHS)), ("imagenet-a2", Some(300))] {
            let preset = resolved(&format!("--preset {name}"), None).unwrap();
            assert_eq!(preset.epochs, epochs);
            // a run saves what the preset stands for, and not its name
            let read = RunConfig::from_toml(&preset.to_toml(), std::path::Path::new("config.toml")).unwrap();
            assert_eq!(read, preset);
            let changed =
                resolved(&format!("--preset {name} --epochs 2 --lr 0.01 --net resnet18 --warmup 1"), None).unwrap();
            assert_eq!((changed.epochs, changed.lr), (Some(2), 0.01));
            assert_eq!((&changed.blocks[..], changed.label_smoothing), (&[1; 4][..], preset.label_smoothing));
        }
        for line in ["--preset fast", "--preset cifar-fast --resume a", "--preset cifar-fast --config a"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    const PRESET_EPOCHS: usize = 14;

    #[test]
    fn the_command_is_well_formed_and_its_help_fits_100_columns() {
        Cli::command().debug_assert();
        let help = parse("--help").unwrap_err().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
        let headings = ["Data:", "Network:", "Gradient:", "Training:", "Machine:", "Run:"];
        let mut places = headings.map(|h| help.find(&format!("\n{h}")).expect(h));
        places.sort_unstable();
        let RunConfig { depth, channels, batch, lr, momentum, weight_decay, seed, sweep, .. } = RunConfig::default();
        for (flag, default) in [
            ("--depth", depth.to_string()),
            ("--channels", channels.to_string()),
            ("--batch", batch.to_string()),
            ("--lr", lr.to_string()),
            ("--momentum", momentum.to_string()),
            ("--weight-decay", weight_decay.to_string()),
            ("--seed", seed.to_string()),
            ("--scheme", sweep.scheme.to_string()),
            ("--gradient", sweep.gradient.to_string()),
            ("--fixed-point", sweep.fixed_point.to_string()),
        ] {
            let line = help.lines().find(|l| l.trim_start().starts_with(&format!("{flag} "))).unwrap();
            assert!(line.contains(&format!("[default: {default}]")), "{line}");
        }
    }

    #[test]
    fn without_arguments_the_defaults_hold() {
        assert_eq!(resolved("", None).unwrap(), RunConfig::default());
    }

    #[test]
    fn every_setting_has_a_flag() {
        let config = resolved(
            "--data synthetic --no-augment --depth 4 --channels 3 --stem 3x3 --scheme heun --step-size 1 --init plain --gradient adjoint \
             --fixed-point 2 --anchors 3 --bn-stats batch --update after --epochs 6 --batch 7 --lr 0.25 --momentum 0.5 \
             --nesterov --weight-decay 0 --decay weights --lr-drop 2,4 --seed 9 --max-steps 11 --device cpu --math fp32 --threads 2 --memory-limit 512MiB",
            None,
        )
        .unwrap();
        assert_eq!(config.data.as_deref(), Some("synthetic"));
        assert_eq!((config.augment, config.depth, config.channels), (false, 4, 3));
        assert_eq!((config.stem(), config.step_size, config.init), (Stem::Same3x3, StepSize::One, Init::Plain));
        assert_eq!((config.sweep.scheme, config.sweep.gradient), (Scheme::Heun, Gradient::Adjoint));
        assert_eq!((config.sweep.fixed_point, config.sweep.anchors), (2, Some(3)));
        assert_eq!((config.sweep.bn_stats, config.sweep.update), (BnStatistics::Batch, Update::After));
        assert_eq!((config.epochs, config.batch, config.lr), (Some(6), 7, 0.25));
        assert_eq!((config.momentum, config.weight_decay, config.lr_drop), (0.5, 0.0, Some(vec![2, 4])));
        assert_eq!((config.nesterov, config.decay), (Some(true), Some(Decay::Weights)));
        assert_eq!(resolved("--lr-schedule cosine", None).unwrap().lr_schedule, Schedule::Cosine);
        assert_eq!((config.seed, config.max_steps, config.device), (9, Some(11), DeviceChoice::Cpu));
        assert_eq!(config.math, Math::Fp32);
        assert_eq!((config.threads, config.memory_limit), (Some(2), Some(512 << 20)));
        let staged = resolved(
            "--net staged --blocks 2,3 --widths 8,16 --block bottleneck --tied --init-from a/checkpoint.safetensors",
            None,
        )
        .unwrap();
        assert_eq!((staged.net, staged.blocks, staged.widths), (NetKind::Staged, vec![2, 3], vec![8, 16]));
        assert_eq!((staged.block, staged.tied), (Block::Bottleneck, true));
        assert_eq!(staged.init_from.as_deref(), Some("a/checkpoint.safetensors"));
        let every = resolved("--gradient checkpoint --checkpoint-every 2 --lr-drop none", None).unwrap();
        assert_eq!((every.sweep.checkpoint_every, every.lr_drop), (Some(2), Some(vec![])));
    }

    #[test]
    fn flags_go_before_the_config_file_and_the_file_before_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "depth = 32\nbatch = 64\n").unwrap();
        let config = resolved(&format!("--depth 16 --config {}", file.display()), None).unwrap();
        assert_eq!((config.depth, config.batch, config.channels), (16, 64, 16));
        std::fs::write(&file, "depth = 32\nbatch = 0\n").unwrap();
        let error = resolved(&format!("--config {}", file.display()), None).unwrap_err();
        assert!(
            error.to_string().ends_with("config.toml, line 2: --batch 0 holds no image: give 1 or more"),
            "{error}"
        );
    }

    #[test]
    fn resume_keeps_the_checkpoints_config_but_for_what_cannot_change_it() {
        let mut held = RunConfig { depth: 12, max_steps: Some(5), threads: Some(1), ..RunConfig::default() };
        held.settle("synthetic");
        let config = resolved("--resume runs/x --depth 12 --threads 2 --epochs 9", Some(&held)).unwrap();
        let expected = RunConfig { threads: Some(2), epochs: Some(9), max_steps: None, ..held.clone() };
        assert_eq!(config, expected);
        // what every run did before there was a choice
        assert!(resolved("--resume runs/x --decay all", Some(&held)).is_ok());
        held.sweep.anchors = Some(2);
        held.augment = false;
        for (line, expected) in [
            ("--depth 8", "--depth 8 contradicts the checkpoint, which was trained --depth 12:"),
            ("--scheme heun", "--scheme heun contradicts the checkpoint, which was trained --scheme euler:"),
            ("--step-size 1", "--step-size 1 contradicts the checkpoint, which was trained --step-size 1/N:"),
            ("--init plain", "--init plain contradicts the checkpoint, which was trained --init paper:"),
            ("--stem 3x3", "--stem 3x3 contradicts the checkpoint, which was trained --stem 5x5:"),
            (
                "--lr-schedule cosine",
                "--lr-schedule cosine contradicts the checkpoint, which was trained --lr-schedule step:",
            ),
            ("--lr-drop none", "--lr-drop none contradicts the checkpoint, which was trained --lr-drop 2,4:"),
            ("--anchors 3", "--anchors 3 contradicts the checkpoint, which was trained --anchors 2:"),
            ("--nesterov", "--nesterov contradicts the checkpoint, which was trained without --nesterov:"),
            ("--decay weights", "--decay weights contradicts the checkpoint, which was trained --decay all:"),
            ("--checkpoint-every 3", "which was trained without --checkpoint-every:"),
        ] {
            let message = resolved(&format!("--resume runs/x {line}"), Some(&held)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
        held.augment = true;
        let message = resolved("--resume runs/x --no-augment", Some(&held)).unwrap_err().to_string();
        assert!(message.contains("trained without --no-augment"), "{message}");
    }

    #[test]
    fn adamw_begins_with_numbers_of_its_own_unless_they_are_given() {
        let of = |line: &str| resolved(line, None).map(|config| (config.lr, config.weight_decay)).unwrap();
        assert_eq!(of("--optimiser adamw"), (1e-3, 0.01));
        assert_eq!(of("--optimiser adamw --lr 0.1"), (0.1, 0.01));
        assert_eq!(of("--optimiser sgd"), (0.1, 5e-4));
        let mut held = resolved("--optimiser adamw --lr 0.5", None).unwrap();
        held.settle("synthetic");
        for line in ["--resume runs/x", "--resume runs/x --optimiser adamw"] {
            assert_eq!(resolved(line, Some(&held)).unwrap().lr, 0.5, "{line}");
        }
    }

    #[test]
    fn another_cosine_has_to_be_asked_for() {
        let mut held = RunConfig { lr_schedule: Schedule::Cosine, epochs: Some(10), ..RunConfig::default() };
        held.settle("synthetic");
        let of = |line: &str, held: &RunConfig| resolved(&format!("--resume runs/x {line}"), Some(held));
        let message = of("--epochs 20", &held).unwrap_err().to_string();
        assert!(
            message.starts_with("--epochs 20 makes another cosine") && message.contains("over 10 epochs"),
            "{message}"
        );
        assert_eq!(of("--epochs 20 --lr-schedule cosine", &held).unwrap().epochs, Some(20));
        assert!(of("--epochs 10", &held).is_ok() && of("", &held).is_ok());
        held.lr_schedule = Schedule::Step;
        assert!(of("--epochs 20", &held).is_ok());
    }

    #[test]
    fn conflicting_and_misspelt_flags_exit_2_and_say_what_was_expected() {
        for (line, expected) in [
            ("--config a --resume b", "--resume"),
            ("--out a --resume b", "--resume"),
            ("--plan --eval-only --resume b", "--eval-only"),
            ("--eval-only", "--resume <DIR>"),
            ("--depht 8", "--depth"),
            ("--depth eight", "--depth <N>"),
            ("--gradient magic", "corrected"),
            ("--memory-limit lots", "512MiB"),
            ("--lr-drop soon", "30,60"),
            ("--step-size 2", "1/N"),
            #[cfg(feature = "download")]
            ("--download --data x", "--data"),
            #[cfg(feature = "download")]
            ("--download imagenet", "cifar-100"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2);
            let sentence = sentence(&error);
            assert!(sentence.contains(expected) && !sentence.contains('\n'), "{line}: {sentence}");
            assert!(!sentence.contains("Usage") && !sentence.starts_with("error"), "{line}: {sentence}");
        }
        let error = resolved("--lr -0.5", None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--lr must be"), "{error}");
    }

    #[cfg(feature = "download")]
    #[test]
    fn download_takes_cifar_10_when_no_set_is_named() {
        assert_eq!(parse("--download --depth 3").unwrap().download, Some(DownloadSet::Cifar10));
        assert_eq!(parse("--download cifar-100").unwrap().download, Some(DownloadSet::Cifar100));
        assert_eq!(parse("").unwrap().download, None);
    }
}
